"""`python -m tests.bench`: measures everything in one run on one stack, prints a table, writes it as JSON beside.

Kafka and MongoDB come from the environment, as `make up` says. `--full` takes its time and the numbers of the goals;
`--record` also writes docs/performance.json and the table in docs/performance.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from cli.fleet import ROOT, SERVICES
from kit.admin import delete_topics
from tests.bench import decision, door, machine, table, timers, written
from tests.bench.floor_run import floor
from tests.bench.load import percentile
from tests.bench.tickets import SERVERS, Run, desk

LATEST = ROOT / ".local" / "bench" / "latest.json"
RECORD = ROOT / "docs" / "performance.json"
PAGE = ROOT / "docs" / "performance.md"
MARKS = ("<!-- measured -->", "<!-- /measured -->")
PARTS = ("tickets", "door", "decision", "timers")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--tickets", type=int, default=2_000, help="tickets of each load")
    parser.add_argument("--warm", type=int, default=500, help="tickets before anything is measured")
    parser.add_argument("--rounds", type=int, default=2, help="turns of Deskbus and the floor")
    parser.add_argument("--seconds", type=float, default=15, help="of the steady load at half the rate")
    parser.add_argument("--requests", type=int, default=2_000, help="to the door alone, each turn")
    parser.add_argument("--armed", type=int, default=20_000, help="clocks armed")
    parser.add_argument("--burst", type=int, default=4_000, help="deadlines at one instant")
    parser.add_argument("--full", action="store_true", help="a million clocks, longer loads")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    parser.add_argument(
        "--record", action="store_true", help="also write docs/performance.json and docs/performance.md"
    )
    given = parser.parse_args()
    if given.full:
        given.tickets, given.rounds, given.seconds = 10_000, 3, 60.0
        given.requests, given.armed, given.burst = 10_000, 1_000_000, 20_000
    return given


def environment(part: str) -> dict[str, str]:
    """Names of its own for one part of the run."""
    name = f"bench{secrets.token_hex(4)}{part}"
    return {
        "DESKBUS_KAFKA": os.environ["DESKBUS_KAFKA"],
        "DESKBUS_MONGO": os.environ["DESKBUS_MONGO"],
        "DESKBUS_TOPIC_PREFIX": f"{name}.",
        "DESKBUS_MONGO_PREFIX": name,
    }


async def forget(names: Mapping[str, str]) -> None:
    """Drop topics and databases of a part."""
    await delete_topics(names["DESKBUS_KAFKA"], names["DESKBUS_TOPIC_PREFIX"])
    with MongoClient[dict[str, Any]](names["DESKBUS_MONGO"]) as client:
        for database in client.list_database_names():
            if database.startswith(f"{names['DESKBUS_MONGO_PREFIX']}_"):
                client.drop_database(database)


def cpu(runs: list[Run]) -> dict[str, float]:
    """Medians of CPU seconds per 1,000 tickets, by process, and the sum without the load generator."""
    names = runs[0].cpu
    found = {name: table.median([run.per_thousand(name) for run in runs]) for name in names}
    found["sum"] = table.median([run.per_thousand(*SERVICES, *SERVERS) for run in runs])
    return found


async def whole_tickets(given: argparse.Namespace, names: dict[str, str], logs: Path) -> dict[str, Any]:
    """Everything that needs the four services."""
    result: dict[str, Any] = {}
    async with desk(names, logs) as it:
        await it.past_the_door(given.warm)
        before = written.collections(names["DESKBUS_MONGO"], names["DESKBUS_MONGO_PREFIX"])
        ours = [await it.past_the_door(given.tickets)]
        after = written.collections(names["DESKBUS_MONGO"], names["DESKBUS_MONGO_PREFIX"])
        changed = written.difference(before, after)
        records = await written.records(names["DESKBUS_KAFKA"], names["DESKBUS_TOPIC_PREFIX"])
        told = given.warm + given.tickets
        result["written"] = {
            "records per ticket": {t.name: round(t.records / told, 2) for t in records.values()},
            "bytes of a record": {t.name: t.size // max(1, t.records) for t in records.values()},
            "writes per ticket": {f"{c.service}.{c.name}": round(c.writes / given.tickets, 2) for c in changed},
            "outboxes cleared per ticket": {
                f"{c.service}.{c.name}": round(c.clears / given.tickets, 2) for c in changed if c.clears
            },
        }
        floor_names = f"{names['DESKBUS_MONGO_PREFIX']}_f"
        bare: list[Run] = []
        async with floor(it, floor_names, logs, told, given.tickets, changed, records) as beneath:
            await beneath.past_the_door(given.warm)
            bare.append(await beneath.past_the_door(given.tickets))
            for _ in range(given.rounds - 1):
                ours.append(await it.past_the_door(given.tickets))
                bare.append(await beneath.past_the_door(given.tickets))
        await delete_topics(names["DESKBUS_KAFKA"], f"{floor_names}.")
        result["past_the_door"] = {
            "rate": table.median([run.rate for run in ours]),
            "floor_rate": table.median([run.rate for run in bare]),
            "ratio": table.median([a.rate / b.rate for a, b in zip(ours, bare, strict=True)]),
            "cpu": cpu(ours),
            "floor_cpu": cpu(bare),
        }
        result["past_the_door"]["cpu_ratio"] = cpu(ours)["sum"] / cpu(bare)["sum"]
        through = await it.through_the_door(given.tickets)
        result["through_the_door"] = {"rate": through.rate, "cpu": cpu([through])}
        half = through.rate / 2
        steady = await it.steadily(half, given.seconds)
        result["half_rate"] = {
            "offered": half,
            "p50_ms": percentile(steady.written, 0.5),
            "p99_ms": percentile(steady.written, 0.99),
            "seen_p50_ms": percentile(steady.seen, 0.5),
            "seen_p99_ms": percentile(steady.seen, 0.99),
            "cpu": cpu([steady]),
        }
        result["memory"] = it.meter.memory(SERVICES)
    return result


async def measure(given: argparse.Namespace, logs: Path) -> dict[str, Any]:
    """One part after the other."""
    server = machine.listener(os.environ["DESKBUS_MONGO"])
    result: dict[str, Any] = {
        "machine": {
            **machine.describe(),
            "load before": f"{machine.load():.1f}",
            "MongoDB server": server.name() if server else "elsewhere",
        }
    }
    if "decision" in given.only:
        result["decision"] = decision.measure()
    for part in ("tickets", "door", "timers"):
        if part not in given.only:
            continue
        names = environment(part[0])
        try:
            if part == "tickets":
                result |= await whole_tickets(given, names, logs)
            elif part == "door":
                result["door"] = await door.measure(names, logs, given.requests, given.rounds + 1)
            else:
                spread = min(1_000, given.burst)
                result["timers"] = await timers.measure(
                    names, logs, armed=given.armed, spread=spread, burst=given.burst
                )
        finally:
            await forget(names)
    result["machine"]["load after"] = f"{machine.load():.1f}"
    return result


def record(result: Mapping[str, Any]) -> None:
    """Put the figures into docs/."""
    RECORD.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    PAGE.write_text(f"{before}{MARKS[0]}\n{table.page(result)}\n{MARKS[1]}{after}", encoding="utf-8")


async def main(given: argparse.Namespace) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with tempfile.TemporaryDirectory(prefix="deskbus-bench-") as logs:
        result = await measure(given, Path(logs))
    LATEST.parent.mkdir(parents=True, exist_ok=True)
    LATEST.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table.text(result))
    if given.record:
        record(result)


if __name__ == "__main__":
    asyncio.run(main(arguments()))
