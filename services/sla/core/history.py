"""The statuses of a ticket over time, and the working time that a clock would have used meanwhile. No clocks here.

A clock that starts late, because its metric did not apply before, starts with the time that it would have used by then.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from contracts.ticket import Status
from kit.calendar.working_time import Calendar

#: Spans that are kept, the latest ones. Time before them no longer counts.
KEPT_SPANS = 100


@dataclass(frozen=True, slots=True)
class Span:
    """A status of the ticket, from `since` until the next span begins."""

    since: datetime
    status: Status


History = tuple[Span, ...]


def append_status(history: History, since: datetime, status: Status) -> History:
    """Return the history with a status that began at `since`; unchanged if the ticket has that status already."""
    if history and history[-1].status is status:
        return history
    return (*history, Span(since, status))[-KEPT_SPANS:]


def working_ms(history: History, until: datetime, calendar: Calendar, paused_in: Collection[str]) -> int:
    """Return the working time up to `until` in milliseconds, without the time spent in a status of `paused_in`."""
    ends = [following.since for _, following in pairwise(history)] + [until]
    return sum(
        calendar.ms_between(span.since, min(end, until))
        for span, end in zip(history, ends, strict=True)
        if span.status.value not in paused_in
    )
