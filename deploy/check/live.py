"""A live Prometheus and Alertmanager with running services: targets are up, rules evaluate, an alert arrives.

The services are processes on the local stack, with topics and a database of their own. Rules and routes are the
committed ones; copies of them wait a second where the originals wait minutes (`for`, grouping), and receivers are
replaced by a webhook here.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from pymongo import MongoClient

from cli.fleet import Fleet
from cli.running import policies
from cli.topics import create_topics, delete_topics
from cli.traffic import secrets_environment, tokens
from contracts.topics import SERVICES
from deploy.check.context import Context, Failed
from deploy.local import free_port
from deploy.local.process import Server
from deploy.local.stack import Stack
from deploy.reference import ceiling, metric_rows
from kit.base.errors import TransientError
from kit.base.kafka_settings import KafkaSettings
from kit.kafka.connection import Connection

#: The service whose process is killed, and what is then heard.
KILLED, ALERT = "sla", "DeskbusNothingHeard"
_SECONDS = 60.0
_MOST_BYTES = 1 << 20


class _Program(Server):
    """Prometheus or Alertmanager."""

    def __init__(self, directory: Path, name: str, command: list[str | Path], ready: str) -> None:
        self.name = name
        super().__init__(directory / name, free_port())
        self._command, self._ready = command, ready

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        return [str(word).replace("ADDRESS", self.address) for word in self._command]

    def answers(self) -> bool:
        try:
            return bool(self.get(self._ready) is not None)
        except OSError:
            return False

    def get(self, path: str) -> bytes:
        return _get(f"http://{self.address}{path}")

    def api(self, path: str) -> Any:
        return json.loads(self.get(path))


class Inbox:
    """What Alertmanager sent to each receiver."""

    def __init__(self) -> None:
        self.alerts: list[tuple[str, dict[str, str], str]] = []
        """Receiver, labels and status."""

    @contextmanager
    def listening(self) -> Iterator[str]:
        """Yield the address that receivers have a path below."""
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = min(int(self.headers.get("content-length", 0)), _MOST_BYTES)
                document = json.loads(self.rfile.read(length))
                inbox.alerts += [(self.path[1:], alert["labels"], alert["status"]) for alert in document["alerts"]]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()

    def has(self, receiver: str, status: str, **labels: str) -> bool:
        return any(
            to == receiver and state == status and labels.items() <= of.items() for to, of, state in list(self.alerts)
        )


def impatient(rules: Path, folder: Path) -> list[Path]:
    """Write copies of rule files in which `for` is a second and every group is evaluated each second."""
    written = []
    for file in sorted(rules.glob("*.yml")):
        document = yaml.safe_load(file.read_text("utf-8"))
        for group in document["groups"]:
            group.pop("interval", None)
            for rule in group["rules"]:
                if "for" in rule:
                    rule["for"] = "1s"
        written.append(folder / file.name)
        written[-1].write_text(yaml.safe_dump(document), encoding="utf-8")
    return written


def routed_here(sample: Path, address: str) -> dict[str, Any]:
    """Return Alertmanager's configuration with the same routes, quick ones, to webhooks below an address."""
    document: dict[str, Any] = yaml.safe_load(sample.read_text("utf-8"))
    for route in [document["route"], *document["route"]["routes"]]:
        route |= {"group_wait": "1s", "group_interval": "1s", "repeat_interval": "1m"}
        route.pop("active_time_intervals", None)
    document["receivers"] = [
        {"name": each["name"], "webhook_configs": [{"url": f"{address}/{each['name']}", "send_resolved": True}]}
        for each in document["receivers"]
    ]
    return document


def check_live(context: Context) -> None:
    """Prometheus scrapes running services, all rules evaluate, and an alert arrives when a service is killed."""
    inbox = Inbox()
    fleet = _services(context)
    webhook = context.stack.enter_context(inbox.listening())
    alertmanager = _alertmanager(context, webhook)
    prometheus = _prometheus(context, fleet, alertmanager)
    _until(
        "all targets are up", lambda: _targets(prometheus) == {"up": len(fleet.replicas)}, lambda: _targets(prometheus)
    )
    _check_series(fleet)
    _until("all rules are evaluated", lambda: not _unevaluated(prometheus), lambda: _unevaluated(prometheus))
    _until("the heartbeat is heard", lambda: inbox.has("heartbeat", "firing", alertname="DeskbusWatchdog"))
    _until("no alert is active while all is well", lambda: not _active(prometheus), lambda: _active(prometheus))
    (killed,) = fleet.of(KILLED)
    killed.kill()
    _until(
        "the alert arrives", lambda: inbox.has("pager", "firing", alertname=ALERT, service=KILLED), lambda: inbox.alerts
    )
    _check_inhibited(alertmanager, inbox)
    _until("the process that is down is told by its service", lambda: _suppressed(alertmanager, "DeskbusDown"))
    killed.start()
    killed.wait_ready()
    _until("the alert is resolved", lambda: inbox.has("pager", "resolved", alertname=ALERT, service=KILLED))


def _services(context: Context) -> Fleet:
    """Start one replica of each service."""
    stack = Stack(context.work / "stack", free_port(), free_port())
    context.stack.callback(stack.discard)
    given = stack.up().environment()
    name = f"live{os.getpid()}"
    kafka = Connection(KafkaSettings.of(given))
    shared = {
        **given,
        "DESKBUS_TOPIC_PREFIX": f"{name}.",
        "DESKBUS_MONGO_PREFIX": name,
        "DESKBUS_TOKENS": tokens().setting,
        **secrets_environment(),
        **policies(context.root / "deploy" / "config"),
    }
    context.stack.callback(_clean, given["DESKBUS_MONGO"], name)
    context.stack.callback(_patiently, lambda: delete_topics(kafka, f"{name}."))
    _patiently(lambda: create_topics(kafka, f"{name}.", 2))
    fleet = Fleet(shared, logs=context.work)
    for service in SERVICES:
        fleet.add(service)
    context.stack.callback(fleet.stop)
    fleet.start()
    return fleet


