"""A coordinator that does not answer: no question to it holds the poll loop for longer than its bound."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError

from kit.base.clock import SystemClock
from kit.base.errors import TransientError
from kit.base.health import Health
from kit.base.settings import ServiceSettings
from kit.kafka import reading
from kit.kafka.barrier import Barrier
from kit.kafka.batch_size import BatchSize
from kit.kafka.consumer import Consumer
from kit.kafka.reading import PollLoop
from tests.kit.raw import Raw

HERE = TopicPartition("in", 0)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "ANSWER_SECONDS", 0.02)


class Silent:
    """A client whose coordinator is gone: it asks on, as the real one does."""

    def assignment(self) -> set[TopicPartition]:
        return {HERE}

    def partitions_for_topic(self, _: str) -> set[int]:
        return {0}

    async def commit(self, _: object) -> None:
        await asyncio.Event().wait()

    position = committed = commit

    @property
    def _coordinator(self) -> SimpleNamespace:
        return SimpleNamespace(fetch_committed_offsets=self.commit)

    async def getmany(self, *_: object, **__: object) -> dict[TopicPartition, list[Any]]:
        raise KafkaTimeoutError

    def seek(self, *_: object) -> None: ...

    def pause(self, *_: object) -> None: ...

    def paused(self) -> set[TopicPartition]:
        return set()


def consumer(handled: list[object]) -> Consumer:
    async def handle(records: list[object]) -> set[object]:
        handled.extend(records)
        return set()

    delivery = cast("Any", SimpleNamespace(documents=SimpleNamespace(home_topic=""), handle=handle, stopped=None))
    made = Consumer(ServiceSettings(), delivery, ["in"], SystemClock(), Health(SystemClock()))
    made._subscriber = SimpleNamespace(consumer=Silent())
    return made


async def test_a_batch_ends_although_its_positions_cannot_be_committed() -> None:
    handled: list[object] = []
    record = Raw("in", 0, 7, b"")
    async with asyncio.timeout(5):
        await consumer(handled)._take([record])
    assert handled == [record]


async def test_timers_and_lag_wait_for_the_next_turn_when_a_position_is_not_known() -> None:
    asked = consumer([])
    asked._barrier = Barrier(SystemClock(), asked._assignment, asked._handled, _ends)
    async with asyncio.timeout(5):
        with pytest.raises(TransientError):
            await asked.handled_until(["in"], [0])
        with pytest.raises(TransientError):
            await asked.measure_lag()


async def _ends(partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
    return dict.fromkeys(partitions, 9)


async def test_a_poll_loop_that_cannot_go_back_comes_round_and_shows_that_it_lives() -> None:
    beats: list[int] = []
    client = cast("Any", Silent())
    polls = PollLoop(
        client,
        SystemClock(),
        running=lambda: True,
        beat=lambda: beats.append(1),
        in_hand=lambda _: None,
        size=BatchSize(1, 1, 1000),
    )
    async with asyncio.timeout(5):
        for round_ in range(1, 4):
            with pytest.raises(KafkaTimeoutError):
                await polls.getmany()
            assert len(beats) == round_


class Moving(Silent):
    """A client whose partitions are on the move: it waits for its share first, however long a poll may last."""

    def __init__(self) -> None:
        self.assigned = asyncio.Event()

    async def getmany(self, *_: object, **__: object) -> dict[TopicPartition, list[Any]]:
        await self.assigned.wait()
        return {HERE: [Raw("in", 0, 7, b"")]}


async def test_a_poll_loop_whose_partitions_stay_on_the_move_shows_that_it_lives() -> None:
    beats: list[int] = []
    client = Moving()

    def beat() -> None:
        beats.append(1)
        if len(beats) == 3:
            client.assigned.set()

    polls = PollLoop(
        cast("Any", client),
        SystemClock(),
        running=lambda: True,
        beat=beat,
        in_hand=lambda _: None,
        size=BatchSize(1, 1, 1000),
    )
    async with asyncio.timeout(5):
        assert list(await polls.getmany()) == [HERE]
    assert len(beats) == 3
