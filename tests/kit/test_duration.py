"""Durations: one grammar, its bound, and what it says about anything else."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from kit.policy.duration import MAXIMUM, Duration, parse, parse_positive, write


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        ("1h0.5m", timedelta(hours=1, seconds=30)),
        ("1d", timedelta(days=1)),
        ("1d2h3m4s5ms", timedelta(days=1, hours=2, minutes=3, seconds=4, milliseconds=5)),
        ("250ms", timedelta(milliseconds=250)),
        ("0.001s", timedelta(milliseconds=1)),
        ("120m", timedelta(hours=2)),
        ("3650d", MAXIMUM),
        ("0", timedelta(0)),
        (0, timedelta(0)),
        ("0s", timedelta(0)),
        ("0h0m", timedelta(0)),
    ],
)
def test_a_duration_is_numbers_with_units_the_largest_first(text: Any, duration: timedelta) -> None:
    assert parse(text) == duration


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (90, "90 has no unit: write it like 90s"),
        (1.5, "1.5 has no unit"),
        ("90", "'90' is not a duration: write it like 90s, 15m, 1h30m or 2d (units d, h, m, s, ms"),
        (0.0, "0.0 has no unit"),
        (False, "False is not a duration"),
        (None, "None is not a duration"),
        (["1h"], "is not a duration"),
        ("", "'' is not a duration"),
        ("h", "is not a duration"),
        ("1w", "is not a duration"),
        ("1H", "is not a duration"),
        ("-5m", "is not a duration"),
        ("15 m", "is not a duration"),
        ("1h 30m", "is not a duration"),
        (" 1h", "is not a duration"),
        ("30m1h", "is not a duration"),
        ("1h1h", "is not a duration"),
        ("1.5h30m", "is not a duration"),
        (".5h", "is not a duration"),
        ("1.h", "is not a duration"),
        ("1e3s", "is not a duration"),
        ("PT1H", "is not a duration"),
        ("١h", "is not a duration"),
        ("0.0005s", "'0.0005s' is not a whole number of milliseconds"),
        ("3650d1ms", "'3650d1ms' is longer than 3650d"),
        ("999999999999d", "is longer than 3650d"),
    ],
)
def test_anything_else_is_refused_with_what_to_write(text: Any, reason: str) -> None:
    with pytest.raises(ValueError) as refusal:
        parse(text)
    assert reason in str(refusal.value)


@pytest.mark.parametrize("text", ["0", 0, "0s"])
def test_nothing_is_refused_where_it_would_mean_for_ever_at_once(text: Any) -> None:
    with pytest.raises(ValueError, match="must be longer than 0"):
        parse_positive(text)


def test_more_than_nothing_is_taken_where_nothing_is_refused() -> None:
    assert parse_positive("1ms") == timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0"),
        (timedelta(minutes=90), "1h30m"),
        (timedelta(hours=72), "3d"),
        (timedelta(milliseconds=500), "500ms"),
        (timedelta(minutes=1, seconds=30), "1m30s"),
    ],
)
def test_a_duration_is_written_with_whole_parts(duration: timedelta, text: str) -> None:
    assert write(duration) == text


@given(st.integers(0, MAXIMUM // timedelta(milliseconds=1)))
def test_what_is_written_is_read_back(ms: int) -> None:
    duration = timedelta(milliseconds=ms)
    assert parse(write(duration)) == duration
    field = TypeAdapter(Duration)
    assert field.validate_json(field.dump_json(duration)) == duration


@given(st.text())
def test_any_text_is_a_duration_within_the_bound_or_refused(text: str) -> None:
    try:
        duration = parse(text)
    except ValueError:
        return
    assert timedelta(0) <= duration <= MAXIMUM
