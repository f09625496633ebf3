"""One clock as a state machine: running, paused, ended; and, apart from these, breached or not.

Rule 1: whatever moves a clock is in this file, and nothing else ever builds a changed one. Each function takes a clock
and an instant and returns the clock afterwards with the facts to announce. What happens to a ticket, and what that
means for its clocks, is in `tickets.py`.

A breach that lies before the instant of a step is taken first; met exactly at the due instant is met.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from contracts.payload import Payload
from contracts.sla import (
    CalendarRef,
    CancelReason,
    ClockAtRisk,
    ClockBreached,
    ClockCancelled,
    ClockDueSoon,
    ClockEvent,
    ClockMet,
    ClockPaused,
    ClockResumed,
    ClockStarted,
    PauseReason,
    PolicyRef,
    ResumeReason,
    RiskReason,
)
from contracts.ticket import TicketFacts
from kit.calendar.working_time import TZDATA, Calendar

#: Creation to the last solve, with all waiting in it. The contracts' `resolution` is the working one.
TOTAL_RESOLUTION = "total_resolution"


class Phase(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    ENDED = "ended"


class Trigger(StrEnum):
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    CANCEL = "cancel"
    REINSTATE = "reinstate"


#: All that may happen; what is not here is a fault of the caller. Time may always pass.
TRANSITIONS: dict[tuple[Phase, Trigger], Phase] = {
    (Phase.RUNNING, Trigger.PAUSE): Phase.PAUSED,
    (Phase.RUNNING, Trigger.STOP): Phase.ENDED,
    (Phase.RUNNING, Trigger.CANCEL): Phase.ENDED,
    (Phase.PAUSED, Trigger.PAUSE): Phase.PAUSED,  # for another reason: pending, then solved
    (Phase.PAUSED, Trigger.RESUME): Phase.RUNNING,
    (Phase.PAUSED, Trigger.STOP): Phase.ENDED,
    (Phase.PAUSED, Trigger.CANCEL): Phase.ENDED,
    (Phase.ENDED, Trigger.REINSTATE): Phase.RUNNING,  # the reply that ended it never arrived
}


class IllegalTransition(Exception):
    """A step that the table does not have."""


@dataclass(frozen=True, slots=True)
class Warn:
    """A warning to give once so much of the target is used."""

    after_ms: int
    at_risk: bool = False


@dataclass(frozen=True, slots=True)
class Terms:
    """What a policy asks of one clock, fixed when the clock starts."""

    policy: PolicyRef
    calendar: CalendarRef
    target_ms: int
    warnings: tuple[Warn, ...] = ()
    """In order, all above nothing and below the target."""
    pauses: tuple[str, ...] = ()
    """Statuses of the ticket during which it stands still."""


@dataclass(frozen=True, slots=True)
class SlaClock:
    """One promise about one ticket. `elapsed_ms` is the working time used before `since`."""

    id: str
    metric: str
    terms: Terms
    started_at: datetime
    phase: Phase = Phase.RUNNING
    since: datetime | None = None
    elapsed_ms: int = 0
    due_at: datetime | None = None
    next_at: datetime | None = None
    """When time will next matter to it."""
    warned: int = 0
    paused_at: datetime | None = None
    pause_reason: str | None = None
    breached_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: str | None = None
    message_id: str | None = None
    answered_by: str | None = None
    """The reply that ended it."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a step needs besides: whose clock it is, the calendar that it runs by, and when we look."""

    ticket_id: str
    facts: TicketFacts
    calendar: Calendar
    now: datetime
    reopens: int = 0


Step = tuple[SlaClock, list[Payload]]


def start(
    clock_id: str,
    metric: str,
    terms: Terms,
    at: datetime,
    where: Setting,
    *,
    elapsed_ms: int = 0,
    started_at: datetime | None = None,
    message_id: str | None = None,
) -> Step:
    """Begin to run; with `elapsed_ms` when it takes over from a clock with other terms."""
    clock = SlaClock(clock_id, metric, terms, started_at or at, elapsed_ms=elapsed_ms, message_id=message_id)
    clock = _run(clock, at, where.calendar)
    return clock, [_event(ClockStarted, clock, at, where, message_id=message_id)]


def tick(clock: SlaClock, until: datetime, where: Setting) -> Step:
    """Let time pass up to and with `until`, before which all that happened is known: warnings, or the breach."""
    clock, events = _breach(clock, until, where, included=True)
    if events or clock.phase is not Phase.RUNNING or clock.breached_at is not None:
        return clock, events  # a warning of what is over already would help nobody
    due = [w for w in clock.terms.warnings[clock.warned :] if _reaches(clock, w.after_ms, where.calendar) <= until]
    if not due:
        return clock, []
    warned = clock.warned + len(due)
    left = clock.terms.warnings[warned:]
    wake = _reaches(clock, left[0].after_ms, where.calendar) if left else clock.due_at
    clock = replace(clock, warned=warned, next_at=wake)
    return clock, [_warning(warn, clock, until, where) for warn in due]


