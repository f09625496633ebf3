"""Delivery on a real Kafka and a real MongoDB server: what is promised there, not what a fake would do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from faststream.kafka import KafkaRouter

from contracts.dlq import DeadLetter
from contracts.envelope import Event
from kit.base.clock import SystemClock
from kit.base.errors import TransientError
from kit.base.health import Health
from kit.base.settings import ServiceSettings
from kit.kafka.consumer import Consumer
from kit.kafka.producer import Producer
from kit.mongo import MongoStore
from kit.protocol.deadletter import DeadLetters
from kit.protocol.delivery import Delivery
from kit.protocol.document import MISSING_CAP, Decision, Kind
from kit.protocol.handling import Handling, Incoming
from kit.protocol.ports import Outgoing
from kit.protocol.timers import Ticker
from tests.clearing import ClearedAtOnce
from tests.conftest import Prefix
from tests.kit.simulation.records import Done, Poke, poke

IN, OTHER, OUT, DLQ = "in", "other", "out", "dlq"
PARTITIONS = 4


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Event, "known_types", {**Event.known_types, Poke.type: Poke})


async def until(true: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
    """Wait for a condition; the bound is there to end a failing test, not to time anything."""
    async with asyncio.timeout(seconds):
        while not await true():  # noqa: ASYNC110 - the condition lives in another process
            await asyncio.sleep(0.02)


def loaded(state: Mapping[str, Any]) -> dict[str, Any]:
    if state.get("newer"):
        raise ValueError("what a newer replica has written")
    return dict(state)


class Counting(Handling[dict[str, Any]]):
    """Counts events per subject; flaky ones fail as often as they are told to, poison always does."""

    def __init__(self) -> None:
        self.flaky: Counter[str] = Counter()
        self.mended = False

    def decide(self, state: dict[str, Any] | None, item: Incoming, now: datetime) -> Decision[dict[str, Any]]:
        event = item.event
        assert event is not None
        if event.data.kind == "poison" and not self.mended:
            raise ValueError("poison")
        if self.flaky[event.subject] > 0:
            self.flaky[event.subject] -= 1
            raise TransientError("not now")
        before = state or {"sequences": []}
        return Decision(
            before | {"sequences": [*before["sequences"], event.sequence]}, [Done(what=str(event.sequence), who="")]
        )


class Rig:
    """One prefix, with as many replicas as a test starts."""

    def __init__(self, kafka: str, mongo: str, prefix: Prefix) -> None:
        self.prefix = prefix.topics
        self.settings = ServiceSettings(
            kafka=kafka, mongo=mongo, topic_prefix=prefix.topics, mongo_prefix=prefix.mongo,
            retry_backoff_ms=20, retry_backoff_max_ms=200,
        )  # fmt: skip
        self.clock = SystemClock()
        self.store = MongoStore(mongo, self.settings.database)
        self.producer = Producer(kafka, client_id="test")
        self.handling = Counting()
        self.kind: Kind[dict[str, Any]] = Kind(
            "docs", "/deskbus/test", OUT, load=loaded, dump=dict, home_topic=IN, due=lambda s: s.get("due")
        )
        self.documents = ClearedAtOnce(self.kind, self.store, self.producer, self.clock, prefix=self.prefix)

    def delivery(self, attempts: int = 8, stop_window: int = 100) -> Delivery[dict[str, Any]]:
        letters = DeadLetters(self.prefix + DLQ, "test", self.producer, stop_window=stop_window)
        return Delivery(self.documents, self.handling, letters, attempts=attempts)

    @asynccontextmanager
    async def replica(self, topics: Sequence[str] = (IN,), **limits: int) -> AsyncIterator[Consumer]:
        health = Health(self.clock)
        follows = [self.prefix + topic for topic in topics]
        consumer = Consumer(self.settings, self.delivery(**limits), follows, self.clock, health)
        router = KafkaRouter()
        consumer.subscribe(router)
        await consumer.start(router)
        try:
            yield consumer
        finally:
            await consumer.stop()

    async def put(self, *values: bytes, key: bytes = b"k", topic: str = IN) -> None:
        for value in values:
            await self.producer.send(Outgoing(self.prefix + topic, key, value))

    async def state(self, subject: str) -> dict[str, Any]:
        docs = await self.documents.load([subject])
        return docs[subject].state or {"sequences": []}

    async def read(self, topic: str) -> list[Any]:
        """Everything that is in a topic now."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.settings.kafka, enable_auto_commit=False)
        await consumer.start()
        try:
            tps = [TopicPartition(self.prefix + topic, p) for p in range(PARTITIONS)]
            consumer.assign(tps)
            ends = await consumer.end_offsets(tps)
            for tp in tps:
                consumer.seek(tp, 0)
            records: list[Any] = []
            while any([await consumer.position(tp) < ends[tp] for tp in tps]):
                for batch in (await consumer.getmany(timeout_ms=100)).values():
                    records += batch
            return records
        finally:
            await consumer.stop()


