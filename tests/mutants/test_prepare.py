"""The copy that mutmut works on does what the original does."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.mutants.prepare import LIFTED, prepared

SOURCE = '''
"""A module."""

from __future__ import annotations

import functools
from contextlib import contextmanager


@functools.cache
def doubled(n: int, *more: int, by: int = 2, **rest: int) -> int:
    return n * by + sum(more) + sum(rest.values())


@contextmanager
def opened(log: list[str]):
    log.append("opened")
    yield log
    log.append("closed")


class Lamp:
    """A lamp that says so."""

    def __init__(self, watts: int) -> None:
        self.watts = watts

    @property
    def bright(self) -> bool:
        return self.watts > 5

    @property
    def power(self) -> int:
        return self.watts

    @power.setter
    def power(self, power: int) -> None:
        self.watts = power + 1

    @staticmethod
    def made(watts: int) -> Lamp:
        return Lamp(watts)

    @classmethod
    @functools.cache
    def of(cls, watts: int) -> Lamp:
        return cls(watts)

    @functools.cached_property
    def said(self) -> str:
        return "watts are {%d}, so it is bright" % self.watts

    def match(self, word: str) -> int:
        match word:
            case "two words":
                return 2
        return 0


class Torch(Lamp):
    @property
    def bright(self) -> bool:
        return not super().bright
'''


def names(source: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    exec(compile(source, "made", "exec"), found)
    return found


@pytest.mark.parametrize("source", [SOURCE, prepared(SOURCE)], ids=["original", "copy"])
def test_a_copy_does_what_the_original_does(source: str) -> None:
    made = names(source)
    lamp = made["Lamp"](7)
    log: list[str] = []
    assert (made["doubled"](3), made["doubled"](3, 1, by=3, x=5)) == (6, 15)
    with made["opened"](log):
        log.append("in between")
    assert log == ["opened", "in between", "closed"]
    assert (lamp.bright, made["Lamp"].made(5).bright, made["Torch"](7).bright) == (True, False, False)
    assert type(made["Torch"].of(1)) is made["Torch"]
    lamp.power = 1
    assert lamp.power == 2
    assert lamp.said == "watts are {2}, so it is bright"
    assert (lamp.match("two words"), lamp.match("x"), made["Lamp"].__doc__) == (2, 0, "A lamp that says so.")


def test_what_has_decorators_is_lifted_unless_it_needs_its_class_or_mutmut_takes_it_as_it_is() -> None:
    lifted = {name for name in names(prepared(SOURCE)) if name.startswith(LIFTED)}
    assert lifted == {
        f"{LIFTED}{name}"
        for name in ("doubled", "opened", "Lamp_bright", "Lamp_power", "Lamp_power_2", "Lamp_of", "Lamp_said")
    }


async def test_what_awaits_is_awaited_and_what_yields_is_iterated() -> None:
    source = (
        "def same(f): return f\n"
        "@same\nasync def one():\n    return 1\n"
        "@same\nasync def many():\n    yield 1\n    yield 2\n"
    )
    made = names(prepared(source))
    assert await made["one"]() == 1
    assert [each async for each in made["many"]()] == [1, 2]


def test_sentences_are_out_of_reach_and_words_are_not() -> None:
    code = prepared('def f():\n    return "a word", "word", " ", r"two \\d words", b"two words"\n')
    assert names(code)["f"]() == ("a word", "word", " ", r"two \d words", b"two words")
    assert sum(isinstance(node, ast.JoinedStr) for node in ast.walk(ast.parse(code))) == 2


ROOT = Path(__file__).resolve().parents[2]
PATTERNS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mutmut"]["only_mutate"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_file_that_is_mutated_can_be_prepared(pattern: str) -> None:
    files = list(ROOT.glob(pattern))
    assert files
    for file in files:
        ast.parse(prepared(file.read_text("utf-8")))
