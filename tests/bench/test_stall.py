"""A load that stands still is broken off, and what is printed then says where everything stands."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from pymongo import MongoClient

from cli.fleet import Replica
from contracts.topics import INBOUND, topic_name
from kit.base.clock import SystemClock
from tests.bench import stall
from tests.fake_clock import FakeClock
from tests.kit.test_outbox import START


async def nothing() -> str:
    return "where everything stands"


async def asleep(clock: FakeClock) -> None:
    """Let the watchdog run until it waits."""
    async with asyncio.timeout(5):
        while not clock.sleepers:  # noqa: ASYNC110 - the clock knows of no event
            await asyncio.sleep(0)


async def test_a_load_under_which_nothing_moves_is_broken_off_and_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(stall.Stalled):
        async with stall.watched(lambda: 0.0, nothing, SystemClock(), 0.01):
            await asyncio.Event().wait()
    assert "where everything stands" in capsys.readouterr().err


async def test_each_move_gives_a_load_its_time_again() -> None:
    clock, ended = FakeClock(START), asyncio.Event()
    moved = clock.monotonic()

    async def load() -> None:
        async with stall.watched(lambda: moved, nothing, clock, 10):
            await ended.wait()

    running = asyncio.create_task(load())
    for _ in range(5):
        await asleep(clock)
        clock.advance(9)
        moved = clock.monotonic()
    await asleep(clock)
    assert not running.done()
    clock.advance(10)
    with pytest.raises(stall.Stalled):
        await running


async def test_a_load_that_has_not_moved_yet_has_as_long_to_begin() -> None:
    clock, ended = FakeClock(START), asyncio.Event()
    clock.advance(100)

    async def load() -> None:
        async with stall.watched(lambda: 0.0, nothing, clock, 10):
            await ended.wait()

    running = asyncio.create_task(load())
    await asleep(clock)
    assert not running.done()
    ended.set()
    await running


async def test_a_load_that_ends_is_watched_no_longer() -> None:
    clock = FakeClock(START)
    async with stall.watched(clock.monotonic, nothing, clock, 10):
        await asleep(clock)
    assert clock.sleepers == 0


async def test_the_lag_of_a_group_is_told_by_partition(kafka: str, topics: str) -> None:
    inbound, group = topic_name(INBOUND, topics), f"{topics}deskbus.ingest"
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        for _ in range(3):
            await producer.send_and_wait(inbound, b"{}", partition=1)
    async with AIOKafkaConsumer(bootstrap_servers=kafka, group_id=group, enable_auto_commit=False) as consumer:
        consumer.assign([TopicPartition(inbound, 1)])
        await consumer.commit({TopicPartition(inbound, 1): 2})
    assert await stall.lag(kafka, "ingest", topics) == [f"{inbound} 1: committed 2 of 3"]


async def test_the_oldest_entry_is_told_of_each_collection_with_something_to_say(
    mongo: str, environment: dict[str, str]
) -> None:
    prefix = environment["DESKBUS_MONGO_PREFIX"]
    with MongoClient[dict[str, object]](mongo, tz_aware=True) as client:
        client[f"{prefix}_sla"].clocks.insert_many([
            {"_id": "T1", "outbox": [{"id": "e1", "at": START}]},
            {"_id": "T2", "outbox": []},
        ])  # fmt: skip
    (told,) = stall.outboxes(mongo, prefix)
    assert told.startswith("sla.clocks: 1 documents, T1 since 2026-")


async def test_a_process_that_is_gone_says_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "sla-1.log"
    log.write_text("first\n" * 9 + "last words\n", encoding="utf-8")
    process = await asyncio.to_thread(subprocess.Popen, [sys.executable, "-c", "raise SystemExit(3)"])
    await asyncio.to_thread(process.wait)
    told = await stall.replica(Replica("sla", 1, 1, 1, {}, log, {}, process))
    assert told[0] == "is gone: 3"
    assert told[-1] == "last words"
    assert len(told) == 1 + stall.LINES
