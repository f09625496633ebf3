"""Leaving is bounded: a batch that waits for a server, or a group that does not answer, does not use up the grace."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from aiokafka import TopicPartition

from kit.base.clock import SystemClock
from kit.base.health import Health
from kit.base.settings import ServiceSettings
from kit.kafka.consumer import Consumer
from tests.kit.raw import Raw

HERE = TopicPartition("in", 0)


class Group:
    """Plays FastStream's broker."""

    def __init__(self, *, answers: bool) -> None:
        self.answers, self.asked = answers, False

    async def stop(self) -> None:
        self.asked = True
        if not self.answers:
            await asyncio.Event().wait()


class Client:
    """Plays the client library, which owns nothing any more."""

    def __init__(self) -> None:
        self._coordinator = SimpleNamespace(fetch_committed_offsets=self._fetch)

    def assignment(self) -> set[object]:
        return set()

    async def _fetch(self, _: object) -> dict[object, object]:
        return {}


def consumer(group: Group) -> Consumer:
    made = Consumer(
        ServiceSettings(grace_seconds=0.5),
        cast("Any", SimpleNamespace(documents=SimpleNamespace(home_topic=""))),
        [],
        SystemClock(),
        Health(SystemClock()),
    )
    made._broker = cast("Any", group)
    made._subscriber = SimpleNamespace(consumer=Client())
    return made


async def test_a_batch_that_does_not_end_is_left_and_the_group_is_told() -> None:
    group = Group(answers=True)
    leaving = consumer(group)
    async with leaving._running, asyncio.timeout(5):
        await leaving.stop()
    assert group.asked


async def test_a_batch_that_is_left_goes_no_further() -> None:
    leaving, begun, went_on = consumer(Group(answers=True)), asyncio.Event(), False

    async def handle(_: object) -> set[object]:
        nonlocal went_on
        begun.set()
        await asyncio.sleep(1)
        went_on = True
        return set()

    leaving.delivery.handle = handle  # type: ignore[method-assign, assignment]
    batch = asyncio.create_task(leaving._take([cast("Any", SimpleNamespace(topic="in", partition=0, offset=0))]))
    await begun.wait()
    async with asyncio.timeout(5):
        await leaving.stop()
        await asyncio.wait([batch])
    assert batch.cancelled()
    assert not went_on


async def test_a_group_that_does_not_answer_is_left_without_a_word() -> None:
    group = Group(answers=False)
    async with asyncio.timeout(5):
        await consumer(group).stop()
    assert group.asked


async def test_a_batch_that_ends_is_waited_for() -> None:
    group = Group(answers=True)
    leaving = consumer(group)
    await leaving._running.acquire()
    stopping = asyncio.create_task(leaving.stop())
    await asyncio.sleep(0)
    assert not group.asked
    leaving._running.release()
    await stopping
    assert group.asked


class Committing(Client):
    """A client that owns a partition and notes what is committed."""

    def __init__(self) -> None:
        super().__init__()
        self.committed: list[dict[TopicPartition, tuple[int, str]]] = []

    def assignment(self) -> set[object]:
        return {HERE}

    async def commit(self, positions: dict[TopicPartition, tuple[int, str]]) -> None:
        self.committed.append(positions)

    def partitions_for_topic(self, _: str) -> set[int]:
        return {0}

    def pause(self, *_: object) -> None: ...

    resume = pause


def owing(offset: int) -> tuple[Consumer, Committing]:
    """A consumer that has handled records up to here and committed none of it yet."""
    leaving, client = consumer(Group(answers=True)), Committing()
    leaving._subscriber = SimpleNamespace(consumer=client)
    leaving._commits.note({HERE: (offset, "")})
    return leaving, client


async def test_what_is_handled_is_committed_before_the_group_is_left() -> None:
    leaving, client = owing(5)
    await leaving.stop()
    assert client.committed == [{HERE: (5, "")}]


async def test_what_is_handled_is_committed_before_partitions_go() -> None:
    leaving, client = owing(5)
    await leaving.on_partitions_revoked({HERE})
    assert client.committed == [{HERE: (5, "")}]


async def test_what_is_owed_for_partitions_that_have_gone_is_not_committed_when_they_come_back() -> None:
    leaving, client = owing(5)
    await leaving.on_partitions_assigned({HERE})
    await leaving.stop()
    assert client.committed == []


async def test_a_partition_s_first_batch_is_committed_at_once_and_later_ones_on_the_interval() -> None:
    """What was stored about starts must go with the first: it would be held against the next record."""
    leaving, client = owing(0)
    leaving._commits.clear()

    async def handle(_: object) -> set[object]:
        return set()

    leaving.delivery.handle = handle  # type: ignore[method-assign, assignment]
    for offset in (0, 1, 2):
        await leaving._take([Raw("in", 0, offset, b"")])
    assert client.committed == [{HERE: (0, "starts=1")}, {HERE: (1, "")}]
    await leaving.stop()
    assert client.committed[2:] == [{HERE: (3, "")}]
