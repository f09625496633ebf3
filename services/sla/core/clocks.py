"""The state machine of one clock: running, paused or ended; and, independently of that, breached or not.

Rule 1: only this file changes a clock. Each function takes a clock and an instant, and returns the changed clock with
the events to publish. `tickets.py` decides which events of a ticket change which clocks.

A breach that lies before the instant of a step is recorded first. A clock stopped exactly when it is due is met.
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

#: From creation to the last solve, pauses inclusive. `resolution` leaves them out.
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


#: All legal transitions; anything else is a bug of the caller. `tick` is legal in every phase.
TRANSITIONS: dict[tuple[Phase, Trigger], Phase] = {
    (Phase.RUNNING, Trigger.PAUSE): Phase.PAUSED,
    (Phase.RUNNING, Trigger.STOP): Phase.ENDED,
    (Phase.RUNNING, Trigger.CANCEL): Phase.ENDED,
    (Phase.PAUSED, Trigger.PAUSE): Phase.PAUSED,  # the reason changes: pending, then solved
    (Phase.PAUSED, Trigger.RESUME): Phase.RUNNING,
    (Phase.PAUSED, Trigger.STOP): Phase.ENDED,
    (Phase.PAUSED, Trigger.CANCEL): Phase.ENDED,
    (Phase.ENDED, Trigger.REINSTATE): Phase.RUNNING,  # the reply that ended it bounced
}


class IllegalTransition(Exception):
    """A transition that is not in `TRANSITIONS`."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """Publish a warning once this much working time of the target is used."""

    after_ms: int
    at_risk: bool = False
    """Publish `at_risk` instead of `due_soon`."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a policy sets for one clock. Fixed when the clock starts."""

    policy: PolicyRef
    calendar: CalendarRef
    target_ms: int
    warnings: tuple[Threshold, ...] = ()
    """Ascending; each above 0 and below the target."""
    pauses: tuple[str, ...] = ()
    """Statuses of the ticket that pause the clock."""


@dataclass(frozen=True, slots=True)
class SlaClock:
    """A running, paused or ended SLA target of one ticket."""

    id: str
    metric: str
    terms: Terms
    started_at: datetime
    phase: Phase = Phase.RUNNING
    since: datetime | None = None
    """When it last began to run; None unless it is running."""
    elapsed_ms: int = 0
    """Working time used before `since`, in milliseconds."""
    due_at: datetime | None = None
    next_at: datetime | None = None
    """Instant of the next warning or of the breach; None if neither is to come."""
    warned: int = 0
    """Number of warnings published so far."""
    paused_at: datetime | None = None
    pause_reason: str | None = None
    breached_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: str | None = None
    message_id: str | None = None
    """The customer's message that waits for the reply."""
    answered_by: str | None = None
    """Message id of the reply that ended it."""


@dataclass(frozen=True, slots=True)
class ClockContext:
    """The ticket, calendar and time of processing of a step."""

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
    context: ClockContext,
    *,
    elapsed_ms: int = 0,
    started_at: datetime | None = None,
    message_id: str | None = None,
) -> Step:
    """Start a clock. `elapsed_ms` is the working time that already counts, e.g. of the clock that it replaces."""
    clock = SlaClock(clock_id, metric, terms, started_at or at, elapsed_ms=elapsed_ms, message_id=message_id)
    clock = _set_running(clock, at, context.calendar)
    return clock, [_event(ClockStarted, clock, at, context, message_id=message_id)]


def tick(clock: SlaClock, until: datetime, context: ClockContext) -> Step:
    """Publish the warnings, or the breach, due up to and including `until`.

    Everything that happened before `until` must have been handled.
    """
    clock, events = _check_breach(clock, until, context, inclusive=True)
    if events or clock.phase is not Phase.RUNNING or clock.breached_at is not None:
        return clock, events  # no warnings once the clock is breached
    pending = clock.terms.warnings[clock.warned :]
    due = [warning for warning in pending if _instant_at(clock, warning.after_ms, context.calendar) <= until]
    if not due:
        return clock, []
    rest = pending[len(due) :]
    next_at = _instant_at(clock, rest[0].after_ms, context.calendar) if rest else clock.due_at
    clock = replace(clock, warned=clock.warned + len(due), next_at=next_at)
    return clock, [_warning(warning, clock, until, context) for warning in due]