def pause(clock: SlaClock, at: datetime, reason: str, where: Setting) -> Step:
    """Stand still. For a clock that was breached a solve is its end, unless the ticket is reopened."""
    clock, events = _breach(clock, at, where)
    phase = _to(clock, Trigger.PAUSE)
    untrue = _is_untrue(clock, at)
    clock = replace(
        clock,
        phase=phase,
        breached_at=None if untrue else clock.breached_at,
        elapsed_ms=elapsed(clock, at, where.calendar),
        since=None,
        due_at=None,
        next_at=None,
        paused_at=clock.paused_at or at,
        pause_reason=reason,
    )
    if _told(clock):
        return clock, [*events, _cancelled(clock, at, CancelReason.STOPPED_LATE, where)]
    if untrue:
        events = [*events, _cancelled(clock, at, CancelReason.IN_TIME, where)]
    return clock, [*events, _event(ClockPaused, clock, at, where, reason=reason)]


def resume(clock: SlaClock, at: datetime, reason: str, where: Setting) -> Step:
    """Go on. The total clock has counted all along; it only could not run out while nobody had to act."""
    phase = _to(clock, Trigger.RESUME)
    assert clock.paused_at is not None
    gap = where.calendar.ms_between(clock.paused_at, at)
    used = clock.elapsed_ms + (gap if clock.metric == TOTAL_RESOLUTION else 0)
    clock = replace(clock, phase=phase, elapsed_ms=used, paused_at=None, pause_reason=None)
    clock = _run(clock, at, where.calendar)
    return clock, [_resumed(clock, at, reason, gap, where)]


def stop(clock: SlaClock, at: datetime, where: Setting, message_id: str | None = None) -> Step:
    """What it waited for has happened: in time, or after a breach, which stays.

    A breach is none where what happened in time was heard of only after it had been announced.
    """
    clock, events = _breach(clock, at, where)
    breached_at, told = clock.breached_at, _told(clock)
    untrue = _is_untrue(clock, at)
    late = breached_at is not None and not untrue
    if untrue:
        clock = replace(clock, breached_at=None)
    clock = replace(_end(clock, at, Trigger.STOP, "late" if late else "met", where), answered_by=message_id)
    if breached_at is None:
        return clock, [*events, _event(ClockMet, clock, at, where, met_at=at, message_id=message_id)]
    reason = CancelReason.STOPPED_LATE if late else CancelReason.IN_TIME
    return clock, events if told else [*events, _cancelled(clock, at, reason, where)]


def reinstate(clock: SlaClock, at: datetime, where: Setting) -> Step:
    """Go on from where it was, as if the reply that ended it had not been: it never arrived."""
    phase = _to(clock, Trigger.REINSTATE)
    assert clock.ended_at is not None
    back = replace(clock, phase=phase, ended_at=None, outcome=None, answered_by=None)
    back = _run(back, clock.ended_at, where.calendar)
    return back, [_resumed(back, at, ResumeReason.BOUNCED, 0, where)]


def cancel(clock: SlaClock, at: datetime, reason: str, where: Setting) -> Step:
    """It is moot."""
    clock, events = _breach(clock, at, where)
    told = _told(clock)
    untrue = _is_untrue(clock, at)
    clock = _end(clock, at, Trigger.CANCEL, reason, where)
    if untrue:
        clock, reason = replace(clock, breached_at=None), CancelReason.IN_TIME
    return clock, events if told else [*events, _cancelled(clock, at, reason, where)]


def revalue(clock: SlaClock, terms: Terms, at: datetime, *, clock_id: str, old: Setting, new: Setting) -> list[Step]:
    """Put a clock with other terms into its place, from this instant on; what has elapsed carries over.

    One that the old terms have breached by then keeps them: the fact is told already.
    """
    ended, events = cancel(clock, at, CancelReason.POLICY_CHANGED, old)
    if ended.breached_at is not None:
        return [_breach(clock, at, old)]
    successor = start(
        clock_id,
        clock.metric,
        terms,
        at,
        new,
        elapsed_ms=ended.elapsed_ms,
        started_at=clock.started_at,
        message_id=clock.message_id,
    )
    return [(ended, events), successor]


def elapsed(clock: SlaClock, at: datetime, calendar: Calendar) -> int:
    """Return the working milliseconds used by then."""
    running = 0 if clock.since is None else calendar.ms_between(clock.since, at)
    return clock.elapsed_ms + running


def settled(clock: SlaClock) -> bool:
    """Say whether it stands still because the ticket is solved."""
    return clock.phase is Phase.PAUSED and clock.pause_reason == PauseReason.SOLVED


