"""Opening hours as people write them."""

from datetime import date

import pytest

from kit.calendar.hours import ALWAYS, parse_date, parse_day, parse_week

NINE, NOON, ONE, SIX = 540, 720, 780, 1080


def test_a_day_may_have_several_spans_in_any_order() -> None:
    assert parse_week({"mon": "13:00-18:00, 09:00-12:00"})[0] == ((NINE, NOON), (ONE, SIX))
    assert parse_week({"mon": ["13:00-18:00", "09:00-12:00"]})[0] == ((NINE, NOON), (ONE, SIX))


@pytest.mark.parametrize(
    ("days", "open_on"),
    [
        ("mon-fri", [0, 1, 2, 3, 4]),
        ("sat-mon", [0, 5, 6]),
        ("tue,thu", [1, 3]),
        ("daily", [0, 1, 2, 3, 4, 5, 6]),
        ("sun", [6]),
    ],
)
def test_days_and_ranges_of_days(days: str, open_on: list[int]) -> None:
    week = parse_week({days: "09:00-12:00"})
    assert [day for day in range(7) if week[day]] == open_on


def test_a_span_over_midnight_is_split_between_its_days() -> None:
    week = parse_week({"sun": "22:00-06:00"})
    assert week[6] == ((1320, 1440),)
    assert week[0] == ((0, 360),)


def test_the_end_of_the_day_is_24_00() -> None:
    assert parse_week({"mon": "18:00-24:00"}) == parse_week({"mon": "18:00-00:00"})
    assert parse_week({"daily": "00:00-24:00"}) == ALWAYS == parse_week("always")


@pytest.mark.parametrize(
    ("hours", "reason"),
    [
        ({"mon": "09:00-12:00, 11:00-13:00"}, "overlap at 11:00"),
        ({"mon": "22:00-06:00", "tue": "05:00-07:00"}, "spans of tue overlap"),
        ({"mon": "9-12"}, "is not a span"),
        ({"mon": "09:00-09:00"}, "is empty"),
        ({"mon": "24:00-01:00"}, "is empty"),
        ({"mon": "09:60-12:00"}, "invalid time"),
        ({"mon": "09:00-25:00"}, "'09:00-25:00' contains an invalid time"),
        ({"mon": "09:75-12:00"}, "'09:75-12:00' contains an invalid time"),
        ({"monday": "09:00-12:00"}, "is not a day"),
        ({"mon": "closed"}, "never open"),
        ({}, "never open"),
        ("office", "'always' or a mapping"),
    ],
)
def test_what_cannot_be_meant_is_refused(hours: str | dict[str, str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_week(hours)


def test_a_date_has_hours_of_its_own_or_none() -> None:
    assert parse_day("closed") == ()
    assert parse_day("09:00-12:00") == ((NINE, NOON),)
    assert parse_date("2026-12-24") == date(2026, 12, 24)
    with pytest.raises(ValueError, match="past midnight"):
        parse_day("22:00-06:00")
    with pytest.raises(ValueError, match="is not a date"):
        parse_date("24.12.2026")


def test_spans_of_one_date_must_not_overlap() -> None:
    with pytest.raises(ValueError, match="spans of this date overlap at 11:00"):
        parse_day("09:00-12:00, 11:00-13:00")


def test_spans_may_touch_and_the_last_minute_of_an_hour_is_one() -> None:
    assert parse_day("09:00-12:00, 12:00-13:00") == ((NINE, NOON), (NOON, ONE))
    assert parse_day("00:59-09:00") == ((59, NINE),)


def test_a_comma_too_many_is_no_span() -> None:
    assert parse_day("09:00-12:00,") == ((NINE, NOON),)
    assert parse_day(["", "09:00-12:00"]) == ((NINE, NOON),)
