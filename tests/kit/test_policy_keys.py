"""Whatever a key stands in, the keys that might have been meant are those of its place."""

from collections.abc import Mapping
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from kit.policy.keys import unknown


class Inner(BaseModel):
    room: str
    named: str = Field("", alias="as")


class Tagged(BaseModel):
    kind: Literal["tagged", "labelled"]
    length: int


class Other(BaseModel):
    kind: Literal["other"]
    width: int


class Wide(BaseModel):
    a01: int
    a02: int
    a03: int
    a04: int
    a05: int
    a06: int
    a07: int
    a08: int
    a09: int
    a10: int
    a11: int
    a12: int
    a13: int


class Whole(BaseModel):
    one: Inner
    maybe: Inner | None = None
    many: tuple[Inner, ...] = ()
    by_name: Mapping[str, list[Inner]] = {}
    tagged: Annotated[dict[str, Annotated[Tagged | Other, Field(discriminator="kind")]], "said"] = {}
    either: Inner | Other | str = ""
    wide: Wide | None = None
    words: tuple[str, ...] = ()


NONE = "unknown key"


@pytest.mark.parametrize(
    ("loc", "told"),
    [
        (("mani",), f"{NONE}, did you mean many?"),
        (("one", "rom"), f"{NONE}, did you mean room?"),
        (("maybe", "rom"), f"{NONE}, did you mean room?"),
        (("many", 3, "rom"), f"{NONE}, did you mean room?"),
        (("many", 3, "zzzz"), f"{NONE}; known keys: as, room"),
        (("by_name", "one", 0, "rom"), f"{NONE}, did you mean room?"),
        (("tagged", "x", "tagged", "lenght"), f"{NONE}, did you mean length?"),
        (("tagged", "x", "labelled", "zzzz"), f"{NONE}; known keys: kind, length"),
        (("tagged", "x", "other", "zzzz"), f"{NONE}; known keys: kind, width"),
        (("either", "Inner", "zzzz"), f"{NONE}; known keys: as, room"),
        (("either", "Other", "zzzz"), f"{NONE}; known keys: kind, width"),
        (("either", "function-wrap", "rom"), f"{NONE}, did you mean room?"),
        (
            ("wide", "zzzz"),
            f"{NONE}; known keys: a01, a02, a03, a04, a05, a06, a07, a08, a09, a10, a11, a12 and 1 more",
        ),
        (("words", 0, "x"), NONE),
        (("no", "such", "path"), NONE),
    ],
)
def test_the_keys_of_the_place_are_suggested(loc: tuple[int | str, ...], told: str) -> None:
    assert unknown(Whole, loc) == told
