"""Rates in policy files."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from kit.policy import rate


@pytest.mark.parametrize(
    ("text", "count", "period", "interval", "burst"),
    [
        ("80/s", 80, timedelta(seconds=1), 0.0125, 80),
        ("1/s", 1, timedelta(seconds=1), 1, 1),
        ("90/m", 90, timedelta(minutes=1), 60 / 90, 1),
        ("7200/h", 7200, timedelta(hours=1), 0.5, 2),
        ("10/d", 10, timedelta(days=1), 8640, 1),
    ],
)
def test_a_rate_is_a_number_in_a_period(text: str, count: int, period: timedelta, interval: float, burst: int) -> None:
    found = rate.parse(text)
    assert (found.count, found.period, found.burst) == (count, period, burst)
    assert found.interval == pytest.approx(interval)
    assert rate.write(found) == text
    assert rate.parse(found) is found


@pytest.mark.parametrize("value", ["", "80", "80/", "0/s", "-1/s", "1.5/s", "80/ms", "80 /s", "1000000/s", 80, None])
def test_what_is_no_rate_is_refused_with_the_format(value: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{value!r} is not a rate: write it like 80/s")):
        rate.parse(value)
