"""Dashboards against running services: every panel shows something once the demo has played under a Prometheus."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from deploy.check.context import Context, Failed
from deploy.dashboards.grafana import EMPTY, FOLDERS
from deploy.dashboards.live import watched_demo
from deploy.local import KafkaServer, MongoServer, free_port


def check_dashboards(context: Context) -> None:
    """Every panel of our own metrics shows series of running services."""
    with watched_demo(_servers(context), context.tool("prometheus"), context.work) as seen:
        answering = seen.prometheus.scraped()
        if answering != len(seen.demo.fleet.replicas):
            raise Failed(f"Prometheus scrapes {answering} of {len(seen.demo.fleet.replicas)} services")
        empty = [f"{panel}: nothing for {expr}" for panel, expr in _expressions(context.root) if not seen.over(expr)]
    if empty:
        raise Failed("\n".join(empty))


def _expressions(root: Path) -> Iterator[tuple[str, str]]:
    """Return the expressions of the committed dashboards, with dashboard and panel."""
    for file in sorted((root / FOLDERS[0]).glob("*.json")):
        for panel in json.loads(file.read_text("utf-8"))["panels"]:
            if panel.get("description", "").endswith(EMPTY):
                continue
            for target in panel.get("targets", ()):
                yield f"{file.stem}: {panel['title']}", target["expr"]


def _servers(context: Context) -> dict[str, str]:
    """Return where Kafka and MongoDB are; start what the environment does not name."""
    named = dict(os.environ)
    for variable, kind in (("DESKBUS_KAFKA", KafkaServer), ("DESKBUS_MONGO", MongoServer)):
        if variable not in named:
            server = kind(context.work / kind.name, free_port())
            server.start()
            context.stack.callback(server.stop)
            server.wait_ready()
            named[variable] = server.address
    return named
