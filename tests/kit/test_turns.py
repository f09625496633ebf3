"""Background jobs: turns go on whatever fails, with a wait after a fault, until they are cancelled."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from kit.base.errors import TransientError
from kit.base.turns import AFTER_FAULT, every, turns, woken
from tests.fake_clock import FakeClock
from tests.kit.test_reading import until

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


async def settled(clock: FakeClock) -> None:
    await until(lambda: clock.sleepers == 1)


def faults(*them: Exception | None) -> Iterator[Exception | None]:
    yield from them
    while True:
        yield None


@pytest.mark.parametrize("fault", [TransientError("away"), ConnectionError("away"), ValueError("a bug")])
async def test_a_turn_that_fails_is_followed_by_another_a_second_and_a_rest_later(
    clock: FakeClock, fault: Exception
) -> None:
    taken: list[float] = []
    coming = faults(None, fault)

    async def turn() -> None:
        taken.append(clock.monotonic())
        if (raised := next(coming)) is not None:
            raise raised

    async def rest() -> None:
        await clock.sleep(10)

    task = asyncio.create_task(turns(clock, turn, rest, "job"))
    for seconds in (10, AFTER_FAULT, 10, 10):
        await settled(clock)
        clock.advance(seconds)
    await settled(clock)
    task.cancel()
    assert taken == [0, 10, 20 + AFTER_FAULT, 30 + AFTER_FAULT]


async def test_a_cancelled_turn_ends_the_job(clock: FakeClock) -> None:
    begun = asyncio.Event()

    async def turn() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def rest() -> None:
        raise AssertionError("no rest is due")

    task = asyncio.create_task(turns(clock, turn, rest, "job"))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_job_rests_before_its_first_turn_and_about_as_long_each_time(clock: FakeClock) -> None:
    taken: list[float] = []

    async def turn() -> None:
        taken.append(clock.monotonic())

    task = asyncio.ensure_future(every(clock, 10, turn, "job")())
    for _ in range(500):
        await settled(clock)
        clock.advance(0.25)
    task.cancel()
    rests = [after - before for before, after in zip([0, *taken], taken, strict=False)]
    assert len(rests) >= 10
    assert all(8 <= rest <= 12.25 for rest in rests)
    assert len(set(rests)) > 1


async def test_who_rests_is_woken_once_by_each_event() -> None:
    event = asyncio.Event()
    event.set()
    async with asyncio.timeout(5):
        await woken(event, 60)
        assert not event.is_set()
        resting = asyncio.create_task(woken(event, 60))
        await asyncio.sleep(0)
        assert not resting.done()
        event.set()
        await resting
    await woken(event, 0)
