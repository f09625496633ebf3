"""The document outbox: load, decide, one guarded write, publish, clear. All that changes an aggregate passes here.

Rule: nobody publishes what he did not write with an acknowledgement, and an entry leaves the outbox only after the
broker has confirmed it. Store and sender are protocols, so that the same code runs against a simulation.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import structlog

from contracts.envelope import HEADERS
from contracts.topics import topic_name
from kit.base import metrics
from kit.base.clock import Clock
from kit.base.errors import TransientError, Unloadable
from kit.protocol import document
from kit.protocol.document import Cause, Decision, Document, Kind
from kit.protocol.partition import partition_of
from kit.protocol.ports import Guarded, Outgoing, Publisher, Store

S = TypeVar("S")
log = structlog.get_logger(__name__)

#: Confirmed entries that a process remembers, so that no task of it sends them again.
TOLD = 10_000
#: Most entries that one statement takes out of stored outboxes; halved when one fails, doubled when one does not.
CLEARED = 1_000
#: So many documents that do not load are passed over in a search.
FAULTY = 1_000
Apart = Callable[[str, Exception], None]
"""Told of the id of a document that failed, and of its fault."""


@dataclass(frozen=True, slots=True)
class Saved(Generic[S]):
    """What a guarded write came to: who lost must load and decide again."""

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
        """Confirmed entries leave the store when somebody calls `clear`, many in one statement."""
        self.kind, self.store, self.clock, self.limit = kind, store, clock, limit
        self._sender = sender
        self.topic = topic_name(kind.topic, prefix)
        self.home_topic = topic_name(kind.home_topic, prefix) if kind.home_topic else ""
        self._home_partitions = 0
        self._talking: dict[str, asyncio.Event] = {}
        self._told: dict[str, None] = {}
        self._confirmed: dict[str, dict[str, None]] = {}
        """Of each document the entries that the store has still, in their order."""
        self._clearing = CLEARED
        self._watchers: list[Callable[[Sequence[Document[S]]], None]] = []
        #: The partitions of the home topic that this process owns; None: nobody tells.
        self.owned: Callable[[], Collection[int]] | None = None

    def watch(self, watcher: Callable[[Sequence[Document[S]]], None]) -> None:
        """Call `watcher` with the documents of every write that this process makes, once it is durable.

        Their `said` has what the write announces: decisions are counted here, where each is counted once. It is not
        told of documents whose state does not load: what they have decided did not change.
        """
        self._watchers.append(watcher)

    async def load(self, ids: Iterable[str]) -> dict[str, Document[S]]:
        """Load documents by id, in one query; an id never seen gives a new document."""
        wanted = list(dict.fromkeys(ids))
        found = {raw["_id"]: raw for raw in await self.store.fetch(self.kind.collection, wanted)}
        return {i: document.read(self.kind, found[i]) if i in found else Document(i) for i in wanted}

    async def find(self, query: Mapping[str, Any], *, sort: Any = None, limit: int = 100) -> list[Document[S]]:
        """Find documents by fields of their state (`state.…`), for doors and sweeps; passes over what does not load.

        A page is full whenever there is enough that loads. Raises Unloadable where too much does not.
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

    async def tally(self, query: Mapping[str, Any], by: Sequence[str], least: str) -> list[dict[str, Any]]:
        """Count documents by fields of their state, without reading them: rows of `by`, `count` and `least`."""
        return await self.store.tally(self.kind.collection, query, by, least)

    def apply(self, doc: Document[S], decision: Decision[S], *, cause: Cause | None = None) -> None:
        """Put a decision into a document; raises TooLarge or Full and then leaves it as it was."""
        document.apply(self.kind, doc, decision, now=self.clock.now(), cause=cause, limit=self.limit)

    async def save(self, docs: Sequence[Document[S]]) -> Saved[S]:
        """Write the changed documents in one guarded bulk write; raises TransientError if the outcome is unknown."""
        changed = [doc for doc in docs if doc.changed]
        if not changed:
            return Saved(list(docs))
        await self._insert_first(changed)
        if not self._home_partitions and self.home_topic:
            self._home_partitions = await self._sender.partitions(self.home_topic)
        outcome = await self.store.write(self.kind.collection, [self._guarded(doc) for doc in changed])
        if outcome.unknown:
            raise TransientError("the outcome of a write is unknown")
        unchanged = [doc for doc in docs if not doc.changed]
        lost = [doc for doc in changed if doc.id in outcome.lost]
        written = [doc for doc in changed if doc.id not in outcome.lost]
        for doc in written:
            doc.version += 1
            doc.outbox += doc.fresh
            doc.fresh, doc.inserts, doc.changed = [], [], False
        metrics.LOST_GUARDS.inc(len(lost))
        for watcher in self._watchers:
            watcher([doc for doc in written if doc.fault is None])
        for doc in written:
            doc.said = []
        return Saved(unchanged + written, lost)

    async def publish(self, docs: Iterable[Document[S]], beat: Callable[[], object] = lambda: None) -> set[str]:
        """Publish the whole outbox of each document; returns ids with nothing left to say.

        `beat` is called with each bounded wait that is over: in an outage several may follow one another.
        """
        docs = list(docs)
        silent = {doc.id for doc in docs if not doc.outbox}
        talking = [doc for doc in docs if doc.outbox]
        if not talking:
            return silent
        async with self._turn({doc.id for doc in talking}, beat):
            confirmed = await self._send(talking)
            beat()
            self._remember(confirmed)
            self._owe(confirmed)
        for doc in talking:
            document.trim(doc, confirmed.get(doc.id, ()))
        return silent | {doc.id for doc in talking if not doc.outbox}

    async def clear(self) -> None:
        """Take what the broker confirmed out of the stored outboxes, some at a time.

        Raises TransientError, and then the rest is for the next call, with less in a statement.

        Until then a crash only makes the next owner say it again, under the same ids.
        """
        while self._confirmed:
            confirmed = self._take_confirmed(self._clearing)
            try:
                await self.store.clear(self.kind.collection, confirmed)
            except BaseException:
                self._owe(confirmed)
                self._clearing = max(1, self._clearing // 2)  # it may have been too much for the store
                raise
            self._clearing = min(CLEARED, self._clearing * 2)

    def _take_confirmed(self, most: int) -> dict[str, list[str]]:
        taken: dict[str, list[str]] = {}
        while self._confirmed and most > 0:
            doc_id = next(iter(self._confirmed))
            entries = list(self._confirmed.pop(doc_id))
            taken[doc_id], rest = entries[:most], entries[most:]
            most -= len(taken[doc_id])
            if rest:
                self._confirmed[doc_id] = dict.fromkeys(rest)
        return taken

    def _owe(self, confirmed: Mapping[str, Sequence[str]]) -> None:
        for doc_id, entries in confirmed.items():
            self._confirmed.setdefault(doc_id, {}).update(dict.fromkeys(entries))

    async def _send(self, docs: Sequence[Document[S]]) -> dict[str, list[str]]:
        """Send what this process has not seen confirmed yet; returns the confirmed entries of each document."""
        told = [[e.id for e in doc.outbox if e.id in self._told] for doc in docs]
        runs = [[e for e in doc.outbox if e.id not in self._told] for doc in docs]
        counts = await self._sender.send_runs(
            [
                [Outgoing(self.topic, self.kind.key(doc.id).encode(), e.event, HEADERS) for e in run]
                for doc, run in zip(docs, runs, strict=True)
            ]
        )
        metrics.PUBLISHED.inc(sum(counts))
        sent = [[e.id for e in run[:n]] for run, n in zip(runs, counts, strict=True)]
        return {doc.id: old + new for doc, old, new in zip(docs, told, sent, strict=True) if old or new}

    @asynccontextmanager
    async def _turn(self, ids: set[str], beat: Callable[[], object]) -> AsyncIterator[None]:
        """Wait until nobody else in this process publishes one of these documents: he would say the same twice."""
        while others := [self._talking[i] for i in ids if i in self._talking]:
            await others[0].wait()
            beat()
        done = asyncio.Event()
        self._talking.update(dict.fromkeys(ids, done))
        try:
            yield
        finally:
            for doc_id in ids:
                del self._talking[doc_id]
            done.set()

    def _remember(self, confirmed: Mapping[str, Sequence[str]]) -> None:
        for ids in confirmed.values():
            self._told.update(dict.fromkeys(ids))
        while len(self._told) > TOLD:
            del self._told[next(iter(self._told))]

    async def say(self, docs: Iterable[Document[S]]) -> None:
        """Publish what was written. What cannot be published now is left to the sweeper: it is stored, so it stands."""
        try:
            await self.publish(docs)
        except TransientError as fault:
            log.warning("not published, left to the sweeper", fault=str(fault))

    async def write(self, docs: Sequence[Document[S]]) -> Saved[S]:
        """Save documents outside the batch loop, and say what they say."""
        saved = await self.save(docs)
        await self.say(saved.won)
        return saved

    async def change(
        self,
        doc_id: str,
        decide: Callable[[S | None], Decision[S] | None],
        *,
        cause: Cause | None = None,
        attempts: int = 10,
    ) -> S | None:
        """Change one document as `change_one` does, and return its state afterwards."""
        return (await self.change_one(doc_id, decide, cause=cause, attempts=attempts)).state

    async def change_one(
        self,
        doc_id: str,
        decide: Callable[[S | None], Decision[S] | None],
        *,
        cause: Cause | None = None,
        attempts: int = 10,
    ) -> Document[S]:
        """Change one document outside the batch loop (REST, sending), and return it.

        `decide` may be called again after a lost guard; None from it changes nothing. Raises TransientError where every
        attempt was lost to another writer.
        """
        won = await self.change_many([doc_id], lambda _, state: decide(state), cause=cause, attempts=attempts)
        if doc_id not in won:
            raise TransientError(f"{doc_id} was changed concurrently {attempts} times")
        return won[doc_id]

    async def change_many(
        self,
        ids: Sequence[str],
        decide: Callable[[str, S | None], Decision[S] | None],
        *,
        cause: Cause | None = None,
        apart: Apart | None = None,
        attempts: int = 1,
    ) -> dict[str, Document[S]]:
        """Change documents by what is decided of their states; see `edit`."""

        def edit(doc: Document[S]) -> None:
            decision = decide(doc.id, doc.state)
            if decision is not None:
                self.apply(doc, decision, cause=cause)

        return await self.edit(ids, edit, apart=apart, attempts=attempts)

    async def edit(
        self,
        ids: Iterable[str],
        edit: Callable[[Document[S]], object],
        *,
        write: Callable[[Sequence[Document[S]]], Awaitable[Saved[S]]] | None = None,
        apart: Apart | None = None,
        attempts: int = 1,
        held: Mapping[str, Document[S]] = MappingProxyType({}),
    ) -> dict[str, Document[S]]:
        """Load documents, let `edit` apply decisions to each, write them; those lost to another writer once more.

        Returns those that `write` (by default `write` of this class) says were not lost, after that many attempts at
        most. `held` are documents that are loaded already: good for one attempt.

        With `apart`, a document that fails stops no other: `apart` is told of it and of its fault. What is wrong with
        the store stops all: raises TransientError.
        """
        won, left = dict[str, Document[S]](), list(ids)
        for _ in range(attempts):
            if not left:
                break
            saved = await self._edit(left, held, edit, write or self.write, apart)
            won |= {doc.id: doc for doc in saved.won}
            left, held = [doc.id for doc in saved.lost], {}
        return won

    async def _edit(
        self,
        ids: Sequence[str],
        held: Mapping[str, Document[S]],
        edit: Callable[[Document[S]], object],
        write: Callable[[Sequence[Document[S]]], Awaitable[Saved[S]]],
        apart: Apart | None,
    ) -> Saved[S]:
        try:
            return await write(await self._edited(ids, held, edit, apart))
        except TransientError:
            raise
        except Exception as fault:
            if apart is None:
                raise
            if len(ids) == 1:
                apart(ids[0], fault)
                return Saved()
        # One of them cannot be read or written, and nothing says which.
        alone = [await self._edit([doc_id], {}, edit, write, apart) for doc_id in ids]
        return Saved([doc for saved in alone for doc in saved.won], [doc for saved in alone for doc in saved.lost])

    async def _edited(
        self,
        ids: Sequence[str],
        held: Mapping[str, Document[S]],
        edit: Callable[[Document[S]], object],
        apart: Apart | None,
    ) -> list[Document[S]]:
        docs = []
        at_hand = {i: held[i] for i in ids if i in held}
        for doc in (at_hand | await self.load(i for i in ids if i not in at_hand)).values():
            try:
                edit(doc)
            except Exception as fault:
                if apart is None:
                    raise
                apart(doc.id, fault)
            else:
                docs.append(doc)
        return docs

    async def sweep(self, older_than: timedelta, limit: int = 500) -> int:
        """Publish what has waited in outboxes longer than that; returns how many documents had such entries."""
        now = self.clock.now()
        own = None if self.owned is None else list(self.owned())
        raws = await self.store.stale(self.kind.collection, now - older_than, limit, partitions=own)
        if own is not None:  # what another replica owns it is about to publish itself, unless it is gone
            raws += await self.store.stale(self.kind.collection, now - 6 * older_than, limit)
        docs = self._outboxes({raw["_id"]: raw for raw in raws}.values())
        oldest = min((e.at for doc in docs for e in doc.outbox), default=now)
        metrics.OUTBOX_AGE.labels(self.kind.collection).set((now - oldest).total_seconds())
        await self.publish(docs)
        return len(docs)

    def _outboxes(self, raws: Iterable[Mapping[str, Any]]) -> list[Document[S]]:
        """Read what stored records have to say, without their state; one that cannot be read stops no other."""
        docs: list[Document[S]] = []
        for raw in raws:
            try:
                docs.append(Document(raw["_id"], outbox=document.outbox(raw)))
            except Exception as fault:
                log.error("an outbox cannot be read", document=raw["_id"], fault=repr(fault))
        return docs

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
