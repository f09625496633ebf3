"""The schedule itself: replayable, complete, and what it promises about its instants."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.crash.schedule import (
    FULL,
    ONE_OF_THREE,
    SESSION_OF_BROKERS,
    SMALL,
    TRACKS,
    TWO_OF_THREE,
    Size,
    schedule,
)


@pytest.mark.parametrize("size", [SMALL, FULL, ONE_OF_THREE, TWO_OF_THREE])
def test_the_schedule_is_a_function_of_the_seed(size: Size) -> None:
    assert schedule(7, size) == schedule(7, size)
    assert schedule(7, size) != schedule(8, size)


@pytest.mark.parametrize("size", [SMALL, FULL])
def test_ten_seeds_hold_every_kind_of_fault(size: Size) -> None:
    faults = [fault for seed in range(10) for fault in schedule(seed, size)]
    kinds = {fault.kind for fault in faults}
    assert kinds == {"kill", "term", "stop", "remove", "server", "disk", "cut", "stall", "delay", "throttle"}
    assert {fault.target for fault in faults if fault.kind == "server"} == {"kafka", "mongo"}
    assert len({fault.target for fault in faults if fault.kind == "kill"}) == 8


@pytest.mark.parametrize("size", [SMALL, FULL])
def test_a_zombie_sleeps_longer_than_its_session(size: Size) -> None:
    for seed in range(10):
        assert all(fault.seconds > size.session for fault in schedule(seed, size) if fault.kind == "stop")


def test_brokers_die_in_turn_and_stay_away_long_enough_to_lose_their_partitions() -> None:
    mine = [fault for fault in schedule(3, ONE_OF_THREE) if fault.track == "brokers"]
    assert [fault.target for fault in mine[:4]] == ["kafka-1", "kafka-2", "kafka-3", "kafka-1"]
    long = [fault.seconds > SESSION_OF_BROKERS for fault in mine]
    assert any(long)
    assert not all(long)
    assert {fault.target for fault in schedule(3, ONE_OF_THREE) if fault.kind == "server"} >= {"mongo"}


def test_while_most_brokers_are_away_nothing_else_fails() -> None:
    faults = schedule(3, TWO_OF_THREE)
    assert {len(fault.target.split()) for fault in faults} == {2}
    assert {fault.track for fault in faults} == {"brokers"}


def test_faults_of_one_track_come_one_after_the_other() -> None:
    for track in TRACKS:
        mine = [fault for fault in schedule(3, FULL) if fault.track == track]
        assert len(mine) > 5
        assert all(before.at + before.seconds <= after.at for before, after in pairwise(mine))
