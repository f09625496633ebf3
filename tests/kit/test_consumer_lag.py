"""How old the oldest record is that is not handled: its own timestamp says so, in whichever life of the process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from prometheus_client import REGISTRY

from contracts.topics import TICKETS, topic_name
from kit.base.clock import SystemClock
from kit.kafka.lag import Lag
from kit.kafka.producer import Producer
from kit.kafka.reading import Ends
from kit.protocol.ports import Outgoing
from tests.fake_clock import FakeClock
from tests.kit.raw import Raw
from tests.kit.test_outbox import START

HERE = TopicPartition("in", 0)


class Broker:
    """Ends of partitions and timestamps of records, by how many seconds ago that was at START; -1: none."""

    def __init__(self, *ages: float) -> None:
        self.ages, self.looks = list(ages), 0

    async def of(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, len(self.ages))

    async def instants(self, places: Mapping[TopicPartition, int]) -> dict[TopicPartition, float]:
        self.looks += 1
        return {tp: START.timestamp() - self.ages[offset] for tp, offset in places.items() if self.ages[offset] >= 0}

    def record(self, offset: int) -> Raw:
        return Raw("in", 0, offset, b"", timestamp=round(1000 * (START.timestamp() - self.ages[offset])))


def seconds() -> float | None:
    return REGISTRY.get_sample_value("deskbus_lag_seconds", {"topic": "in"})


def records() -> float | None:
    return REGISTRY.get_sample_value("deskbus_lag_records", {"topic": "in"})


async def test_nothing_behind_has_no_age() -> None:
    await Lag(FakeClock(START), Broker(5, 5)).measure({HERE: 2})
    assert (records(), seconds()) == (0, 0)


async def test_a_process_that_has_just_started_knows_how_long_its_first_record_waits() -> None:
    await Lag(FakeClock(START), Broker(900, 600, 1)).measure({HERE: 1})
    assert (records(), seconds()) == (2, 600)


def test_a_batch_that_kills_its_process_has_said_how_old_it_is() -> None:
    broker = Broker(900)
    Lag(FakeClock(START), broker).begin([broker.record(0)])
    assert seconds() == 900


async def test_what_stands_still_ages_without_being_looked_at_again() -> None:
    clock, broker = FakeClock(START), Broker(10, 5)
    lag = Lag(clock, broker)
    for age in (10, 40, 70):
        await lag.measure({HERE: 0})
        assert seconds() == age
        clock.advance(30)
    assert broker.looks == 1


async def test_a_partition_that_moves_is_as_old_as_what_its_batches_began_with() -> None:
    clock, broker = FakeClock(START), Broker(900, 800, 700)
    lag = Lag(clock, broker)
    lag.begin([broker.record(0)])
    lag.begin([broker.record(1)])
    await lag.measure({HERE: 2})
    assert (seconds(), broker.looks) == (800, 0)
    await lag.measure({HERE: 2})
    assert (seconds(), broker.looks) == (700, 1), "what a batch began with before the last look is handled"


async def test_a_partition_that_was_idle_is_not_old_when_one_record_comes() -> None:
    clock, broker = FakeClock(START), Broker(900)
    lag = Lag(clock, broker)
    lag.begin([broker.record(0)])
    await lag.measure({HERE: 1})
    broker.ages.append(1)
    await lag.measure({HERE: 1})
    assert seconds() == 1


async def test_a_partition_of_another_replica_is_not_reported() -> None:
    lag, broker = Lag(FakeClock(START), Broker(900)), Broker(900)
    lag.begin([broker.record(0)])
    await lag.measure({})
    assert (records(), seconds()) == (None, None)


async def test_a_topic_is_as_old_as_the_oldest_record_of_its_partitions_and_has_the_records_of_all() -> None:
    other, broker = TopicPartition("in", 1), Broker(10, 900)
    await Lag(FakeClock(START), broker).measure({HERE: 0, other: 1})
    assert (records(), seconds()) == (3, 900)


async def test_a_record_from_the_future_shows_a_wrong_clock_until_the_records_are_right_again() -> None:
    lag, broker = Lag(FakeClock(START), Broker(-7, 5)), Broker(-7, 5)
    ahead = []
    for batch in ([0, 1], [1], []):
        lag.begin([broker.record(offset) for offset in batch])
        await lag.measure({})
        ahead.append(REGISTRY.get_sample_value("deskbus_clock_ahead_seconds"))
    assert ahead == [7, 0, 0]


@pytest.mark.parametrize("timestamp", [-1, 0, None])
async def test_a_record_without_a_timestamp_waits_since_it_was_first_seen(timestamp: int) -> None:
    clock, broker = FakeClock(START), Broker(-1)
    lag = Lag(clock, broker)
    for age in (0, 30):
        lag.begin([Raw("in", 0, 0, b"", timestamp=timestamp)])
        await lag.measure({HERE: 0})
        assert (records(), seconds()) == (1, age)
        clock.advance(30)


def stalled() -> float | None:
    return REGISTRY.get_sample_value("deskbus_stalled_seconds")


async def test_a_partition_that_stands_still_with_records_waiting_says_for_how_long() -> None:
    clock = FakeClock(START)
    lag = Lag(clock, Broker(5, 5, 5))
    for seconds_ in (0, 30, 60):
        await lag.measure({HERE: 1})
        assert stalled() == seconds_
        clock.advance(30)
    await lag.measure({HERE: 2})
    assert stalled() == 0, "it has handled something"


async def test_a_partition_that_is_read_to_its_end_does_not_stand_still() -> None:
    clock, broker = FakeClock(START), Broker(5)
    lag = Lag(clock, broker)
    await lag.measure({HERE: 1})
    clock.advance(3600)
    broker.ages.append(1)
    await lag.measure({HERE: 1})
    assert stalled() == 0, "what it is behind has just come"


async def test_a_partition_that_rests_or_has_gone_does_not_stand_still() -> None:
    clock = FakeClock(START)
    lag = Lag(clock, Broker(5, 5))
    await lag.measure({HERE: 1})
    clock.advance(60)
    await lag.measure({HERE: 1}, {HERE})
    assert stalled() == 0
    await lag.measure({HERE: 1})
    clock.advance(10)
    await lag.measure({HERE: 1})
    assert stalled() == 10, "it counts from when it woke"
    await lag.measure({})
    assert stalled() == 0


@pytest.fixture
async def producer(kafka: str) -> AsyncIterator[Producer]:
    made = Producer(kafka, client_id="test")
    await made.start()
    yield made
    await made.stop()


async def test_the_broker_tells_when_a_waiting_record_was_written(kafka: str, topics: str, producer: Producer) -> None:
    name, clock = topic_name(TICKETS, topics), SystemClock()
    written = []
    for value in (b"first", b"second"):
        await producer.send(Outgoing(name, b"k", value))
        written.append(clock.now().timestamp())
    ends = Ends(kafka, "test")
    await ends.start()
    try:
        everything = [TopicPartition(name, p) for p in range(4)]
        (tp,) = [tp for tp, end in (await ends.of(everything)).items() if end]
        found = [(await ends.instants({tp: offset}))[tp] for offset in (0, 1)]
        assert found == pytest.approx(written, abs=2)
        assert found[0] <= found[1]
        assert await ends.instants({tp: 2}) == {}, "nothing waits there"
        assert (await ends.of([tp])) == {tp: 2}
        await _send_without_timestamp(kafka, tp)
        assert (await ends.of([tp])) == {tp: 3}
        assert await ends.instants({tp: 2}) == {}, "it has no timestamp"
    finally:
        await ends.stop()


async def _send_without_timestamp(kafka: str, tp: TopicPartition) -> None:
    client = AIOKafkaProducer(bootstrap_servers=kafka)
    await client.start()
    try:
        batch = client.create_batch()
        assert batch.append(timestamp=-1, key=b"k", value=b"third")
        batch.close()
        await (await client.send_batch(batch, tp.topic, partition=tp.partition))
    finally:
        await client.stop()
