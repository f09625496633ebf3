"""The batch loop: records of a poll in, documents decided, written and published, positions committed.

Rule: a position is committed only past records whose effect is durable and whose events are confirmed. Nothing here
knows what a service decides; `Handling` is what it brings. Waiting happens by pause and seek, never inside a batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

import structlog

from contracts.envelope import Event, Head
from kit import metrics
from kit.clock import Clock
from kit.deadletter import DeadLetters, Letter
from kit.document import Cause, Decision, Document
from kit.errors import Full, Passing, Unparsable
from kit.logging import bind_event, clear_event
from kit.outbox import Documents

S = TypeVar("S")
log = structlog.get_logger(__name__)

#: Passes over records whose documents were lost to another writer, before they wait for the next poll.
ROUNDS = 5


class Record(Protocol):
    """A Kafka record, as the client library gives it."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


@dataclass(frozen=True, slots=True)
class Unread:
    """A record that the client library cannot read. Its content stays where it is in its topic; its place is known."""

    topic: str
    partition: int
    offset: int
    unreadable: str
    key: bytes | None = None
    value: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()


Place = tuple[str, int, int]
"""Topic, partition and offset of a record."""


@dataclass(slots=True)
class Incoming:
    """One thing to be decided out of a record: usually its event; a webhook's record may hold several messages.

    `doc_id` None means that it changes nothing here. `head` says where a numbered event stands; commands and raw
    messages have none. `fault` marks what cannot be handled although its head could be read, `stranger` that whoever
    wrote it proved nothing. `value` is the service's.
    """

    record: Record
    event: Event | None = None
    head: Head | Event | None = None
    doc_id: str | None = None
    value: Any = None
    cause: Cause | None = None
    fault: str | None = None
    stranger: bool = False


class Handling(Protocol[S]):
    """What a service brings to the loop."""

    def expand(self, record: Record) -> Sequence[Incoming]:
        """Take a record apart; raises Unparsable for what goes to the DLQ."""

    async def locate(self, items: list[Incoming]) -> Mapping[str, Document[S]]:
        """Set `doc_id` of each item where it is not its event's subject; may also replace items in the list.

        Returns the documents that it had to load for that, so that they are not loaded twice.
        """

    def decide(self, state: S | None, item: Incoming, now: datetime) -> Decision[S]:
        """Decide; Passing stops this subject for now, anything else raised makes the record a dead letter."""

    async def before_write(self, docs: Sequence[Document[S]]) -> None:
        """Do what must be durable before the documents are (claims); may apply further decisions to them."""

    async def after_write(self, won: Sequence[Document[S]], lost: Sequence[Document[S]]) -> None:
        """Look after what the write left behind (a loser's claims)."""


class BaseHandling(Generic[S]):
    """Handling of a service that follows an event topic and needs nothing but `decide`."""

    #: Types whose content `decide` looks at; None: all. Of others only the number is read: they are taken as seen.
    heeds: Collection[str] | None = None

    def expand(self, record: Record) -> Sequence[Incoming]:
        """Read the record as one CloudEvent."""
        return [event_item(record, self.heeds)]

    async def locate(self, items: list[Incoming]) -> Mapping[str, Document[S]]:  # noqa: ARG002 - for who needs them
        """Keep the subject as the document's id."""
        return {}

    async def before_write(self, docs: Sequence[Document[S]]) -> None:
        """Need nothing first."""

    async def after_write(self, won: Sequence[Document[S]], lost: Sequence[Document[S]]) -> None:
        """Leave nothing behind."""


def event_item(record: Record, heeds: Collection[str] | None = None) -> Incoming:
    """Read a record as a CloudEvent. One with unreadable data keeps its number, so that it can become a hole.

    Of known types that are not among `heeds` only the head is read, and `event` is None.
    """
    value = record.value or b""
    try:
        event = Event.parse(value) if heeds is None else Event.heed(value, heeds)
        if isinstance(event, Head):
            return Incoming(record, None, event, event.subject)
        return Incoming(record, event, event, event.subject, cause=Cause.of(event))
    except ValueError as error:
        fault = f"invalid event: {error}"[:2000]
    try:
        head = Event.envelope_only(value)
    except ValueError as error:
        raise Unparsable(fault) from error
    return Incoming(record, None, head, head.subject, fault=fault)


@dataclass(slots=True)
class Limits:
    """When to give up. `attempts` per record for faults that may pass; the share of recent records that may die."""

    attempts: int = 8
    stop_share: float = 0.5
    stop_window: int = 100


