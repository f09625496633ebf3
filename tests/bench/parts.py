"""The parts of the bench: what each measures, with which sizes. How it is measured stands in a file for each."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.bench import decision, door, machine, steady, stored, timers, traced, whole
from tests.bench.names import MEMORY, mongo_in_memory, names

Row = dict[str, Any]
REPLICAS = (1, 2, 4)
IN_MEMORY_CLOCKS = 100_000
"""At most so many there: a million would take gigabytes of it."""


async def _decision(given: Namespace, logs: Path) -> Row:
    return dict(decision.measure())


async def _tickets(given: Namespace, logs: Path, mongo: str | None = None) -> Row:
    async with names(mongo) as environment:
        return await whole.measure(
            environment, logs, tickets=given.tickets, warm=given.warm, rounds=given.rounds, seconds=given.seconds
        )


async def _clocks(given: Namespace, logs: Path, mongo: str | None = None, most: int | None = None) -> Row:
    armed, spread = min(given.armed, most or given.armed), min(1_000, given.burst)
    async with names(mongo) as environment:
        return await timers.measure(environment, logs, armed=armed, spread=spread, burst=given.burst)


async def _in_memory(given: Namespace, logs: Path) -> Row:
    """Run end to end again over a MongoDB whose journal syncs nothing: what is left is not the disk."""
    async with mongo_in_memory() as mongo:
        server = machine.listener(mongo)
        found = {"tickets": await _tickets(given, logs / "tickets", mongo)}
        found["clocks"] = await _clocks(given, logs / "clocks", mongo, IN_MEMORY_CLOCKS)
        return {**found, "store": f"{server.name() if server else 'MongoDB server'}, data in {MEMORY}"}


async def _replicas(given: Namespace, logs: Path) -> Row:
    found = []
    for count in REPLICAS:
        async with names() as environment:
            sizes = {"tickets": given.tickets, "warm": given.warm}
            found.append(await whole.replicas(environment, logs / str(count), count, **sizes))
    return {"runs": found}


async def _steady(given: Namespace, logs: Path) -> Row:
    """One process of each service, and two."""
    found = []
    for replicas in (1, 2):
        async with names() as environment:
            place = logs / f"steady{replicas}"
            found.append(
                await steady.measure(environment, place, warm=given.warm, seconds=given.seconds, replicas=replicas)
            )
    return {"runs": found}


async def _stored(given: Namespace, logs: Path) -> Row:
    return await stored.measure(logs, small=given.stored, tickets=given.beside, warm=given.warm)


async def _door(given: Namespace, logs: Path) -> Row:
    async with names() as environment:
        return dict(await door.measure(environment, logs, given.requests, given.rounds + 1))


async def _tracing(given: Namespace, logs: Path) -> Row:
    return await traced.measure(logs, tickets=given.tickets, warm=given.warm, rounds=given.rounds)


Part = Callable[[Namespace, Path], Awaitable[Row]]
#: In the order in which they run, with the sizes that each goes by.
PARTS: dict[str, tuple[Part, tuple[str, ...]]] = {
    "decision": (_decision, ()),
    "tickets": (_tickets, ("tickets", "warm", "rounds", "seconds")),
    "steady": (_steady, ("warm", "seconds")),
    "door": (_door, ("requests", "rounds")),
    "clocks": (_clocks, ("armed", "burst")),
    "in-memory": (_in_memory, ("tickets", "warm", "rounds", "seconds", "armed", "burst")),
    "replicas": (_replicas, ("tickets", "warm")),
    "stored": (_stored, ("stored", "beside", "warm")),
    "tracing": (_tracing, ("tickets", "warm", "rounds")),
}
