"""Durations as people write them in a policy: 90, 1.5s, 15m, 4h, 3d. In memory they are seconds."""

import re
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PATTERN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")


def seconds(value: object) -> object:
    """Read a duration; a bare number is seconds already."""
    if not isinstance(value, str):
        return value
    match = _PATTERN.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{value!r} is not a duration: write 30s, 15m, 4h or 2d")
    return float(match[1]) * _UNITS[match[2]]


Duration = Annotated[float, BeforeValidator(seconds), Field(gt=0, le=30 * 86_400, allow_inf_nan=False)]
"""More than nothing, at most thirty days."""


def after(instant: datetime, wait: float) -> datetime:
    """The instant that many seconds later, in whole milliseconds, as a document keeps it."""
    return instant + timedelta(milliseconds=round(wait * 1000))