def pause(clock: SlaClock, at: datetime, reason: str, context: ClockContext) -> Step:
    """Pause a clock. Solving the ticket ends a breached clock, unless the ticket is reopened later."""
    clock, events = _check_breach(clock, at, context)
    phase = _next_phase(clock, Trigger.PAUSE)
    refuted = _refutes_breach(clock, at)
    clock = replace(
        clock,
        phase=phase,
        breached_at=None if refuted else clock.breached_at,
        elapsed_ms=elapsed(clock, at, context.calendar),
        since=None,
        due_at=None,
        next_at=None,
        paused_at=clock.paused_at or at,
        pause_reason=reason,
    )
    if _end_announced(clock):
        return clock, [*events, _cancelled(clock, at, CancelReason.STOPPED_LATE, context)]
    if refuted:
        events = [*events, _cancelled(clock, at, CancelReason.IN_TIME, context)]
    return clock, [*events, _event(ClockPaused, clock, at, context, reason=reason)]


def resume(clock: SlaClock, at: datetime, reason: str, context: ClockContext) -> Step:
    """Resume a paused clock. For `total_resolution` the pause counts as used; it just could not breach meanwhile."""
    phase = _next_phase(clock, Trigger.RESUME)
    assert clock.paused_at is not None
    gap = context.calendar.ms_between(clock.paused_at, at)
    used = clock.elapsed_ms + (gap if clock.metric == TOTAL_RESOLUTION else 0)
    clock = replace(clock, phase=phase, elapsed_ms=used, paused_at=None, pause_reason=None)
    clock = _set_running(clock, at, context.calendar)
    return clock, [_resumed(clock, at, reason, gap, context)]


def stop(clock: SlaClock, at: datetime, context: ClockContext, message_id: str | None = None) -> Step:
    """End a clock because what it waited for has happened: met, or late after a breach.

    A breach that was announced although the stop happened in time, but was received late, is withdrawn.
    """
    clock, events = _check_breach(clock, at, context)
    breached_at, end_announced = clock.breached_at, _end_announced(clock)
    refuted = _refutes_breach(clock, at)
    late = breached_at is not None and not refuted
    if refuted:
        clock = replace(clock, breached_at=None)
    clock = replace(_end(clock, at, Trigger.STOP, "late" if late else "met", context), answered_by=message_id)
    if breached_at is None:
        return clock, [*events, _event(ClockMet, clock, at, context, met_at=at, message_id=message_id)]
    reason = CancelReason.STOPPED_LATE if late else CancelReason.IN_TIME
    return clock, events if end_announced else [*events, _cancelled(clock, at, reason, context)]


def reinstate(clock: SlaClock, at: datetime, context: ClockContext) -> Step:
    """Let an ended clock go on as if it had never ended: the reply that ended it bounced."""
    phase = _next_phase(clock, Trigger.REINSTATE)
    assert clock.ended_at is not None
    back = replace(clock, phase=phase, ended_at=None, outcome=None, answered_by=None)
    back = _set_running(back, clock.ended_at, context.calendar)
    return back, [_resumed(back, at, ResumeReason.BOUNCED, 0, context)]


def cancel(clock: SlaClock, at: datetime, reason: str, context: ClockContext) -> Step:
    """End a clock that no longer applies."""
    clock, events = _check_breach(clock, at, context)
    end_announced = _end_announced(clock)
    refuted = _refutes_breach(clock, at)
    clock = _end(clock, at, Trigger.CANCEL, reason, context)
    if refuted:
        clock, reason = replace(clock, breached_at=None), CancelReason.IN_TIME
    return clock, events if end_announced else [*events, _cancelled(clock, at, reason, context)]


def change_terms(
    clock: SlaClock, terms: Terms, at: datetime, *, clock_id: str, old: ClockContext, new: ClockContext
) -> list[Step]:
    """Replace a clock by one with other terms from `at` on. Elapsed time carries over.

    A clock that has breached its old terms by then keeps them: the breach is announced already.
    """
    ended, events = cancel(clock, at, CancelReason.POLICY_CHANGED, old)
    if ended.breached_at is not None:
        return [_check_breach(clock, at, old)]
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
    """Return the working time used until `at`, in milliseconds."""
    running = 0 if clock.since is None else calendar.ms_between(clock.since, at)
    return clock.elapsed_ms + running


def paused_by_solve(clock: SlaClock) -> bool:
    """Return whether the clock is paused because the ticket is solved."""
    return clock.phase is Phase.PAUSED and clock.pause_reason == PauseReason.SOLVED


