"""A ticker over a store in memory, with faults that tests switch on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from prometheus_client import REGISTRY

from kit.protocol.document import Decision, Kind
from kit.protocol.ports import Guarded, WriteOutcome
from kit.protocol.record import partition_of
from kit.protocol.timers import Ticker
from tests.clearing import ClearedAtOnce
from tests.fake_clock import FakeClock
from tests.kit.fake_store import FakeStore
from tests.kit.test_outbox import START, Said, SlowSender

GRACE = timedelta(milliseconds=50)
PERIOD = 0.5


def loaded(state: Mapping[str, Any]) -> dict[str, Any]:
    if state.get("newer"):
        raise ValueError("what a newer replica has written")
    return dict(state)


KIND: Kind[dict[str, Any]] = Kind(
    "docs",
    "/deskbus/test",
    "out",
    load=loaded,
    dump=dict,
    due=lambda state: state["due"],
    home_topic="in",
)


class Counting(FakeStore):
    """Counts queries for due documents, and refuses to write those in `refused`."""

    asked = 0
    refused = frozenset[str]()

    async def write(self, collection: str, writes: Sequence[Guarded]) -> WriteOutcome:
        if any(each.id in self.refused for each in writes):
            raise ValueError("too large")
        return await super().write(collection, writes)

    async def due(self, *args: Any) -> list[dict[str, Any]]:
        self.asked += 1
        return await super().due(*args)


class Place:
    """Stands in for the consumer: owns all four partitions, and has handled them unless a test says otherwise."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.mine, self.behind = clock, [0, 1, 2, 3], set[int]()
        self.until: datetime | None = None
        """Instant up to which everything is handled; None for now."""
        self.partly: dict[int, datetime] = {}
        """Partition -> instant, overriding `until`."""

    def owned(self, _: str) -> list[int]:
        return list(self.mine)

    async def handled_until(self, _: Iterable[str], partitions: Iterable[int]) -> dict[int, datetime]:
        until = self.until or self.clock.now()
        return {p: self.partly.get(p, until) for p in set(partitions) - self.behind}


class Rig:
    """A ticker with the documents of its process (`own`), and the documents of another process (`other`)."""

    def __init__(self, limit: int = 500, period: float = PERIOD) -> None:
        self.store, self.clock, sender = Counting(), FakeClock(START), SlowSender()
        sender.go.set()
        self.place = Place(self.clock)
        self.own = ClearedAtOnce(KIND, self.store, sender, self.clock)
        self.other = ClearedAtOnce(KIND, self.store, sender, self.clock)
        self.fired: list[str] = []
        self.broken, self.undecided = set[str](), set[str]()
        self.tries: list[str] = []
        self.again: float | None = None
        """Seconds after which a fired timer is due again; None for never."""
        self.ticker = Ticker(self.own, self.place, self.fire, grace=GRACE, period=period, limit=limit)

    def fire(self, state: dict[str, Any], _: datetime) -> Decision[dict[str, Any]] | None:
        self.tries.append(state["name"])
        if state["name"] in self.broken:
            raise ValueError("a bug")
        if state["name"] in self.undecided:
            return None
        self.fired.append(state["name"])
        due = None if self.again is None else state["due"] + timedelta(seconds=self.again)
        return Decision(state | {"due": due}, [Said()])

    async def arm(
        self, name: str, seconds: float | None, documents: ClearedAtOnce[dict[str, Any]] | None = None
    ) -> None:
        due = None if seconds is None else START + timedelta(seconds=seconds)
        await (documents or self.own).change(name, lambda _: Decision({"name": name, "due": due}))

    async def at(self, seconds: float) -> list[str]:
        """Set the time to `seconds` after the start, tick, and return the names that have fired so far."""
        self.clock.set(START + timedelta(seconds=seconds))
        await self.ticker.tick()
        return self.fired

    def overdue(self) -> float | None:
        """Return the gauge of the longest overdue timer, in seconds."""
        return REGISTRY.get_sample_value("deskbus_timer_oldest_due_seconds", {"collection": "docs"})

    def names(self, partition: int, count: int) -> list[str]:
        """Return `count` ids of documents whose home is that partition."""
        return [n for n in (f"t{i}" for i in range(1000)) if partition_of(n.encode(), 4) == partition][:count]