@dataclass(slots=True)
class _Pass:
    """What one pass over records came to."""

    unhandled: set[Place] = field(default_factory=set)
    again: set[Place] = field(default_factory=set)
    dead: dict[Place, Letter] = field(default_factory=dict)
    strange: set[Place] = field(default_factory=set)
    of_document: dict[str, set[Place]] = field(default_factory=dict)


class Delivery(Generic[S]):
    """Handles batches for one service. The caller commits up to the first of the places that `handle` returns."""

    def __init__(
        self,
        documents: Documents[S],
        handling: Handling[S],
        dead_letters: DeadLetters,
        clock: Clock,
        *,
        limits: Limits | None = None,
    ) -> None:
        self.documents, self.handling, self.clock = documents, handling, clock
        self.limits = limits or Limits()
        self.stopped: str | None = None
        self._dead_letters = dead_letters
        self._attempts: dict[Place, int] = {}
        self._recent: deque[bool] = deque(maxlen=self.limits.stop_window)

    async def handle(self, records: Sequence[Record]) -> set[Place]:
        """Handle a batch; returns the places of records that are not handled and must come again."""
        unhandled: set[Place] = set()
        todo, written = list(records), set[Place]()
        for _ in range(ROUNDS):
            try:
                outcome = await self._once(todo, written)
            except Passing as fault:
                log.warning("batch not handled", fault=str(fault), records=len(todo))
                return unhandled | {place(r) for r in todo}
            unhandled |= outcome.unhandled
            todo = [r for r in todo if place(r) in outcome.again and place(r) not in unhandled]
            if not todo:
                break
        return unhandled | {place(r) for r in todo}

    async def _once(self, records: Sequence[Record], written: set[Place]) -> _Pass:
        """Run the protocol's steps once; a bug in a hook is narrowed down to the record that shows it."""
        try:
            return await self._steps(records, written)
        except Passing:
            raise
        except Exception as bug:
            log.exception("a batch could not be handled", records=len(records))
            if len(records) == 1:
                outcome = _Pass()
                self._bury(outcome, records[0], f"{type(bug).__name__}: {bug}")
                await self._write_dead(outcome, written)
                return outcome
        whole = _Pass()
        for record in records:
            part = await self._once([record], written)
            whole.unhandled |= part.unhandled
            whole.again |= part.again
        return whole

    async def _steps(self, records: Sequence[Record], written: set[Place]) -> _Pass:
        outcome = _Pass()
        items = self._expand(records, outcome)
        held = await self.handling.locate(items)
        wanted = dict.fromkeys(item.doc_id for item in items if item.doc_id is not None)
        docs = {doc_id: held[doc_id] for doc_id in wanted if doc_id in held}
        docs |= await self.documents.load(doc_id for doc_id in wanted if doc_id not in docs)
        self._decide_all(items, docs, outcome)
        await self._write_dead(outcome, written)
        # A record of which a part could not be decided comes again whole: its other parts are told apart by their ids.
        touched = [doc for doc in docs.values() if doc.changed or doc.outbox]
        await self.handling.before_write(touched)
        saved = await self.documents.save(touched)
        try:
            said = await self.documents.publish(saved.won)
        except Passing:
            await self.handling.after_write(saved.won, saved.lost)
            raise
        await self.handling.after_write(saved.won, saved.lost)
        for doc in saved.lost:
            outcome.again |= outcome.of_document.get(doc.id, set())
        for doc in saved.won:
            if doc.id not in said:
                outcome.unhandled |= outcome.of_document.get(doc.id, set())
        self._count(records, outcome)
        return outcome

    def _expand(self, records: Sequence[Record], outcome: _Pass) -> list[Incoming]:
        items: list[Incoming] = []
        for record in records:
            try:
                if isinstance(record, Unread):
                    raise Unparsable(record.unreadable)
                items += self.handling.expand(record)
            except Passing:
                outcome.unhandled.add(place(record))
            except Unparsable as fault:
                self._bury(outcome, record, str(fault), stranger=fault.stranger)
            except Exception as error:
                self._bury(outcome, record, repr(error))
        return items

    def _decide_all(self, items: Sequence[Incoming], docs: Mapping[str, Document[S]], outcome: _Pass) -> None:
        stuck: set[str] = set()
        now = self.clock.now()
        for item in items:
            where = place(item.record)
            doc = docs.get(item.doc_id or "")
            if doc is None:
                if item.fault:
                    self._bury(outcome, item.record, item.fault, stranger=item.stranger)
                else:
                    _counted(item, "ignored")
                continue
            outcome.of_document.setdefault(doc.id, set()).add(where)
            if doc.id in stuck:
                outcome.unhandled.add(where)
                continue
            try:
                self._decide(doc, item, now, outcome)
            except Full as full:
                log.error("a document is full", document=doc.id, fault=str(full))
                self._hold(outcome, stuck, doc, where)
            except Passing as fault:
                self._attempts[where] = self._attempts.get(where, 0) + 1
                if self._attempts[where] < self.limits.attempts:
                    log.info("a subject waits", document=doc.id, fault=str(fault), attempt=self._attempts[where])
                    metrics.RETRIES.inc()
                    self._hold(outcome, stuck, doc, where)
                else:
                    self._kill(doc, item, f"given up: {fault}", outcome)

    def _hold(self, outcome: _Pass, stuck: set[str], doc: Document[S], where: Place) -> None:
        stuck.add(doc.id)
        outcome.unhandled.add(where)

    def _decide(self, doc: Document[S], item: Incoming, now: datetime, outcome: _Pass) -> None:
        event, head = item.event, item.head
        if head is not None and doc.has_seen(head.source, head.sequence):
            _counted(item, "skipped")
            return
        if item.fault is not None:
            self._kill(doc, item, item.fault, outcome)
            return
        if event is not None and not event.known:
            _counted(item, "unknown")
            self._take(doc, event)
            return
        try:
            self.documents.apply(doc, self.handling.decide(doc.state, item, now), cause=item.cause)
        except Passing:
            raise
        except Exception as error:
            if event is not None:
                bind_event(event)
            log.exception("cannot be handled", document=doc.id)
            clear_event()
            self._kill(doc, item, f"{type(error).__name__}: {error}", outcome)
            return
        _counted(item, "handled")
        if head is not None:
            self._take(doc, head)
        if event is not None:
            metrics.EFFECT_SECONDS.observe(max(0.0, (now - event.time).total_seconds()))

    def _take(self, doc: Document[S], event: Event | Head, *, dead: bool = False) -> None:
        gap = doc.miss(event.source, event.sequence) if dead else doc.take(event.source, event.sequence)
        if gap:
            metrics.GAPS.inc(gap)
            log.warning("a gap", document=doc.id, source=event.source, sequence=event.sequence, missing=gap)

    def _kill(self, doc: Document[S], item: Incoming, reason: str, outcome: _Pass) -> None:
        if item.head is not None:
            self._take(doc, item.head, dead=True)
        self._bury(outcome, item.record, reason, item.head)

    def _bury(
        self,
        outcome: _Pass,
        record: Record,
        reason: str,
        head: Event | Head | None = None,
        *,
        stranger: bool = False,
    ) -> None:
        where = place(record)
        attempts = self._attempts.pop(where, 0) or 1
        told = reason[:2000].encode("utf-8", "replace").decode()
        outcome.dead.setdefault(where, Letter(record, told, attempts, self.clock.now(), head))
        if stranger:
            outcome.strange.add(where)

    async def _write_dead(self, outcome: _Pass, written: set[Place]) -> None:
        """Send the dead to the DLQ before their numbers are passed by, unless too many die: then stop and say so."""
        dead = {where: letter for where, letter in outcome.dead.items() if where not in written}
        if not dead:
            return
        ours = len(dead.keys() - outcome.strange)  # who is not known must not be able to stop us with nonsense
        dying = sum(self._recent) + ours
        if ours and dying > self.limits.stop_share * self.limits.stop_window:
            self.stopped = f"{dying} of the last {self.limits.stop_window} records could not be handled"
            metrics.STOPPED.set(1)
            log.critical("consuming stops: too many dead letters", reason=self.stopped)
            raise Passing(self.stopped)
        await self._dead_letters.write(dead.values())
        self._recent.extend([True] * ours)
        metrics.DEAD_LETTERS.inc(len(dead))
        for letter in dead.values():
            metrics.EVENTS.labels("other", "dead").inc()
            log.warning("dead letter", reason=letter.reason, place=place(letter.record))
        written |= set(dead)

    def _count(self, records: Iterable[Record], outcome: _Pass) -> None:
        gone = 0
        for record in records:
            where = place(record)
            if where not in outcome.dead and where not in outcome.unhandled and where not in outcome.again:
                self._attempts.pop(where, None)
                gone += 1
        self._recent.extend([False] * min(gone, self.limits.stop_window))


def place(record: Record) -> Place:
    """Return where a record stands."""
    return record.topic, record.partition, record.offset


def _counted(item: Incoming, outcome: str) -> None:
    group = metrics.type_group(item.event.type) if item.event is not None else "other"
    metrics.EVENTS.labels(group, outcome).inc()
