"""Timers: documents of the partitions that this process owns fire when they are due, in the order of their instants.

Rule: a document fires only once everything that was in its partition at its instant has been handled, so that what came
in time counts. Firing is a guarded change like any other; of two processes that fire the same, one loses the guard. A
document that fails is set aside for a while, and does not stop the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

import structlog

from contracts.topics import topic_name
from kit.base import metrics, tracing
from kit.base.tracing import Span
from kit.base.turns import turns, woken
from kit.protocol.document import Decision, Document
from kit.protocol.outbox import Documents

S = TypeVar("S")
log = structlog.get_logger(__name__)


class Positions(Protocol):
    """What a ticker needs from the consumer."""

    def owned(self, topic: str) -> list[int]: ...
    async def handled_until(self, topics: Iterable[str], partitions: Iterable[int]) -> dict[int, datetime]: ...


#: Seconds between two attempts while partitions are not handled far enough.
BEHIND = 0.05
#: Attempts in vain after which they become less and less frequent, down to once a period.
PATIENT = 5
#: Instants read for each one fired in a tick: a server may scan all that is due to return the first of them.
AHEAD = 10
#: Shortest rest in seconds, so that what falls due together fires together.
BREATH = 0.005
#: Seconds until a document that failed is tried again, doubled with each failure, and the most of them.
ASIDE, ASIDE_MOST = 1.0, 300.0


class Ticker(Generic[S]):
    """Fires the due documents of one kind.

    `fire(state, now)` decides; the document is done once that returns None, or a state that is due later. `follow` are
    the topics (without prefix) that must have been handled up to the instant, by default the home topic; `grace` is the
    time that a fact may take to reach its topic.

    The store is asked once a `period` (in seconds) for what falls due until the next look. What this process writes in
    between is known without asking, so timers are exact to some milliseconds; one that another process sets on a
    document of ours is seen at most a period late.
    """

    def __init__(
        self,
        documents: Documents[S],
        positions: Positions,
        fire: Callable[[S, datetime], Decision[S] | None],
        *,
        follow: Sequence[str] = (),
        grace: timedelta = timedelta(milliseconds=50),
        period: float = 0.5,
        limit: int = 500,
    ) -> None:
        self._documents, self._positions, self._fire, self._clock = documents, positions, fire, documents.clock
        self._home = documents.home_topic
        self._follow = [topic_name(topic, documents.prefix) for topic in follow] or [self._home]
        self._grace, self._period, self._limit = grace, timedelta(seconds=period), limit
        self._soon: dict[str, tuple[datetime, int]] = {}
        """Instant and partition of each document that is known to fall due until `_until`."""
        self._until: datetime | None = None
        self._more = False
        """Whether more is due than the last look could return."""
        self._vain = 0
        """Ticks in a row in which something was due and nothing could fire."""
        self._aside: dict[str, tuple[datetime, int]] = {}
        """When a document that failed is tried again, and how often it has failed."""
        self._oldest: datetime | None = None
        """The oldest instant that was overdue when the store was last asked."""
        self._owned: list[int] = []
        self._behind: set[int] = set()
        """Partitions that are not handled far enough for anything that is due to fire."""
        self._awake = asyncio.Event()
        documents.watch(self._note)

    async def run(self) -> None:
        """Tick until cancelled, and try again while store or broker are away."""
        fired = 0

        async def turn() -> None:
            nonlocal fired
            fired = 0
            fired = await self.tick()

        async def rest() -> None:
            await woken(self._awake, self._rest() if fired < self._limit else 0)

        await turns(self._clock, turn, rest, f"timers of {self._documents.kind.collection}")

    async def tick(self) -> int:
        """Fire what is due now; returns how many documents were changed."""
        owned = self._positions.owned(self._home)
        if not owned:
            self._until = self._oldest = None
            self._measure(self._clock.now())
            return 0
        now = self._clock.now()
        out_of_date = self._until is None or now >= self._until or owned != self._owned
        if out_of_date or (self._more and not self._due(now)):
            await self._look(owned, now)
        due = self._due(now)
        fired = await self._fire_all(due, now) if due else 0
        self._vain = self._vain + 1 if due and not fired else 0
        return fired

    def _due(self, now: datetime) -> list[str]:
        """Return what is known to be due, in order."""
        over = sorted((at, doc_id) for doc_id, (at, _) in self._soon.items() if at <= now - self._grace)
        return [doc_id for _, doc_id in over if doc_id not in self._aside or self._aside[doc_id][0] <= now]

    async def _look(self, owned: list[int], now: datetime) -> None:
        """Ask the store for what falls due in the next period."""
        known, self._soon, self._until = self._soon, {}, now + self._period
        until, most, rows = self._until, self._limit * AHEAD + len(self._aside), []
        self._more = False
        self._measure(now)  # and again below, if the store answers
        # Two queries, or what waits in partitions that are behind would fill the answer.
        for part in ([p for p in owned if p not in self._behind], [p for p in owned if p in self._behind]):
            if not part:
                continue
            try:
                found = await self._documents.store.due(self._documents.kind.collection, part, until, most)
            except BaseException:
                self._soon, self._until = known | self._soon, None
                raise
            rows += found
            if len(found) == most:  # there may be more: look again from the last one, or when these have fired
                last = found[-1]["due"]
                if last <= now:
                    self._more = True
                else:
                    self._until = min(self._until, last)
        # What was written while we asked is newer than the answer.
        self._soon = {row["_id"]: (row["due"], row["partition"]) for row in rows} | self._soon
        self._aside = {doc_id: aside for doc_id, aside in self._aside.items() if doc_id in self._soon}
        self._oldest = min((row["due"] for row in rows if row["due"] <= now - self._grace), default=None)
        self._measure(now)
        self._owned = owned

    def _measure(self, now: datetime) -> None:
        overdue = (now - self._oldest).total_seconds() if self._oldest is not None else 0.0
        metrics.TIMER_OVERDUE.labels(self._documents.kind.collection).set(overdue)

    async def _fire_all(self, doc_ids: Sequence[str], now: datetime) -> int:
        asked = {self._soon[i][1] for i in doc_ids}
        handled = await self._positions.handled_until(self._follow, asked)
        until = {p: min(at, now) - self._grace for p, at in handled.items()}
        known = ((i, self._soon[i]) for i in doc_ids if i in self._soon)
        over = {i: (due, p) for i, (due, p) in known if p in until and due <= until[p]}
        behind = asked - {p for _, p in over.values()}
        if self._more and not behind <= self._behind:
            self._until = None  # all that was read may be theirs: ask for the others separately
        self._behind = behind
        ready = dict(islice(over.items(), self._limit))
        if not ready:
            return 0
        fired, failed = dict[str, Span](), set[str]()

        def fire(doc: Document[S]) -> None:
            state = doc.state
            self._soon.pop(doc.id, None)  # if it stays due, the next look finds it
            if (decision := self._decide(state, until[ready[doc.id][1]])) is not None:
                fired[doc.id] = span = self._span(doc, ready[doc.id][0])
                with span.at_hand():
                    self._documents.apply(doc, decision)

        def set_aside(doc_id: str, fault: Exception) -> None:
            failed.add(doc_id)
            self._soon.setdefault(doc_id, ready[doc_id])
            self._set_aside(doc_id, now, fault)

        try:
            saved = await self._documents.edit(ready, fire, on_fault=set_aside)
        except BaseException:
            self._until = None
            raise
        if len(saved) + len(failed) < len(ready):
            self._until = None  # another process was faster: what is due now is in the store
        stored = self._clock.now()
        for doc_id in fired.keys() & saved.keys():
            fired[doc_id].end()
            metrics.TIMER_LATENESS.observe((stored - ready[doc_id][0]).total_seconds())
        return len(fired.keys() & saved.keys())

    def _span(self, doc: Document[S], due: datetime) -> Span:
        """Begin the span of a timer, which continues the trace of what the document published last."""
        name = f"timer {self._documents.kind.collection}"
        told = {"deskbus.document": doc.id, "deskbus.due": due.isoformat()}
        return tracing.span(name, parent=doc.trace or tracing.ROOT, attributes=told)

    def _set_aside(self, doc_id: str, now: datetime, fault: Exception) -> None:
        failures = self._aside.get(doc_id, (now, 0))[1] + 1
        seconds = min(ASIDE_MOST, ASIDE * 2 ** min(failures - 1, 16))
        self._aside[doc_id] = now + timedelta(seconds=seconds), failures
        log.error("a timer failed", document=doc_id, failures=failures, again_in=seconds, exc_info=fault)

    def _decide(self, state: Any, until: datetime) -> Decision[S] | None:
        if state is None:
            return None
        due = self._documents.kind.due(state)
        # Another event may have moved the instant since; only what `handled_until` covers may fire.
        return self._fire(state, until) if due is not None and due <= until else None

    def _note(self, docs: Iterable[Document[S]]) -> None:
        """Note what this process has just written: instants may have come nearer, or gone."""
        for doc in docs:
            self._aside.pop(doc.id, None)  # it has changed: what failed may succeed
        if self._until is None:
            return
        nearer = False
        for doc in docs:
            due = self._documents.kind.due(doc.state) if doc.state is not None else None
            partition = self._documents.home_partition(doc.id)
            if due is None or due > self._until or partition not in self._owned:
                self._soon.pop(doc.id, None)
            else:
                self._soon[doc.id] = due, partition
                nearer = True
        if nearer:
            self._awake.set()

    def _rest(self) -> float:
        """Return the seconds until there is something to do."""
        now, period = self._clock.now(), self._period.total_seconds()
        again = min(BEHIND * (1 << min(max(0, self._vain - PATIENT), 10)), period)
        if self._until is None:
            return again
        first = min((self._next(doc_id, at) for doc_id, (at, _) in self._soon.items()), default=self._until)
        # At most a period, even if the clock was set back: it may be set forward again.
        rest = min((min(first, self._until) - now).total_seconds(), period)
        return again if first <= now else max(BREATH, rest)

    def _next(self, doc_id: str, at: datetime) -> datetime:
        """Return when a document that is known to fall due is to be fired, or tried again."""
        return max(at + self._grace, self._aside[doc_id][0]) if doc_id in self._aside else at + self._grace
