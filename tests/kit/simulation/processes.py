"""Processes over simulated servers: a store with collections, a broker's log, input partitions and committed offsets.

Handlers, stores and tickers of the service are real. A process has several actors, which share its memory and crash
together. A partition may be read by several processes at once, as by a zombie and the new owner.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from contracts.envelope import Event
from kit.base.errors import TransientError
from kit.protocol.delivery import Delivery
from kit.protocol.ports import Guarded, Outgoing, WriteOutcome
from kit.protocol.record import Record, place
from tests.kit.fake_store import FakeStore, Row
from tests.kit.simulation.world import Step, World, step

Actor = Callable[[], Coroutine[Any, Any, None]]
AWAY = "fails"
UNKNOWN = "unknown outcome"
LATER = "timed out, written later"


class Servers(World):
    """State that survives crashes of processes: the store, the log, inputs and offsets."""

    def __init__(self, budget: int, inputs: Sequence[Sequence[Record]]) -> None:
        super().__init__(budget)
        self.rows: dict[str, dict[str, Row]] = {}
        self.log: list[Outgoing] = []
        self.limbo: list[Outgoing] = []
        self._known = 0
        self.writes: list[Callable[[], Coroutine[Any, Any, object]]] = []
        self.inputs = [list(records) for records in inputs]
        self.committed = [0] * len(self.inputs)
        for i in (0, -1):
            self.act(f"LATE APPEND {i}", 0, lambda: bool(self.limbo), partial(self._append, i))
            self.act(f"LATE WRITE {i}", 0, lambda: bool(self.writes), partial(self._write, i))

    def on(self, rule: str) -> bool:
        """Whether a rule of kit is on: all are here, since kit's own simulation tests them."""
        return True

    def process(self, name: str, boot: Callable[[], object], actors: Mapping[str, Actor]) -> None:
        """Start a process, and restart it after crashes: `boot` creates its memory, which its actors share."""

        def again() -> None:
            for actor in actors:
                self.actors.pop(actor)[0].close()
            boot()
            for actor in actors:
                self.begin[actor]()

        boot()
        for actor, make in actors.items():
            self.start(actor, make, crashes=False)
        self.act(f"CRASH {name}", 1, lambda: not self.idle(*actors), again)

    def _append(self, i: int) -> None:
        self.log.append(self.limbo.pop(i))

    def _write(self, i: int) -> None:
        at_once(self.writes.pop(i)())

    async def read(self, delivery: Delivery[Any], partitions: Sequence[int], size: int = 1) -> None:
        """Consume partitions from the committed offset. Like Kafka, accept commits that go backwards."""
        while True:
            await step("poll", when=lambda: any(self.committed[p] < len(self.inputs[p]) for p in partitions))
            for p in partitions:
                start = self.committed[p]
                records = self.inputs[p][start : start + size]
                unhandled = await delivery.handle(records) if records else set()
                done = next((n for n, record in enumerate(records) if place(record) in unhandled), len(records))
                if done:
                    await step(f"commit {p}@{start + done}")
                    self.committed[p] = start + done

    def grown(self) -> bool:
        """Whether the log has grown since the last call."""
        before, self._known = self._known, len(self.log)
        return self._known > before

    def events(self, topic: str) -> list[Event]:
        """Return the first occurrence of each event on a topic. A resend must be the same event, and in order."""
        first: dict[tuple[str, str, int], Outgoing] = {}
        events = []
        for record in self.log:
            if record.topic != topic:
                continue
            event = Event.parse(record.value or b"")
            where = event.source, event.subject, event.sequence
            if first.setdefault(where, record) is record:
                events.append(event)
            assert first[where].value == record.value, f"two different events are {event.id}"
            assert event.sequence == 1 or (*where[:2], event.sequence - 1) in first, f"order: {event.id} came early"
        return events

    def silent(self) -> None:
        """Assert that all inputs were handled without dead letters, and all outboxes published."""
        assert not [r for r in self.log if "dlq" in r.topic], "a dead letter"
        assert self.committed == [len(records) for records in self.inputs], f"not read: {self.committed}"
        waiting = [row["_id"] for rows in self.rows.values() for row in rows.values() if row.get("outbox")]
        assert not waiting, f"never published: {waiting}"

    def talking(self, collection: str) -> bool:
        """Whether an outbox in this collection has entries."""
        return any(row.get("outbox") for row in self.rows.get(collection, {}).values())


