"""The fuzz targets without a fuzzer: right inputs, what was once found, and seeded mutations of both."""

from __future__ import annotations

import random
import time

import psutil
import pytest

from tests.attack.mutation import mutated
from tests.attack.targets import TARGETS, seeds

ROUNDS = {"policy": 40}
#: YAML is read by slow code, and only operators write it.
SECONDS = {"policy": 4.0}
GROWTH = 64 * 1024 * 1024
SEED = 20261121


def survive(name: str, data: bytes) -> None:
    begin = time.process_time()
    TARGETS[name](data)
    assert time.process_time() - begin < SECONDS.get(name, 1.0)


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_right_and_what_was_once_found_is_survived(name: str) -> None:
    every = list(seeds(name))
    assert every
    for data in [*every, b"", b"\0", b"{}", b"[]", b"null", b'""', b"\xff" * 100, b"[" * 100_000, b"a" * 200_000]:
        survive(name, data)


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_are_survived_in_bounded_time_and_memory(name: str) -> None:
    dice = random.Random(f"{SEED} {name}")
    every = list(seeds(name))
    before = psutil.Process().memory_info().rss
    for _ in range(ROUNDS.get(name, 300)):
        data = mutated(dice.choice(every), every, dice)
        try:
            survive(name, data)
        except BaseException:
            print(f"{name}: {data!r}")
            raise
    assert psutil.Process().memory_info().rss - before < GROWTH
