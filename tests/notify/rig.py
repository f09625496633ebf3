"""Notify over a store in memory: delivery, timers and deliverer, with a clock that the test controls."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from contracts import topics
from contracts.envelope import Event
from kit.mongo import MongoStore
from kit.protocol.deadletter import DeadLetters
from kit.protocol.delivery import Delivery
from kit.protocol.outbox import Documents
from kit.protocol.ports import Outgoing, Store
from services.notify import metrics, store
from services.notify.core.policy import NotifyPolicy
from services.notify.core.settle import Outcome, Sent
from services.notify.core.state import Escalation
from services.notify.handlers import FOLLOWED, NotifyHandling
from services.notify.sinks.base import Notification
from services.notify.ticker import Deliverer, build_ticker
from tests.clearing import ClearedAtOnce
from tests.fake_clock import FakeClock
from tests.kit.fake_store import FakeStore
from tests.notify.examples import START, policy


@dataclass
class FakeSender:
    """A producer that confirms and records everything."""

    sent: list[Outgoing] = field(default_factory=list)

    async def send_runs(self, runs: Sequence[Sequence[Outgoing]]) -> list[int]:
        self.sent += [record for run in runs for record in run]
        return [len(run) for run in runs]

    async def partitions(self, topic: str) -> int:
        return 1

    def events(self, kind: str) -> list[Event]:
        events = [Event.parse(record.value or b"") for record in self.sent if record.topic == topics.NOTIFICATIONS]
        return [event for event in events if event.type == f"deskbus.{kind}.v1"]


class Owner:
    """Stands in for a consumer that owns the partition and has handled everything."""

    def __init__(self) -> None:
        self.partitions = [0]

    def owned(self, topic: str) -> list[int]:
        return self.partitions

    async def handled_until(self, topics: Iterable[str], partitions: Iterable[int]) -> dict[int, datetime]:
        return dict.fromkeys(partitions, datetime.max.replace(tzinfo=UTC))


class FakeSink:
    """Accepts all notifications, unless the test sets another `answer`."""

    def __init__(self) -> None:
        self.letters: list[Notification] = []
        self.answer: Callable[[Notification], Outcome] = lambda _: Sent(200)

    async def deliver(self, notification: Notification) -> Outcome:
        self.letters.append(notification)
        return self.answer(notification)

    def told(self) -> list[tuple[str, str]]:
        return [(notification.planned.receiver, notification.planned.kind) for notification in self.letters]


class Rig:
    def __init__(self, rules: NotifyPolicy | None = None, rows: FakeStore | None = None) -> None:
        self.policy = rules or policy()
        self.clock = FakeClock(START)
        self.store, self.sender, self.owner, self.sink = rows or FakeStore(), FakeSender(), Owner(), FakeSink()
        self.documents: Documents[Escalation] = ClearedAtOnce(
            store.ESCALATIONS, cast("Store", self.store), self.sender, self.clock
        )
        self.documents.watch(metrics.count)
        self.delivery = Delivery(
            self.documents,
            NotifyHandling(lambda: self.policy),
            DeadLetters(topics.dlq("notify"), "notify", self.sender),
        )
        self.ticker = build_ticker(self.documents, self.owner, lambda: self.policy, follow=FOLLOWED)
        self.deliverer = self.another_deliverer()
        self._offset = 0

    def another_deliverer(self) -> Deliverer:
        sinks = dict.fromkeys(("webhook", "slack", "email"), self.sink)
        return Deliverer(self.documents, self.owner, sinks, lambda: self.policy, self.clock)

    async def prepare(self) -> None:
        await store.prepare(cast("MongoStore", self.store))

    async def take(self, *events: Event) -> None:
        records = [self._record(event) for event in events]
        assert await self.delivery.handle(records) == set()

    async def wait(self, seconds: float) -> None:
        """Advance the time, then fire timers and deliver notifications until nothing is due."""
        self.clock.advance(seconds)
        await self.ticker.tick()
        while await self.deliverer.turn():
            await self.deliverer.finish()

    async def state(self, doc_id: str) -> Escalation | None:
        return (await self.documents.load([doc_id]))[doc_id].state

    def _record(self, event: Event) -> Any:
        self._offset += 1
        return SimpleNamespace(
            topic=topics.TOPIC_OF[event.type],
            partition=0,
            offset=self._offset,
            key=event.subject.encode(),
            value=event.encode(),
            headers=(),
            timestamp=0,
        )
