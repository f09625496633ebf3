"""Calendars and holidays as policy files define them. Their names are defined by the file that contains them."""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Annotated, Any

from pydantic import AfterValidator, field_validator, model_validator

from contracts.values import OneOrMany
from kit.calendar.hours import Day, parse_date, parse_day, parse_week
from kit.calendar.working_time import Calendar, zone
from kit.policy.part import Part


class CalendarSpec(Part):
    """Weekly working hours in a time zone, minus holidays."""

    zone: str
    """IANA time zone, e.g. Asia/Bangkok."""
    hours: str | dict[str, str | tuple[str, ...]] = "always"
    """`always`, or hours by day in local time: `mon-fri: \"09:00-12:00, 13:00-18:00\"`."""
    holidays: OneOrMany[str] = ()
    """Names of the holiday lists that apply."""

    @field_validator("zone")
    @classmethod
    def _exists(cls, value: str) -> str:
        zone(value)
        return value

    @field_validator("hours")
    @classmethod
    def _readable(cls, value: Any) -> Any:
        parse_week(value)
        return value

    def build(self, lists: Iterable[Mapping[str, "Holiday"]]) -> Calendar:
        """Return the calendar with these lists of holidays applied."""
        dates: dict[date, Day] = {}
        for holidays in lists:
            for text, holiday in holidays.items():
                day, hours = parse_date(text), parse_day(holiday.hours)
                dates[day] = hours if dates.get(day, hours) else ()  # lists that disagree: closed
        return Calendar(self.zone, parse_week(self.hours), dates)


class Holiday(Part):
    """A date that is closed, or open for some hours."""

    name: str
    """Name of the holiday."""
    hours: str | tuple[str, ...] = "closed"
    """`closed`, or the hours of that day."""

    @model_validator(mode="before")
    @classmethod
    def _name_only(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("hours")
    @classmethod
    def _readable(cls, value: Any) -> Any:
        parse_day(value)
        return value


def _check_date(text: str) -> str:
    parse_date(text)
    return text


DateText = Annotated[str, AfterValidator(_check_date)]
"""An ISO date."""
