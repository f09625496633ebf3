"""Timers: due steps of chains, and sending planned notifications. Done by the owner of the ticket's partition.

Sending is outside of the guarded writes: record the attempt, send, record the outcome. After a crash in between, the
notification is sent again with the same ids: delivery is at least once. If its alarm has ended meanwhile, it is not
sent again; the recorded attempt shows that it may have arrived.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

import structlog

from contracts import topics
from contracts.notifications import NotificationFailed
from contracts.topics import topic_name
from kit.base import tracing
from kit.base.clock import Clock
from kit.base.turns import turns, woken
from kit.protocol.document import Decision, Document
from kit.protocol.outbox import Documents
from kit.protocol.timers import Positions, Ticker
from services.notify import metrics, store
from services.notify.core import escalation
from services.notify.core.policy import NotifyPolicy
from services.notify.core.settle import (
    Dropped,
    Outcome,
    PermanentFailure,
    Sent,
    TemporaryFailure,
    begin_attempt,
    settle,
)
from services.notify.core.state import Escalation, Planned
from services.notify.sinks.base import Notification, Sink

log = structlog.get_logger(__name__)
PAGE = 500
PAGES = 20
"""Pages that one turn reads, so that the backlog of a busy receiver does not hide notifications of others."""
SHUTDOWN_SECONDS = 3.0
"""How long to wait on shutdown for notifications in flight."""


def build_ticker(
    documents: Documents[Escalation],
    positions: Positions,
    policy: Callable[[], NotifyPolicy],
    *,
    follow: Sequence[str],
    period: float = 0.5,
) -> Ticker[Escalation]:
    """Build the timers of chains and acknowledgements."""

    def fire(state: Escalation, now: datetime) -> Decision[Escalation] | None:
        return escalation.fire(state, policy(), now)

    return Ticker(documents, positions, fire, follow=follow, period=period)


class Deliverer:
    """Sends planned notifications, several at a time, but never two attempts of one notification at once."""

    def __init__(
        self,
        documents: Documents[Escalation],
        positions: Positions,
        sinks: Mapping[str, Sink],
        policy: Callable[[], NotifyPolicy],
        clock: Clock,
        *,
        prefix: str = "",
        period: float = 0.5,
        at_once: int = 32,
    ) -> None:
        self._documents, self._positions, self._sinks = documents, positions, sinks
        self._policy, self._clock, self._period, self._at_once = policy, clock, period, at_once
        self._home = topic_name(topics.SLA, prefix)
        self._in_flight: dict[str, asyncio.Task[None]] = {}
        self._load: Counter[str] = Counter()
        """Receiver -> notifications in flight."""
        self._busy: Counter[tuple[str, str]] = Counter()
        """Escalation and receiver -> notifications in flight."""
        self._backing_off: dict[str, datetime] = {}
        """Receiver -> when it gets the next notification."""
        self._wake = asyncio.Event()
        documents.watch(self._on_written)

    def _on_written(self, docs: Sequence[Document[Escalation]]) -> None:
        """Start a turn at once when this process has planned notifications."""
        planned = (planned for doc in docs if doc.state is not None for planned in doc.state.planned)
        if any(each.id not in self._in_flight for each in planned):
            self._wake.set()

    async def run(self) -> None:
        """Send until cancelled; then wait briefly for notifications in flight."""
        try:
            await turns(self._clock, self.turn, partial(woken, self._wake, self._period), "deliveries")
        finally:
            await self.finish(SHUTDOWN_SECONDS)

    async def turn(self) -> int:
        """Start to send due notifications, within the limit; return how many were started."""
        owned = self._positions.owned(self._home)
        if not owned or len(self._in_flight) >= self._at_once:
            return 0
        now, started = self._clock.now(), 0
        since: datetime | None = None
        for _ in range(PAGES):
            docs = await store.due_for_attempt(self._documents, owned, now, since=since, limit=PAGE)
            started += sum(self._start_all(doc, doc.state, now) for doc in docs if doc.state is not None)
            last = docs[-1].state if docs else None
            if len(docs) < PAGE or last is None or last.next_try == since or len(self._in_flight) >= self._at_once:
                break
            since = last.next_try
        return started

    def _start_all(self, doc: Document[Escalation], state: Escalation, now: datetime) -> int:
        started = 0
        for planned in state.planned:
            if self._may_start(doc.id, planned, now):
                self._start(doc.id, state, planned, doc.trace)
                started += 1
        return started

    async def finish(self, seconds: float | None = None) -> None:
        """Wait for notifications in flight, then cancel the rest: the partition's next owner sends those again."""
        in_flight = list(self._in_flight.values())
        if in_flight:
            _, late = await asyncio.wait(in_flight, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _may_start(self, doc_id: str, planned: Planned, now: datetime) -> bool:
        if planned.id in self._in_flight or planned.next_try > now or len(self._in_flight) >= self._at_once:
            return False
        if planned.withdrawn:
            return True
        if (doc_id, planned.receiver) in self._busy:
            return False  # one at a time: the first may start the thread that the others belong to
        resumes = self._backing_off.get(planned.receiver)
        return (resumes is None or resumes <= now) and self._load[planned.receiver] < max(1, self._at_once // 4)

    def _start(self, doc_id: str, state: Escalation, planned: Planned, trace: str | None) -> None:
        self._load[planned.receiver] += 1
        self._busy[doc_id, planned.receiver] += 1
        task = asyncio.create_task(self._deliver(doc_id, state, planned, trace))
        self._in_flight[planned.id] = task
        metrics.IN_FLIGHT.set(len(self._in_flight))

        def done(_: asyncio.Task[None]) -> None:
            del self._in_flight[planned.id]
            self._load[planned.receiver] -= 1
            self._busy -= Counter([(doc_id, planned.receiver)])  # also removes entries at zero
            metrics.IN_FLIGHT.set(len(self._in_flight))
            self._wake.set()  # there is room for the next one

        task.add_done_callback(done)

    async def _deliver(self, doc_id: str, state: Escalation, planned: Planned, trace: str | None) -> None:
        told = {"deskbus.document": doc_id, "deskbus.notification": planned.id, "deskbus.receiver": planned.receiver}
        try:
            with tracing.span(f"notify {planned.sink}", parent=trace or tracing.ROOT, attributes=told):
                if planned.withdrawn:
                    await self._settle(doc_id, planned, Dropped())
                elif await self._record_attempt(doc_id, planned):
                    await self._settle(doc_id, planned, await self._send(state, planned))
        except Exception as fault:
            # It stays planned and is sent again: a duplicate with the same id is better than a missed notification.
            log.warning("could not store the outcome of a notification", notification=planned.id, fault=repr(fault))
            self._backing_off[planned.receiver] = self._clock.now() + timedelta(seconds=1)

    async def _record_attempt(self, doc_id: str, planned: Planned) -> bool:
        """Store that an attempt is made; return False if the notification is no longer to be sent."""
        recorded = False

        def decide(state: Escalation | None) -> Decision[Escalation] | None:
            nonlocal recorded
            decision = begin_attempt(state, planned.id, self._policy(), now=self._clock.now())
            recorded = decision is not None
            return decision

        await self._documents.change(doc_id, decide)
        return recorded

    async def _send(self, state: Escalation, planned: Planned) -> Outcome:
        receiver = self._policy().receivers.get(planned.receiver)
        sink = self._sinks.get(receiver.sink) if receiver is not None else None
        if receiver is None or sink is None:
            return PermanentFailure(f"the policy has no receiver {planned.receiver}")
        now = self._clock.now()
        notification = Notification(
            planned, state.ticket_id, state.id, receiver, state.threads.get(planned.receiver), now
        )
        started = self._clock.monotonic()
        try:
            outcome = await sink.deliver(notification)
        except Exception as fault:
            log.exception("unexpected error in a sink", sink=receiver.sink)
            outcome = TemporaryFailure(f"{type(fault).__name__}: {fault}"[:300], unsure=True)
        metrics.SEND_SECONDS.labels(receiver.sink).observe(self._clock.monotonic() - started)
        if isinstance(outcome, TemporaryFailure) and outcome.after is not None:
            self._backing_off[planned.receiver] = self._clock.now() + timedelta(seconds=min(outcome.after, 60))
        return outcome

    async def _settle(self, doc_id: str, planned: Planned, outcome: Outcome) -> None:
        """Store the outcome of an attempt, and count it."""
        jitter = random.random()
        given_up = False

        def decide(state: Escalation | None) -> Decision[Escalation] | None:
            nonlocal given_up
            decision = settle(state, planned.id, outcome, self._policy(), now=self._clock.now(), jitter=jitter)
            given_up = decision is not None and any(isinstance(event, NotificationFailed) for event in decision.events)
            return decision

        await self._documents.change(doc_id, decide)
        label = "failed" if given_up else _LABELS[type(outcome)]
        metrics.NOTIFICATIONS.labels(planned.sink, label).inc()
        if isinstance(outcome, Sent):
            delay = (self._clock.now() - planned.planned_at).total_seconds()
            metrics.DELAY_SECONDS.labels(planned.sink).observe(max(0.0, delay))
        elif isinstance(outcome, TemporaryFailure | PermanentFailure):
            log.warning(
                "notification not delivered",
                escalation=doc_id,
                receiver=planned.receiver,
                outcome=label,
                error=outcome.error,
            )


_LABELS: Mapping[type[Outcome], str] = {
    Sent: "sent",
    TemporaryFailure: "later",
    PermanentFailure: "failed",
    Dropped: "dropped",
}
