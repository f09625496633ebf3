"""What an event means for alerts: it raises or ends some, or changes the ticket's owner. Not: who is notified."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from contracts import matching
from contracts.assignments import TicketAssigned, TicketQueued, TicketRoutable, TicketUnassigned, TicketUnroutable
from contracts.envelope import Event
from contracts.notifications import Alert, ResolveReason
from contracts.payload import Payload
from contracts.sla import (
    CancelReason,
    ClockAtRisk,
    ClockBreached,
    ClockCancelled,
    ClockDueSoon,
    ClockEvent,
    ClockMet,
    ClockPaused,
    ClockResumed,
    PauseReason,
)
from contracts.ticket import Status, TicketFacts
from contracts.tickets import TicketClosed, TicketMerged, TicketReopened, TicketStatusChanged
from services.notify.core.text import one_line


class Kind(StrEnum):
    """Kind of alert; the label `kind`."""

    BREACHED = "breached"
    AT_RISK = "at_risk"
    DUE_SOON = "due_soon"
    UNROUTABLE = "unroutable"


WARNINGS = frozenset({Kind.AT_RISK, Kind.DUE_SOON})
"""Alerts before a clock runs out."""


@dataclass(frozen=True, slots=True)
class Raised:
    """An alert is raised. `about` is the clock's id, or empty."""

    kind: Kind
    about: str
    alert: Alert
    level: str = ""
    """Distinguishes alerts of one kind, such as several warnings of a clock: each is notified."""
    supersedes: frozenset[Kind] = frozenset()
    """Kinds of alerts about the same that this one replaces, as it is worse. They end later, with the clock."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Alerts end: those of these kinds (None: all) about this clock (empty: none, None: any)."""

    kinds: frozenset[Kind] | None
    about: str | None
    reason: str
    whole_ticket: bool = False
    """The ticket is solved, closed or merged: alerts raised before this but received later count as ended too."""
    refuted: bool = False
    """The alert was wrong: it does not return if the clock resumes."""


@dataclass(frozen=True, slots=True)
class Paused:
    """The clock is paused: its warnings are suspended, not ended."""

    about: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """The clock is running again: its alerts go on, including those that ended when the ticket was solved."""

    about: str


@dataclass(frozen=True, slots=True)
class OwnerChanged:
    """The ticket has this agent and queue now."""

    queue: str | None
    agent: str | None


@dataclass(frozen=True, slots=True)
class Reopened:
    """The ticket was reopened."""


Signal = Raised | Ended | Paused | Resumed | OwnerChanged | Reopened

#: Why an alarm is resolved, by why its clock was cancelled. Default: cancelled.
_ENDS: dict[str, ResolveReason] = {
    CancelReason.STOPPED_LATE: ResolveReason.STOPPED_LATE,
    CancelReason.IN_TIME: ResolveReason.MET,
}
_READ: tuple[type[Payload], ...] = (
    ClockAtRisk, ClockBreached, ClockCancelled, ClockDueSoon, ClockMet, ClockPaused, ClockResumed, TicketAssigned,
    TicketClosed, TicketMerged, TicketQueued, TicketReopened, TicketRoutable, TicketStatusChanged, TicketUnassigned,
    TicketUnroutable,
)  # fmt: skip
EVENT_TYPES = frozenset(payload.type for payload in _READ)
"""Types of events that `read` handles."""


def read(event: Event, queue: str | None) -> tuple[Signal, ...]:
    """Return what an event means for alerts, in order; most mean nothing. `queue` is the ticket's queue so far."""
    data = event.data
    match data:
        case ClockEvent():
            return _of_clock(data, event, queue)
        case TicketQueued():
            return (OwnerChanged(data.queue, None),)
        case TicketAssigned():
            ended = Ended(frozenset({Kind.UNROUTABLE}), None, ResolveReason.ASSIGNED)
            return OwnerChanged(data.queue or queue, data.agent.name or data.agent.id), ended
        case TicketUnassigned():
            return (OwnerChanged(data.queue or queue, None),)
        case TicketRoutable():
            return (Ended(frozenset({Kind.UNROUTABLE}), None, ResolveReason.CANCELLED),)
        case TicketUnroutable():
            return OwnerChanged(data.queue, None), _unroutable(data, event)
    return _of_ticket(data)


