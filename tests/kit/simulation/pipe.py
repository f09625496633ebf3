"""The simulated pipe: input partitions, documents with an outbox, an output log, a dead letter topic, and kit's code.

Delivery, Documents, PollLoop, Consumer and Ticker are real; store, broker and consumer group are simulated. Switching
off a rule replaces only the code of that rule: see `careless.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from aiokafka.errors import KafkaError

from contracts.dlq import REFUSED, REPLAY_OF, DeadLetter, original_headers
from contracts.envelope import Event
from kit.base.errors import TransientError
from kit.kafka.batch_size import BatchSize
from kit.kafka.reading import PollLoop
from kit.protocol import document
from kit.protocol.deadletter import DeadLetters
from kit.protocol.document import MISSING_CAP, Decision, Document, Kind
from kit.protocol.handling import Handling, Incoming
from kit.protocol.outbox import Documents
from kit.protocol.ports import Outgoing
from kit.protocol.timers import Ticker
from tests.clearing import ClearedAtOnce
from tests.fake_clock import FakeClock
from tests.kit.simulation.careless import Careless, NoGoBack, PublishesLosers, SimConsumer, at_once
from tests.kit.simulation.records import START, Done, Ignored, Input, enumerate_records, poke
from tests.kit.simulation.servers import IN, SimSender, SimStore
from tests.kit.simulation.world import Killed, World, step

DUE = START + timedelta(seconds=1)
OUT, DLQ = "out", "dlq"
PERIOD = 0.5
"""Seconds between polls of the timers."""


class Recorder(Handling[dict[str, Any]]):
    """The simulated service: it records each event that it handled, and emits an event about it."""

    begins = "/deskbus/ingest"

    def __init__(self, world: Pipe, me: str) -> None:
        self.w, self.me = world, me

    async def locate(self, items: list[Incoming]) -> Mapping[str, Document[dict[str, Any]]]:
        for item in items:
            if item.head is not None and not self.w.on("seen-by-subject"):
                item.doc_id = "T"
            if item.event is not None and item.event.known and item.event.data.kind == "flaky":
                item.value = await step("decide a flaky one", "transient fault")
        if not self.w.mended and any(b'"kind":"buggy"' in (item.record.value or b"") for item in items):
            raise RuntimeError("a bug that shows before anything is decided")
        return {}

    def decide(self, state: dict[str, Any] | None, item: Incoming, now: datetime) -> Decision[dict[str, Any]]:
        event = item.event
        assert event is not None
        if item.value not in {None, "ok"}:
            raise TransientError(item.value)
        if event.data.kind == "killer" and not self.w.mended:
            raise Killed
        if event.data.kind == "poison" and not self.w.mended:
            raise ValueError("poison")
        what = [event.source, event.subject, event.sequence]
        before = state or {"done": [], "fired": False, "answered": False}
        after = before | {
            "done": [*before["done"], what],
            "answered": before["answered"] or event.data.kind == "answer",
        }
        return Decision(after, [Done(what=f"{what}", who=self.me)])


KIND: Kind[dict[str, Any]] = Kind(
    "docs", "/deskbus/test", OUT, load=dict, dump=dict, home_topic=IN,
    due=lambda s: None if s["fired"] or s["answered"] else DUE,
)  # fmt: skip


class Pipe(World):
    """Two replicas that share the input partitions, a sweeper and tickers. `inputs`: per partition, encoded events."""

    def __init__(
        self, off: Collection[str], budget: int, inputs: Sequence[Sequence[bytes]], *,
        timers: bool = False, replicated: bool = False, archive: bool = False, late: Sequence[bytes] = (),
        strange: Sequence[bytes] = (), later: bool = False, gone: int = 0,
    ) -> None:  # fmt: skip
        """`late`: events appended to the first partition just before the deadline; `strange`: to the last one.

        `gone`: events up to this sequence number that are not among the inputs were deleted unread. `later`: an actor
        of its own clears confirmed outbox entries, as in the services.
        """
        super().__init__(budget)
        self.later, self.gone = later, gone
        self.off, self.replicated, self.clock = off, replicated, FakeClock(START)
        self.inputs = [list(enumerate_records(p, events)) for p, events in enumerate(inputs)]
        self.owners = [f"R{p % 2}" for p in range(len(inputs))]
        self.generation = [0] * len(inputs)
        self.committed = [0] * len(inputs)
        self.begun: dict[int, str] = {}
        self.positions: dict[tuple[str, int], tuple[int, int]] = {}
        self.docs: dict[str, dict[str, Any]] = {}
        self.major = {} if replicated else self.docs
        self.term, self.mended, self.archived = 0, False, False
        self.replayed = 0
        """Number of dead letters replayed. A replayed record that is dead-lettered again is replayed again."""
        self.log: list[Outgoing] = []
        self.limbo: list[Outgoing] = []
        self.gaps: list[tuple[str, str, int, int]] = []
        self.forgotten: list[list[Any]] = []
        self.workers = ["R0", "R1"]
        self.consumers: dict[str, SimConsumer] = {}
        self.busy = self.workers + (["TICK0", "TICK1"] if timers else [])
        self.twins = ["TICK"] * timers + ["CLEAR"] * later
        for name in self.workers:
            self.start(name, partial(self.replica, name))
        for name in self.busy[2:]:
            self.start(name, partial(self.ticker, name.replace("TICK", "R")))
        for name in self.workers if later else ():
            self.start(name.replace("R", "CLEAR"), partial(self.clearer, name))
        self.start("SWEEP", self.sweeper)
        self._acts(archive=archive, late=late, strange=strange)

    def _acts(self, *, archive: bool, late: Sequence[bytes], strange: Sequence[bytes]) -> None:
        for p in range(len(self.owners)):
            for r in self.workers:
                self.act(f"REBALANCE {p} to {r}", 1, partial(self.belongs_elsewhere, p, r), partial(self.move, p, r))
        for i in (0, -1):
            self.act(f"LATE APPEND {i}", 0, lambda: bool(self.limbo), partial(self.append_late, i))
        self.act("MEND, REPLAY THE DLQ", 0, self.can_mend, self.mend)
        if archive:
            self.act("ARCHIVE T", 0, self.can_archive, self.forget)
        if late:
            self.act(
                "IN TIME, AND THEN IT IS TIME", 0, lambda: self.clock.now() < DUE, partial(self.deadline, late, strange)
            )
            self.act("TIME GOES ON", 0, self.due, lambda: self.clock.advance(PERIOD / 2))
        if self.replicated:
            self.act("REPLICATE", 0, self.behind, lambda: self.major.update(copy.deepcopy(self.docs)))
            self.act("FAILOVER", 1, self.behind, self.failover)

    def belongs_elsewhere(self, p: int, r: str) -> bool:
        return self.owners[p] != r

    def append_late(self, i: int) -> None:
        self.log.append(self.limbo.pop(i))

    def can_mend(self) -> bool:
        return len(self.letters()) > self.replayed and self.idle(*self.busy)

    def can_archive(self) -> bool:
        return "T" in self.docs and not self.archived and self.idle(*self.busy, "SWEEP")

    def behind(self) -> bool:
        return self.docs != self.major

    def on(self, rule: str) -> bool:
        return rule not in self.off

    # -- actors --------------------------------------------------------------------------------------------------

    def documents(self, *, later: bool = False) -> Documents[Any]:
        promptly = ClearedAtOnce if self.on("know-the-losers") else PublishesLosers
        make = Documents if later else promptly
        return make(KIND, SimStore(self), SimSender(self), self.clock)

    def consumer(self, me: str) -> SimConsumer:
        letters = DeadLetters(DLQ, "test", SimSender(self))
        delivery = Careless(self.documents(later=self.later), Recorder(self, me), letters, attempts=100)
        delivery.world = self
        return SimConsumer(self, me, delivery)

    def died(self, name: str) -> None:
        for p, owner in enumerate(self.owners):
            self.generation[p] += owner == name
        for twin in self.twins if name in self.workers else ():
            self.begin[name.replace("R", twin)]()  # actors of the same process

    async def replica(self, me: str) -> None:
        consumer = self.consumers[me] = self.consumer(me)
        make, size = PollLoop if self.on("go-back") else NoGoBack, BatchSize(2, 1.0, 1000)
        size.note(1, 0.0)  # it has been up for a while
        polls = make(
            consumer._client(), self.clock, running=lambda: True, beat=lambda: None,
            in_hand=consumer._take_in_hand, size=size, weigh=lambda record: 600 * (record.offset % 2),
            before=consumer._before_poll, after=consumer._flow.hold,
        )  # fmt: skip
        while True:
            try:
                polled = await polls.getmany()
            except KafkaError:  # FastStream sleeps for some seconds and polls again
                await step("rest")
                continue
            await consumer._batch([record for records in polled.values() for record in records])

    async def clearer(self, me: str) -> None:
        await step("start clearing")
        documents = self.consumers[me].delivery.documents
        while True:
            await step("clear later", when=lambda: bool(documents._confirmed))
            try:
                await documents.clear()
            except TransientError:
                continue

    async def sweeper(self) -> None:
        documents = self.documents()
        by = "outbox" if self.on("find-by-outbox") else "flag"
        while True:
            await step("sweep", when=lambda: any(d.get(by) and d["outbox"] for d in self.major.values()))
            try:
                await documents.sweep(timedelta(0))
            except TransientError:
                continue

    async def ticker(self, me: str) -> None:
        await step("start timers")  # by now the process has restarted
        consumer = self.consumers[me]
        if not self.on("barrier"):
            consumer.handled_until = at_once  # type: ignore[method-assign, assignment]
        documents = consumer.delivery.documents
        ticker = Ticker(documents, consumer, self.fire(me), grace=timedelta(0), period=PERIOD)
        while True:
            await step("tick", when=lambda: self.owners[0] == me and self.has_to_do(ticker, consumer))
            try:
                await ticker.tick()
            except TransientError:
                continue

    def has_to_do(self, ticker: Ticker[Any], consumer: SimConsumer) -> bool:
        """Whether the ticker has to act: a poll of the store is due, or a timer that it already knows."""
        now, until = self.clock.now(), ticker._until
        look = until is None or until <= now or ticker._owned != consumer.owned(IN)
        return self.due() and (look or any(at <= now for at, _ in ticker._soon.values()))

    def due(self) -> bool:
        return self.clock.now() >= DUE and any(d.get("due") for d in self.major.values())

    def fire(self, me: str) -> Any:
        def decide(state: dict[str, Any], _: datetime) -> Decision[dict[str, Any]]:
            return Decision(state | {"fired": True}, [Done(what="fired", who=me)])

        return decide

    # -- the consumer group --------------------------------------------------------------------------------------

    def position(self, me: str, p: int) -> int:
        generation, offset = self.positions.get((me, p), (-1, 0))
        return offset if generation == self.generation[p] else self.committed[p]

    def waiting(self, me: str) -> list[int]:
        return [p for p, o in enumerate(self.owners) if o == me and self.position(me, p) < len(self.inputs[p])]

    def next_records(self, me: str, p: int, most: int) -> list[Input]:
        start = self.position(me, p)
        return self.inputs[p][start : start + most]

    def move(self, p: int, r: str) -> None:
        self.owners[p] = r
        self.generation[p] += 1

    # -- dead letters, replays and faults ------------------------------------------------------------------------

    def letters(self) -> list[Outgoing]:
        return [record for record in self.log if record.topic == DLQ]

    def dead(self, since: int = 0) -> list[Outgoing]:
        seen: dict[bytes | None, Outgoing] = {}
        refused = self.refused()
        for record in self.letters()[since:]:
            if record not in refused:
                seen.setdefault(record.value, record)
        return list(seen.values())

    def letters_of(self, record: Input) -> list[DeadLetter]:
        """Return the dead letters about an unreadable record, found by its partition and offset."""
        letters = [DeadLetter.from_kafka(r.key, r.value, r.headers) for r in self.letters()]
        return [letter for letter in letters if (letter.partition, letter.offset) == (record.partition, record.offset)]

    def refused(self) -> list[Outgoing]:
        """Return dead letters of refused replays: the document no longer knows whether it handled the event."""
        return [r for r in self.letters() if dict(r.headers)["deskbus_dlq_error_type"] == REFUSED.encode()]

    def mend(self) -> None:
        self.mended = True
        p = len(self.inputs)
        values = [d.value.replace(b'"kind":7', b'"kind":"plain"') for d in self.dead(self.replayed) if d.value]
        self.replayed = len(self.letters())
        assert not any(n.startswith("deskbus_dlq") for d in self.dead() for n, _ in original_headers(d.headers))
        self.inputs.append([replace(r, headers=[(REPLAY_OF, b"0/0")]) for r in enumerate_records(p, values)])
        self.owners.append("R0")
        self.generation.append(0)
        self.committed.append(0)

    def deadline(self, late: Sequence[bytes], strange: Sequence[bytes]) -> None:
        for p, values in ((0, late), (-1, strange)):
            records = self.inputs[p]
            records += list(enumerate_records(p % len(self.inputs), values, len(records)))
        self.clock.set(DUE + timedelta(milliseconds=1))

    def forget(self) -> None:
        """Archive the document; its subject gets another event afterwards."""
        self.archived = True
        doc = self.docs.pop("T")
        self.forgotten += doc["state"]["done"]
        if self.on("tombstone"):
            self.docs["T"] = doc | {"state": None, "due": None}
        self.inputs[0] += enumerate_records(0, [poke(2)], len(self.inputs[0]))

    def failover(self) -> None:
        self.docs.clear()
        self.docs.update(copy.deepcopy(self.major))
        self.term += 1

    # -- what must hold ------------------------------------------------------------------------------------------

    def check(self) -> None:
        first: dict[tuple[str, int], bytes | None] = {}
        for record in self.log:
            if record.topic == OUT:
                event = Event.parse(record.value or b"")
                where = event.subject, event.sequence
                assert first.setdefault(where, record.value) == record.value, f"two different events are {where}"
                assert event.sequence == 1 or (event.subject, event.sequence - 1) in first, f"order: {where} came early"
        for doc in self.docs.values():
            waiting = {e["sequence"] for e in doc["outbox"]}
            for n in range(1, doc.get("emitted", 0) + 1):
                assert (doc["_id"], n) in first or n in waiting, f"cleared but never confirmed: {n}"
            self._check_effects((doc.get("state") or {"done": []})["done"])
        for source, subject, low, high in self.gaps:
            if high <= self.gone + 1:
                continue
            between = [e for e in self._dead_places() if e[:2] == (source, subject) and low < e[2] < high]
            assert between, f"false gap: {source} {subject} {low}..{high}"

    def _check_effects(self, done: Sequence[Sequence[Any]]) -> None:
        for i, (source, subject, sequence) in enumerate(done):
            before = [d[2] for d in done[:i] if d[:2] == [source, subject]]
            assert sequence not in before, f"effect twice: {done}"
            replayed = (source, subject, sequence) in self._dead_places()
            assert replayed or all(s < sequence for s in before), f"effects out of order: {done}"

    def _dead_places(self) -> set[tuple[str, str, int]]:
        heads = [Event.envelope_only(d.value) for d in self.dead() if d.value]
        return {(h.source, h.subject, h.sequence) for h in heads}

    def final(self) -> None:
        done = self.forgotten + [e for d in self.docs.values() for e in (d.get("state") or {"done": []})["done"]]
        for record in {r.value: r for p in self.inputs for r in p}.values():
            head = Event.envelope_only(record.value)
            if head.type == Ignored.type or (b'"kind":7' in record.value):
                continue
            if record.unreadable:
                assert self.letters_of(record), f"passed by without a letter: {record.partition}@{record.offset}"
                continue
            if head.sequence + MISSING_CAP < self.gone and record.value in [letter.value for letter in self.refused()]:
                continue  # dead-lettered after crashes, and its hole was dropped as the oldest of too many
            assert done.count([head.source, head.subject, head.sequence]) == 1, f"lost: {head}"
        for doc in self.docs.values():
            assert not doc["outbox"], f"outbox of {doc['_id']} is never published"
            state = document.read(KIND, doc).state
            assert not (state and state["fired"] and state["answered"]), "a breach, although the answer came in time"
            if self.clock.now() >= DUE and state and not state["answered"] and self.busy[2:]:
                assert state["fired"], "the deadline passed in silence"
