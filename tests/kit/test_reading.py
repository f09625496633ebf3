"""PollLoop and batch sizes: nobody goes deaf, and a store that is slow gets batches that it can take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError

from kit.base.errors import TransientError
from kit.kafka import reading
from kit.kafka.batch_size import BatchSize
from kit.kafka.reading import Ends, PollLoop
from tests.fake_clock import FakeClock
from tests.kit.test_outbox import START

HERE = TopicPartition("in", 0)
URGENT = (99,)


class Client:
    """Plays the client library: answers polls with what a test has laid out, then with nothing."""

    def __init__(self, *answers: dict[TopicPartition, list[Any]]) -> None:
        self.answers, self.asked = list(answers), list[Mapping[str, Any]]()
        self.fails: Exception | None = None
        """What a poll fails with once the answers are used up."""
        self.sought: list[int] = []

    def assignment(self) -> set[TopicPartition]:
        return {HERE}

    async def committed(self, _: TopicPartition) -> int:
        return 5

    def seek(self, _: TopicPartition, offset: int) -> None:
        self.sought.append(offset)

    async def getmany(self, *_: Any, **options: Any) -> dict[TopicPartition, list[Any]]:
        self.asked.append(options)
        await asyncio.sleep(0)
        if not self.answers and self.fails is not None:
            raise self.fails
        return self.answers.pop(0) if self.answers else {}


def grown(most: int = 500, most_bytes: int = 1_000_000) -> BatchSize:
    """The size of batches some time after the start."""
    size = BatchSize(most, 2.5, most_bytes)
    for _ in range(20):
        size.note(size.records, 0.0)
    assert size.records == most
    return size


class Rig:
    """PollLoop of one client, and what they told the consumer."""

    def __init__(self, client: Client, *, gather: float = 0.0, size: BatchSize | None = None) -> None:
        self.clock, self.size = FakeClock(START), size or grown()
        self.running, self.beats, self.in_hand = True, 0, dict[TopicPartition, int]()
        self.turns: list[str] = []
        self.polls = PollLoop(
            cast("Any", client),
            self.clock,
            running=lambda: self.running,
            beat=self.beat,
            in_hand=self.take,
            size=self.size,
            weigh=lambda record: record.weight,
            before=self.before,
            after=lambda: self.turns.append("after"),
            gather=gather,
            urgent=lambda record: record.offset in URGENT,
        )

    async def before(self) -> None:
        self.turns.append("before")

    def beat(self) -> None:
        self.beats += 1

    def take(self, firsts: Mapping[TopicPartition, int]) -> None:
        self.in_hand = dict(firsts)


async def until(holds: Callable[[], bool]) -> None:
    """Let the others run until something holds."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - whoever makes it hold knows of no event
            await asyncio.sleep(0)


def records(*offsets: int, weight: int = 1, of: TopicPartition = HERE) -> dict[TopicPartition, list[Any]]:
    return {of: [SimpleNamespace(offset=offset, weight=weight) for offset in offsets]}


async def test_an_empty_poll_is_followed_by_the_next_and_each_shows_that_the_loop_lives() -> None:
    rig = Rig(Client({}, {}, records(7, 8)))
    assert len((await rig.polls.getmany())[HERE]) == 2
    assert rig.beats == 3


async def test_each_poll_is_told_of_and_a_batch_that_is_taken_once() -> None:
    rig = Rig(Client({}, records(7), {}, records(8)), gather=2.0)
    polling = asyncio.create_task(rig.polls.getmany())
    await until(lambda: rig.beats > 3)
    assert rig.turns == ["before", "before"], "what waits for others is fetched on"
    rig.clock.advance(2.0)
    await polling
    assert rig.turns == ["before", "before", "after"]


async def test_what_a_poll_brings_is_in_hand_before_its_batch_begins() -> None:
    rig = Rig(Client(records(7, 8)))
    await rig.polls.getmany()
    assert rig.in_hand == {HERE: 7}


async def test_a_consumer_that_ends_is_not_polled_any_more() -> None:
    client = Client()
    rig = Rig(client)
    rig.running = False
    assert await rig.polls.getmany() == {}
    assert client.asked == []


async def test_a_poll_takes_what_there_is_room_for() -> None:
    client = Client(records(0))
    rig = Rig(client, size=grown(40))
    await rig.polls.getmany()
    assert client.asked[0]["max_records"] == 40


async def test_a_poll_goes_back_to_what_a_batch_has_no_room_for_in_bytes() -> None:
    client = Client(records(5, 6, 7, weight=40), records(7))
    rig = Rig(client, size=grown(most_bytes=100))
    assert [record.offset for record in (await rig.polls.getmany())[HERE]] == [5, 6]
    assert (client.sought, rig.in_hand) == ([7], {HERE: 5})