def _of_ticket(data: Payload) -> tuple[Signal, ...]:
    match data:
        case TicketStatusChanged(new=Status.SOLVED | Status.CLOSED) | TicketClosed() | TicketMerged():
            return (Ended(None, None, ResolveReason.CANCELLED, whole_ticket=True),)
        case TicketReopened():
            return (Reopened(),)
    return ()


def _of_clock(data: ClockEvent, event: Event, queue: str | None) -> tuple[Signal, ...]:
    about = data.clock_id
    match data:
        case ClockBreached():
            # The breach replaces the warnings: they are not followed up any more, and end with it.
            raised = _clock_alert(Kind.BREACHED, data, event, queue, since=data.breached_at)
            return (replace(raised, supersedes=WARNINGS),)
        case ClockAtRisk():
            words = f"is at risk ({data.detail or data.reason})"
            raised = _clock_alert(Kind.AT_RISK, data, event, queue, since=event.time, reason=data.reason, words=words)
            level = f"{data.reason} {data.detail or ''}".strip()
            return (replace(raised, level=level, supersedes=frozenset({Kind.AT_RISK})),)
        case ClockDueSoon():
            words = f"is due soon, {_span(data.before_seconds)} of working time before its end"
            raised = _clock_alert(Kind.DUE_SOON, data, event, queue, since=event.time, words=words)
            return (replace(raised, level=f"{data.before_seconds:g}", supersedes=frozenset({Kind.DUE_SOON})),)
        case ClockMet():
            return (Ended(None, about, ResolveReason.MET),)
        case ClockCancelled():
            why = _ENDS.get(data.reason, ResolveReason.CANCELLED)
            return (Ended(None, about, why, refuted=data.reason == CancelReason.IN_TIME),)
        case ClockPaused(reason=PauseReason.SOLVED):
            return (Ended(None, about, ResolveReason.CANCELLED),)
        case ClockPaused():
            return (Paused(about),)
        case ClockResumed():
            return (Resumed(about),)
    return ()


def _clock_alert(
    kind: Kind,
    data: ClockEvent,
    event: Event,
    queue: str | None,
    *,
    since: datetime,
    reason: str = "",
    words: str = "",
) -> Raised:
    labels = {"kind": kind, "metric": data.metric, "policy": data.policy.name, "reason": reason, "queue": queue or ""}
    due = f", due {data.due_at:%Y-%m-%d %H:%MZ}" if data.due_at is not None and kind in WARNINGS else ""
    words = f"{data.metric} {words or f'was not done within {_span(data.target_seconds)}'}{due}"
    return Raised(kind, data.clock_id, _alert(f"sla_{kind}", labels, words, data.facts, event=event, since=since))


def _unroutable(data: TicketUnroutable, event: Event) -> Raised:
    labels = {"kind": Kind.UNROUTABLE, "reason": data.reason, "queue": data.queue or ""}
    words = f"nobody can take the ticket: {data.detail or data.reason}"
    alert = _alert("ticket_unroutable", labels, words, data.facts, event=event, since=event.time)
    return Raised(Kind.UNROUTABLE, "", alert, data.queue or "", frozenset({Kind.UNROUTABLE}))


def _alert(
    name: str, labels: dict[str, str], words: str, facts: TicketFacts | None, *, event: Event, since: datetime
) -> Alert:
    known = {} if facts is None else matching.labels(facts)
    tags = () if facts is None else facts.tags
    every = {label: str(value) for label, value in (labels | known).items() if value}
    place = "/".join(filter(None, (every.get(label) for label in ("brand", "channel", "marketplace", "country"))))
    about = f" ({place})" if place else ""
    summary = one_line(f"Ticket {event.subject}{about}: {words}", 400)
    return Alert(name=name, labels=every, summary=summary, cause=event.id, started_at=since, tags=tags)


def _span(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:g} {unit}" if seconds % size == 0 else f"{seconds / size:.1f} {unit}"
    return f"{seconds:g} s"
