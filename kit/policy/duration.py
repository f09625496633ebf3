"""The format of durations in all policy files: `90s`, `1h30m`, `1.5h`, `2d`, `0`.

One or more parts, each a number and a unit (`d`, `h`, `m`, `s`, `ms`), without spaces, largest unit first, each unit
once. The last part may have a fraction, as in ISO 8601: `1.5h` is `1h30m`. `0` needs no unit; every other number does,
as it would be ambiguous. A duration is a whole number of milliseconds, the precision of MongoDB's dates, and at most
MAXIMUM.
"""

import re
from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

MAXIMUM = timedelta(days=3650)
"""Longest duration allowed; a longer one is taken for a typing error."""

_MS = timedelta(milliseconds=1)
_UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
"""Unit -> milliseconds, largest first."""
_NUMBER = r"([0-9]{1,12}(?:\.[0-9]{1,9})?)"
_TEXT = re.compile("".join(f"(?:{_NUMBER}{unit}{'(?!s)' if unit == 'm' else ''})?" for unit in _UNITS))
_HINT = "write it like 90s, 15m, 1h30m or 2d"


def parse(value: object) -> timedelta:
    """Parse a duration. Raises ValueError with a hint at the format."""
    if isinstance(value, timedelta):
        return value
    if value == "0" or (type(value) is int and value == 0):
        return timedelta(0)
    if not isinstance(value, str):
        unit = f"{value!r} has no unit" if type(value) in {int, float} else f"{value!r} is not a duration"
        raise ValueError(f"{unit}: {_HINT}")  # noqa: TRY004 - pydantic requires ValueError
    match = _TEXT.fullmatch(value)
    numbers = match.groups() if match else ()
    parts = [(number, ms) for number, ms in zip(numbers, _UNITS.values(), strict=False) if number]
    if not parts or any("." in number for number, _ in parts[:-1]):
        raise ValueError(f"{value!r} is not a duration: {_HINT} (units {', '.join(_UNITS)}, the largest first)")
    total = sum(Decimal(number) * ms for number, ms in parts)
    if total != int(total):
        raise ValueError(f"{value!r} is not a whole number of milliseconds")
    if total > MAXIMUM // _MS:
        raise ValueError(f"{value!r} is longer than {write(MAXIMUM)}")
    return int(total) * _MS


def parse_positive(value: object) -> timedelta:
    """Parse a duration above 0. Raises ValueError."""
    duration = parse(value)
    if not duration:
        raise ValueError("must be longer than 0")
    return duration


def write(duration: timedelta) -> str:
    """Return the duration in whole units, as `parse` reads it: `1h30m`, `2d`, `0`."""
    remaining, text = duration // _MS, ""
    for unit, size in _UNITS.items():
        count, remaining = divmod(remaining, size)
        text += f"{count}{unit}" if count else ""
    return text or "0"


_WRITTEN = PlainSerializer(write, return_type=str, when_used="json")
Duration = Annotated[timedelta, BeforeValidator(parse), _WRITTEN]
"""A duration from 0 to MAXIMUM."""
PositiveDuration = Annotated[timedelta, BeforeValidator(parse_positive), _WRITTEN]
"""A duration above 0, for values where `0` would repeat without a pause."""