# -- inside ------------------------------------------------------------------------------------------------------------


def _told(clock: SlaClock) -> bool:
    """Say whether its end after a breach was announced already, when the ticket was solved."""
    return clock.breached_at is not None and settled(clock)


def _is_untrue(clock: SlaClock, at: datetime) -> bool:
    """Say whether a breach was told that was none: what happens at `at` came in time and is heard of only now."""
    return clock.phase is Phase.RUNNING and clock.breached_at is not None and at <= clock.breached_at


def _to(clock: SlaClock, trigger: Trigger) -> Phase:
    try:
        return TRANSITIONS[clock.phase, trigger]
    except KeyError:
        raise IllegalTransition(f"{trigger} is not allowed for a clock in phase {clock.phase}") from None


def _run(clock: SlaClock, at: datetime, calendar: Calendar) -> SlaClock:
    """Set it going, with the due instant and the version of the rules that this was computed with."""
    terms = clock.terms
    if terms.calendar.tzdata != TZDATA:
        terms = replace(terms, calendar=terms.calendar.model_copy(update={"tzdata": TZDATA}))
    due, wake = clock.breached_at, None
    if due is None:
        due = calendar.add_ms(at, terms.target_ms - clock.elapsed_ms)
        left = terms.warnings[clock.warned :]
        wake = calendar.add_ms(at, left[0].after_ms - clock.elapsed_ms) if left else due
    return replace(clock, terms=terms, since=at, due_at=due, next_at=wake)


def _reaches(clock: SlaClock, work: int, calendar: Calendar) -> datetime:
    assert clock.since is not None
    return calendar.add_ms(clock.since, work - clock.elapsed_ms)


def _breach(clock: SlaClock, to: datetime, where: Setting, *, included: bool = False) -> Step:
    due = clock.due_at
    if clock.phase is not Phase.RUNNING or clock.breached_at is not None or due is None:
        return clock, []
    if due > to or (due == to and not included):
        return clock, []
    clock = replace(clock, breached_at=due, next_at=None)
    seen = max(to, where.now)
    beyond = where.calendar.ms_between(due, seen) / 1000
    event = _event(ClockBreached, clock, seen, where, breached_at=due, noticed_at=seen, breached_by_seconds=beyond)
    return clock, [event]


def _end(clock: SlaClock, at: datetime, trigger: Trigger, outcome: str, where: Setting) -> SlaClock:
    return replace(
        clock,
        phase=_to(clock, trigger),
        elapsed_ms=elapsed(clock, at, where.calendar),
        since=None,
        next_at=None,
        ended_at=at,
        outcome=outcome,
    )


def _resumed(clock: SlaClock, at: datetime, reason: str, gap: int, where: Setting) -> Payload:
    # After a breach there is no new instant to announce; the old one was told with the breach.
    told = clock if clock.breached_at is None else replace(clock, due_at=None)
    return _event(ClockResumed, told, at, where, reason=reason, resumed_at=at, paused_seconds=gap / 1000)


def _cancelled(clock: SlaClock, at: datetime, reason: str, where: Setting) -> Payload:
    beyond = max(0, clock.elapsed_ms - clock.terms.target_ms) / 1000 if clock.breached_at is not None else None
    extra = {"reason": reason, "cancelled_at": at, "breached_by_seconds": beyond, "reopens": where.reopens}
    return _event(ClockCancelled, clock, at, where, **extra)


def _warning(warn: Warn, clock: SlaClock, at: datetime, where: Setting) -> Payload:
    target = clock.terms.target_ms
    if not warn.at_risk:
        return _event(ClockDueSoon, clock, at, where, before_seconds=(target - warn.after_ms) / 1000)
    detail = f"{warn.after_ms / target:.0%} of the time is used"
    return _event(ClockAtRisk, clock, at, where, reason=RiskReason.TIME, detail=detail)


def _event(kind: type[ClockEvent], clock: SlaClock, at: datetime, where: Setting, **extra: Any) -> Payload:
    used = elapsed(clock, at, where.calendar)
    return kind(
        ticket_id=where.ticket_id,
        clock_id=clock.id,
        metric=clock.metric,
        policy=clock.terms.policy,
        calendar=clock.terms.calendar,
        target_seconds=clock.terms.target_ms / 1000,
        started_at=clock.started_at,
        due_at=clock.due_at,
        paused_at=clock.paused_at,
        elapsed_seconds=used / 1000,
        remaining_seconds=max(0, clock.terms.target_ms - used) / 1000,
        facts=where.facts,
        **extra,
    )


def soonest(clocks: Sequence[SlaClock]) -> datetime | None:
    """Return the next instant at which time matters to any of them."""
    return min((clock.next_at for clock in clocks if clock.next_at is not None), default=None)
