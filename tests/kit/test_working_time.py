"""Working time: tables for what was hard to get right, properties for what must always hold."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.calendar.hours import ALWAYS, DAY, Week, parse_week
from kit.calendar.working_time import TZDATA, Calendar, NeverDue, resolve, zone

ZONES = (
    "Europe/Warsaw",
    "Asia/Bangkok",
    "Asia/Seoul",
    "America/New_York",
    "Africa/Cairo",
    "America/Asuncion",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "UTC",
)
OFFICE = parse_week({"mon-fri": "09:00-12:00, 13:00-18:00"})
HOUR = 3_600_000  # in milliseconds


def at(text: str, tz: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone(tz)).astimezone(UTC)


def calendar(tz: str, hours: str | dict[str, str], **dates: str) -> Calendar:
    return Calendar(tz, parse_week(hours))


# -- plain days --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "hours", "due"),
    [
        ("2026-11-23T09:00", 1, "2026-11-23T10:00"),  # a Monday
        ("2026-11-23T11:00", 1, "2026-11-23T12:00"),  # the end of a span, not the beginning of the next
        ("2026-11-23T11:00", 2, "2026-11-23T14:00"),  # over lunch
        ("2026-11-23T12:30", 1, "2026-11-23T14:00"),  # asked during lunch
        ("2026-11-23T17:30", 1, "2026-11-24T09:30"),  # over night
        ("2026-11-27T17:00", 2, "2026-11-30T10:00"),  # over the weekend
        ("2026-11-28T03:00", 8, "2026-11-30T18:00"),  # asked on a Saturday
        ("2026-11-28T03:00", 0, "2026-11-28T03:00"),  # nothing to do is done at once
        ("2026-12-31T17:00", 2, "2027-01-01T10:00"),  # over the year
        ("2026-11-23T09:00", 40, "2026-11-27T18:00"),
    ],
)
def test_deadlines_in_office_hours(start: str, hours: int, due: str) -> None:
    office = Calendar("Asia/Seoul", OFFICE)
    began, ends = at(start, "Asia/Seoul"), at(due, "Asia/Seoul")
    assert office.add_ms(began, hours * HOUR) == ends
    assert office.ms_between(began, ends) == hours * HOUR


def test_a_span_is_half_open() -> None:
    office = Calendar("UTC", OFFICE)
    noon = at("2026-11-23T12:00")
    assert office.ms_between(noon - timedelta(milliseconds=1), noon) == 1
    assert office.ms_between(noon, noon + timedelta(milliseconds=1)) == 0
    assert office.ms_between(at("2026-11-23T13:00"), at("2026-11-23T13:00:00.001")) == 1


def test_milliseconds_are_kept() -> None:
    office = Calendar("UTC", OFFICE)
    assert office.add_ms(at("2026-11-23T11:59:59.999"), 2) == at("2026-11-23T13:00:00.001")


def test_a_night_shift_goes_over_midnight_without_a_break() -> None:
    night = calendar("Europe/Warsaw", {"mon-fri": "22:00-06:00"})
    friday = at("2026-11-27T22:00", "Europe/Warsaw")
    assert night.add_ms(friday, 8 * HOUR) == at("2026-11-28T06:00", "Europe/Warsaw")
    assert night.ms_between(friday, at("2026-11-30T22:00", "Europe/Warsaw")) == 8 * HOUR


def test_nothing_lies_between_an_instant_and_an_earlier_one() -> None:
    assert Calendar("UTC", ALWAYS).ms_between(at("2026-11-23T12:00"), at("2026-11-23T11:00")) == 0


# -- holidays ----------------------------------------------------------------------------------------------------------


def test_a_holiday_has_no_working_time_and_a_short_day_has_what_it_has() -> None:
    dates = {date(2026, 12, 25): (), date(2026, 12, 24): ((540, 720),), date(2026, 12, 26): ((600, 660),)}
    office = Calendar("UTC", OFFICE, dates)
    assert office.ms_between(at("2026-12-24T00:00"), at("2026-12-25T00:00")) == 3 * HOUR
    assert office.ms_between(at("2026-12-25T00:00"), at("2026-12-26T00:00")) == 0
    assert office.ms_between(at("2026-12-26T00:00"), at("2026-12-27T00:00")) == HOUR  # a Saturday that is open
    assert office.add_ms(at("2026-12-24T11:00"), 2 * HOUR) == at("2026-12-26T11:00")


def test_a_holiday_is_a_local_date() -> None:
    bangkok = Calendar("Asia/Bangkok", ALWAYS, {date(2026, 4, 13): ()})
    assert bangkok.add_ms(at("2026-04-12T16:59:59"), 2000) == at("2026-04-13T17:00:01")


def test_a_holiday_takes_the_part_of_a_night_shift_that_is_in_it() -> None:
    night = Calendar("UTC", parse_week({"daily": "22:00-06:00"}), {date(2026, 12, 25): ()})
    assert night.ms_between(at("2026-12-24T12:00"), at("2026-12-25T12:00")) == 2 * HOUR
    assert night.ms_between(at("2026-12-25T12:00"), at("2026-12-26T12:00")) == 6 * HOUR


def test_a_calendar_that_never_opens_again_says_so() -> None:
    shut = {date(2026, 1, 1) + timedelta(days=n): () for n in range(366 * 25)}
    with pytest.raises(NeverDue):
        Calendar("UTC", OFFICE, shut).add_ms(at("2026-03-01T00:00"), 1000)


# -- clock changes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tz", "day", "hours", "expected"),
    [
        # the day itself
        ("Europe/Warsaw", "2026-03-29", "00:00-24:00", 23),
        ("Europe/Warsaw", "2026-10-25", "00:00-24:00", 25),
        ("America/New_York", "2026-03-08", "00:00-24:00", 23),
        ("America/New_York", "2026-11-01", "00:00-24:00", 25),
        ("Africa/Cairo", "2026-04-24", "00:00-24:00", 23),  # 00:00 does not exist
        ("Africa/Cairo", "2026-10-29", "00:00-24:00", 25),  # 23:00 comes twice
        ("America/Asuncion", "2023-10-01", "00:00-24:00", 23),  # 00:00 does not exist
        ("America/Asuncion", "2023-03-25", "00:00-24:00", 25),  # 23:00 comes twice
        ("America/Asuncion", "2026-10-04", "00:00-24:00", 24),  # no more changes
        ("Australia/Lord_Howe", "2026-04-05", "00:00-24:00", 24.5),
        ("Asia/Bangkok", "2026-03-29", "00:00-24:00", 24),
        ("Asia/Seoul", "2026-10-25", "00:00-24:00", 24),
        # office hours do not notice
        ("Europe/Warsaw", "2026-03-29", "09:00-17:00", 8),
        ("Europe/Warsaw", "2026-10-25", "09:00-17:00", 8),
        # gap 02:00-03:00: what is skipped is the first instant after it
        ("Europe/Warsaw", "2026-03-29", "01:00-02:30", 1),
        ("Europe/Warsaw", "2026-03-29", "02:30-04:00", 1),
        ("Europe/Warsaw", "2026-03-29", "02:15-02:45", 0),
        ("Europe/Warsaw", "2026-03-29", "01:00-04:00", 2),
        ("Africa/Cairo", "2026-04-24", "00:00-08:00", 7),
        ("Africa/Cairo", "2026-04-24", "00:30-08:00", 7),
        ("America/Asuncion", "2023-10-01", "00:00-08:00", 7),
        # fold 02:00-03:00: what comes twice is the first of the two
        ("Europe/Warsaw", "2026-10-25", "01:00-02:00", 1),
        ("Europe/Warsaw", "2026-10-25", "02:00-02:30", 0.5),
        ("Europe/Warsaw", "2026-10-25", "02:30-03:00", 1.5),
        ("Europe/Warsaw", "2026-10-25", "01:00-03:00", 3),
        ("America/New_York", "2026-11-01", "00:00-01:30", 1.5),
        ("America/New_York", "2026-11-01", "01:30-02:00", 1.5),
        ("Africa/Cairo", "2026-10-29", "22:00-24:00", 3),
    ],
)
def test_days_on_which_clocks_change(tz: str, day: str, hours: str, expected: float) -> None:
    that = date.fromisoformat(day)
    start, end = resolve(that, 0, zone(tz)), resolve(that, DAY, zone(tz))
    assert calendar(tz, {"daily": hours}).ms_between(start, end) == expected * HOUR


@pytest.mark.parametrize(
    ("tz", "day", "minute", "instant"),
    [
        ("Europe/Warsaw", "2026-03-29", 150, "2026-03-29T01:00"),  # 02:30 in the gap
        ("Europe/Warsaw", "2026-10-25", 150, "2026-10-25T00:30"),  # 02:30, first pass
        ("Africa/Cairo", "2026-04-24", 0, "2026-04-23T22:00"),
        ("America/Asuncion", "2023-10-01", 0, "2023-10-01T04:00"),
        ("America/New_York", "2026-07-01", DAY, "2026-07-02T04:00"),
        ("Pacific/Apia", "2011-12-30", 720, "2011-12-30T10:00"),  # a day that never was
    ],
)
def test_local_times_become_instants(tz: str, day: str, minute: int, instant: str) -> None:
    assert resolve(date.fromisoformat(day), minute, zone(tz)) == at(instant)


def test_a_shift_through_the_night_of_a_change_lasts_as_long_as_it_lasts() -> None:
    night = calendar("America/New_York", {"daily": "22:00-06:00"})
    assert night.add_ms(at("2026-03-07T22:00", "America/New_York"), 7 * HOUR) == at(
        "2026-03-08T06:00", "America/New_York"
    )
    assert night.add_ms(at("2026-10-31T22:00", "America/New_York"), 9 * HOUR) == at(
        "2026-11-01T06:00", "America/New_York"
    )


def test_zones_come_from_the_pinned_rules() -> None:
    assert TZDATA[:2] == "20"
    for wrong in ("Mars/Olympus", "Europe", "", "../tzdata", "/etc/localtime"):
        with pytest.raises(ValueError, match="is not a time zone"):
            zone(wrong)


def test_a_zone_is_read_by_its_name_and_knows_it() -> None:
    zone.cache_clear()
    tz = zone("Asia/Kathmandu")
    assert (tz.key, at("2026-01-01T00:00").astimezone(tz).isoformat()) == (
        "Asia/Kathmandu",
        "2026-01-01T05:45:00+05:45",
    )


@pytest.mark.parametrize(
    ("tz", "day", "minute"),
    [
        ("Europe/Warsaw", "2026-03-29", 150),
        ("Australia/Lord_Howe", "2026-10-04", 135),  # half an hour
        ("Asia/Kathmandu", "1986-01-01", 5),  # a quarter
        ("Africa/Monrovia", "1972-01-07", 20),  # 44 minutes and 30 seconds
        ("Pacific/Apia", "2011-12-30", 720),  # a day
    ],
)
def test_a_time_in_a_gap_is_the_very_second_at_which_the_clock_jumps(tz: str, day: str, minute: int) -> None:
    end = resolve(date.fromisoformat(day), minute, zone(tz))
    before, after = (end + timedelta(seconds=n) for n in (-1, 0))
    assert before.astimezone(zone(tz)).utcoffset() != after.astimezone(zone(tz)).utcoffset()


# -- what must always hold ---------------------------------------------------------------------------------------------

few = settings(max_examples=30)  # each counts whole years of days
instants = st.datetimes(datetime(2023, 1, 1), datetime(2028, 1, 1)).map(  # noqa: DTZ001
    lambda d: d.replace(microsecond=d.microsecond // 1000 * 1000, tzinfo=UTC)
)
amounts = st.integers(0, 10 * 24 * 3600 * 1000)


@st.composite
def weeks(draw: st.DrawFn) -> Week:
    days = []
    for _ in range(7):
        marks = sorted(draw(st.sets(st.integers(0, 96), max_size=6)))
        days.append(tuple((15 * a, 15 * b) for a, b in zip(marks[::2], marks[1::2], strict=False)))
    if not any(days):
        days[draw(st.integers(0, 6))] = ((540, 1020),)
    return tuple(days)  # type: ignore[return-value]


@st.composite
def calendars(draw: st.DrawFn) -> Calendar:
    days = st.dates(date(2023, 1, 1), date(2028, 1, 1))
    spans = st.sampled_from([(), ((0, DAY),), ((600, 660), (700, 720))])
    return Calendar(draw(st.sampled_from(ZONES)), draw(weeks()), draw(st.dictionaries(days, spans, max_size=20)))


@few
@given(calendars(), instants, amounts)
def test_adding_and_measuring_are_inverse(calendar: Calendar, start: datetime, work: int) -> None:
    assert calendar.ms_between(start, calendar.add_ms(start, work)) == work


@few
@given(calendars(), instants, st.integers(1, 10**9))
def test_the_deadline_is_the_first_such_instant(calendar: Calendar, start: datetime, work: int) -> None:
    due = calendar.add_ms(start, work)
    assert calendar.ms_between(start, due - timedelta(milliseconds=1)) == work - 1


@few
@given(calendars(), instants, amounts, amounts)
def test_adding_is_monotone_in_the_amount(calendar: Calendar, start: datetime, one: int, other: int) -> None:
    less, more = sorted((one, other))
    assert calendar.add_ms(start, less) <= calendar.add_ms(start, more)


@few
@given(calendars(), instants, instants, amounts)
def test_adding_is_monotone_in_the_start(calendar: Calendar, one: datetime, other: datetime, work: int) -> None:
    first, second = sorted((one, other))
    assert calendar.add_ms(first, work) <= calendar.add_ms(second, work)


@few
@given(calendars(), instants, amounts, st.integers(1, 10**9))
def test_adding_twice_is_adding_the_sum(calendar: Calendar, start: datetime, first: int, second: int) -> None:
    assert calendar.add_ms(calendar.add_ms(start, first), second) == calendar.add_ms(start, first + second)


@few
@given(calendars(), st.lists(instants, min_size=3, max_size=3))
def test_measuring_is_additive_and_never_more_than_the_time_that_passed(
    calendar: Calendar, points: list[datetime]
) -> None:
    a, b, c = sorted(points)
    whole = calendar.ms_between(a, c)
    assert whole == calendar.ms_between(a, b) + calendar.ms_between(b, c)
    assert 0 <= whole <= (c - a) // timedelta(milliseconds=1)


@given(st.sampled_from(ZONES), instants, amounts)
def test_all_day_every_day_loses_no_minute(tz: str, start: datetime, work: int) -> None:
    assert Calendar(tz, ALWAYS).add_ms(start, work) == start + timedelta(milliseconds=work)


@few
@given(weeks(), st.datetimes(datetime(2026, 5, 1), datetime(2026, 9, 1)), st.integers(0, 2000))  # noqa: DTZ001
def test_measuring_is_counting_the_minutes_that_the_wall_shows_as_open(
    week: Week, start: datetime, minutes: int
) -> None:
    tz = zone("Europe/Warsaw")  # no change in these months
    begin = start.replace(second=0, microsecond=0, tzinfo=UTC)
    walls = ((begin + timedelta(minutes=n)).astimezone(tz) for n in range(minutes))
    count = sum(any(o <= wall.hour * 60 + wall.minute < c for o, c in week[wall.weekday()]) for wall in walls)
    measured = Calendar("Europe/Warsaw", week).ms_between(begin, begin + timedelta(minutes=minutes))
    assert measured == count * 60_000