async def test_a_partition_that_has_gone_meanwhile_is_not_gone_back_to() -> None:
    gone = TopicPartition("in", 1)
    client = Client(records(5, weight=60) | records(8, weight=60, of=gone))
    rig = Rig(client, size=grown(most_bytes=100))
    assert (await rig.polls.getmany()).keys() == {HERE}
    assert client.sought == []


async def test_who_waits_for_others_waits_no_longer_than_there_is_room_in_bytes() -> None:
    client = Client(records(0, weight=60), records(1, weight=60), records(2))
    rig = Rig(client, gather=2.0, size=grown(most_bytes=100))
    assert [record.offset for record in (await rig.polls.getmany())[HERE]] == [0]
    assert client.sought == [1]
    assert len(client.answers) == 1


async def test_records_that_are_not_urgent_wait_for_others_and_go_with_them_in_order() -> None:
    rig = Rig(Client(records(0), {}, records(1, 2)), gather=2.0)
    polling = asyncio.create_task(rig.polls.getmany())
    await until(lambda: rig.beats > 4)
    assert rig.in_hand == {HERE: 0}
    rig.clock.advance(2.0)
    assert [record.offset for record in (await polling)[HERE]] == [0, 1, 2]
    assert rig.in_hand == {HERE: 0}


async def test_an_urgent_record_takes_those_along_that_wait() -> None:
    rig = Rig(Client(records(0), {}, records(*URGENT), records(1)), gather=2.0)
    assert [record.offset for record in (await rig.polls.getmany())[HERE]] == [0, *URGENT]


async def test_who_waits_for_others_waits_no_longer_than_there_is_room() -> None:
    client = Client(records(0, 1, 2), records(3), records(4))
    rig = Rig(client, gather=2.0, size=grown(4))
    assert len((await rig.polls.getmany())[HERE]) == 4
    assert [asked["max_records"] for asked in client.asked] == [4, 1]


async def test_a_consumer_that_ends_waits_for_nobody() -> None:
    rig = Rig(Client(records(0)), gather=2.0)
    polling = asyncio.create_task(rig.polls.getmany())
    await until(lambda: rig.beats > 1)
    rig.running = False
    await polling


@pytest.mark.parametrize("fault", [KafkaTimeoutError(), RuntimeError("a bug"), AssertionError("a bug")])
async def test_what_waits_is_dropped_with_a_poll_that_fails_and_comes_again(fault: Exception) -> None:
    client = Client(records(5))
    rig = Rig(client, gather=2.0)
    client.fails = fault
    with pytest.raises(type(fault)):
        await rig.polls.getmany()
    assert rig.in_hand == {HERE: 0}, "timers must not take what was dropped as handled"
    client.fails, client.answers = None, [records(5), records(*URGENT)]
    assert [record.offset for record in (await rig.polls.getmany())[HERE]] == [5, *URGENT]
    assert client.sought == [5]


class Unhurried(Client):
    """Answers each question in time, and takes longer for all of them together."""

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition("in", p) for p in range(4)}

    async def committed(self, _: TopicPartition) -> int:
        await asyncio.sleep(0.2)
        return 5


async def test_positions_of_many_partitions_are_gone_back_to_however_long_they_take_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "ANSWER_SECONDS", 0.6)
    client = Unhurried(records(5))
    rig = Rig(client, gather=2.0)
    client.fails = RuntimeError("a bug")
    with pytest.raises(RuntimeError):
        await rig.polls.getmany()
    client.fails, client.answers = None, [records(*URGENT)]
    await rig.polls.getmany()
    assert client.sought == [5, 5, 5, 5]
    assert rig.beats >= 4, "and the loop is seen to live"


async def test_what_waits_in_many_partitions_is_told_however_long_it_takes_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def look(_: object, tp: TopicPartition, offset: int) -> Any:
        await asyncio.sleep(0.2)
        return SimpleNamespace(timestamp=1000 * offset) if tp.partition else None

    monkeypatch.setattr(reading, "ANSWER_SECONDS", 0.6)
    monkeypatch.setattr(reading, "_look", look)
    ends = Ends("nowhere:1", "test")
    monkeypatch.setattr(ends, "_client", SimpleNamespace(unsubscribe=lambda: None))
    places = {TopicPartition("in", p): 7 for p in range(4)}
    assert list((await ends.instants(places)).values()) == [7, 7, 7]


async def test_ends_are_not_known_before_there_is_a_connection() -> None:
    with pytest.raises(TransientError):
        await Ends("127.0.0.1:1", "test").of([HERE])
