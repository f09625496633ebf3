"""The document outbox: load, decide, one guarded write, publish, clear. Every change of an aggregate goes through here.

Rule: a writer publishes only what it has written with an acknowledgement, and an entry leaves the outbox only after the
broker has confirmed it. Store and sender are protocols, so that the same code runs against a simulation.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import structlog

from contracts.envelope import HEADERS
from contracts.topics import topic_name
from kit.base import metrics, tracing
from kit.base.clock import Clock
from kit.base.errors import TransientError, Unloadable
from kit.protocol import document
from kit.protocol.confirmed import Confirmed
from kit.protocol.document import Cause, Decision, Document, Kind
from kit.protocol.ports import Guarded, Outgoing, Publisher, Store
from kit.protocol.record import partition_of

S = TypeVar("S")
log = structlog.get_logger(__name__)

#: Writes of one change that may be lost to other writers before it fails.
ATTEMPTS = 10
#: Most documents that a search may skip because they do not load.
FAULTY = 1_000
OnFault = Callable[[str, Exception], None]
"""Called with the id of a document that failed, and its fault."""


@dataclass(frozen=True, slots=True)
class Saved(Generic[S]):
    """The outcome of a guarded write: documents that lost to another writer must be loaded and decided again."""

    won: list[Document[S]] = field(default_factory=list)
    lost: list[Document[S]] = field(default_factory=list)


class Documents(Generic[S]):
    """The aggregates of one kind."""

    def __init__(
        self,
        kind: Kind[S],
        store: Store,
        sender: Publisher,
        clock: Clock,
        *,
        prefix: str = "",
        limit: int = 900_000,
    ) -> None:
        """`prefix` precedes topic names, `limit` is the largest event in bytes.

        Confirmed entries leave the store when `clear` is called.
        """
        self.kind, self.store, self.clock, self.prefix, self.limit = kind, store, clock, prefix, limit
        self.sender = sender
        self.topic = topic_name(kind.topic, prefix)
        self.home_topic = topic_name(kind.home_topic, prefix) if kind.home_topic else ""
        self._home_partitions = 0
        self._publishing: dict[str, asyncio.Event] = {}
        """Documents whose outbox a task is publishing, and what is set when it is done."""
        self._confirmed = Confirmed()
        self._watchers: list[Callable[[Sequence[Document[S]]], None]] = []
        self.owned: Callable[[], Collection[int]] | None = None
        """Returns the partitions of the home topic that this process owns; None where that is unknown."""

    def watch(self, watcher: Callable[[Sequence[Document[S]]], None]) -> None:
        """Call `watcher` with the documents of every write of this process, once it is durable.

        Their `announced` has the events of that write, so each can be counted once here. Documents whose state does not
        load are left out: nothing was decided about them.
        """
        self._watchers.append(watcher)

    async def load(self, ids: Iterable[str]) -> dict[str, Document[S]]:
        """Load documents by id, in one query; an unknown id makes a new document."""
        wanted = list(dict.fromkeys(ids))
        found = {raw["_id"]: raw for raw in await self.store.fetch(self.kind.collection, wanted)}
        return {i: document.read(self.kind, found[i]) if i in found else Document(i) for i in wanted}

    async def find(self, query: Mapping[str, Any], *, sort: Any = None, limit: int = 100) -> list[Document[S]]:
        """Find documents by fields of their state (`state.…`), for doors and sweeps; skips those that do not load.

        A page is full whenever enough documents load. Raises Unloadable where too many do not.
        """
        faulty: list[str] = []
        while len(faulty) < FAULTY:
            asked = {"$and": [query, {"_id": {"$nin": faulty}}]} if faulty else query
            raws = await self.store.find(self.kind.collection, asked, sort=sort, limit=limit)
            docs = [document.read(self.kind, raw) for raw in raws]
            if all(doc.fault is None for doc in docs):
                return docs
            for doc in docs:
                if doc.fault is not None:
                    log.warning("a document cannot be loaded", document=doc.id, fault=doc.fault)
                    faulty.append(doc.id)
        raise Unloadable(f"{len(faulty)} documents of {self.kind.collection} cannot be loaded")

    def apply(self, doc: Document[S], decision: Decision[S], *, cause: Cause | None = None) -> None:
        """Apply a decision to a document; raises TooLarge, Full or Unloadable and then leaves it unchanged."""
        now, trace = self.clock.now(), tracing.current()
        document.apply(self.kind, doc, decision, now=now, cause=cause, limit=self.limit, trace=trace)

    async def save(self, docs: Sequence[Document[S]]) -> Saved[S]:
        """Write the changed documents in one guarded bulk write; raises TransientError if the outcome is unknown."""
        changed = [doc for doc in docs if doc.changed]
        if not changed:
            return Saved(list(docs))
        await self._insert_first(changed)
        await self.home_partitions()
        outcome = await self.store.write(self.kind.collection, [self._guarded(doc) for doc in changed])
        if outcome.unknown:
            raise TransientError("the outcome of a write is unknown")
        written = [doc for doc in changed if doc.id not in outcome.lost]
        for doc in written:
            doc.version += 1
            doc.outbox += doc.fresh
            doc.fresh, doc.inserts, doc.changed = [], [], False
        metrics.LOST_GUARDS.inc(len(outcome.lost))
        for watcher in self._watchers:
            watcher([doc for doc in written if doc.fault is None])
        for doc in written:
            doc.announced = []
        won = [doc for doc in docs if doc.id not in outcome.lost]
        return Saved(won, [doc for doc in docs if doc.id in outcome.lost])

    async def publish(self, docs: Iterable[Document[S]], beat: Callable[[], object] = lambda: None) -> set[str]:
        """Publish outboxes in order, up to the first entry that is not confirmed; returns the ids of the empty ones.

        `beat` is called after each bounded wait: in an outage several may follow one another. Raises TransientError
        while Kafka cannot be reached.
        """
        docs = list(docs)
        if waiting := [doc for doc in docs if doc.outbox]:
            async with self._turn({doc.id for doc in waiting}, beat):
                await self._send(waiting)
                beat()
        return {doc.id for doc in docs if not doc.outbox}

    async def _send(self, docs: Sequence[Document[S]]) -> None:
        """Send what this process has not seen confirmed yet. What is confirmed leaves the outboxes of `docs`."""
        runs = [[entry for entry in doc.outbox if entry.id not in self._confirmed] for doc in docs]
        counts = await self.sender.send_runs(
            [
                [Outgoing(self.topic, doc.id.encode(), entry.event, HEADERS) for entry in run]
                for doc, run in zip(docs, runs, strict=True)
            ]
        )
        metrics.PUBLISHED.inc(sum(counts))
        for doc, run, count in zip(docs, runs, counts, strict=True):
            unconfirmed = {entry.id for entry in run[count:]}
            # Also those that were known: the store had them when this document was loaded.
            self._confirmed.add(doc.id, [entry.id for entry in doc.outbox if entry.id not in unconfirmed])
            doc.outbox = run[count:]

    async def clear(self) -> None:
        """Remove confirmed entries from the stored outboxes; raises TransientError, and the next call continues."""
        await self._confirmed.clear(partial(self.store.clear, self.kind.collection))

    @asynccontextmanager
    async def _turn(self, ids: set[str], beat: Callable[[], object]) -> AsyncIterator[None]:
        """Wait until no other task of this process publishes any of these documents: it would send the same entries."""
        while others := [self._publishing[i] for i in ids if i in self._publishing]:
            await others[0].wait()
            beat()
        done = asyncio.Event()
        self._publishing.update(dict.fromkeys(ids, done))
        try:
            yield
        finally:
            for doc_id in ids:
                del self._publishing[doc_id]
            done.set()

    async def try_publish(self, docs: Iterable[Document[S]]) -> None:
        """Publish what was written; what cannot be published now is stored, and left to the sweeper."""
        try:
            await self.publish(docs)
        except TransientError as fault:
            log.warning("not published, left to the sweeper", fault=str(fault))

    async def write(self, docs: Sequence[Document[S]]) -> Saved[S]:
        """Save documents outside the batch loop, and publish their events."""
        saved = await self.save(docs)
        await self.try_publish(saved.won)
        return saved

    async def change(
        self,
        doc_id: str,
        decide: Callable[[S | None], Decision[S] | None],
        *,
        cause: Cause | None = None,
    ) -> Document[S]:
        """Change one document outside the batch loop (REST, sending), and return it.

        `decide` is called again after a lost guard; None from it changes nothing. Raises TransientError where
        `ATTEMPTS` writes in a row were lost to other writers.
        """

        def edit(doc: Document[S]) -> None:
            if (decision := decide(doc.state)) is not None:
                self.apply(doc, decision, cause=cause)

        won = await self.edit([doc_id], edit, attempts=ATTEMPTS)
        if doc_id not in won:
            raise TransientError(f"{doc_id} was changed concurrently {ATTEMPTS} times")
        return won[doc_id]

    async def edit(
        self,
        ids: Iterable[str],
        edit: Callable[[Document[S]], object],
        *,
        write: Callable[[Sequence[Document[S]]], Awaitable[Saved[S]]] | None = None,
        on_fault: OnFault | None = None,
        attempts: int = 1,
        held: Mapping[str, Document[S]] = MappingProxyType({}),
    ) -> dict[str, Document[S]]:
        """Load documents, let `edit` apply decisions to each, write them; those lost to another writer once more.

        Returns the documents that `write` (by default `Documents.write`) reports as won, after at most so many
        attempts. `held` are documents that are loaded already: they serve the first attempt.

        With `on_fault`, a document that fails does not stop the others. A fault of the store stops all of them: raises
        TransientError.
        """
        won, left = dict[str, Document[S]](), list(ids)
        for _ in range(attempts):
            if not left:
                break
            saved = await self._attempt(left, held, edit, write or self.write, on_fault)
            won |= {doc.id: doc for doc in saved.won}
            left, held = [doc.id for doc in saved.lost], {}
        return won

    async def _attempt(
        self,
        ids: Sequence[str],
        held: Mapping[str, Document[S]],
        edit: Callable[[Document[S]], object],
        write: Callable[[Sequence[Document[S]]], Awaitable[Saved[S]]],
        on_fault: OnFault | None,
    ) -> Saved[S]:
        edited = []
        try:
            docs = {i: held[i] for i in ids if i in held}
            docs |= await self.load(i for i in ids if i not in docs)
            for doc in docs.values():
                try:
                    edit(doc)
                except Exception as fault:
                    if on_fault is None:
                        raise
                    on_fault(doc.id, fault)
                else:
                    edited.append(doc)
            return await write(edited)
        except TransientError:
            raise
        except Exception as fault:
            if on_fault is None:
                raise
            if len(ids) == 1:
                on_fault(ids[0], fault)
                return Saved()
        # One of them cannot be read or written, and it is unknown which.
        alone = [await self._attempt([doc_id], {}, edit, write, on_fault) for doc_id in ids]
        return Saved([doc for saved in alone for doc in saved.won], [doc for saved in alone for doc in saved.lost])

    async def sweep(self, older_than: timedelta, limit: int = 500) -> int:
        """Publish entries that have waited longer than that; returns how many documents had some."""
        now = self.clock.now()
        own = None if self.owned is None else list(self.owned())
        raws = await self.store.stale(self.kind.collection, now - older_than, limit, partitions=own)
        if own is not None:  # other partitions' owners publish their own, unless they are gone
            raws += await self.store.stale(self.kind.collection, now - 6 * older_than, limit)
        docs = self._outboxes({raw["_id"]: raw for raw in raws}.values())
        oldest = min((e.at for doc in docs for e in doc.outbox), default=now)
        metrics.OUTBOX_AGE.labels(self.kind.collection).set((now - oldest).total_seconds())
        await self.publish(docs)
        return len(docs)

    def _outboxes(self, raws: Iterable[Mapping[str, Any]]) -> list[Document[S]]:
        """Read outboxes without the states; one that cannot be read does not stop the others."""
        docs: list[Document[S]] = []
        for raw in raws:
            try:
                docs.append(Document(raw["_id"], outbox=document.outbox(raw)))
            except Exception as fault:
                log.error("an outbox cannot be read", document=raw["_id"], fault=repr(fault))
        return docs

    async def home_partitions(self) -> int:
        """Return how many partitions the home topic has; 0 without one. Raises TransientError."""
        if not self._home_partitions and self.home_topic:
            self._home_partitions = await self.sender.partitions(self.home_topic)
        return self._home_partitions

    def home_partition(self, doc_id: str) -> int | None:
        """Return the partition whose owner runs this document's timers; None before it is known."""
        if not self._home_partitions:
            return None
        return partition_of(self.kind.home_key(doc_id).encode(), self._home_partitions)

    def _guarded(self, doc: Document[S]) -> Guarded:
        values = document.fields(self.kind, doc, self.home_partition(doc.id))
        return Guarded(doc.id, doc.version, values, [entry.dump() for entry in doc.fresh])

    async def _insert_first(self, docs: Sequence[Document[S]]) -> None:
        by_collection: dict[str, list[dict[str, Any]]] = {}
        for doc in docs:
            for insert in doc.inserts:
                by_collection.setdefault(insert.collection, []).append(dict(insert.document))
        for collection, rows in by_collection.items():
            await self.store.insert(collection, rows)
