"""A producer whose broker does not answer: nothing of those that it gave up may stay behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

import kit.kafka.producer
from cli.topics import create_topics
from contracts.topics import INBOUND, TOPICS, topic_name
from deploy.local import KafkaServer, free_port
from kit.base.errors import TransientError
from kit.kafka.producer import Producer
from kit.protocol.ports import Outgoing
from tests.system.rig import until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(120)]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[KafkaServer]:
    """A broker to suspend."""
    server = KafkaServer(tmp_path / "kafka", free_port())
    server.start()
    try:
        server.wait_ready()
        yield server
    finally:
        server.kill()


async def test_producers_that_were_given_up_leave_no_task_and_no_connection(
    own: KafkaServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While replicas are away each refused message may cost a producer; a door that runs on must not keep them."""
    await create_topics(own.address, "t.", 1, topics=[topic for topic in TOPICS if topic.name == INBOUND])
    record = Outgoing(topic_name(INBOUND, "t."), b"key", b"value", ())
    producer = Producer(own.address, client_id="test")
    await producer.start()
    await producer.send(record)
    for _ in range(3):
        await _suspend(own)
        with pytest.raises(TransientError):
            await producer.send(record, seconds=0.5)
        await until(partial(_gave_up, producer), 10, "the old producer is given up")
        own.resume()
        await producer.send(record)  # by the next producer
    monkeypatch.setattr(kit.kafka.producer, "SEND_SECONDS", 0.5)
    await _suspend(own)
    assert await producer.send_runs([[record, record]]) == [0]
    await until(partial(_gave_up, producer), 10, "the old producer is given up")
    own.resume()
    await producer.stop()

    async def all_gone() -> bool:
        connections = [c for c in psutil.Process().net_connections() if c.raddr[1:] == (own.port,)]
        return not connections and asyncio.all_tasks() == {asyncio.current_task()}

    await until(all_gone, 10, "no connection and no task is left")
    gc.collect()  # asyncio complains of what is collected
    assert [entry.getMessage() for entry in caplog.records if entry.name == "asyncio"] == []


async def _gave_up(producer: Producer) -> bool:
    return not producer._farewells


async def _suspend(own: KafkaServer) -> None:
    own.suspend()
    process = psutil.Process(own.pid())

    async def stands() -> bool:
        return process.status() == psutil.STATUS_STOPPED

    await until(stands, 10, "the broker is suspended")
