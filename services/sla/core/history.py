"""The statuses a ticket went through, and the working time that a clock would have used meanwhile. No clocks here.

A metric that begins to apply late is valued by this: it goes on from where it would be, had it applied all along.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from contracts.ticket import Status
from kit.calendar.working_time import Calendar

#: Spans that are kept, the latest ones. Of a ticket with more, the time before them is not known any more.
KEPT_SPANS = 100


@dataclass(frozen=True, slots=True)
class Span:
    """The ticket has this status since then, until the next span begins."""

    since: datetime
    status: Status


History = tuple[Span, ...]


def then(history: History, since: datetime, status: Status) -> History:
    """Return the history with a status that began at `since`; the status that holds already changes nothing."""
    if history and history[-1].status is status:
        return history
    return (*history, Span(since, status))[-KEPT_SPANS:]


def used(history: History, until: datetime, calendar: Calendar, still: Collection[str]) -> int:
    """Return the working milliseconds up to `until`, without the time spent in a status of `still`."""
    ends = [following.since for _, following in pairwise(history)] + [until]
    return sum(
        calendar.ms_between(span.since, min(end, until))
        for span, end in zip(history, ends, strict=True)
        if span.status.value not in still
    )
