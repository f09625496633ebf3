"""A record that ends process after process becomes a dead letter; nothing else that ends a process makes one of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from contracts.dlq import DeadLetter
from contracts.envelope import Event
from kit.kafka import starts
from kit.kafka.consumer import Consumer
from kit.kafka.starts import MOST_STARTS, Starts
from kit.protocol.record import Unread
from tests.kit.raw import Raw
from tests.kit.simulation.records import poke
from tests.kit.test_delivery_stack import DLQ, IN, Rig, _handled, _known, rig, until

__all__ = ["_known", "rig"]
ONE, TWO = TopicPartition("in", 0), TopicPartition("in", 1)


class Group:
    """Committed positions with their metadata, and the client of whichever process lives now."""

    def __init__(self) -> None:
        self.committed: dict[TopicPartition, tuple[int, str]] = {}
        self.away = False
        self._coordinator = SimpleNamespace(fetch_committed_offsets=self._fetch)

    def assignment(self) -> set[TopicPartition]:
        return {ONE, TWO}

    async def commit(self, offsets: Mapping[TopicPartition, tuple[int, str]]) -> None:
        if self.away:
            raise KafkaConnectionError
        self.committed |= offsets

    async def _fetch(self, tps: list[TopicPartition]) -> dict[TopicPartition, tuple[int, str]]:
        if self.away:
            raise KafkaConnectionError
        return {tp: self.committed.get(tp, (-1, "")) for tp in tps}

    def process(self) -> Starts:
        return Starts(lambda: cast("Any", self))


def record(partition: int, offset: int, value: bytes = b"") -> Raw:
    return Raw("in", partition, offset, value)


async def dies(group: Group, *records: Raw) -> list[list[Any]]:
    """Let a process begin with a batch and end before it has handled the first part; returns the parts."""
    process = group.process()
    parts: list[list[Any]] = [list(part) for part in await process.divide(records)]
    parts[0] = list(await process.watched(parts[0]).__aenter__())
    return parts


async def lives(group: Group, *records: Raw) -> list[list[Any]]:
    """Let a process handle a batch as the consumer does."""
    process = group.process()
    parts: list[list[Any]] = []
    for part in await process.divide(records):
        async with process.watched(part) as watched:
            parts.append(list(watched))
        ends = {TopicPartition(each.topic, each.partition): each.offset + 1 for each in part}
        await group.commit(process.positions(ends))
    return parts


async def test_what_has_ended_a_process_goes_alone_and_then_not_at_all() -> None:
    group, batch = Group(), [record(0, 7, b"bad"), record(0, 8), record(1, 3)]
    assert await dies(group, *batch) == [batch]
    # The second process does not know which of the two first records it was.
    assert await dies(group, *batch) == [[batch[0]], [batch[2]], [batch[1]]]
    assert await dies(group, *batch) == [[batch[0]], [batch[2]], [batch[1]]]
    (letter,), *rest = await lives(group, *batch)
    assert isinstance(letter, Unread)
    assert (letter.offset, letter.value, letter.key) == (7, b"bad", b"k")
    assert letter.unreadable == "3 processes died while handling this record"
    assert rest == [[batch[2]], [batch[1]]]
    assert group.committed == {ONE: (9, ""), TWO: (4, "")}


async def test_a_process_that_handles_the_record_ends_the_count() -> None:
    group, batch = Group(), [record(0, 7)]
    for _ in range(MOST_STARTS - 1):
        await dies(group, *batch)
    assert await lives(group, *batch) == [batch]
    for _ in range(MOST_STARTS - 1):
        await dies(group, record(0, 8))
    assert await lives(group, record(0, 8)) == [[record(0, 8)]]


async def test_the_count_is_of_the_place_and_not_of_the_partition() -> None:
    group = Group()
    for offset in range(10):
        assert await dies(group, record(0, offset)) == [[record(0, offset)]]


async def test_the_count_of_a_record_is_not_the_next_ones_where_partitions_move_in_between() -> None:
    group, batch = Group(), [record(0, 7), record(0, 8)]
    group.committed[ONE] = (7, "starts=2")
    process = group.process()
    first, rest = await process.divide(batch)
    async with process.watched(first):
        assert group.committed == {ONE: (7, "starts=3")}
    process.clear()
    async with process.watched(rest):
        assert group.committed == {ONE: (8, "starts=1")}


async def test_a_partition_is_watched_until_something_of_it_was_handled_and_anew_when_it_comes_again() -> None:
    group = Group()
    process = group.process()
    async with process.watched([record(0, 7)]):
        assert group.committed == {ONE: (7, "starts=1")}
    await group.commit({ONE: (8, "")})
    async with process.watched([record(0, 8)]):
        assert group.committed == {ONE: (8, "")}, "it costs no more than this"
    process.clear()
    async with process.watched([record(0, 8)]):
        assert group.committed == {ONE: (8, "starts=1")}


async def test_a_process_that_lives_on_for_a_while_was_not_ended_by_its_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(starts, "OUTLIVED_SECONDS", 0.01)
    group = Group()
    async with asyncio.timeout(5), group.process().watched([record(0, 7)]):
        assert group.committed == {ONE: (7, "starts=1")}
        while group.committed != {ONE: (7, "")}:  # noqa: ASYNC110 - a task of the watch makes it so
            await asyncio.sleep(0.01)


async def test_a_group_that_does_not_answer_keeps_nothing_back() -> None:
    group = Group()
    group.away = True
    process = group.process()
    assert await process.divide([record(0, 7)]) == [[record(0, 7)]]
    async with process.watched([record(0, 7)]):
        pass
    assert group.committed == {}


@pytest.mark.parametrize(("count", "sequence"), [(3, 5), (5, 5), (6, None)])
async def test_where_the_event_of_a_given_up_record_stands_is_looked_for_in_three_lives(
    count: int, sequence: int | None
) -> None:
    group = Group()
    group.committed[ONE] = (7, f"starts={count}")
    ((letter,),) = await dies(group, record(0, 7, poke(5)))
    assert (letter.head and letter.head.sequence) == sequence, "should looking be what ends processes"


async def test_a_process_that_ends_while_it_looks_where_an_event_stands_has_been_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Ended(BaseException):
        pass

    def ends(_: bytes) -> None:
        raise Ended

    group, batch = Group(), [record(0, 7, poke(5))]
    group.committed[ONE] = (7, f"starts={MOST_STARTS}")
    monkeypatch.setattr(Event, "envelope_only", ends)
    for count in (4, 5, 6):
        with pytest.raises(Ended):
            await dies(group, *batch)
        assert group.committed == {ONE: (7, f"starts={count}")}
    ((letter,),) = await lives(group, *batch)
    assert (letter.value, letter.head) == (poke(5), None)


async def test_a_process_that_ends_with_a_letter_in_hand_says_nothing_against_looking() -> None:
    group, batch = Group(), [record(0, 7, poke(5))]
    group.committed[ONE] = (7, f"starts={MOST_STARTS}")
    for _ in range(10):
        ((letter,),) = await dies(group, *batch)
        assert letter.head.sequence == 5
        assert group.committed == {ONE: (7, f"starts={MOST_STARTS}")}


async def test_a_record_whose_letter_could_not_be_written_is_not_handled_after_all() -> None:
    group, bad, other = Group(), record(0, 7, poke(5)), record(1, 3)
    group.committed[ONE] = (7, f"starts={MOST_STARTS}")
    process = group.process()
    for away in (False, True):  # also while nothing of the group can be asked
        group.away = away
        ((again,),) = await process.divide([bad])
        async with process.watched([again]) as watched:
            assert [type(each) for each in watched] == [Unread]
            await process.forget()  # a store that is away for long makes it no better
        assert group.committed == {ONE: (7, f"starts={MOST_STARTS}")}
        await process.divide([other])
        assert process.positions({ONE: 7, TWO: 3}) == {ONE: (7, "starts=3"), TWO: (3, "")}
    assert process.positions({ONE: 8}) == {ONE: (8, "")}


async def _ends_in_hand(rig: Rig, *, orderly: bool) -> None:
    """Let a replica end with its first batch in hand."""
    begun = asyncio.Event()

    async def hangs(_: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def nothing() -> None: ...

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rig.handling, "before_write", hangs)
        if not orderly:
            patch.setattr(Starts, "forget", lambda _: nothing())
        async with rig.replica():
            await begun.wait()


@pytest.mark.parametrize("orderly", [False, True])
async def test_on_kafka_the_count_outlives_processes_and_who_leaves_by_itself_is_not_counted(
    rig: Rig, *, orderly: bool
) -> None:
    rig.settings = rig.settings.model_copy(update={"grace_seconds": 1.0})
    await rig.put(poke(1), poke(2), poke(1, subject="U"))
    for _ in range(MOST_STARTS):
        await _ends_in_hand(rig, orderly=orderly)
    consumer: Consumer
    async with rig.replica() as consumer:
        await until(lambda: _handled(consumer))
    letters = await rig.read(DLQ)
    assert (await rig.state("U"))["sequences"] == [1]
    if orderly:
        assert letters == []
        assert (await rig.state("T"))["sequences"] == [1, 2]
        return
    (letter,) = letters
    view = DeadLetter.from_kafka(letter.key, letter.value, letter.headers)
    assert (view.topic, view.offset, view.subject, view.sequence) == (rig.prefix + IN, 0, "T", 1)
    assert letter.value == poke(1)
    assert (await rig.state("T"))["sequences"] == [2]
    await rig.put(poke(1), poke(3), poke(1))  # replayed twice, and a later one
    async with rig.replica() as consumer:
        await until(lambda: _handled(consumer))
    assert (await rig.state("T"))["sequences"] == [2, 1, 3]
