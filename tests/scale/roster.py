"""What one agent costs every replica of routing: CPU to read its document and to look through it, memory to keep it.

Measured in this process on the real code, as CPU time; a store in memory stands in for MongoDB and is not counted.
"""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from time import process_time
from typing import Any

import bson

from kit.protocol.document import read
from services.routing import ticker
from services.routing.core import agents
from services.routing.store.kinds import agent_kind
from tests.kit.fake_store import FakeStore, copied
from tests.routing.scenario import Log, Replica, fake_clock, profile

HOLDS = 3
"""Open tickets of an agent, on average."""
TRIES = 7
"""The least of them counts: the first one also warms caches up."""
KIND = agent_kind(timedelta(hours=6))


@dataclass(frozen=True)
class AgentCost:
    """CPU in microseconds an agent; bytes an agent."""

    read_us: float
    reconcile_us: float
    gauges_us: float
    memory: float
    document: float


def measure(people: int = 1_000) -> AgentCost:
    """Measure with that many agents, each with some work."""
    return asyncio.run(_measure(people))


async def _measure(people: int) -> AgentCost:
    store = FakeStore()
    one = Replica(store, fake_clock(), Log())
    await one.tickets.save([])
    for n in range(people):
        await one.put(profile(f"agent-{n:06}", capacity=5, skills={f"skill-{n % 40}": 3, "lang-en": 3}))
    rows = [_with_work(row, one) for row in store.rows["agents"].values()]
    one.tickets._home_partitions = 12
    encoding = min(_cpu(lambda: [bson.encode(row) for row in rows]) for _ in range(TRIES))
    reading = min(_cpu(lambda: [read(KIND, copied(row)) for row in rows]) for _ in range(TRIES)) - encoding
    tracemalloc.start()
    fresh = Replica(store, one.clock, Log())
    for row in rows:
        fresh.roster.put(read(KIND, copied(row)))
    memory = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    fresh.tickets._home_partitions = 12
    fresh.reconciler._verified = {
        (row["_id"], claim["ticket"], claim["stamp"]): one.clock.now()
        for row in rows
        for claim in row["state"]["claims"]
    }
    reconcile = await _awaited(fresh.reconciler.turn) + await _awaited(fresh.absence.sweep)
    gauges = await _awaited(lambda: ticker.count(fresh.assigner, fresh.clock))
    each = 1e6 / people
    size = sum(len(bson.encode(row)) for row in rows) / people
    return AgentCost(reading * each, reconcile * each, gauges * each, memory / people, size)


def _with_work(row: dict[str, Any], one: Replica) -> dict[str, Any]:
    state = read(KIND, row).state
    assert state is not None
    for n in range(HOLDS):
        state = agents.claim(state, f"{row['_id']}-{n}-0198c2f0-0000-7000-8000", 1, 1.0, one.clock.now())
    row["state"] = KIND.dump(state)
    return copied(row)


def _cpu(work: Callable[[], object]) -> float:
    begin = process_time()
    work()
    return process_time() - begin


async def _awaited(work: Callable[[], Awaitable[object]]) -> float:
    spent = []
    for _ in range(TRIES):
        begin = process_time()
        await work()
        spent.append(process_time() - begin)
    return min(spent)
