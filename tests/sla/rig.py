"""The parts of sla over a store in memory, with a producer that records events and a clock that the test controls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import Any, cast

from contracts.envelope import Event
from contracts.topics import TICKETS
from kit.protocol.deadletter import DeadLetters
from kit.protocol.delivery import Delivery
from kit.protocol.outbox import Documents
from kit.protocol.ports import Outgoing
from services.sla import metrics, store
from services.sla.core.policy import Book
from services.sla.core.state import TicketClocks
from services.sla.handlers import SlaHandling
from tests.clearing import ClearedAtOnce
from tests.fake_clock import FakeClock
from tests.kit.fake_store import FakeStore
from tests.kit.raw import Raw
from tests.sla.desk import SIMPLE, START, book


class Sent:
    """A producer that records the events that it sent."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def send_runs(self, runs: Sequence[Sequence[Outgoing]]) -> list[int]:
        self.events += [Event.parse(record.value or b"") for run in runs for record in run]
        return [len(run) for run in runs]

    async def send(self, record: Outgoing) -> None:
        raise AssertionError(f"nothing here is a dead letter: {record.value!r}")

    async def partitions(self, topic: str) -> int:
        return 1

    @property
    def types(self) -> list[str]:
        return [event.type.removeprefix("deskbus.sla.").removesuffix(".v1") for event in self.events]


class Positions:
    """Stands in for a consumer that owns the only partition; with `behind`, it has not handled everything."""

    def __init__(self) -> None:
        self.behind = False
        self.mine = [0]

    def owned(self, topic: str) -> list[int]:
        return self.mine

    async def handled_until(self, topics: Iterable[str], partitions: Iterable[int]) -> dict[int, datetime]:
        return {} if self.behind else dict.fromkeys(partitions, datetime.max.replace(tzinfo=UTC))


class Rig:
    def __init__(self, policies: Book | None = None, fake: FakeStore | None = None) -> None:
        self.clock = FakeClock(START)
        self.store = fake or FakeStore()
        self.sent = Sent()
        self.positions = Positions()
        self._offsets = count()
        self.disk = policies or book(SIMPLE)
        self.archive = store.Archive(cast("Any", self.store), lambda: self.disk, self.clock)
        self.documents: Documents[TicketClocks] = ClearedAtOnce(store.KIND, self.store, self.sent, self.clock)
        self.documents.watch(partial(metrics.count, self.archive))
        self.handling = SlaHandling(self.archive)
        self.delivery = Delivery(self.documents, self.handling, DeadLetters("dlq", "sla", self.sent))

    async def take(self, event: Event) -> None:
        """Handle an event through the batch loop, at the event's time."""
        self.clock.set(event.time)
        assert await self.delivery.handle([Raw(TICKETS, 0, next(self._offsets), event.encode())]) == set()
