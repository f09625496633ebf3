"""Timers know what this process writes, ask the store once a period, and fire nothing before its partition is read."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from kit.base.errors import TransientError
from kit.protocol.timers import AHEAD, BEHIND
from tests.kit.test_outbox import START
from tests.kit.test_reading import until
from tests.kit.timer_rig import PERIOD, Rig


async def test_the_store_is_asked_once_a_period_while_nothing_is_due() -> None:
    rig = Rig()
    for tick in range(50):
        await rig.at(tick * 0.02)
    assert rig.store.asked == 2


async def test_what_this_process_arms_fires_in_time_without_asking_the_store() -> None:
    rig = Rig()
    await rig.at(0)
    await rig.arm("T", 0.1)
    assert await rig.at(0.14) == []
    assert await rig.at(0.15) == ["T"]
    assert rig.store.asked == 1


async def test_what_another_process_arms_fires_at_most_a_period_late() -> None:
    rig = Rig()
    await rig.at(0)
    await rig.arm("T", 0.1, rig.other)
    assert await rig.at(0.3) == []
    assert await rig.at(PERIOD) == ["T"]


async def test_an_instant_that_was_moved_does_not_fire() -> None:
    rig = Rig()
    await rig.arm("T", 0.1)
    await rig.at(0)
    await rig.arm("T", 3.0)
    assert await rig.at(0.2) == []
    assert await rig.at(3.05) == ["T"]


async def test_an_instant_that_another_process_moved_does_not_fire_although_it_was_seen() -> None:
    rig = Rig()
    await rig.arm("T", 0.1)
    await rig.at(0)
    await rig.arm("T", None, rig.other)
    assert await rig.at(0.2) == []


async def test_an_instant_that_another_process_put_off_fires_then_and_not_before() -> None:
    rig = Rig()
    await rig.arm("T", 0.1)
    await rig.at(0)
    await rig.arm("T", 3.0, rig.other)
    assert await rig.at(0.2) == []
    assert await rig.at(3.05) == ["T"]


async def test_nothing_fires_before_its_partition_is_read_to_the_end() -> None:
    rig = Rig()
    await rig.arm("T", 0.1)
    rig.place.behind = {0, 1, 2, 3}
    assert await rig.at(0.2) == []
    rig.place.behind = set()
    assert await rig.at(0.21) == ["T"]


async def test_what_falls_due_after_the_instant_up_to_which_all_is_handled_waits() -> None:
    rig = Rig()
    await rig.arm("T", 0.1)
    await rig.arm("U", 0.2)
    rig.place.until = START + timedelta(seconds=0.16)
    assert await rig.at(1.0) == ["T"]
    rig.place.until = START + timedelta(seconds=0.25)
    assert await rig.at(1.0) == ["T", "U"]


@pytest.mark.parametrize("partly", [False, True])
async def test_a_partition_that_is_behind_holds_up_no_other(partly: bool) -> None:
    rig = Rig(limit=3)
    slow, quick = rig.names(0, 3 * AHEAD + 5), rig.names(1, 1)
    for name in slow:
        await rig.arm(name, 1)
    await rig.arm(quick[0], 2)
    rig.place.behind, rig.place.partly = (set(), {0: START}) if partly else ({0}, {})
    for _ in range(4):
        await rig.at(3)
    assert rig.fired == quick
    rig.place.behind, rig.place.partly = set(), {}
    for _ in range(AHEAD + 3):
        await rig.at(3)
    assert sorted(rig.fired) == sorted(quick + slow)


async def test_a_backlog_that_may_not_fire_yet_is_read_once_a_period() -> None:
    rig = Rig(limit=3)
    for name in rig.names(0, 3 * AHEAD + 5):
        await rig.arm(name, 1)
    rig.place.behind = {0}
    for tick in range(50):
        await rig.at(3 + tick * 0.02)
    assert rig.fired == []
    assert rig.store.asked <= 5  # those that are behind and the others apart
    rig.place.behind = set()
    for _ in range(AHEAD + 3):
        await rig.at(4)
    assert len(rig.fired) == 3 * AHEAD + 5


async def test_partitions_that_come_are_looked_at_at_once() -> None:
    rig = Rig()
    await rig.arm("T", 0.1, rig.other)
    home = rig.other.home_partition("T")
    rig.place.mine = [p for p in range(4) if p != home]
    assert await rig.at(0.2) == []
    rig.place.mine = [0, 1, 2, 3]
    assert await rig.at(0.21) == ["T"]


async def test_partitions_that_go_fire_nothing() -> None:
    rig = Rig()
    await rig.arm("T", 0.1)
    await rig.at(0)
    rig.place.mine = []
    assert await rig.at(0.2) == []


async def test_more_than_one_look_can_hold_fires_whole_and_the_longest_due_first() -> None:
    rig = Rig(limit=3)
    names = [f"T{n}" for n in range(3 * AHEAD + 5)]
    for n, name in enumerate(names):
        await rig.arm(name, 0.01 * n, rig.other)
    for _ in range(AHEAD + 3):
        await rig.at(1.0)
    assert rig.fired == names
    assert rig.store.asked == 2


async def test_so_many_fire_at_once() -> None:
    rig = Rig(limit=3)
    for n in range(7):
        await rig.arm(f"T{n}", 0)
    rig.clock.advance(1)
    assert [await rig.ticker.tick() for _ in range(4)] == [3, 3, 1, 0]


async def test_what_nothing_is_decided_about_is_asked_about_once_a_period() -> None:
    rig = Rig()
    rig.undecided.add("T")
    await rig.arm("T", 0)
    for tick in range(1, 11):
        rig.clock.set(START + timedelta(seconds=tick * 0.1))
        assert await rig.ticker.tick() == 0
    assert rig.tries == ["T"] * 2


async def test_what_is_beyond_the_last_that_a_look_could_hold_fires_in_time_too() -> None:
    rig = Rig(limit=3)
    due = {f"T{n}": 0.1 + 0.01 * n for n in range(3 * AHEAD + 5)}
    for name, seconds in due.items():
        await rig.arm(name, seconds, rig.other)
    fired: dict[str, float] = {}
    for tick in range(60):
        for name in await rig.at(tick * 0.01):
            fired.setdefault(name, tick * 0.01)
    assert {name: round(at - due[name], 3) for name, at in fired.items()} == dict.fromkeys(due, 0.05)
    assert rig.store.asked == 2, "at the start, and where the first look ended"


async def test_what_fires_again_soon_is_not_forgotten() -> None:
    rig = Rig()
    rig.again = 0.1
    await rig.at(0)
    await rig.arm("T", 0.1)
    assert await rig.at(0.15) == ["T"]
    assert await rig.at(0.25) == ["T", "T"]
    assert rig.store.asked == 1


async def test_a_store_that_was_away_is_asked_again_and_nothing_is_lost() -> None:
    rig = Rig()
    await rig.at(0)
    await rig.arm("T", 0.1)
    rig.store.away = True
    with pytest.raises(TransientError):
        await rig.at(0.2)
    rig.store.away = False
    assert await rig.at(0.21) == ["T"]


async def test_a_running_ticker_is_woken_by_what_falls_due_before_its_next_look() -> None:
    rig = Rig(period=60)
    running = asyncio.create_task(rig.ticker.run())
    await until(lambda: rig.store.asked > 0)
    rig.clock.advance(0.2)
    await rig.arm("T", 0.1)
    await until(lambda: bool(rig.fired))
    running.cancel()
    assert rig.store.asked == 1


async def test_what_may_not_fire_yet_is_looked_at_again_soon_and_after_a_while_less_often() -> None:
    rig = Rig()
    for tick in range(20):
        await rig.at(tick * 0.01)
    await rig.arm("T", 0.3)
    rig.place.behind = {0, 1, 2, 3}
    rests = []
    for _ in range(12):
        await rig.at(0.4)
        rests.append(rig.ticker._rest())
    assert rests[:5] == [BEHIND] * 5
    assert rests == sorted(rests)
    assert rests[-1] == PERIOD
    rig.place.behind = set()
    assert await rig.at(0.4) == ["T"]
