"""What routing writes and reads for a ticket over its life, counted: it is what a store has to do that limits us."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from contracts.ticket import Status
from contracts.tickets import TicketEvent
from kit.protocol.ports import Guarded, WriteOutcome
from services.routing import ticker
from tests.kit.fake_store import FakeStore, Row
from tests.routing.scenario import Log, Replica, fake_clock, opened, profile, sent, status, ticket

Stage = Callable[[str], Sequence[TicketEvent]]
RATE, BATCH, AGENTS, OPEN, MEASURED = 50, 5, 20, 60, 200
"""Tickets a second, in a batch, agents, tickets between two events of one, and tickets that are counted."""


class Counted(FakeStore):
    """Counts documents by collection and by what is done to them, and queries."""

    def __init__(self) -> None:
        super().__init__()
        self.done: Counter[str] = Counter()

    async def fetch(self, collection: str, ids: Sequence[str]) -> list[Row]:
        rows = await super().fetch(collection, ids)
        self.done[f"{collection} read"] += len(rows)
        return rows

    async def find(self, collection: str, query: Mapping[str, Any], **options: Any) -> list[Row]:
        self.done[f"{collection} searched"] += 1
        return await super().find(collection, query, **options)

    async def write(self, collection: str, writes: Sequence[Guarded]) -> WriteOutcome:
        new = sum(write.version == 0 for write in writes)
        self.done[f"{collection} inserted"] += new
        self.done[f"{collection} updated"] += len(writes) - new
        return await super().write(collection, writes)

    async def clear(self, collection: str, confirmed: Mapping[str, Sequence[str]]) -> None:
        self.done[f"{collection} cleared"] += len(confirmed)
        await super().clear(collection, confirmed)


def answered(version: int) -> Stage:
    def events(name: str) -> Sequence[TicketEvent]:
        of = ticket(name, version, status=Status.PENDING)
        return [sent(of, "somebody"), status(of, Status.OPEN)]

    return events


def turned(version: int, new: Status) -> Stage:
    return lambda name: [status(ticket(name, version, status=new))]


def begun(name: str) -> Sequence[TicketEvent]:
    return [opened(ticket(name))]


SOLVED: list[Stage] = [begun, turned(2, Status.SOLVED)]
ANSWERED_TWICE: list[Stage] = [
    begun, answered(2), turned(3, Status.OPEN), answered(4), turned(5, Status.SOLVED), turned(6, Status.CLOSED),
]  # fmt: skip


async def _lives(stages: Sequence[Stage], capacity: float) -> dict[str, float]:
    """Let tickets come and go, with as many open all the time; returns what one of them costs."""
    store, clock = Counted(), fake_clock()
    replica = Replica(store, clock, Log())
    for number in range(AGENTS):
        await replica.put(profile(f"a{number:02}", capacity=capacity))
    await replica.turn()
    warm, since = OPEN * (len(stages) - 1), 0.0
    for first in range(0, warm + MEASURED, BATCH):
        if first == warm:
            store.done.clear()
        for stage, events in enumerate(stages):
            numbers = [n - stage * OPEN for n in range(first, first + BATCH)]
            payloads = [event for n in numbers if n >= 0 for event in events(f"t{n:04}")]
            assert await replica.delivery.handle(replica.records(*payloads)) == set()
        clock.advance(BATCH / RATE)
        since += BATCH / RATE
        await replica.dispatcher.turn()
        if since >= 3:
            await ticker.follow_agents(replica.assigner, replica.absence.told)
            await replica.assigner.claims.write_releases()
            since = 0.0
    return {name: count / MEASURED for name, count in store.done.items()}


@pytest.mark.parametrize(
    ("stages", "capacity", "agents", "searches", "tickets"),
    [
        (SOLVED, 1000, 1.1, 0, {"inserted": 1, "updated": 1, "read": 1, "cleared": 2}),
        (SOLVED, 4, 2, 1, {"inserted": 1, "updated": 1, "read": 1, "cleared": 2}),
        (ANSWERED_TWICE, 1000, 2.2, 0, {"inserted": 1, "updated": 5, "read": 5, "cleared": 2}),
    ],
    ids=["solved", "solved, of agents with little room", "answered twice, solved and closed"],
)
async def test_a_ticket_costs_no_more_than_these(
    stages: list[Stage], capacity: float, agents: float, searches: float, tickets: dict[str, int]
) -> None:
    done = await _lives(stages, capacity)
    assert {name: done[f"tickets {name}"] for name in tickets} == tickets
    assert done["agents updated"] <= agents
    assert done.get("tickets searched", 0) <= searches
