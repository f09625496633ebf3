"""Types that all contracts share: base class, instants, counts, open enums. Nothing here knows tickets."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema, TzInfo

MAX_INTEGER = 2**53 - 1  # what JSON readers in every language (and BSON's int64) keep exact


class Value(BaseModel):
    """A value in an event: immutable, and tolerant of fields added by later releases."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def to_instant(moment: datetime) -> datetime:
    """Return the instant in UTC, truncated to milliseconds as MongoDB does: stored and published instants are equal."""
    parsed_as_utc = (
        type(moment.tzinfo) is TzInfo and not moment.utcoffset()
    )  # pydantic's fixed offset: no conversion needed
    if moment.tzinfo is not UTC and not parsed_as_utc:
        moment = moment.astimezone(UTC)
    excess = moment.microsecond % 1000
    return moment.replace(microsecond=moment.microsecond - excess) if excess else moment


def _instant(moment: datetime) -> datetime:
    try:
        return to_instant(moment)
    except OverflowError as error:  # year 1 or 9999, with an offset that leaves the calendar
        raise ValueError("instant is out of range") from error


Instant = Annotated[AwareDatetime, AfterValidator(_instant)]
"""A point in time: RFC 3339 with offset on the wire, aware UTC with millisecond precision in memory."""

Count = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
"""A count, never negative."""

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A duration in seconds, never negative."""

Units = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""Units of work, in which channels have different weights."""

Milliseconds = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
"""A duration in milliseconds, never negative."""

Identifier = Annotated[str, Field(min_length=1)]
"""An id: opaque, never empty."""

SkillLevels = dict[str, Annotated[int, Field(ge=1, le=5)]]
"""Skill name -> level, 1 (basic) to 5 (expert)."""

T = TypeVar("T")


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str | int | float) else value


OneOrMany = Annotated[tuple[T, ...], BeforeValidator(_listed)]
"""A list in a policy file; a single value needs no brackets: `tags: vip` is `tags: [vip]`."""


def country_code(text: str) -> str:
    """Return an ISO 3166-1 alpha-2 code in upper case; raises ValueError."""
    if not (len(text) == 2 and text.isascii() and text.isalpha()):
        raise ValueError(f"{text!r} is not a country, such as TH (ISO 3166-1 alpha-2)")
    return text.upper()


Country = Annotated[str, AfterValidator(country_code)]
"""A country code, in upper case in memory, however it was written."""


_TRACEPARENT = re.compile("00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def trace_context(text: str | None) -> str | None:
    """Return a valid `traceparent` (W3C Trace Context 1.0, 3.2.2, version 00); None for anything else.

    The recommendation lets a receiver of any other form start a new trace, and callers may be unauthenticated.
    """
    return text if text is not None and _TRACEPARENT.fullmatch(text) else None


@dataclass(frozen=True)
class Open:
    """Marks a string as an open enum: these values are known, any other is accepted unchanged.

    In memory an open enum is a plain `str`; members of the StrEnum compare and hash equal to it.
    """

    known: type[StrEnum]

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return a string schema with the known values as an annotation, which validators ignore."""
        return {**handler(schema), "x-open-enum": [member.value for member in self.known]}
