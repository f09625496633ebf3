"""How often replicas of routing get in each other's way, found by running the real assigner over a store in memory.

Several replicas assign in turn; each reads what the others did once a second, as in production. Nothing is timed here:
what is counted are claims that another replica's claim made worthless.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from services.routing import ticker
from tests.kit.fake_store import FakeStore
from tests.routing.scenario import Log, Replica, fake_clock, opened, profile, ticket

PERIOD = 0.05
"""Seconds between two batches of one replica."""
REFRESH = 1.0
"""Seconds between two looks at agents that others changed: `roster_seconds`."""
PARTITIONS = 24
"""Of the tickets' topic; each replica owns as many."""


class Divided(Log):
    """A log of so many partitions."""

    async def partitions(self, topic: str) -> int:
        return PARTITIONS


@dataclass
class Tally:
    """Counts what claims came to; takes the place of the desk's metrics."""

    won: int = 0
    lost: int = 0

    def assigned(self, queue: str, reason: str, waited: float) -> None: ...
    def decided(self, seconds: float) -> None: ...

    def claims(self, outcome: str, count: int) -> None:
        self.won += count if outcome == "won" else 0
        self.lost += count if outcome == "lost" else 0


@dataclass(frozen=True)
class Contention:
    """`lost` claims for each that was won; `waiting`: share of tickets that their own batch left without an agent."""

    replicas: int
    tickets: int
    lost: float
    waiting: float


async def contention(replicas: int, *, people: int, per_replica: float, seconds: float = 2.0) -> Contention:
    """Let replicas assign for a while, `per_replica` tickets a second each; all agents can serve every ticket."""
    store, clock, tally, log = FakeStore(), fake_clock(), Tally(), Divided()
    desks = [Replica(store, clock, log) for _ in range(replicas)]
    for n in range(people):
        await desks[0].put(profile(f"a{n:05}", capacity=1000))
    for number, one in enumerate(desks):
        one.agents.owned = lambda own=number: range(own, PARTITIONS, replicas)
        one.assigner._observer = one.assigner.claims._observer = tally
        await one.roster.load_all()
    tickets, waiting, owed = 0, 0, 0.0
    with structlog.testing.capture_logs():
        for turn in range(round(seconds / PERIOD)):
            owed += per_replica * PERIOD
            size, owed = int(owed), owed - int(owed)
            for n, one in enumerate(desks):
                clock.advance(PERIOD / replicas)
                if (turn * PERIOD + n * REFRESH / replicas) % REFRESH < PERIOD:
                    await ticker.follow_agents(one.assigner, one.absence.told)
                names = [f"t{n}-{tickets + i}" for i in range(size)]
                tickets += size
                await one.hear(*(opened(ticket(name)) for name in names))
                waiting += await _without_agent(one, names)
    return Contention(replicas, tickets, tally.lost / max(1, tally.won), waiting / max(1, tickets))


async def _without_agent(one: Replica, names: list[str]) -> int:
    docs = await one.tickets.load(names)
    return sum(doc.state is None or doc.state.agent is None for doc in docs.values())
