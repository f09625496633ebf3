"""A key's partition is the one that every other client of Kafka gives it."""

import random

import pytest
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as theirs
from hypothesis import example, given
from hypothesis import strategies as st

from kit.murmur import murmur2
from kit.producer import partition_of


@given(st.binary(max_size=70))
@example(b"\xff" * 5000)
def test_the_hash_is_the_one_of_the_library(data: bytes) -> None:
    assert murmur2(data) == theirs(data)


@pytest.mark.parametrize(
    ("key", "java"),  # from Kafka's own UtilsTest
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_the_one_of_kafkas_own_client(key: bytes, java: int) -> None:
    assert murmur2(key) == java & 0xFFFFFFFF


@given(st.binary(max_size=40), st.integers(1, 60))
def test_a_keys_partition_is_the_one_of_the_library(key: bytes, count: int) -> None:
    every = list(range(count))
    assert partition_of(key, count) == DefaultPartitioner()(key, every, every)


def test_without_a_key_any_partition_is_right() -> None:
    random.seed(1)
    assert {partition_of(None, 3) for _ in range(100)} == {0, 1, 2}
