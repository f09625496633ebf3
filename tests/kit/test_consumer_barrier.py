"""Up to which instant a partition is handled: one that is never quiet comes to where it ended when it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import structlog
from aiokafka import TopicPartition
from prometheus_client import REGISTRY

from kit.base.health import Health
from kit.base.settings import ServiceSettings
from kit.kafka.barrier import Barrier, Elsewhere
from kit.kafka.consumer import Consumer
from kit.kafka.lag import Lag
from tests.fake_clock import FakeClock
from tests.kit.test_outbox import START

HERE, ELSEWHERE, OTHER = TopicPartition("in", 0), TopicPartition("in", 1), TopicPartition("more", 0)
SECOND = timedelta(seconds=1)


class Broker:
    """Ends of partitions and how far they are handled; plays the client and the questions for ends."""

    def __init__(self) -> None:
        self.ends = {HERE: 0, ELSEWHERE: 0, OTHER: 0}
        self.handled = dict(self.ends)
        self.answers = asyncio.Event()
        self.answers.set()

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {tp.partition for tp in self.ends if tp.topic == topic}

    async def instants(self, _: object) -> dict[TopicPartition, float]:
        return {}

    def assignment(self) -> set[TopicPartition]:
        return set(self.ends)

    async def position(self, tp: TopicPartition) -> int:
        return int(self.handled[tp])

    async def of(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        ends = {tp: self.ends[tp] for tp in partitions}
        if partitions:
            await self.answers.wait()
        return ends


def consumer(broker: Broker, clock: FakeClock) -> Consumer:
    delivery = cast("Any", SimpleNamespace(documents=SimpleNamespace(home_topic=""), stopped=None))
    made = Consumer(ServiceSettings(), delivery, ["in", "more"], clock, Health(clock))
    made._subscriber, made._lag = SimpleNamespace(consumer=broker), Lag(clock, broker)
    made._barrier = Barrier(clock, made._assignment, made._handled, broker.of)
    return made


async def test_a_partition_that_is_read_to_its_end_is_handled_until_now() -> None:
    clock = FakeClock(START)
    assert await consumer(Broker(), clock).handled_until(["in"], [0, 1]) == {0: START, 1: START}


async def test_a_partition_that_is_behind_says_nothing_of_itself_and_nothing_of_others() -> None:
    broker, clock = Broker(), FakeClock(START)
    broker.ends[HERE] = 5
    assert await consumer(broker, clock).handled_until(["in"], [0, 1]) == {1: START}


async def test_all_topics_of_a_partition_count() -> None:
    broker, clock = Broker(), FakeClock(START)
    broker.ends[OTHER] = 5
    asked = consumer(broker, clock)
    assert await asked.handled_until(["in", "more"], [0]) == {}
    assert await asked.handled_until(["in"], [0]) == {0: START}


async def test_a_partition_of_which_a_topic_is_owned_by_another_replica_says_nothing() -> None:
    broker, clock = Broker(), FakeClock(START)
    assert await consumer(broker, clock).handled_until(["in", "more"], [0, 1]) == {0: START}
    del broker.ends[OTHER]
    assert await consumer(broker, clock).handled_until(["in", "more"], [0, 1]) == {}
    del broker.ends[HERE]
    assert await consumer(broker, clock).handled_until(["in"], [0, 1]) == {1: START}


async def test_topics_with_different_numbers_of_partitions_are_reported_when_they_come_and_when_they_change() -> None:
    broker, clock = Broker(), FakeClock(START)
    asked = consumer(broker, clock)
    with structlog.testing.capture_logs() as logs:
        await asked.on_partitions_assigned(set(broker.ends))
        assert REGISTRY.get_sample_value("deskbus_partition_counts_differ") == 1
        broker.ends[TopicPartition("more", 1)] = broker.handled[TopicPartition("more", 1)] = 0
        await asked.measure_lag()
        assert REGISTRY.get_sample_value("deskbus_partition_counts_differ") == 0
        broker.ends[TopicPartition("in", 2)] = broker.handled[TopicPartition("in", 2)] = 0
        for _ in range(3):
            await asked.measure_lag()
        assert REGISTRY.get_sample_value("deskbus_partition_counts_differ") == 1
    told = [entry["partitions"] for entry in logs if entry["log_level"] == "critical"]
    assert told == [{"in": 2, "more": 1}, {"in": 3, "more": 2}], "once for each change"


async def test_a_partition_that_is_never_quiet_comes_to_where_it_ended() -> None:
    broker, clock = Broker(), FakeClock(START)
    asked = consumer(broker, clock)
    broker.ends[HERE] = 5
    known = []
    for _ in range(4):
        known.append(await asked.handled_until(["in"], [0]))
        clock.advance(1)
        broker.handled[HERE] = broker.ends[HERE]
        broker.ends[HERE] += 5
    # Each time it is behind by what came last, and all that was there a second ago is handled.
    assert known == [{}, {0: START}, {0: START + SECOND}, {0: START + 2 * SECOND}]


async def test_once_the_end_of_then_is_reached_the_end_of_now_is_asked_at_once() -> None:
    broker, clock = Broker(), FakeClock(START)
    asked = consumer(broker, clock)
    broker.ends[HERE] = 5
    await asked.handled_until(["in"], [0])
    clock.advance(60)
    broker.handled[HERE] = 5
    assert await asked.handled_until(["in"], [0]) == {0: START + 60 * SECOND}


async def test_timers_that_ask_at_once_do_not_take_each_others_marks_away() -> None:
    broker, clock = Broker(), FakeClock(START)
    asked = consumer(broker, clock)
    broker.ends[HERE] = 5
    assert await asked.handled_until(["in"], [0]) == {}  # it is marked now, and the other topic is not
    broker.answers.clear()
    both = asyncio.create_task(asked.handled_until(["in", "more"], [0]))
    await asyncio.sleep(0)
    broker.handled[HERE] = 5
    alone = asyncio.create_task(asked.handled_until(["in"], [0]))
    await asyncio.sleep(0)
    broker.answers.set()
    assert await alone == {0: START}
    assert await both == {0: START}


class Progress:
    """What is handled of two topics of one partition, and where they are known to end."""

    def __init__(self) -> None:
        self.handled: dict[TopicPartition, int | None] = {HERE: 0, OTHER: 0}
        self.ends: dict[TopicPartition, int | None] = {HERE: 5, OTHER: 5}
        self.asked = Elsewhere(self.handled.keys, self.handled.get, self.ends.get)

    def is_behind(self, tp: TopicPartition, offset: int = 0) -> bool:
        return self.asked.is_behind((*tp, offset))


def test_a_record_waits_for_the_other_topic_up_to_where_it_ended_at_its_first_try() -> None:
    progress = Progress()
    assert progress.is_behind(HERE)
    progress.handled[OTHER], progress.ends[OTHER] = 4, 50
    assert progress.is_behind(HERE)
    progress.handled[OTHER] = 5
    assert not progress.is_behind(HERE), "traffic goes on, and what was there is handled"


def test_a_topic_of_which_nothing_is_known_yet_may_have_what_is_waited_for() -> None:
    progress = Progress()
    progress.handled[OTHER] = progress.ends[OTHER] = None
    assert progress.is_behind(HERE)
    progress.handled[OTHER], progress.ends[OTHER] = 7, None
    assert progress.is_behind(HERE)
    progress.ends[OTHER] = 7
    assert not progress.is_behind(HERE)


def test_the_topic_of_the_record_and_other_partitions_are_not_waited_for() -> None:
    progress = Progress()
    progress.handled |= {OTHER: 5, ELSEWHERE: 0}
    progress.ends[ELSEWHERE] = 9
    assert not progress.is_behind(HERE)


def test_two_topics_that_wait_for_each_other_do_not_wait_for_ever() -> None:
    progress = Progress()
    assert progress.is_behind(HERE)
    assert not progress.is_behind(OTHER)
    assert progress.is_behind(HERE), "the other one's tries are counted, so it comes to an end"


def test_what_is_handled_is_forgotten() -> None:
    progress = Progress()
    assert progress.is_behind(HERE)
    progress.asked.forget({(*HERE, 0)})
    assert progress.is_behind(OTHER), "nobody waits here any more"
    assert progress.asked._ends.keys() == {(*OTHER, 0)}
    progress.asked.clear()
    assert not progress.asked._ends
