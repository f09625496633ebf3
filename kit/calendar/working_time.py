"""Working time: how much of it lies between two instants, and when a given amount of it is over. No policies here.

Rule: this one pair, `add_working` and `working_between`, serves deadlines, warnings and pauses alike. Hours are local
and half open; what they come to is computed in UTC, in whole milliseconds:

- a local time that a clock change skips (gap) is the first instant after the gap;
- a local time that comes twice (fold) is the first of the two.

Both map local times to instants without ever going back, so spans that touch on the wall touch in UTC: nothing is lost
and nothing counts twice, and 24 hours on seven days lose no minute.
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

#: Version of the time zone rules. They come from the pinned package, never from the machine, so that it is known.
TZDATA: str = tzdata.IANA_VERSION

#: How far a deadline may lie ahead before the calendar counts as one that never opens.
HORIZON_YEARS = 20

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MS = timedelta(milliseconds=1)
_DAY = timedelta(days=1)
_DAY_MS = _DAY // _MS


class NeverDue(ValueError):
    """The calendar has too few working hours for that much work."""


@cache
def zone(name: str) -> ZoneInfo:
    """Return a time zone of the pinned rules; raises ValueError for one that is not in them."""
    try:
        resource = files("tzdata.zoneinfo").joinpath(*name.split("/"))
        with resource.open("rb") as file:
            return ZoneInfo.from_file(file, key=name)
    except (OSError, ValueError):
        raise ValueError(f"{name!r} is not a time zone of the IANA database {TZDATA}") from None


def resolve(day: date, minute: int, tz: ZoneInfo) -> datetime:
    """Return the instant at which the clocks on the wall show this minute of that day (1440: its end)."""
    local = datetime(day.year, day.month, day.day, tzinfo=tz) + timedelta(minutes=minute)
    before, after = _offset(local, 0), _offset(local, 1)
    if before >= after:  # plain, or a fold, whose first pass still has the offset from before
        return (local.replace(tzinfo=None) - before).replace(tzinfo=UTC)
    return _end_of_gap(local.replace(tzinfo=None), before, after, tz)


def _offset(local: datetime, fold: int) -> timedelta:
    offset = local.replace(fold=fold).utcoffset()
    assert offset is not None
    return offset


def _end_of_gap(local: datetime, before: timedelta, after: timedelta, tz: ZoneInfo) -> datetime:
    """Find the change itself: the one instant between the two readings at which the offset becomes another."""
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
    """The working time of one local year: span i is [opens[i], closes[i]), before it lie done[i] milliseconds."""

    opens: list[int]
    closes: list[int]
    done: list[int]

    @property
    def total(self) -> int:
        return self.done[-1]

    def before(self, at: int) -> int:
        """Return the work of this year that lies before an instant."""
        index = bisect_right(self.opens, at) - 1
        if index < 0:
            return 0
        return self.done[index] + min(at, self.closes[index]) - self.opens[index]

    def when(self, work: int) -> int:
        """Return the first instant at which that much (more than 0, at most all) of this year's work is done."""
        index = bisect_left(self.done, work) - 1
        return self.opens[index] + work - self.done[index]


@dataclass(frozen=True)
class Calendar:
    """Hours of a week in a time zone, and the dates that have others. Equal calendars count alike."""

    zone: str
    week: Week
    dates: Mapping[date, Day] = field(default_factory=dict)
    _years: dict[int, _Year] = field(default_factory=dict, init=False, repr=False, compare=False)

    def working_between(self, start: datetime, end: datetime) -> float:
        """Return the working seconds in [start, end); nothing when the end is not after the start."""
        return self.ms_between(start, end) / 1000

    def add_working(self, start: datetime, seconds: float) -> datetime:
        """Return the first instant by which that much work is done; for none that is the start itself.

        Raises NeverDue when it lies beyond the horizon.
        """
        return self.add_ms(start, round(seconds * 1000))

    def ms_between(self, start: datetime, end: datetime) -> int:
        """Return working milliseconds, in which all sums are exact."""
        if end <= start:
            return 0
        tz = zone(self.zone)
        first, last = start.astimezone(tz).year, end.astimezone(tz).year
        whole = sum(self._year(year).total for year in range(first, last))
        return whole + self._year(last).before(_ms(end)) - self._year(first).before(_ms(start))

    def add_ms(self, start: datetime, work: int) -> datetime:
        """Return the first instant by which so many working milliseconds are done."""
        if work <= 0:
            return start
        first = start.astimezone(zone(self.zone)).year
        left = work + self._year(first).before(_ms(start))
        for year in range(first, first + HORIZON_YEARS + 1):
            if left <= self._year(year).total:
                return _EPOCH + self._year(year).when(left) * _MS
            left -= self._year(year).total
        raise NeverDue(f"{work / 1000:.0f} s of working time do not fit into {HORIZON_YEARS} years")

    def _year(self, year: int) -> _Year:
        found = self._years.get(year)
        if found is None:
            found = self._years[year] = self._count(year)
        return found

    def _count(self, year: int) -> _Year:
        opens: list[int] = []
        closes: list[int] = []
        for opened, closed in self._spans(year):
            if closes and closes[-1] == opened:  # touches the span before: midnight is no border
                closes[-1] = closed
            elif opened < closed:  # a span that lies in a gap has no length
                opens.append(opened)
                closes.append(closed)
        lengths = (closed - opened for opened, closed in zip(opens, closes, strict=True))
        return _Year(opens, closes, list(accumulate(lengths, initial=0)))

    def _spans(self, year: int) -> Iterator[tuple[int, int]]:
        tz = zone(self.zone)
        day, ordinal = datetime(year, 1, 1, tzinfo=tz), date(year, 1, 1).toordinal()
        offsets = _offset(day, 0), _offset(day, 1)
        for number in range(ordinal, date(year + 1, 1, 1).toordinal()):
            following = day + _DAY
            next_offsets = _offset(following, 0), _offset(following, 1)
            that = date.fromordinal(number)
            spans = self.dates.get(that, self.week[that.weekday()])
            if offsets[0] == offsets[1] == next_offsets[0] == next_offsets[1]:  # no change on this day
                midnight = (number - _EPOCH_DAY) * _DAY_MS - offsets[0] // _MS
                yield from ((midnight + start * 60_000, midnight + stop * 60_000) for start, stop in spans)
            else:
                yield from ((_ms(resolve(that, start, tz)), _ms(resolve(that, stop, tz))) for start, stop in spans)
            day, offsets = following, next_offsets
