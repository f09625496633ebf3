"""A partition's records travel batch after batch, and nothing follows one that is not confirmed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError

import kit.kafka.producer
from kit.base.errors import TransientError
from kit.kafka.producer import Producer
from kit.protocol.ports import Outgoing
from kit.protocol.record import partition_of


class Builder:
    """A batch that holds two records."""

    def __init__(self) -> None:
        self.records: list[bytes] = []

    def append(self, *, timestamp: Any, key: bytes, value: bytes, headers: Any) -> object | None:
        if len(self.records) == 2:
            return None
        self.records.append(value)
        return object()

    def close(self) -> None: ...


class Client:
    """A producer of the client library that fails on one value."""

    def __init__(self, fails_on: bytes | None = None, error: Exception | None = None) -> None:
        self.sent: list[bytes] = []
        self.fails_on, self.error, self.stopped = fails_on, error, False

    async def partitions_for(self, _: str) -> set[int]:
        return {0}

    def create_batch(self) -> Builder:
        return Builder()

    async def send_batch(self, builder: Builder, topic: str, *, partition: int) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.fails_on in builder.records:
            assert self.error is not None
            future.set_exception(self.error)
        else:
            self.sent += builder.records
            future.set_result(None)
        return future

    async def send(self, topic: str, value: bytes, *, key: bytes, headers: Any) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if value == self.fails_on:
            assert self.error is not None
            future.set_exception(self.error)
        return future

    async def flush(self) -> None: ...


@pytest.fixture(autouse=True)
def _disconnecting(monkeypatch: pytest.MonkeyPatch) -> None:
    async def disconnect(client: Client) -> None:
        client.stopped = True

    monkeypatch.setattr(kit.kafka.producer, "disconnect", disconnect)


def over(client: Client) -> Producer:
    producer = Producer("unused:1", client_id="test")
    producer._producer = client
    return producer


def run(*values: bytes) -> list[Outgoing]:
    return [Outgoing("t", b"k", value) for value in values]


async def test_all_records_of_all_runs_are_confirmed_in_order() -> None:
    client = Client()
    assert await over(client).send_runs([run(b"1", b"2", b"3"), [], run(b"4")]) == [3, 0, 1]
    assert client.sent == [b"1", b"2", b"3", b"4"]


async def test_nothing_follows_a_record_that_is_not_confirmed() -> None:
    client = Client(b"3", KafkaTimeoutError())
    assert await over(client).send_runs([run(b"1", b"2", b"3", b"4"), run(b"5")]) == [2, 0]
    assert client.sent == [b"1", b"2"]


async def test_a_refused_record_replaces_the_producer() -> None:
    client = Client(b"1", MessageSizeTooLargeError())
    producer = over(client)
    await producer.send_runs([run(b"1")])
    assert producer._producer is None
    await asyncio.gather(*producer._farewells)
    assert client.stopped


async def test_two_sends_that_one_producer_fails_replace_it_once() -> None:
    poisoned, fresh = Client(b"1", MessageSizeTooLargeError()), Client()
    producer = over(poisoned)

    async def renewed() -> None:
        with pytest.raises(TransientError):
            await producer.send(*run(b"1"))
        producer._producer = producer._producer or fresh

    async def late() -> None:
        sent = producer._producer
        await renewed()
        producer._replace(
            sent, TimeoutError()
        )  # as the second of two does, whose send fails after the first has renewed it

    await late()
    assert producer._producer is fresh
    assert not fresh.stopped


async def test_a_send_keeps_its_time_while_a_new_producer_is_being_made() -> None:
    producer = Producer("unused:1", client_id="test")
    async with producer._replacing, asyncio.timeout(5):  # somebody else is making one, and it takes for ever
        with pytest.raises(TransientError):
            await producer.send(*run(b"1"), seconds=0.05)


async def test_a_send_that_nobody_confirms_keeps_its_time_and_replaces_the_producer() -> None:
    client = Client()
    producer = over(client)
    async with asyncio.timeout(5):
        with pytest.raises(TransientError):
            await producer.send(*run(b"1"), seconds=0.05)
    assert producer._producer is None


def test_a_key_has_the_partition_that_every_client_gives_it() -> None:
    # Known values of Kafka's own murmur2 partitioner.
    assert [partition_of(key, 1000) for key in (b"21", b"foobar", b"a-little-bit-long-string")] == [
        (-973932308 & 0x7FFFFFFF) % 1000,
        (-790332482 & 0x7FFFFFFF) % 1000,
        (-985981536 & 0x7FFFFFFF) % 1000,
    ]
