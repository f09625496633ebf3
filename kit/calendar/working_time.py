"""Working time: how much lies between two instants, and when a given amount has passed. No policies here.

Rule: deadlines, warnings and pauses all use the same two methods, `Calendar.ms_between` and `Calendar.add_ms`. Hours
are local, half-open intervals; they are converted to UTC and counted in whole milliseconds:

- a local time that a clock change skips (gap) is the first instant after the gap;
- a local time that occurs twice (fold) is the first of the two.

This mapping is monotone, so spans that touch in local time touch in UTC: no time is lost or counted twice, and a
calendar that is always open counts every minute.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.resources import files
from itertools import accumulate
from zoneinfo import ZoneInfo

import tzdata  # type: ignore[import-untyped]

from kit.calendar.hours import Day, Week

#: Version of the time zone rules, which come from the pinned package and never from the machine.
TZDATA: str = tzdata.IANA_VERSION

#: A deadline further ahead than this is never reached.
HORIZON_YEARS = 20

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MS = timedelta(milliseconds=1)
_DAY = timedelta(days=1)
_DAY_MS = _DAY // _MS


class NeverDue(ValueError):
    """The calendar has too few working hours to reach the deadline within the horizon."""


@cache
def zone(name: str) -> ZoneInfo:
    """Return a time zone by its IANA name. Raises ValueError for an unknown one."""
    try:
        resource = files("tzdata.zoneinfo").joinpath(*name.split("/"))
        with resource.open("rb") as file:
            return ZoneInfo.from_file(file, key=name)
    except (OSError, ValueError):
        raise ValueError(f"{name!r} is not a time zone of the IANA database {TZDATA}") from None


def resolve(day: date, minute: int, tz: ZoneInfo) -> datetime:
    """Return the instant of a minute of a local day (1440: its end)."""
    local = datetime(day.year, day.month, day.day, tzinfo=tz) + timedelta(minutes=minute)
    before, after = _offset(local, 0), _offset(local, 1)
    if before >= after:  # no change, or a fold: its first occurrence has the offset before the change
        return (local.replace(tzinfo=None) - before).replace(tzinfo=UTC)
    return _end_of_gap(local.replace(tzinfo=None), before, after, tz)


def _offset(local: datetime, fold: int) -> timedelta:
    offset = local.replace(fold=fold).utcoffset()
    assert offset is not None
    return offset


def _end_of_gap(local: datetime, before: timedelta, after: timedelta, tz: ZoneInfo) -> datetime:
    """Return the instant of the clock change, by bisection between the two possible readings of the local time."""
    low, high = (local - after).replace(tzinfo=UTC), (local - before).replace(tzinfo=UTC)
    while high - low > timedelta(seconds=1):
        middle = (low + (high - low) / 2).replace(microsecond=0)
        if middle.astimezone(tz).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high


def _ms(instant: datetime) -> int:
    return (instant - _EPOCH) // _MS


@dataclass(frozen=True, slots=True)
class _Year:
    """The working time of one local year, in milliseconds since the epoch.

    Span i is [opens[i], closes[i]); done[i] is the working time before it.
    """

    opens: list[int]
    closes: list[int]
    done: list[int]

    @property
    def total(self) -> int:
        return self.done[-1]

    def before(self, at: int) -> int:
        """Return the working time of this year before an instant."""
        index = bisect_right(self.opens, at) - 1
        if index < 0:
            return 0
        return self.done[index] + min(at, self.closes[index]) - self.opens[index]

    def when(self, work: int) -> int:
        """Return the first instant by which `work` of this year's working time has passed; 0 < work <= total."""
        index = bisect_left(self.done, work) - 1
        return self.opens[index] + work - self.done[index]


@dataclass(frozen=True)
class Calendar:
    """Weekly hours in a time zone, with exceptions by date."""

    zone: str
    week: Week
    dates: Mapping[date, Day] = field(default_factory=dict)
    _years: dict[int, _Year] = field(default_factory=dict, init=False, repr=False, compare=False)

    def ms_between(self, start: datetime, end: datetime) -> int:
        """Return the working time in [start, end) in milliseconds; 0 if `end` is not after `start`."""
        if end <= start:
            return 0
        tz = zone(self.zone)
        first, last = start.astimezone(tz).year, end.astimezone(tz).year
        whole = sum(self._year(year).total for year in range(first, last))
        return whole + self._year(last).before(_ms(end)) - self._year(first).before(_ms(start))

    def add_ms(self, start: datetime, work: int) -> datetime:
        """Return the first instant by which `work` milliseconds of working time have passed; for 0, `start`.

        Raises NeverDue if it lies beyond the horizon.
        """
        if work <= 0:
            return start
        first = start.astimezone(zone(self.zone)).year
        remaining = work + self._year(first).before(_ms(start))
        for year in range(first, first + HORIZON_YEARS + 1):
            if remaining <= self._year(year).total:
                return _EPOCH + self._year(year).when(remaining) * _MS
            remaining -= self._year(year).total
        raise NeverDue(f"{work / 1000:.0f} s of working time do not fit into {HORIZON_YEARS} years")

    def _year(self, year: int) -> _Year:
        found = self._years.get(year)
        if found is None:
            found = self._years[year] = self._compute(year)
        return found

    def _compute(self, year: int) -> _Year:
        opens: list[int] = []
        closes: list[int] = []
        for opened, closed in self._spans(year):
            if closes and closes[-1] == opened:  # merge spans that touch, as at midnight
                closes[-1] = closed
            elif opened < closed:  # a span within a gap is empty
                opens.append(opened)
                closes.append(closed)
        lengths = (closed - opened for opened, closed in zip(opens, closes, strict=True))
        return _Year(opens, closes, list(accumulate(lengths, initial=0)))

    def _spans(self, year: int) -> Iterator[tuple[int, int]]:
        """Yield the spans of a year in UTC, in milliseconds since the epoch. Days without a clock change are fast."""
        tz = zone(self.zone)
        day, ordinal = datetime(year, 1, 1, tzinfo=tz), date(year, 1, 1).toordinal()
        offsets = _offset(day, 0), _offset(day, 1)
        for number in range(ordinal, date(year + 1, 1, 1).toordinal()):
            following = day + _DAY
            next_offsets = _offset(following, 0), _offset(following, 1)
            today = date.fromordinal(number)
            spans = self.dates.get(today, self.week[today.weekday()])
            if offsets[0] == offsets[1] == next_offsets[0] == next_offsets[1]:  # no clock change
                midnight = (number - _EPOCH_DAY) * _DAY_MS - offsets[0] // _MS
                yield from ((midnight + start * 60_000, midnight + stop * 60_000) for start, stop in spans)
            else:
                yield from ((_ms(resolve(today, start, tz)), _ms(resolve(today, stop, tz))) for start, stop in spans)
            day, offsets = following, next_offsets
