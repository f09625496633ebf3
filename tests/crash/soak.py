"""An hour at a steady rate: do memory, open files, lag and latency stay flat?

`python -m tests.crash.soak [MINUTES] [RATE]` runs on the servers that the environment names, breaks nothing, and writes
docs/soak.json, docs/soak.svg and docs/soak.md.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from cli.fleet import SERVICES
from cli.topics import delete_topics
from deploy.local.stack import ROOT
from kit.base.clock import SystemClock
from kit.base.ids import uuid7
from tests.crash.people import Customers, Staff
from tests.system.rig import System, system

EVERY = 15.0
"""Seconds between samples."""
SEED = 1
MEASURES = {
    "memory_mb": ("memory, MB", 1.1),
    "files": ("open files", 1.25),
    "lag": ("records not yet handled", None),
    "latency_ms": ("from event to effect, ms", 1.5),
}
"""Name -> (title, maximum ratio of the last quarter to the second). The first quarter is left out as warm-up."""
COLOURS = dict(zip(SERVICES, ("#1b6ca8", "#c0392b", "#2e8b57", "#8e6bbf"), strict=True))


@dataclass
class Samples:
    """Samples: service -> measure -> list of (seconds, value)."""

    points: dict[str, dict[str, list[tuple[float, float]]]] = field(
        default_factory=lambda: {service: {name: [] for name in MEASURES} for service in SERVICES}
    )
    _before: dict[str, tuple[float, float]] = field(default_factory=dict)

    async def look(self, made: System, seconds: float) -> None:
        """Take one sample of every service."""
        for service in SERVICES:
            replica = made.one(service)
            assert replica.process is not None
            process = psutil.Process(replica.process.pid)
            text = (await made.http.get(f"{replica.ops_url}/metrics")).text
            total, count = (
                _sum(text, "deskbus_event_effect_seconds_sum"),
                _sum(text, "deskbus_event_effect_seconds_count"),
            )
            total_before, count_before = self._before.get(service, (0.0, 0.0))
            self._before[service] = total, count
            mine = self.points[service]
            mine["memory_mb"].append((seconds, process.memory_info().rss / 1e6))
            mine["files"].append((seconds, process.num_fds()))
            mine["lag"].append((seconds, _sum(text, "deskbus_lag_records")))
            if count > count_before:
                mine["latency_ms"].append((seconds, 1000 * (total - total_before) / (count - count_before)))

    def growth(self, service: str, measure: str) -> float | None:
        """Return the median of the last quarter divided by that of the second; None with too few samples."""
        values = [value for _, value in self.points[service][measure]]
        quarter = len(values) // 4
        if not quarter:
            return None
        before, after = statistics.median(values[quarter : 2 * quarter]), statistics.median(values[-quarter:])
        return after / before if before else None


def _sum(text: str, name: str) -> float:
    return sum(
        float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))
    )


async def soak(minutes: float, rate: float) -> Samples:
    """Run the services at `rate` messages per second for `minutes`, and return the samples."""
    prefix = f"soak{uuid7()[-6:]}"
    environment = {
        "DESKBUS_KAFKA": os.environ["DESKBUS_KAFKA"],
        "DESKBUS_MONGO": os.environ["DESKBUS_MONGO"],
        "DESKBUS_TOPIC_PREFIX": f"{prefix}.",
        "DESKBUS_MONGO_PREFIX": prefix,
    }
    samples, loop = Samples(), asyncio.get_running_loop()
    async with system(environment, Path(tempfile.mkdtemp(prefix="deskbus-soak-"))) as made:
        await made.create_topics()
        await asyncio.to_thread(made.start)
        async with made.doors(patience=60, at_once=128) as doors:
            staff = Staff(made, doors, SEED, share=0.2)
            await staff.hire(rate * 60)
            customers = Customers(made.traffic, SEED, int(minutes * 60 * rate), rate)
            working, writing = asyncio.create_task(staff.work()), asyncio.create_task(customers.write(doors))
            begin = loop.time()
            while not writing.done():
                await asyncio.wait({writing}, timeout=EVERY)
                made.receiver.requests.clear()
                try:
                    await samples.look(made, loop.time() - begin)
                except httpx.HTTPError as fault:
                    print(f"a look failed: {fault!r}")
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            await writing
    await delete_topics(environment["DESKBUS_KAFKA"], environment["DESKBUS_TOPIC_PREFIX"])
    return samples


def plot(samples: Samples) -> str:
    """Return an SVG with the four measures, one below the other."""
    wide, high, parts = 900, 150, []
    for row, (name, (title, _)) in enumerate(MEASURES.items()):
        top = 40 + row * (high + 50)
        lines = {service: samples.points[service][name] for service in SERVICES}
        most = max((value for points in lines.values() for _, value in points), default=1) or 1
        last = max((at for points in lines.values() for at, _ in points), default=1) or 1
        parts.append(f'<text x="50" y="{top - 8}">{title} (at most {most:.4g})</text>')
        parts.append(f'<rect x="50" y="{top}" width="{wide}" height="{high}" fill="none" stroke="#bbb"/>')
        for service, points in lines.items():
            path = " ".join(
                f"{50 + wide * at / last:.1f},{top + high * (1 - value / most):.1f}" for at, value in points
            )
            parts.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[service]}" stroke-width="1.5"/>')
    for number, service in enumerate(SERVICES):
        parts.append(f'<text x="{700 + 70 * number}" y="18" fill="{COLOURS[service]}">{service}</text>')
    whole = 40 + len(MEASURES) * (high + 50)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="1000" height="{whole}" font-family="sans-serif" '
        f'font-size="13">\n' + "\n".join(parts) + "\n</svg>\n"
    )


def table(samples: Samples, minutes: float, rate: float) -> tuple[str, bool]:
    """Return the page, and whether all measures stayed flat."""
    rows, flat = [], True
    for name, (title, most) in MEASURES.items():
        for service in SERVICES:
            values = [value for _, value in samples.points[service][name]]
            if not values:
                continue  # ingest consumes no events, so it has no time from event to effect
            growth = samples.growth(service, name)
            holds = most is None or growth is None or growth <= most
            flat = flat and holds
            grown = "" if growth is None else f"{growth:.2f}"
            said = ("yes" if holds else "NO") if most is not None else ""
            rows.append(
                f"| {title} | {service} | {statistics.median(values):.4g} | {max(values):.4g} | {grown} | {said} |"
            )
    machine = f"{os.cpu_count()} cores ({platform.machine()}) that Kafka and MongoDB share"
    head = (
        f"# Soak\n\n{minutes:g} minutes at {rate:g} messages per second, while agents answer and solve tickets.\n"
        f"Written by `make soak` ({SystemClock().now():%Y-%m-%d}), on {machine}.\n"
        "Growth is the median of the last quarter divided by the median of the second quarter.\n\n"
        "| what | service | median | maximum | growth | flat |\n|---|---|---:|---:|---:|---|\n"
    )
    return head + "\n".join(rows) + "\n\n![all four measures over time](soak.svg)\n", flat


def main() -> int:
    """Run the soak test and write the three files. Return 0 if all measures stayed flat, else 1."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    rate = float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
    samples = asyncio.run(soak(minutes, rate))
    text, flat = table(samples, minutes, rate)
    (ROOT / "docs" / "soak.md").write_text(text, encoding="utf-8")
    (ROOT / "docs" / "soak.svg").write_text(plot(samples), encoding="utf-8")
    (ROOT / "docs" / "soak.json").write_text(json.dumps(samples.points) + "\n", encoding="utf-8")
    print(text)
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