def _patiently(job: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Run a job that a busy broker may not answer in time, again until it does."""
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            asyncio.run(job())
        except TransientError as fault:
            if time.monotonic() > deadline:
                raise Failed(str(fault)) from fault
        else:
            return


def _clean(mongo: str, name: str) -> None:
    with MongoClient[dict[str, Any]](mongo) as client:
        for service in SERVICES:
            client.drop_database(f"{name}_{service}")


def _alertmanager(context: Context, webhook: str) -> _Program:
    file = context.work / "alertmanager.yml"
    file.write_text(yaml.safe_dump(routed_here(context.root / "deploy/alertmanager/alertmanager.yml", webhook)))
    command: list[str | Path] = [
        context.tool("alertmanager"),
        f"--config.file={file}",
        f"--storage.path={context.work / 'alertmanager-data'}",
        "--web.listen-address=ADDRESS",
        "--cluster.listen-address=",
    ]
    return _started(context, _Program(context.work, "alertmanager", command, "/-/ready"))


def _prometheus(context: Context, fleet: Fleet, alertmanager: _Program) -> _Program:
    folder = context.root / "deploy" / "prometheus"
    document = yaml.safe_load((folder / "prometheus.yml").read_text("utf-8"))
    copies = context.work / "rules"
    copies.mkdir()
    document["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    document["rule_files"] = [str(file) for file in impatient(folder / "rules", copies)]
    (scrape,) = document["scrape_configs"] = [
        each for each in document["scrape_configs"] if each["job_name"] == "deskbus"
    ]
    scrape["static_configs"] = [
        {"targets": [f"127.0.0.1:{replica.ops_port}"], "labels": {"service": replica.service}}
        for replica in fleet.replicas
    ]
    document["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager.address]}]}]}
    file = context.work / "prometheus.yml"
    file.write_text(yaml.safe_dump(document))
    command: list[str | Path] = [
        context.tool("prometheus"),
        f"--config.file={file}",
        f"--storage.tsdb.path={context.work / 'prometheus-data'}",
        "--web.listen-address=ADDRESS",
        "--rules.alert.resend-delay=5s",
    ]
    return _started(context, _Program(context.work, "prometheus", command, "/-/ready"))


def _started(context: Context, program: _Program) -> _Program:
    context.stack.callback(program.stop)
    program.start()
    program.wait_ready()
    return program


def _targets(prometheus: _Program) -> dict[str, int]:
    found = [target["health"] for target in prometheus.api("/api/v1/targets")["data"]["activeTargets"]]
    return {health: found.count(health) for health in sorted(set(found))}


def _unevaluated(prometheus: _Program) -> list[str]:
    """Return rules that were not evaluated yet, with an error if there is one."""
    groups = prometheus.api("/api/v1/rules")["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    return [f"{r['name']}: {r['health']} {r.get('lastError', '')}" for r in rules if r["health"] != "ok"] or (
        [] if rules else ["there are no rules"]
    )


def _active(prometheus: _Program) -> list[str]:
    """Return alerts that fire or are about to, but for the one that always does."""
    alerts = [alert["labels"] for alert in prometheus.api("/api/v1/alerts")["data"]["alerts"]]
    return [f"{each['alertname']} {each}" for each in alerts if each["severity"] != "heartbeat"]


def _check_series(fleet: Fleet) -> None:
    rows = metric_rows()
    for replica in fleet.replicas:
        text = _get(f"{replica.ops_url}/metrics").decode()
        series = sum(line.startswith("deskbus_") for line in text.splitlines())
        if series > ceiling(replica.service, rows):
            raise Failed(f"{replica.service} exposes {series} series, more than docs/metrics.md states")


def _check_inhibited(alertmanager: _Program, inbox: Inbox) -> None:
    """An alert about the service that is gone is held back; the same about another one is sent."""
    for service in (KILLED, "routing"):
        alert = {"labels": {"alertname": "DeskbusLagSeconds", "service": service, "severity": "page"}}
        _post(f"http://{alertmanager.address}/api/v2/alerts", [alert])
    _until("an alert on another service arrives", lambda: inbox.has("pager", "firing", service="routing"))
    held = _suppressed(alertmanager, "DeskbusLagSeconds")
    if not held or inbox.has("pager", "firing", alertname="DeskbusLagSeconds", service=KILLED):
        raise Failed("an alert about a service of which nothing is heard is not inhibited")


def _suppressed(alertmanager: _Program, name: str) -> bool:
    """Return whether this alert on the service that was killed is active and held back."""
    found = alertmanager.api(f"/api/v2/alerts?filter=alertname%3D{name}&filter=service%3D{KILLED}")
    return [alert["status"]["state"] for alert in found] == ["suppressed"]


def _until(what: str, holds: Callable[[], bool], seen: Callable[[], object] = lambda: "") -> None:
    deadline = time.monotonic() + _SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise Failed(f"not within {_SECONDS:.0f} s: {what}. Seen: {seen()}")
        time.sleep(0.1)


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - an address of our own
        body: bytes = answer.read(64 * _MOST_BYTES)
        return body


def _post(url: str, document: object) -> None:
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(url, json.dumps(document).encode(), headers)  # noqa: S310 - an address of our own
    urllib.request.urlopen(request, timeout=10).close()  # noqa: S310 - an address of our own
