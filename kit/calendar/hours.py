"""Parsing of opening hours ("mon-fri: 09:00-12:00, 13:00-18:00") into minutes of local days. No time zones."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from itertools import pairwise

DAY = 24 * 60
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

Span = tuple[int, int]
"""Half-open interval [open, close) in minutes of a local day; 1440 is 24:00."""

Day = tuple[Span, ...]
"""The spans of one local day, in order and without overlap; empty: closed."""

Week = tuple[Day, Day, Day, Day, Day, Day, Day]
"""Monday to Sunday."""

ALWAYS: Week = (((0, DAY),),) * 7

_SPAN = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")


def parse_week(hours: str | Mapping[str, str | Sequence[str]]) -> Week:
    """Parse the hours of a week: `always`, or spans by day or range of days ("mon-fri", "daily"). Raises ValueError."""
    if isinstance(hours, str):
        if hours != "always":
            raise ValueError("hours must be 'always' or a mapping of days to spans")
        return ALWAYS
    days: list[list[Span]] = [[] for _ in WEEKDAYS]
    for names, text in hours.items():
        for day in _weekdays(names):
            for opens, closes in _spans(text):
                if closes > opens:
                    days[day].append((opens, closes))
                else:  # past midnight: split between the two days
                    days[day].append((opens, DAY))
                    days[(day + 1) % 7].append((0, closes))
    monday, tuesday, wednesday, thursday, friday, saturday, sunday = (
        _sorted(spans, name) for spans, name in zip(days, WEEKDAYS, strict=True)
    )
    week = (monday, tuesday, wednesday, thursday, friday, saturday, sunday)
    if not any(week):
        raise ValueError("never open: no deadline could ever be reached")
    return week


def parse_day(text: str | Sequence[str]) -> Day:
    """Parse the hours of one date, which cannot extend past midnight. Raises ValueError."""
    spans = _spans(text)
    if any(closes <= opens for opens, closes in spans):
        raise ValueError("the hours of a single date cannot extend past midnight")
    return _sorted(spans, "this date")


def parse_date(text: str) -> date:
    """Parse an ISO date. Raises ValueError."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a date like 2026-12-25") from None


def _weekdays(names: str) -> list[int]:
    if names == "daily":
        return list(range(7))
    found: list[int] = []
    for part in names.split(","):
        first, _, last = part.strip().partition("-")
        if first not in WEEKDAYS or (last and last not in WEEKDAYS):
            raise ValueError(f"{part.strip()!r} is not a day: write mon … sun, mon-fri or daily")
        start = WEEKDAYS.index(first)
        length = (WEEKDAYS.index(last) - start) % 7 if last else 0
        found += [(start + step) % 7 for step in range(length + 1)]
    return found


def _spans(text: str | Sequence[str]) -> list[Span]:
    parts = [part for line in ([text] if isinstance(text, str) else text) for part in line.split(",")]
    return [_span(part.strip()) for part in parts if part.strip() not in {"", "closed"}]


def _span(text: str) -> Span:
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a span like 09:00-17:30")
    opens, closes = _minute(match[1], match[2], text), _minute(match[3], match[4], text)
    if opens in {closes, DAY}:
        raise ValueError(f"{text!r} is empty; a whole day is 00:00-24:00")
    if closes == 0:  # "18:00-00:00" closes at 24:00
        closes = DAY
    return opens, closes


def _minute(hour: str, minute: str, text: str) -> int:
    total = int(hour) * 60 + int(minute)
    if int(minute) > 59 or total > DAY:
        raise ValueError(f"{text!r} contains an invalid time of day")
    return total


def _sorted(spans: list[Span], name: str) -> Day:
    """Return the spans in order. Raises ValueError if they overlap."""
    ordered = sorted(spans)
    for (_, closes), (opens, _) in pairwise(ordered):
        if opens < closes:
            raise ValueError(f"spans of {name} overlap at {opens // 60:02d}:{opens % 60:02d}")
    return tuple(ordered)
