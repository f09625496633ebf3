"""A ticker over a store in memory, and what a test may do to it."""

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
    """Counts how often it is asked what is due, and refuses to write some documents."""

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
    """Plays the consumer: owns all four partitions, and has read them unless a test says otherwise."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.mine, self.behind = clock, [0, 1, 2, 3], set[int]()
        self.until: datetime | None = None
        """Up to which instant everything is handled; None: now."""
        self.partly: dict[int, datetime] = {}
        """The same of single partitions."""

    def owned(self, _: str) -> list[int]:
        return list(self.mine)

    async def handled_until(self, _: Iterable[str], partitions: Iterable[int]) -> dict[int, datetime]:
        until = self.until or self.clock.now()
        return {p: self.partly.get(p, until) for p in set(partitions) - self.behind}


class Rig:
    """A ticker of one process, the documents it shares with the rest of it, and those of another process."""

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
        """Seconds after which whatever fires is due once more."""
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
        """Let time come to that many seconds after the start, tick, and return what has fired so far."""
        self.clock.set(START + timedelta(seconds=seconds))
        await self.ticker.tick()
        return self.fired

    def overdue(self) -> float | None:
        """How long something has been due, as the gauge says it."""
        return REGISTRY.get_sample_value("deskbus_timer_oldest_due_seconds", {"collection": "docs"})

    def names(self, partition: int, count: int) -> list[str]:
        """Return ids of documents whose home is that partition."""
        return [n for n in (f"t{i}" for i in range(1000)) if partition_of(n.encode(), 4) == partition][:count]
