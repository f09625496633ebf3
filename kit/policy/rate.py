"""The format of rates in policy files: `80/s`, `30/m`, `500/h`, `10000/d`."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

_UNITS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_TEXT = re.compile(r"([1-9][0-9]{0,5})/([smhd])")
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Limit:
    """A number of times in a period."""

    count: int
    period: timedelta

    @property
    def interval(self) -> float:
        """Seconds from one time to the next, if they are spread evenly."""
        return self.period / _SECOND / self.count

    @property
    def burst(self) -> int:
        """How many may come at once: as many as a second allows, at least one."""
        return max(1, int(_SECOND * self.count / self.period))


def parse(value: object) -> Limit:
    """Parse a rate. Raises ValueError with a hint at the format."""
    if isinstance(value, Limit):
        return value
    match = _TEXT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a rate: write it like 80/s, 30/m, 500/h or 10000/d")
    return Limit(int(match[1]), _UNITS[match[2]])


def write(rate: Limit) -> str:
    """Return the rate as `parse` reads it."""
    return f"{rate.count}/{next(name for name, period in _UNITS.items() if period == rate.period)}"


Rate = Annotated[Limit, BeforeValidator(parse), PlainSerializer(write, return_type=str, when_used="json")]
"""A rate, from 1/d to 999999/s."""
