"""One batch in the consumer: nothing of a partition is handled past a record that must come again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from aiokafka import TopicPartition

from kit.kafka.consumer import Consumer
from kit.protocol.record import Place, Record, place
from tests.kit.raw import Raw
from tests.kit.test_consumer_away import _soon, consumer

__all__ = ["_soon"]

FIRST, SECOND, OTHER = Raw("in", 0, 7, b""), Raw("in", 0, 8, b""), Raw("in", 1, 3, b"")


def divided(monkeypatch: pytest.MonkeyPatch, made: Consumer, *parts: Sequence[Record]) -> None:
    async def divide(_: Sequence[Record]) -> list[list[Record]]:
        return [list(part) for part in parts]

    monkeypatch.setattr(made._starts, "divide", divide)


async def test_what_follows_a_record_that_goes_back_goes_back_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    handled: list[Record] = []

    async def handle(records: Sequence[Record]) -> set[Place]:
        handled.extend(records)
        return {place(FIRST)} & {place(each) for each in records}

    made = consumer([])
    monkeypatch.setattr(made.delivery, "handle", handle)
    divided(monkeypatch, made, [FIRST], [SECOND, OTHER])
    await made._take([FIRST, SECOND, OTHER])
    assert handled == [FIRST, OTHER]
    await made.stop()


async def test_a_partition_that_comes_further_has_its_shortest_rest_again(monkeypatch: pytest.MonkeyPatch) -> None:
    undone = {place(FIRST)}

    async def handle(records: Sequence[Record]) -> set[Place]:
        return undone & {place(each) for each in records}

    made = consumer([])
    monkeypatch.setattr(made.delivery, "handle", handle)
    for _ in range(2):
        await made._take([FIRST])
    assert made._failures == {TopicPartition("in", 0): 2}
    undone.clear()
    await made._take([FIRST])
    assert made._failures == {}
    await made.stop()
