"""Batches are as large as the store can take and the memory holds, and begin small: pure, so without servers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from kit.kafka.batch_size import FIRST, LEAST, BatchSize, Records, fitting, weigh_all

ONE, TWO = TopicPartition("in", 0), TopicPartition("in", 1)


def size() -> BatchSize:
    """One that has grown to its bound."""
    made = BatchSize(500, 2.5, 1000)
    while made.records < 500:
        made.note(made.records, 0.1)
    return made


def test_the_first_batch_after_a_start_is_small_and_quick_ones_let_it_grow() -> None:
    made = BatchSize(500, 2.5, 1000)
    sizes = []
    for _ in range(11):
        sizes.append(made.records)
        made.note(made.records, 0.1)
    assert sizes == [FIRST, 2, 4, 8, 16, 32, 64, 128, 256, 500, 500]


def test_a_first_batch_that_is_slow_does_not_make_the_next_one_larger() -> None:
    made = BatchSize(500, 2.5, 1000)
    made.note(1, 10.0)
    assert made.records == FIRST


def test_a_batch_that_took_too_long_is_followed_by_smaller_ones_down_to_a_few() -> None:
    made = size()
    sizes = []
    for _ in range(8):
        made.note(made.records, 10.0)
        sizes.append(made.records)
    assert sizes == [250, 125, 62, 31, 15, LEAST, LEAST, LEAST]


def test_a_small_batch_that_took_too_long_bounds_the_next_by_its_own_size() -> None:
    made = size()
    made.note(100, 3.0)
    assert made.records == 50


def test_full_batches_that_are_quick_make_room_again_and_never_above_the_setting() -> None:
    made = size()
    made.note(100, 3.0)
    sizes = []
    for _ in range(5):
        made.note(made.records, 0.1)
        sizes.append(made.records)
    assert sizes == [100, 200, 400, 500, 500]


@pytest.mark.parametrize(("records", "seconds"), [(10, 0.1), (50, 1.0)])
def test_batches_that_are_not_full_or_not_quick_say_nothing_about_larger_ones(records: int, seconds: float) -> None:
    made = size()
    made.note(100, 3.0)
    made.note(records, seconds)
    assert made.records == 50


def polled(one: list[int], two: list[int]) -> Records:
    """Records of two partitions by their weights."""
    return {
        tp: [SimpleNamespace(offset=n, weight=weight) for n, weight in enumerate(weights)]
        for tp, weights in ((ONE, one), (TWO, two))
        if weights
    }


def weigh(record: Any) -> int:
    weight: int = record.weight
    return weight


def test_partitions_give_in_turn_so_large_records_of_one_do_not_keep_the_other_out() -> None:
    taken, left = fitting(polled([50, 50, 50], [10, 10]), 120, weigh)
    assert {tp: len(records) for tp, records in taken.items()} == {ONE: 2, TWO: 2}
    assert left == {ONE: 2}


def test_a_record_that_is_too_large_is_a_batch_of_its_own() -> None:
    taken, left = fitting(polled([500, 1], [1]), 100, weigh)
    assert {tp: len(records) for tp, records in taken.items()} == {ONE: 1}
    assert left == {TWO: 0, ONE: 1}


WEIGHTS = st.lists(st.integers(0, 100), max_size=20)


@given(WEIGHTS, WEIGHTS, st.integers(1, 300))
def test_what_is_taken_and_what_is_gone_back_to_are_all_that_was_polled(
    one: list[int], two: list[int], most: int
) -> None:
    given_, (taken, left) = polled(one, two), fitting(polled(one, two), most, weigh)
    for tp, records in given_.items():
        offsets = [record.offset for record in taken.get(tp, [])]
        assert offsets == list(range(left.get(tp, len(records))))
    count = sum(len(records) for records in taken.values())
    assert weigh_all(taken, weigh) <= most or count == 1
    assert count > 0 or not given_
