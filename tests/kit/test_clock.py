"""Clocks: whole milliseconds, and a fake that moves only when it is told to."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from kit.base.clock import SystemClock, to_ms
from tests.fake_clock import FakeClock

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_instants_are_utc_in_whole_milliseconds() -> None:
    instant = datetime(2026, 3, 1, 19, 0, 0, 123999, tzinfo=timezone(timedelta(hours=7)))
    assert to_ms(instant).isoformat() == "2026-03-01T12:00:00.123000+00:00"
    now = SystemClock().now()
    assert (now.tzinfo, now.microsecond % 1000) == (UTC, 0)


def test_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        to_ms(datetime(2026, 3, 1))  # noqa: DTZ001


async def test_sleepers_wake_when_the_clock_has_passed_their_instant() -> None:
    clock = FakeClock(START)
    woken: list[float] = []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    tasks = [asyncio.create_task(sleeper(seconds)) for seconds in (0.3, 0.1, 5)]
    await asyncio.sleep(0)
    assert clock.sleepers == 3
    for _ in range(3):
        clock.advance(0.1)
    await asyncio.gather(*tasks[:2])
    assert woken == [0.1, 0.3]
    clock.set(START + timedelta(seconds=5))
    await tasks[2]
    assert (clock.now(), clock.sleepers) == (START + timedelta(seconds=5), 0)


async def test_wall_clock_may_go_back_and_passed_time_does_not() -> None:
    clock = FakeClock(START)
    clock.advance(10)
    clock.set(START)
    assert (clock.now(), clock.monotonic()) == (START, 10)