@pytest.fixture
async def rig(kafka: str, mongo: str, prefix: Prefix) -> AsyncIterator[Rig]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics([NewTopic(prefix.topics + t, PARTITIONS, 1) for t in (IN, OTHER, OUT, DLQ)])
    await admin.close()
    rig = Rig(kafka, mongo, prefix)
    await rig.store.ensure_outbox_indexes("docs")
    await rig.producer.start()
    yield rig
    await rig.producer.stop()
    rig.store.close()


def sequences(count: int) -> list[int]:
    return list(range(1, count + 1))


async def test_each_event_has_its_effect_once_and_in_order(rig: Rig) -> None:
    subjects = [f"T{n}" for n in range(50)]
    runs = [[Outgoing(rig.prefix + IN, s.encode(), poke(n, subject=s)) for n in (1, 2, 3)] for s in subjects]
    await rig.producer.send_runs(runs + runs)  # every event comes twice
    async with rig.replica() as consumer:
        await until(lambda: _handled(consumer))
    for subject in subjects:
        assert (await rig.state(subject))["sequences"] == [1, 2, 3]
    said = [Event.parse(r.value) for r in await rig.read(OUT)]
    assert sorted({e.id for e in said}) == sorted(f"test:{s}:{n}" for s in subjects for n in (1, 2, 3))


