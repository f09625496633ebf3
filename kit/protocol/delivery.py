"""The batch loop: records of a poll in; documents decided, written and published; what is not handled out.

Rule: a record is handled only once its effect is durable and its events are confirmed. Nothing here knows what a
service decides: `Handling` brings that. Waiting happens by pause and seek (`kit/kafka/`), never inside a batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Generic, TypeVar

import structlog

from contracts.dlq import REFUSED, is_replay
from contracts.envelope import Event, Head
from kit.base import metrics
from kit.base.errors import Full, TransientError, Unloadable, Unparsable
from kit.base.logging import bind_event, clear_event
from kit.base.series import exemplar
from kit.protocol.batch import Batch
from kit.protocol.deadletter import DeadLetters, FailedRecord
from kit.protocol.document import MISSING_CAP, Document
from kit.protocol.handling import Handling, Incoming
from kit.protocol.outbox import Documents
from kit.protocol.record import Place, Record, Unread, place
from kit.protocol.traced import batch_span, record_span

S = TypeVar("S")
log = structlog.get_logger(__name__)

#: Passes over records whose documents were lost to another writer, before they wait for the next poll.
ROUNDS = 5
#: A document that does not load gets this many times as many tries: while replicas are replaced, an old one may have to
#: wait for a newer one.
PATIENCE = 10
Lost = dict[str, set[Place]]
"""Documents, and the places of the records that are about them."""


class Delivery(Generic[S]):
    """Handles batches for one service. The caller commits up to the first of the places that `handle` returns."""

    def __init__(
        self,
        documents: Documents[S],
        handling: Handling[S],
        dead_letters: DeadLetters,
        *,
        attempts: int = 8,
    ) -> None:
        """A record that fails for transient reasons becomes a dead letter after so many `attempts`."""
        self.documents, self.handling, self._clock = documents, handling, documents.clock
        self._dead_letters, self._most_attempts = dead_letters, attempts
        self._attempts: dict[Place, int] = {}
        self._counted = set[tuple[Place, int]]()
        """Parts of records that are counted, and come again since another part waits or an event is not confirmed."""
        self.is_early: Callable[[Place], bool] = lambda _: False
        """Whether a record may wait for something that is still on its way here: its tries are not counted then."""
        self.beat: Callable[[], object] = lambda: None
        """Called with each step of a batch."""

    @property
    def stopped(self) -> str | None:
        """Why nothing may be consumed any more; None while all is well."""
        return self._dead_letters.stopped

    async def handle(self, records: Sequence[Record]) -> set[Place]:
        """Handle a batch; returns the places of records that are not handled and must come again."""
        batch = Batch.of(records)
        self._dead_letters.begin(len(records))
        with batch_span(records) as batch.trace:
            batch.began = self._clock.now()
            try:
                await self._rounds(records, batch)
            except TransientError as fault:
                batch.trace.fail(type(fault).__name__)
                log.warning("batch not handled, retrying", fault=str(fault), records=len(batch.undone))
        self._finish(records, batch)
        return batch.undone

    def _finish(self, records: Sequence[Record], batch: Batch) -> None:
        """Forget what is known of records that are done."""
        done = {place(record) for record in records} - batch.undone
        for where in done:
            self._attempts.pop(where, None)
        self._counted = {part for part in self._counted if part[0] in batch.undone}
        self._dead_letters.end(done, batch.dead.keys())

    async def _rounds(self, records: Sequence[Record], batch: Batch) -> None:
        """Make passes until no document was lost to another writer; what is lost too often waits for the next poll."""
        lost: Lost = {}
        for _ in range(ROUNDS):
            lost = await self._once(records, batch)
            again = _places(lost)
            records = [record for record in records if place(record) in again]
            if not records:
                return
        for doc_id, places in lost.items():
            batch.hold(doc_id, places)

    async def _once(self, records: Sequence[Record], batch: Batch) -> Lost:
        """Make one pass. A bug in a hook, or a document that a hook needs and that does not load, fails all of it.

        Then the records are handled one by one, to find the one that is to blame.
        """
        try:
            return await self._steps(records, batch)
        except Unloadable as unloadable:
            fault: Exception = unloadable
        except TransientError:
            raise
        except Exception as bug:
            log.exception("unexpected error in a batch, handling its records one by one", records=len(records))
            fault = bug
        if len(records) == 1:
            await self._blame(records[0], fault, batch)
        else:
            for record in records:
                await self._rounds([record], batch)
        return {}

    async def _blame(self, record: Record, fault: Exception, batch: Batch) -> None:
        """Make a record that a hook fails on a dead letter, or let it wait for a document that does not load."""
        where = place(record)
        if isinstance(fault, Unloadable) and self._try_again(where, fault):
            batch.hold(where[:2], [where])
            return
        self._bury(Incoming(record, unforeseen=not isinstance(fault, Unloadable)), _reason(fault), batch)
        await self._dead_letters.write(batch.dead)
        await self._pass_by(record)
        batch.settle([record])

    async def _pass_by(self, record: Record) -> None:
        """Mark the number of a record that a hook fails on as a hole.

        Otherwise its replay would count as seen, were it the first event of its source. Raises TransientError.
        """
        numbered = [item for item in self._parts(record) if item.head is not None]
        if not numbered:
            return
        try:
            await self.handling.locate(numbered)
        except Exception:  # perhaps the hook that has failed: then the event's document is its subject's
            log.info("could not look up the document of a dead letter", place=place(record))
        heads = [(item.doc_id, item.head) for item in numbered if item.doc_id is not None]

        def miss(doc: Document[S]) -> None:
            for doc_id, head in heads:
                if doc_id == doc.id and head is not None and not doc.has_seen(head.source, head.sequence):
                    self._take(doc, head, dead=True)

        ids = {doc_id for doc_id, _ in heads}
        try:
            won = await self.documents.edit(ids, miss, write=self.documents.save)
        except TransientError:
            raise
        except Exception:
            log.exception("could not keep the number of a dead letter open for a replay", place=place(record))
            return
        _report(won.values())
        if ids - won.keys():
            raise TransientError("another writer changed the document of a dead letter first")

    async def _steps(self, records: Sequence[Record], batch: Batch) -> Lost:
        """Handle records as far as one pass can; returns the documents that were lost, with the places about them."""
        items = self._expand(records, batch)
        loaded = await self.handling.locate(items)
        self.beat()
        wanted = dict.fromkeys(item.doc_id for item in items if item.doc_id is not None)
        docs = self._new(items, batch) | {doc_id: loaded[doc_id] for doc_id in wanted if doc_id in loaded}
        docs |= await self.documents.load(doc_id for doc_id in wanted if doc_id not in docs)
        await self.handling.before_decide(_loaded(docs.values()))
        self.beat()
        places = self._decide_all(items, docs, batch)
        await self._dead_letters.write(batch.dead)  # before the documents pass their numbers by
        self.beat()
        # A record of which a part could not be decided comes again whole; its other parts are recognised by their ids.
        touched = [doc for doc in docs.values() if doc.changed or doc.outbox]
        await self.handling.before_write(_loaded(touched))
        self.beat()
        saved = await self.documents.save(touched)
        lost = {doc.id: places.get(doc.id, set()) for doc in saved.lost}
        _report(doc for doc in docs.values() if doc.id not in lost)
        self.beat()
        try:
            published = await self.documents.publish(saved.won, self.beat)
        except TransientError:
            self.beat()
            await self.handling.after_write(_loaded(saved.won), _loaded(saved.lost))
            raise
        await self.handling.after_write(_loaded(saved.won), _loaded(saved.lost))
        for doc in saved.won:
            if doc.id not in published:
                batch.hold(doc.id, places.get(doc.id, ()))
        batch.settle(records, _places(lost))
        return lost

    def _new(self, items: Sequence[Incoming], batch: Batch) -> dict[str, Document[S]]:
        """Return new documents for subjects whose first event is among these; only the first pass may assume that."""
        if batch.looked or self.handling.begins is None:
            return {}
        batch.looked = True
        begun = [item.head for item in items if item.head is not None and item.head.sequence == 1]
        return {head.subject: Document(head.subject) for head in begun if head.source == self.handling.begins}

    def _expand(self, records: Sequence[Record], batch: Batch) -> list[Incoming]:
        items: list[Incoming] = []
        for record in records:
            lane = record.topic, record.partition
            if lane in batch.held:
                batch.hold(lane, [place(record)])
                continue
            try:
                items += self._parts(record)
            except TransientError:  # its subject is unknown, so nothing of its partition may overtake it
                batch.hold(lane, [place(record)])
            except Unparsable as fault:
                self._bury(Incoming(record, exempt=fault.exempt), str(fault), batch)
            except Exception as error:
                log.exception("a record cannot be read", place=place(record))
                self._bury(Incoming(record, unforeseen=True), _reason(error), batch)
        return items

    def _parts(self, record: Record) -> Sequence[Incoming]:
        if not isinstance(record, Unread):
            return self.handling.expand(record)
        if record.head is None:
            raise Unparsable(record.unreadable)
        return [Incoming(record, head=record.head, doc_id=record.head.subject, fault=record.unreadable)]

    def _decide_all(self, items: Sequence[Incoming], docs: Mapping[str, Document[S]], batch: Batch) -> Lost:
        """Decide in order; returns the places of the records about each document."""
        places: Lost = {}
        parts = Counter[Place]()
        now = self._clock.now()
        for item in items:
            where = place(item.record)
            item.part = parts[where]
            parts[where] += 1
            doc = docs.get(item.doc_id or "")
            if doc is None:
                if item.fault:
                    self._bury(item, item.fault, batch)
                else:
                    self._count(item, "ignored", None)
                continue
            places.setdefault(doc.id, set()).add(where)
            if doc.id in batch.held:
                batch.hold(doc.id, [where])
                continue
            try:
                self._decide(doc, item, now, batch)
            except Full as full:
                log.error("the outbox of a document is full", document=doc.id, fault=str(full))
                batch.hold(doc.id, [where])
            except TransientError as fault:
                if self._try_again(where, fault):
                    batch.hold(doc.id, [where])
                else:
                    self._kill(doc, item, f"given up: {fault}", batch)
        return places

    def _try_again(self, where: Place, fault: TransientError) -> bool:
        """Count a failed try; returns whether there may be another."""
        self._attempts[where] = attempt = self._attempts.get(where, 0) + (not self.is_early(where))
        if attempt >= self._most_attempts * (PATIENCE if isinstance(fault, Unloadable) else 1):
            return False
        log.info("retrying a record later", fault=str(fault), place=where, attempt=attempt)
        metrics.RETRIES.inc()
        return True

    def _decide(self, doc: Document[S], item: Incoming, now: datetime, batch: Batch) -> None:
        event, head = item.event, item.head
        if head is not None and doc.has_seen(head.source, head.sequence):
            if doc.is_below_floor(head.source, head.sequence) and is_replay(item.record.headers):
                self._refuse(doc, item, head, batch)
            else:
                self._count(item, "skipped", doc)
            return
        if item.fault is not None:
            self._kill(doc, item, item.fault, batch)
            return
        if head is not None and doc.overflows(head.source, head.sequence):
            more = f"more than {MISSING_CAP} earlier events of {head.source} are missing, giving up the oldest"
            self._kill(doc, item, f"gap: {more}", batch)
            return
        if event is not None and not event.known:
            self._count(item, "unknown", doc)
            self._take(doc, event)
            return
        item.incomplete = head is not None and doc.lacks(head.source, head.sequence)
        span = record_span(item, batch)
        try:
            with span.at_hand():
                decision = self.handling.decide(doc.state, item, now)
                self.documents.apply(doc, decision, cause=item.cause)
        except TransientError as fault:
            span.fail(type(fault).__name__)
            span.end()
            raise
        except Exception as error:
            span.fail(type(error).__name__)
            span.end()
            if event is not None:
                bind_event(event)
            log.exception("an event cannot be handled", document=doc.id)
            clear_event()
            item.unforeseen = True
            self._kill(doc, item, _reason(error), batch)
            return
        doc.reports.append(span.end)
        self._count(item, "handled", doc)
        doc.reports.append(partial(self.handling.count, item, decision))
        if head is not None:
            self._take(doc, head)
        if event is not None:
            seconds = max(0.0, (now - event.time).total_seconds())
            doc.reports.append(partial(metrics.EFFECT_SECONDS.observe, seconds, exemplar(event.traceparent)))

    def _count(self, item: Incoming, outcome: str, doc: Document[S] | None) -> None:
        """Count the outcome of an item: once, however often it is decided, and only when its document is stored."""
        part = place(item.record), item.part
        group = metrics.type_group(item.event.type) if item.event is not None else "other"

        def report() -> None:
            if part not in self._counted:
                self._counted.add(part)
                metrics.EVENTS.labels(group, outcome).inc()

        if doc is None:
            report()
        else:
            doc.reports.append(report)

    def _take(self, doc: Document[S], event: Event | Head, *, dead: bool = False) -> None:
        late = event.source not in doc.seen and event.sequence > 1
        gap = doc.take(event.source, event.sequence, dead=dead)
        if gap or late:
            doc.reports.append(partial(_report_gap, doc.id, event, gap, late=late))

    def _kill(self, doc: Document[S], item: Incoming, reason: str, batch: Batch) -> None:
        if item.head is not None:
            self._take(doc, item.head, dead=True)
        self._bury(item, reason, batch)

    def _refuse(self, doc: Document[S], item: Incoming, head: Event | Head, batch: Batch) -> None:
        """Return a replayed event that counts as seen but may never have been handled: its operator must know."""
        upto = f"up to {doc.seen[head.source].floor}"
        why = f"{doc.id} no longer knows which events of {head.source} {upto} it has handled, this is {head.sequence}"
        item.exempt = True  # operators' replays must not stop the consumer
        self._bury(item, f"{REFUSED}: {why}", batch)

    def _bury(self, item: Incoming, reason: str, batch: Batch) -> None:
        """Make a record a dead letter. The first reason stands, however often the record is looked at."""
        record = item.record
        attempts = self._attempts.get(place(record), 0) or 1
        reason = reason[:2000].encode("utf-8", "replace").decode()
        exempt = item.exempt or self.handling.is_exempt(record, unforeseen=item.unforeseen)
        letter = FailedRecord(record, reason, attempts, self._clock.now(), item.head, item.unforeseen, exempt)
        batch.dead.setdefault(place(record), letter)


def _report(docs: Iterable[Document[S]]) -> None:
    for doc in docs:
        for report in doc.reports:
            report()


def _loaded(docs: Iterable[Document[S]]) -> list[Document[S]]:
    return [doc for doc in docs if doc.fault is None]


def _reason(fault: Exception) -> str:
    return f"{type(fault).__name__}: {fault}"


def _places(lost: Lost) -> set[Place]:
    return {where for places in lost.values() for where in places}


def _report_gap(doc_id: str, event: Event | Head, gap: int, *, late: bool) -> None:
    bound = log.bind(document=doc_id, source=event.source, sequence=event.sequence)
    if gap:
        metrics.GAPS.inc(gap)
        bound.warning("sequence gap", missing=gap)
    if late:
        metrics.FIRST_SEEN_LATE.inc()
        bound.warning("the first event from a source is not number 1")
