"""Pauses: nothing is fetched beside a batch in hand, nor from a partition that rests, whatever comes in which order."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from contracts.topics import TICKETS, topic_name
from kit.base import metrics
from kit.kafka.flow import Flow

ONE, TWO, GONE = (TopicPartition("in", p) for p in range(3))


class Client:
    """Plays the client library: partitions that are assigned, and those of them that are paused."""

    def __init__(self) -> None:
        self.assigned, self.paused = {ONE, TWO}, set[TopicPartition]()

    def pause(self, *partitions: TopicPartition) -> None:
        assert self.assigned.issuperset(partitions), "the library fails on what is not assigned"
        self.paused.update(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        assert self.assigned.issuperset(partitions), "the library fails on what is not assigned"
        self.paused.difference_update(partitions)


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def flow(client: Client) -> Flow:
    return Flow(cast("Any", lambda: client), lambda: client.assigned)


def test_nothing_is_fetched_while_a_batch_is_in_hand(flow: Flow, client: Client) -> None:
    flow.hold()
    assert client.paused == {ONE, TWO}
    flow.release()
    assert client.paused == set()


def test_a_partition_that_rests_is_not_read_with_the_next_poll(flow: Flow, client: Client) -> None:
    flow.hold()
    flow.rest([ONE])
    flow.release()
    assert client.paused == {ONE}
    flow.wake(ONE)
    assert client.paused == set()


def test_a_partition_that_wakes_waits_for_the_batch_in_hand(flow: Flow, client: Client) -> None:
    flow.rest([ONE])
    flow.hold()
    flow.wake(ONE)
    assert client.paused == {ONE, TWO}
    flow.release()
    assert client.paused == set()


def test_a_partition_that_has_gone_is_left_alone(flow: Flow, client: Client) -> None:
    flow.rest([GONE])
    flow.release()
    flow.wake(GONE)
    assert client.paused == set()


def test_what_is_assigned_beside_a_batch_waits_for_its_end(flow: Flow, client: Client) -> None:
    flow.rest([ONE])
    flow.hold()
    client.assigned, client.paused = {ONE, GONE}, set()
    flow.assigned()
    assert client.paused == {ONE, GONE}
    flow.release()
    assert client.paused == set(), "who had it meanwhile may have handled what failed here"


def test_a_consumer_that_is_stopped_reads_nothing_any_more(flow: Flow, client: Client) -> None:
    flow.rest([ONE])
    flow.stop()
    flow.release()
    flow.wake(ONE)
    assert client.paused == {ONE, TWO}
    client.assigned, client.paused = {GONE}, set()
    flow.assigned()
    assert client.paused == {GONE}


def test_the_metric_counts_what_rests_and_not_what_waits_for_a_batch(flow: Flow) -> None:
    flow.assigned()  # it is one for the process: other tests have set it
    flow.hold()
    assert metrics.PAUSED._value.get() == 0
    flow.rest([ONE])
    assert metrics.PAUSED._value.get() == 1
    flow.wake(ONE)
    assert metrics.PAUSED._value.get() == 0
    assert flow.resting == set()
    flow.stop()
    assert flow.resting == {ONE, TWO}
    assert metrics.PAUSED._value.get() == 2
    flow.assigned()
    assert metrics.PAUSED._value.get() == 2


@given(st.lists(st.sampled_from(["hold", "release", "rest", "wake"]), max_size=12))
def test_in_any_order_a_partition_is_paused_while_something_keeps_it(steps: list[str]) -> None:
    client = Client()
    flow, held, rests = Flow(cast("Any", lambda: client), lambda: client.assigned), False, False
    for step in steps:
        match step:
            case "hold":
                flow.hold()
                held = True
            case "release":
                flow.release()
                held = False
            case "rest":
                flow.rest([ONE])
                rests = True
            case _:
                flow.wake(ONE)
                rests = False
        assert client.paused == {tp for tp, why in ((ONE, held or rests), (TWO, held)) if why}


async def test_records_that_come_while_a_batch_is_handled_are_the_next_batch_together(kafka: str, topics: str) -> None:
    name = topic_name(TICKETS, topics)
    here = TopicPartition(name, 0)
    async with (
        AIOKafkaProducer(bootstrap_servers=kafka) as producer,
        AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest") as consumer,
    ):
        consumer.assign([here])
        flow = Flow(lambda: consumer, consumer.assignment)
        await producer.send_and_wait(name, b"first", partition=0)
        assert len((await consumer.getmany(timeout_ms=30_000))[here]) == 1
        flow.hold()
        await producer.send_and_wait(name, b"second", partition=0)
        # A fetch would have been answered with it by then: the broker answers at once where there is something.
        assert await consumer.getmany(timeout_ms=500) == {}
        await producer.send_and_wait(name, b"third", partition=0)
        flow.release()
        async with asyncio.timeout(30):
            together = (await consumer.getmany(timeout_ms=30_000))[here]
    assert [record.value for record in together] == [b"second", b"third"]