async def test_a_process_that_starts_begins_with_one_record_and_grows(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.put(*(poke(n) for n in range(1, 41)))
    sizes: list[int] = []
    handle = Delivery.handle

    async def counted(self: Delivery[Any], records: Sequence[Any]) -> set[Any]:
        sizes.append(len(records))
        return await handle(self, records)

    async def handled() -> bool:
        return sum(sizes) == 40

    monkeypatch.setattr(Delivery, "handle", counted)
    async with rig.replica():
        await until(handled)
    assert sizes[:4] == [1, 2, 4, 8], "what killed the process before must not come back with many others"


async def test_a_fault_that_passes_stops_only_its_subject(rig: Rig) -> None:
    rig.handling.flaky["T"] = 3
    await rig.put(poke(1), poke(1, subject="U"), poke(2))
    async with rig.replica() as consumer:
        await until(lambda: _handled(consumer))
    assert (await rig.state("T"))["sequences"] == [1, 2]
    assert (await rig.state("U"))["sequences"] == [1]
    assert await rig.read(DLQ) == []


async def test_a_fault_that_does_not_pass_in_time_becomes_a_dead_letter(rig: Rig) -> None:
    rig.handling.flaky["T"] = 1000
    await rig.put(poke(1), poke(1, subject="U"))
    async with rig.replica(attempts=3) as consumer:
        await until(lambda: _handled(consumer))
    (letter,) = await rig.read(DLQ)
    view = DeadLetter.from_kafka(letter.key, letter.value, letter.headers)
    assert (view.subject, view.sequence, view.attempts) == ("T", 1, 3)
    assert "not now" in view.error


async def test_a_record_is_early_while_the_other_topic_of_its_partition_is_behind(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def waits(_: object) -> None:
        begun.set()
        await go_on.wait()

    monkeypatch.setattr(rig.handling, "before_write", waits)
    await rig.put(poke(1), topic=OTHER)
    async with rig.replica(topics=(IN, OTHER)) as consumer:
        await begun.wait()
        (here,) = consumer._in_hand
        places = [(rig.prefix + IN, partition, 0) for partition in range(PARTITIONS)]
        await until(lambda: _true([p[1] for p in places if consumer.delivery.is_early(p)] == [here.partition]))
        go_on.set()
        await until(lambda: _handled(consumer))
        assert not [p for p in places if consumer.delivery.is_early(p)]


async def test_a_document_that_does_not_load_waits_and_stops_no_other(rig: Rig) -> None:
    await rig.put(poke(1))
    async with rig.replica() as consumer:
        await until(lambda: _handled(consumer))
        stored = rig.store._collection("docs")
        await stored.update_one({"_id": "T"}, {"$set": {"state.newer": True}})
        await rig.put(poke(2), poke(1, subject="U"), poke(3))

        async def others_went_on() -> bool:
            return bool((await rig.state("U"))["sequences"] == [1])

        await until(others_went_on)
        await stored.update_one({"_id": "T"}, {"$set": {"state.newer": False}})
        await until(lambda: _handled(consumer))
    assert (await rig.state("T"))["sequences"] == [1, 2, 3]
    assert await rig.read(DLQ) == []


async def test_a_gap_beyond_what_is_remembered_stalls_nothing(rig: Rig) -> None:
    await rig.put(poke(1), poke(MISSING_CAP + 3), poke(MISSING_CAP + 4), poke(MISSING_CAP + 3, subject="U"))
    async with rig.replica() as consumer:
        await until(lambda: _handled(consumer))
        assert (await rig.state("T"))["sequences"] == [1, MISSING_CAP + 4]
        assert (await rig.state("U"))["sequences"] == [MISSING_CAP + 3]
        (letter,) = await rig.read(DLQ)
        await rig.put(letter.value)
        await until(lambda: _handled(consumer))
    assert (await rig.state("T"))["sequences"] == [1, MISSING_CAP + 4, MISSING_CAP + 3]


async def test_a_dead_letter_keeps_the_record_and_is_taken_after_the_mend(rig: Rig) -> None:
    await rig.producer.send(Outgoing(rig.prefix + IN, b"k", b"\xff junk", (("odd", b"\xfe"),)))
    await rig.put(poke(1), poke(2, "poison"), poke(3))
    async with rig.replica() as consumer:
        await until(lambda: _handled(consumer))
        assert (await rig.state("T"))["sequences"] == [1, 3]
        junk, poison = sorted(await rig.read(DLQ), key=lambda r: r.offset)
        assert (junk.value, junk.headers[0]) == (b"\xff junk", ("odd", b"\xfe"))
        rig.handling.mended = True
        await rig.put(poison.value)
        await until(lambda: _handled(consumer))
    assert (await rig.state("T"))["sequences"] == [1, 3, 2]


async def test_an_unknown_type_is_skipped_and_counted_never_dead(rig: Rig) -> None:
    await rig.put(poke(1, "ignored"), poke(2))
    async with rig.replica() as consumer:
        await until(lambda: _handled(consumer))
    assert (await rig.state("T"))["sequences"] == [2]
    assert await rig.read(DLQ) == []


async def test_when_too_many_die_consuming_stops_and_nothing_more_reaches_the_dlq(rig: Rig) -> None:
    async with rig.replica(stop_window=10) as consumer:
        for n in (1, 2, 3):
            await rig.put(poke(n, "poison"))
        await until(lambda: _handled(consumer))
        assert len(await rig.read(DLQ)) == 3
        for n in range(4, 30):
            await rig.put(poke(n, "poison"))
        await until(lambda: _stopped(consumer))
    assert 3 <= len(await rig.read(DLQ)) <= 5, "however the rest came in batches"


async def test_two_replicas_share_the_partitions_and_a_leaver_gives_its_own_back(rig: Rig) -> None:
    async with rig.replica() as first:
        async with rig.replica() as second:
            topic = rig.prefix + IN
            await until(lambda: _owns(first, second, topic))
            assert not set(first.owned(topic)) & set(second.owned(topic))
        for n in range(20):
            await rig.put(poke(1, subject=f"T{n}"), key=f"T{n}".encode())
        await until(lambda: _handled(first))
    states = [await rig.state(f"T{n}") for n in range(20)]
    assert all(s["sequences"] == [1] for s in states)


async def test_a_batch_that_is_broken_off_comes_again_whole(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.settings = rig.settings.model_copy(update={"grace_seconds": 3.0})
    begun = asyncio.Event()

    async def hangs(_: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    await rig.put(poke(1), poke(2))
    with monkeypatch.context() as patched:
        patched.setattr(rig.handling, "before_write", hangs)
        async with rig.replica():
            await begun.wait()
    async with rig.replica() as consumer:
        await until(lambda: _handled(consumer))
    assert (await rig.state("T"))["sequences"] == [1, 2]
    assert await rig.read(DLQ) == []


async def test_an_outbox_left_by_a_crash_is_published_by_the_sweeper(rig: Rig) -> None:
    docs = await rig.documents.load(["T"])
    rig.documents.apply(docs["T"], Decision({"sequences": []}, [Done(what="x", who="")]))
    await rig.documents.save(list(docs.values()))
    assert await rig.read(OUT) == []
    assert await rig.documents.sweep(timedelta(0)) == 1
    (record,) = await rig.read(OUT)
    assert Event.parse(record.value).id == "test:T:1"
    assert (await rig.documents.load(["T"]))["T"].outbox == []


async def test_a_deadline_fires_once_and_only_with_everything_before_it_handled(rig: Rig) -> None:
    fired: list[list[int]] = []

    def fire(state: dict[str, Any], now: datetime) -> Decision[dict[str, Any]]:
        fired.append(state["sequences"])
        return Decision(state | {"due": None}, [Done(what="fired", who="")])

    rig.handling.flaky["T"] = 3  # the event is late, and came in time all the same
    async with rig.replica() as consumer:
        await until(lambda: _owned(consumer, rig.prefix + IN))
        due = rig.clock.now() + timedelta(milliseconds=100)
        await rig.documents.change("T", lambda _: Decision({"sequences": [], "due": due}))
        await rig.put(poke(1), key=b"T")
        ticker = Ticker(rig.documents, consumer, fire)
        ticking = asyncio.create_task(ticker.run())
        try:
            await until(lambda: _true(bool(fired)))
        finally:
            ticking.cancel()
    assert fired == [[1]]


async def _handled(consumer: Consumer) -> bool:
    topics = consumer.topics
    owned = consumer.owned(topics[0])
    return len(owned) == PARTITIONS and (await consumer.handled_until(topics, owned)).keys() == set(owned)


async def _stopped(consumer: Consumer) -> bool:
    return consumer.delivery.stopped is not None


async def _owns(first: Consumer, second: Consumer, topic: str) -> bool:
    return len(first.owned(topic)) == len(second.owned(topic)) == PARTITIONS // 2


async def _owned(consumer: Consumer, topic: str) -> bool:
    return len(consumer.owned(topic)) == PARTITIONS


async def _true(value: bool) -> bool:
    return value
