"""The demo under a Prometheus that scrapes its services: what dashboards show, for a check and for pictures.

Kafka and MongoDB are not started here. Nothing of the demo is left behind.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cli import screen
from cli.demo.run import DemoRun
from deploy.dashboards.model import RATE
from deploy.local import free_port
from deploy.local.process import Server
from kit.base.clock import SystemClock
from kit.base.kafka_settings import KafkaSettings

RULES = Path(__file__).resolve().parents[1] / "prometheus" / "rules"
#: Seconds between scrapes, and the window of a rate that suits them.
SCRAPE, WINDOW = 1, "20s"
#: Windows of an hour would show the whole demo as one value; in its minute, this is what an hour is at work.
HOUR = {"[1h]": "[30s]", "offset 1h": "offset 30s"}
_ANSWER = 20.0
_CLOCK = SystemClock()
Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Series:
    """Labels and values over time."""

    labels: Mapping[str, str]
    points: Points


class Prometheus(Server):
    """A Prometheus with the rules of deploy/prometheus/, over operators' ports on this machine."""

    name = "prometheus"

    def __init__(self, directory: Path, binary: Path, targets: list[str]) -> None:
        super().__init__(directory, free_port())
        self._binary, self._targets = binary, targets

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        seconds = f"{SCRAPE}s"
        configuration = {
            "global": {"scrape_interval": seconds, "scrape_timeout": seconds, "evaluation_interval": seconds},
            "rule_files": self._rules(),
            "scrape_configs": [{"job_name": "deskbus", "static_configs": [{"targets": self._targets}]}],
        }
        file = self.directory / "prometheus.yml"
        file.write_text(yaml.safe_dump(configuration), "utf-8")
        storage = f"--storage.tsdb.path={self.directory / 'data'}"
        return [str(self._binary), f"--config.file={file}", storage, f"--web.listen-address=127.0.0.1:{self.port}"]

    def _rules(self) -> list[str]:
        """Write the rules without intervals of their own, which are longer than the demo."""
        written = []
        for source in sorted(RULES.glob("*.yml")):
            rules = yaml.safe_load(source.read_text("utf-8"))
            groups = [{key: group[key] for key in group if key != "interval"} for group in rules["groups"]]
            written.append(self.directory / source.name)
            written[-1].write_text(yaml.safe_dump({"groups": groups}), "utf-8")
        return [str(file) for file in written]

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/-/ready", timeout=2) as answer:  # noqa: S310 - our own address
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def scraped(self) -> int:
        """Return how many targets answer."""
        return sum(
            series.points[-1][1] == 1
            for series in self.over("up", _CLOCK.now().timestamp() - 10, _CLOCK.now().timestamp())
        )

    def over(self, expr: str, start: float, end: float, *, step: float = 1.0) -> list[Series]:
        """Return what an expression had between two instants. Raises ValueError for one that cannot be evaluated."""
        for wide, narrow in {RATE: WINDOW, **HOUR}.items():
            expr = expr.replace(wide, narrow)
        asked = urllib.parse.urlencode({"query": expr, "start": start, "end": end, "step": step})
        url = f"{self.address}/api/v1/query_range?{asked}"
        try:
            with urllib.request.urlopen(url, timeout=_ANSWER) as answer:  # noqa: S310 - our own address
                found: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            raise ValueError(f"{expr}: {error.read()[:300].decode('utf-8', 'replace')}") from None
        return [
            Series(each["metric"], [(at, float(value)) for at, value in each["values"]])
            for each in found["data"]["result"]
        ]


@dataclass(frozen=True)
class Seen:
    """A demo that has passed, and the Prometheus that watched it."""

    demo: DemoRun
    prometheus: Prometheus
    start: float
    end: float

    def over(self, expr: str) -> list[Series]:
        """Return what an expression had during the demo."""
        return self.prometheus.over(expr, self.start, self.end)


@contextmanager
def watched_demo(
    environ: Mapping[str, str], binary: Path, folder: Path, kind: type[DemoRun] = DemoRun
) -> Iterator[Seen]:
    """Run the demo to its end under a Prometheus; services and Prometheus still run inside. Raises RuntimeError."""
    demo = kind(environ, KafkaSettings(kafka=environ["DESKBUS_KAFKA"]), as_lines=True)
    demo.console = screen.console(io.StringIO())
    targets = [f"127.0.0.1:{replica.ops_port}" for replica in demo.fleet.replicas]
    prometheus = Prometheus(folder / "prometheus", binary, targets)
    prometheus.start()
    passed = False
    try:
        prometheus.wait_ready()
        start = _CLOCK.now().timestamp()
        passed = asyncio.run(demo.run())
        if not passed:
            raise RuntimeError(f"the demo failed; logs: {demo.logs}")
        for replica in demo.fleet.replicas:  # the demo has no question for sla
            urllib.request.urlopen(f"{replica.url}/openapi.json", timeout=_ANSWER).close()  # noqa: S310 - our own address
        time.sleep(4 * SCRAPE)  # twice after what happened last
        yield Seen(demo, prometheus, start, _CLOCK.now().timestamp())
    finally:
        prometheus.stop()
        demo.clean_up(keep=False, failed=not passed)
