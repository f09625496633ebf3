"""Deskbus end to end, in turns with its floor, and with more replicas. What is measured is put together here."""

from __future__ import annotations

import asyncio
from pathlib import Path
from statistics import median
from typing import Any

from cli.fleet import SERVICES
from cli.topics import delete_topics
from tests.bench import machine, written
from tests.bench.floor_run import floor
from tests.bench.load import percentile
from tests.bench.tickets import Assigner, Run, cpu, desk

SETTLE, REST = 3.0, 10.0
"""Seconds after a load, and of the rest that is measured then."""


async def measure(
    names: dict[str, str], logs: Path, *, tickets: int, warm: int, rounds: int, seconds: float
) -> dict[str, Any]:
    """Past the door against the floor, through the door, and at half that rate."""
    async with desk(names, logs) as it:
        result = await _against_the_floor(it, names, logs, tickets=tickets, warm=warm, rounds=rounds)
        through = await it.through_the_door(tickets)
        result["through_the_door"] = {"rate": through.rate, "cpu": cpu([through])}
        half = through.rate / 2
        steady = await it.steadily(half, seconds)
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


async def replicas(names: dict[str, str], logs: Path, count: int, *, tickets: int, warm: int) -> dict[str, Any]:
    """The load past the door with so many processes of every service, and what they use while there is none."""
    async with desk(names, logs, count) as it:
        await it.past_the_door(warm)
        await asyncio.sleep(SETTLE)
        before = it.meter.cpu()
        await asyncio.sleep(REST)
        rest = machine.spent(before, it.meter.cpu())
        run = await it.past_the_door(tickets)
        at_rest = sum(rest[name] for name in (*SERVICES, *machine.SERVERS) if name in rest) / REST
        return {
            "replicas": count,
            "rate": run.rate,
            "cpu": cpu([run]),
            "at_rest_cores": at_rest,
            "memory": it.meter.memory(SERVICES),
        }


async def _against_the_floor(
    it: Assigner, names: dict[str, str], logs: Path, *, tickets: int, warm: int, rounds: int
) -> dict[str, Any]:
    """Deskbus first, since the floor writes what was seen of it; then in turns."""
    await it.past_the_door(warm)
    before = written.collections(names["DESKBUS_MONGO"], names["DESKBUS_MONGO_PREFIX"])
    ours = [await it.past_the_door(tickets)]
    after = written.collections(names["DESKBUS_MONGO"], names["DESKBUS_MONGO_PREFIX"])
    changed = written.difference(before, after)
    records = await written.records(names["DESKBUS_KAFKA"], names["DESKBUS_TOPIC_PREFIX"])
    told = warm + tickets
    floor_names = f"{names['DESKBUS_MONGO_PREFIX']}_f"
    bare: list[Run] = []
    try:
        async with floor(it, floor_names, logs, told, tickets, changed, records) as beneath:
            await beneath.past_the_door(warm)
            bare.append(await beneath.past_the_door(tickets))
            for _ in range(rounds - 1):
                ours.append(await it.past_the_door(tickets))
                bare.append(await beneath.past_the_door(tickets))
    finally:
        await delete_topics(names["DESKBUS_KAFKA"], f"{floor_names}.")
    return {"written": _written(told, tickets, changed, records), "past_the_door": compared(ours, bare)}


def compared(ours: list[Run], bare: list[Run]) -> dict[str, Any]:
    """Medians of both, and of the ratios of the turns."""
    return {
        "rate": median(run.rate for run in ours),
        "floor_rate": median(run.rate for run in bare),
        "ratio": median(a.rate / b.rate for a, b in zip(ours, bare, strict=True)),
        "cpu": cpu(ours),
        "floor_cpu": cpu(bare),
        "cpu_ratio": cpu(ours)["sum"] / cpu(bare)["sum"],
    }


def _written(
    told: int, tickets: int, changed: list[written.Collection], records: dict[str, written.Topic]
) -> dict[str, Any]:
    return {
        "records per ticket": {t.name: round(t.records / told, 2) for t in records.values()},
        "bytes of a record": {t.name: t.size // max(1, t.records) for t in records.values()},
        "writes per ticket": {f"{c.service}.{c.name}": round(c.writes / tickets, 2) for c in changed},
        "outboxes cleared per ticket": {
            f"{c.service}.{c.name}": round(c.clears / tickets, 2) for c in changed if c.clears
        },
    }
