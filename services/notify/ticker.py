"""What time makes happen: chains go on, and planned notifications are sent, by the owner of the ticket's partition.

Sending is outside of the guarded writes: note the try, send, write the outcome. A crash in between sends again, under
the same ids: receivers are told at least once. What has ended meanwhile is not sent again; that it may have arrived is
known from the note.
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
from kit.base.clock import Clock
from kit.base.turns import turns, woken
from kit.protocol.document import Decision, Document
from kit.protocol.outbox import Documents
from kit.protocol.timers import Positions, Ticker
from services.notify import metrics, store
from services.notify.core import escalation
from services.notify.core.policy import NotifyPolicy
from services.notify.core.settle import Dropped, Outcome, PermanentFailure, Sent, TemporaryFailure, begin, settle
from services.notify.core.state import Escalation, Planned
from services.notify.sinks.base import Notification, Sink

log = structlog.get_logger(__name__)
PAGE = 500
PAGES = 20
"""How far one turn looks past what waits for a busy receiver, so that its backlog does not hide the others."""
FAREWELL_SECONDS = 3.0


def build_ticker(
    documents: Documents[Escalation],
    positions: Positions,
    policy: Callable[[], NotifyPolicy],
    clock: Clock,
    *,
    follow: Sequence[str],
    prefix: str = "",
    period: float = 0.5,
) -> Ticker[Escalation]:
    """The timers of chains and acknowledgements."""

    def fire(state: Escalation, now: datetime) -> Decision[Escalation] | None:
        return escalation.fire(state, policy(), now)

    return Ticker(
        documents,
        positions,
        fire,
        clock,
        prefix=prefix,
        follow=follow,
        grace=timedelta(milliseconds=50),
        period=period,
    )


class Deliverer:
    """Sends what is planned, several at a time, never two tries of one notification at once."""

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
        self._flying: dict[str, asyncio.Task[None]] = {}
        self._load: Counter[str] = Counter()
        self._talking: Counter[tuple[str, str]] = Counter()
        self._resting: dict[str, datetime] = {}
        self._awake = asyncio.Event()
        documents.watch(self._note)

    def _note(self, docs: Sequence[Document[Escalation]]) -> None:
        """Go to work at once on what this process has just planned."""
        planned = (planned for doc in docs if doc.state is not None for planned in doc.state.planned)
        if any(each.id not in self._flying for each in planned):
            self._awake.set()

    async def run(self) -> None:
        """Send until cancelled; what is on its way then may arrive and be written down still."""
        try:
            await turns(self._clock, self.turn, partial(woken, self._awake, self._period), "deliveries")
        finally:
            await self.finish(FAREWELL_SECONDS)

    async def turn(self) -> int:
        """Begin to send what is due, as far as there is room; returns how many were begun."""
        owned = self._positions.owned(self._home)
        if not owned or len(self._flying) >= self._at_once:
            return 0
        now, begun = self._clock.now(), 0
        since: datetime | None = None
        for _ in range(PAGES):
            docs = await store.to_be_tried(self._documents, owned, now, since=since, limit=PAGE)
            begun += sum(self._begin_all(doc.id, doc.state, now) for doc in docs if doc.state is not None)
            last = docs[-1].state if docs else None
            if len(docs) < PAGE or last is None or last.next_try == since or len(self._flying) >= self._at_once:
                break
            since = last.next_try
        return begun

    def _begin_all(self, doc_id: str, state: Escalation, now: datetime) -> int:
        begun = 0
        for planned in state.planned:
            if self._may_begin(doc_id, planned, now):
                self._begin(doc_id, state, planned)
                begun += 1
        return begun

    async def finish(self, seconds: float | None = None) -> None:
        """Wait for what is on its way; after that time it is let go, and sent again by whoever owns it then."""
        flying = list(self._flying.values())
        if flying:
            _, late = await asyncio.wait(flying, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _may_begin(self, doc_id: str, planned: Planned, now: datetime) -> bool:
        if planned.id in self._flying or planned.next_try > now or len(self._flying) >= self._at_once:
            return False
        if planned.moot:
            return True
        if (doc_id, planned.receiver) in self._talking:
            return False  # one after the other: the first may begin the thread that the next belongs to
        rests = self._resting.get(planned.receiver)
        return (rests is None or rests <= now) and self._load[planned.receiver] < max(1, self._at_once // 4)

    def _begin(self, doc_id: str, state: Escalation, planned: Planned) -> None:
        self._load[planned.receiver] += 1
        self._talking[doc_id, planned.receiver] += 1
        task = asyncio.create_task(self._one(doc_id, state, planned))
        self._flying[planned.id] = task
        metrics.IN_FLIGHT.set(len(self._flying))

        def landed(_: asyncio.Task[None]) -> None:
            del self._flying[planned.id]
            self._load[planned.receiver] -= 1
            self._talking -= Counter([(doc_id, planned.receiver)])  # also forgets what is at zero
            metrics.IN_FLIGHT.set(len(self._flying))
            self._awake.set()  # what waited behind it may go

        task.add_done_callback(landed)

    async def _one(self, doc_id: str, state: Escalation, planned: Planned) -> None:
        try:
            if planned.moot:
                await self._write(doc_id, planned, Dropped())
            elif await self._note_try(doc_id, planned):
                await self._write(doc_id, planned, await self._send(state, planned))
        except Exception as fault:
            # It stays planned, so it is sent again: a duplicate under the same id is better than a miss.
            log.warning("could not store the outcome of a notification", notification=planned.id, fault=repr(fault))
            self._resting[planned.receiver] = self._clock.now() + timedelta(seconds=1)

    async def _note_try(self, doc_id: str, planned: Planned) -> bool:
        """Whether it is to be sent still; then the try stands in the store."""
        wanted = False

        def decide(state: Escalation | None) -> Decision[Escalation] | None:
            nonlocal wanted
            decision = begin(state, planned.id, self._policy(), now=self._clock.now())
            wanted = decision is not None
            return decision

        await self._documents.change(doc_id, decide)
        return wanted

    async def _send(self, state: Escalation, planned: Planned) -> Outcome:
        receiver = self._policy().receivers.get(planned.receiver)
        sink = self._sinks.get(receiver.sink) if receiver is not None else None
        if receiver is None or sink is None:
            return PermanentFailure(f"the policy has no receiver {planned.receiver}")
        now = self._clock.now()
        notification = Notification(
            planned, state.ticket_id, state.id, receiver, state.threads.get(planned.receiver), now
        )
        begin = self._clock.monotonic()
        try:
            outcome = await sink.deliver(notification)
        except Exception as fault:
            log.exception("unexpected error in a sink", sink=receiver.sink)
            outcome = TemporaryFailure(f"{type(fault).__name__}: {fault}"[:300], unsure=True)
        metrics.SEND_SECONDS.labels(receiver.sink).observe(self._clock.monotonic() - begin)
        if isinstance(outcome, TemporaryFailure) and outcome.after is not None:
            self._resting[planned.receiver] = self._clock.now() + timedelta(seconds=min(outcome.after, 60))
        return outcome

    async def _write(self, doc_id: str, planned: Planned, outcome: Outcome) -> None:
        jitter = random.random()
        given_up = False

        def decide(state: Escalation | None) -> Decision[Escalation] | None:
            nonlocal given_up
            decision = settle(state, planned.id, outcome, self._policy(), now=self._clock.now(), jitter=jitter)
            given_up = decision is not None and any(isinstance(event, NotificationFailed) for event in decision.events)
            return decision

        await self._documents.change(doc_id, decide)
        what = "failed" if given_up else _NAMES[type(outcome)]
        metrics.NOTIFICATIONS.labels(planned.sink, what).inc()
        if isinstance(outcome, Sent):
            delay = (self._clock.now() - planned.planned_at).total_seconds()
            metrics.DELAY_SECONDS.labels(planned.sink).observe(max(0.0, delay))
        elif isinstance(outcome, TemporaryFailure | PermanentFailure):
            log.warning(
                "notification not delivered",
                escalation=doc_id,
                receiver=planned.receiver,
                outcome=what,
                error=outcome.error,
            )


_NAMES: Mapping[type[Outcome], str] = {
    Sent: "sent",
    TemporaryFailure: "later",
    PermanentFailure: "failed",
    Dropped: "dropped",
}