class StepStore(FakeStore):
    """One process's connection to the store. A write may fail, succeed partly, unconfirmed, or later."""

    def __init__(self, world: Servers) -> None:
        super().__init__()
        self.w, self.rows = world, world.rows

    async def fetch(self, collection: str, ids: Sequence[str]) -> list[Row]:
        if ids:
            await _reach(f"load {collection}")
        return await super().fetch(collection, ids)

    async def find(self, collection: str, query: Mapping[str, Any], **options: Any) -> list[Row]:
        await _reach(f"find {collection}")
        return await super().find(collection, query, **options)

    async def write(self, collection: str, writes: Sequence[Guarded]) -> WriteOutcome:
        half = ("half of it",) if len(writes) > 1 else ()
        out = await step(f"write {collection}", AWAY, UNKNOWN, LATER, *half)
        writes = self.unguarded(collection, writes)
        if out == LATER:
            self.w.writes.append(partial(super().write, collection, writes))
        if out in {AWAY, LATER}:
            return WriteOutcome(unknown=True)
        outcome = await super().write(collection, writes[: len(writes) // 2] if out in half else writes)
        return outcome if out == "ok" else WriteOutcome(unknown=True)

    def unguarded(self, collection: str, writes: Sequence[Guarded]) -> Sequence[Guarded]:
        """Return the writes; subclasses remove the guards of a rule that is switched off."""
        return writes

    def as_there(self, collection: str, write: Guarded) -> Guarded:
        """Return the write without its guard: with the version that is stored."""
        row = self.rows.get(collection, {}).get(write.id)
        return write if row is None else replace(write, version=row["version"])

    async def insert(self, collection: str, documents: Sequence[Mapping[str, Any]]) -> set[str]:
        if not documents:
            return set()
        out = await step(f"insert into {collection}", AWAY, UNKNOWN, LATER)
        if out == LATER:
            self.w.writes.append(partial(super().insert, collection, documents))
        existed = await super().insert(collection, documents) if out in {"ok", UNKNOWN} else set()
        if out != "ok":
            raise TransientError(out)
        return existed

    async def clear(self, collection: str, confirmed: Mapping[str, Sequence[str]]) -> None:
        await _reach(f"clear {collection}")
        await super().clear(collection, confirmed)


async def _reach(label: str) -> None:
    if await step(label, AWAY) != "ok":
        raise TransientError(label)


class StepLock:
    """An asyncio.Lock without an event loop."""

    def __init__(self) -> None:
        self.taken = False

    async def __aenter__(self) -> None:
        if self.taken:
            await step("wait for a lock", when=lambda: not self.taken)
        self.taken = True

    async def __aexit__(self, *_: object) -> None:
        self.taken = False


class StepEvent:
    """An asyncio.Event without an event loop."""

    def __init__(self) -> None:
        self._happened = False

    def is_set(self) -> bool:
        return self._happened

    def set(self) -> None:
        self._happened = True

    def clear(self) -> None:
        self._happened = False

    async def wait(self) -> None:
        if not self._happened:
            await step("wait for an event", when=self.is_set)


def by_hand(patch: pytest.MonkeyPatch) -> None:
    """Replace asyncio's primitives by versions that wait in steps of the simulation."""
    patch.setattr(asyncio, "Lock", StepLock)
    patch.setattr(asyncio, "Event", StepEvent)
    patch.setattr(asyncio, "gather", in_turn)
    patch.setattr(asyncio, "timeout", lambda _: nullcontext())


@types.coroutine
def in_turn(*parts: Coroutine[Any, Any, Any]) -> Generator[Step, str, list[Any]]:
    """An asyncio.gather without an event loop: the parts run in turn, one step each, with other actors in between."""
    results: list[Any] = [None] * len(parts)
    fault: BaseException | None = None
    waiting: list[tuple[int, Coroutine[Any, Any, Any], str | None]] = [(n, p, None) for n, p in enumerate(parts)]
    try:
        while waiting:
            n, part, answer = waiting.pop(0)
            try:
                asked = part.send(answer)
            except StopIteration as done:
                results[n] = done.value
            except TransientError as passing:
                fault = fault or passing
            else:
                waiting.append((n, part, (yield asked)))
    finally:
        for part in parts:
            part.close()
    if fault is not None:
        raise fault
    return results


def at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end without steps of other actors in between, and return its result."""
    answer: str | None = None
    try:
        while True:
            work.send(answer)
            answer = "ok"
    except StopIteration as done:
        return done.value