def soonest(clocks: Sequence[SlaClock]) -> datetime | None:
    """Return the instant of the next warning or breach of any of the clocks."""
    return min((clock.next_at for clock in clocks if clock.next_at is not None), default=None)


def _end_announced(clock: SlaClock) -> bool:
    """Return whether the end of a breached clock was announced already, when the ticket was solved."""
    return clock.breached_at is not None and paused_by_solve(clock)


def _refutes_breach(clock: SlaClock, at: datetime) -> bool:
    """Return whether an event of `at`, received only now, shows that an announced breach was none."""
    return clock.phase is Phase.RUNNING and clock.breached_at is not None and at <= clock.breached_at


def _next_phase(clock: SlaClock, trigger: Trigger) -> Phase:
    try:
        return TRANSITIONS[clock.phase, trigger]
    except KeyError:
        raise IllegalTransition(f"{trigger} is not allowed for a clock in phase {clock.phase}") from None


def _set_running(clock: SlaClock, at: datetime, calendar: Calendar) -> SlaClock:
    """Return the clock as running from `at` on, with its due instant."""
    terms = clock.terms  # they name the time zone data that the instant is computed with
    if terms.calendar.tzdata != TZDATA:
        terms = replace(terms, calendar=terms.calendar.model_copy(update={"tzdata": TZDATA}))
    due, next_at = clock.breached_at, None
    if due is None:
        due = calendar.add_ms(at, terms.target_ms - clock.elapsed_ms)
        pending = terms.warnings[clock.warned :]
        next_at = calendar.add_ms(at, pending[0].after_ms - clock.elapsed_ms) if pending else due
    return replace(clock, terms=terms, since=at, due_at=due, next_at=next_at)


def _instant_at(clock: SlaClock, used_ms: int, calendar: Calendar) -> datetime:
    """Return when a running clock will have used that much working time."""
    assert clock.since is not None
    return calendar.add_ms(clock.since, used_ms - clock.elapsed_ms)


def _check_breach(clock: SlaClock, to: datetime, context: ClockContext, *, inclusive: bool = False) -> Step:
    due = clock.due_at
    if clock.phase is not Phase.RUNNING or clock.breached_at is not None or due is None:
        return clock, []
    if due > to or (due == to and not inclusive):
        return clock, []
    clock = replace(clock, breached_at=due, next_at=None)
    noticed = max(to, context.now)
    late = context.calendar.ms_between(due, noticed) / 1000
    event = _event(
        ClockBreached, clock, noticed, context, breached_at=due, noticed_at=noticed, breached_by_seconds=late
    )
    return clock, [event]


def _end(clock: SlaClock, at: datetime, trigger: Trigger, outcome: str, context: ClockContext) -> SlaClock:
    return replace(
        clock,
        phase=_next_phase(clock, trigger),
        elapsed_ms=elapsed(clock, at, context.calendar),
        since=None,
        next_at=None,
        ended_at=at,
        outcome=outcome,
    )


def _resumed(clock: SlaClock, at: datetime, reason: str, gap: int, context: ClockContext) -> Payload:
    if clock.breached_at is not None:
        clock = replace(clock, due_at=None)  # it was due in the past, and announced with the breach
    return _event(ClockResumed, clock, at, context, reason=reason, resumed_at=at, paused_seconds=gap / 1000)


def _cancelled(clock: SlaClock, at: datetime, reason: str, context: ClockContext) -> Payload:
    late = max(0, clock.elapsed_ms - clock.terms.target_ms) / 1000 if clock.breached_at is not None else None
    extra = {"reason": reason, "cancelled_at": at, "breached_by_seconds": late, "reopens": context.reopens}
    return _event(ClockCancelled, clock, at, context, **extra)


def _warning(warning: Threshold, clock: SlaClock, at: datetime, context: ClockContext) -> Payload:
    target = clock.terms.target_ms
    if not warning.at_risk:
        return _event(ClockDueSoon, clock, at, context, before_seconds=(target - warning.after_ms) / 1000)
    detail = f"{warning.after_ms / target:.0%} of the time is used"
    return _event(ClockAtRisk, clock, at, context, reason=RiskReason.TIME, detail=detail)


def _event(kind: type[ClockEvent], clock: SlaClock, at: datetime, context: ClockContext, **extra: Any) -> Payload:
    used = elapsed(clock, at, context.calendar)
    return kind(
        ticket_id=context.ticket_id,
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
        facts=context.facts,
        **extra,
    )
