"""The score counts what was tested, and a mutant that no test runs is no kill."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from tests.mutants.score import Result, forget, load, pick, result, source, table


@pytest.mark.parametrize(
    ("code", "came_to"),
    [
        (1, Result.KILLED),
        (36, Result.KILLED),
        (-24, Result.KILLED),
        (0, Result.SURVIVED),
        (33, Result.SURVIVED),
        (5, Result.SURVIVED),
        (None, Result.UNTESTED),
        (2, Result.UNTESTED),
    ],
)
def test_an_exit_code_says_what_became_of_a_mutant(code: int | None, came_to: Result) -> None:
    assert result(code) is came_to


def test_only_what_was_chosen_and_tested_counts(tmp_path: Path) -> None:
    folder = tmp_path / "kit"
    folder.mkdir()
    codes = {"kit.timers.x_a__mutmut_1": 1, "kit.timers.x_a__mutmut_2": 0, "kit.timers.x_a__mutmut_3": None}
    (folder / "timers.py.meta").write_text(json.dumps({"exit_code_by_key": codes}), "utf-8")
    (folder / "outbox.py.meta").write_text(json.dumps({"exit_code_by_key": {"kit.outbox.x_b__mutmut_1": 33}}), "utf-8")
    found = list(load(tmp_path, ["kit/timers.py"]))
    assert [name for name, _ in found] == list(codes)
    assert len(list(load(tmp_path))) == 4
    assert len(list(load(tmp_path, ["kit"]))) == 4
    lines = table(load(tmp_path), {*codes, "kit.outbox.x_b__mutmut_1"}).splitlines()
    assert [line.split() for line in lines] == [
        ["0.0", "%", "0", "of", "1", "kit.outbox"],
        ["50.0", "%", "1", "of", "2", "kit.timers"],
    ]
    assert "kit.outbox" not in table(load(tmp_path), set(codes))


def test_a_result_that_is_taken_back_is_not_told_again(tmp_path: Path) -> None:
    codes = {"kit.timers.x_a__mutmut_1": 1, "kit.timers.x_a__mutmut_2": 0}
    (tmp_path / "timers.py.meta").write_text(json.dumps({"exit_code_by_key": codes, "more": 1}), "utf-8")
    forget(tmp_path, {"kit.timers.x_a__mutmut_2", "kit.outbox.x_b__mutmut_1"})
    assert [came_to for _, came_to in load(tmp_path)] == [Result.KILLED, Result.UNTESTED]
    assert json.loads((tmp_path / "timers.py.meta").read_text("utf-8"))["more"] == 1


def test_a_name_tells_its_file() -> None:
    assert source("kit.timers.xǁTickerǁtick__mutmut_3") == "kit/timers.py"


def test_a_sample_is_the_same_for_the_same_seed_and_whole_where_it_is_large_enough() -> None:
    names = [f"m{n:03}" for n in range(100)]
    assert pick(names, 0, Random(1)) == pick(names, 100, Random(1)) == names
    assert pick(names, 10, Random(1)) == pick(names, 10, Random(1))
    assert len(set(pick(names, 10, Random(2)))) == 10
