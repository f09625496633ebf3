"""Events of the sla topic: clocks of a ticket. Source /deskbus/sla, subject is the ticket id."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from contracts.payload import Payload
from contracts.ticket import TicketFacts
from contracts.values import Count, Identifier, Instant, Open, Seconds, Value


class Metric(StrEnum):
    """What a clock measures (open)."""

    FIRST_REPLY = "first_reply"
    NEXT_REPLY = "next_reply"
    RESOLUTION = "resolution"


class PauseReason(StrEnum):
    """Why a clock is paused (open)."""

    PENDING = "pending"
    ON_HOLD = "on_hold"
    SOLVED = "solved"
    """The ticket is solved; reopening it resumes its resolution clock."""


class ResumeReason(StrEnum):
    """Why a clock resumed (open)."""

    STATUS = "status"
    CUSTOMER_REPLIED = "customer_replied"
    REOPENED = "reopened"
    BOUNCED = "bounced"
    """The reply that stopped it never arrived; the clock runs as if there had been none."""


class RiskReason(StrEnum):
    """Why a clock is expected to run out (open)."""

    TIME = "time"
    """Most of the time has been used."""
    UNASSIGNED = "unassigned"
    QUEUE_WAIT = "queue_wait"


class CancelReason(StrEnum):
    """Why a clock ended without being met in time (open)."""

    STOPPED_LATE = "stopped_late"
    """What it waited for happened after the breach; the breach remains."""
    IN_TIME = "in_time"
    """What stops or ends it happened in time, but became known after the breach was announced: there was no breach.
    If `paused` follows, the clock continues."""
    SOLVED = "solved"
    CLOSED = "closed"
    MERGED = "merged"
    POLICY_CHANGED = "policy_changed"
    HANDLED_BY_BOT = "handled_by_bot"
    SUPERSEDED = "superseded"
    """An earlier clock continues, whose answer never arrived."""


class PolicyRef(Value):
    """The policy that set a clock."""

    name: Identifier = Field(description="Name of the policy.")
    version: str = Field(description="Version of the policy that applies to this clock.")


class CalendarRef(Value):
    """The calendar of a deadline, with the versions needed to compute it again."""

    name: Identifier = Field(description="Name of the calendar.")
    version: str = Field(description="Version of the calendar.")
    holidays: str | None = Field(None, description="Version of the holidays.")
    tzdata: str | None = Field(None, description="Version of the time zone data, e.g. 2026a.")


class ClockEvent(Payload):
    """Base of all events about a clock. All durations are working time in the clock's calendar."""

    ticket_id: Identifier = Field(description="The ticket.")
    clock_id: Identifier = Field(description="The clock, unique within Deskbus.")
    metric: Annotated[str, Open(Metric)] = Field(description="What the clock measures.")
    policy: PolicyRef = Field(description="Policy that set it.")
    calendar: CalendarRef = Field(description="Calendar that it runs in.")
    target_seconds: Seconds = Field(description="Working time allowed.")
    started_at: Instant = Field(description="When it started.")
    due_at: Instant | None = Field(None, description="When it runs out; absent while it is paused.")
    paused_at: Instant | None = Field(None, description="Since when it is paused.")
    elapsed_seconds: Seconds = Field(0.0, description="Working time used so far.")
    remaining_seconds: Seconds = Field(0.0, description="Working time left; 0 once it has run out.")
    facts: TicketFacts | None = Field(None, description="Facts about the ticket that rules match on.")


class ClockStarted(ClockEvent):
    """A clock started."""

    type: ClassVar[str] = "deskbus.sla.clock_started.v1"
    message_id: str | None = Field(None, description="Customer message that the clock expects a reply to.")


class ClockPaused(ClockEvent):
    """The clock was paused: someone else has to act, or the ticket is solved."""

    type: ClassVar[str] = "deskbus.sla.paused.v1"
    reason: Annotated[str, Open(PauseReason)] = Field(description="Reason.")


class ClockResumed(ClockEvent):
    """The clock resumed, with a new due time."""

    type: ClassVar[str] = "deskbus.sla.resumed.v1"
    reason: Annotated[str, Open(ResumeReason)] = Field(description="Reason.")
    resumed_at: Instant = Field(description="When it resumed.")
    paused_seconds: Seconds = Field(0.0, description="Working time of this pause.")


class ClockDueSoon(ClockEvent):
    """A warning, the working time set in the policy before the clock is due."""

    type: ClassVar[str] = "deskbus.sla.due_soon.v1"
    before_seconds: Seconds = Field(description="Which warning: working time before it is due.")


class ClockAtRisk(ClockEvent):
    """The clock is expected to run out unless somebody acts."""

    type: ClassVar[str] = "deskbus.sla.at_risk.v1"
    reason: Annotated[str, Open(RiskReason)] = Field(description="Reason.")
    detail: str | None = Field(None, description="The reason in words.")


class ClockBreached(ClockEvent):
    """The clock ran out. Announced once per deadline; `cancelled` with reason `in_time` withdraws it."""

    type: ClassVar[str] = "deskbus.sla.breached.v1"
    breached_at: Instant = Field(description="When it ran out, which is when it was due.")
    noticed_at: Instant | None = Field(None, description="When the timer fired.")
    breached_by_seconds: Seconds = Field(0.0, description="Working time beyond the target at this event.")


class ClockMet(ClockEvent):
    """What the clock waited for happened in time. Exactly when due still counts as in time."""

    type: ClassVar[str] = "deskbus.sla.met.v1"
    met_at: Instant = Field(description="When it happened.")
    message_id: str | None = Field(None, description="Reply that stopped it.")


class ClockCancelled(ClockEvent):
    """The clock ended without being met in time: it no longer applies, or the answer came after the breach."""

    type: ClassVar[str] = "deskbus.sla.cancelled.v1"
    reason: Annotated[str, Open(CancelReason)] = Field(description="Reason.")
    cancelled_at: Instant = Field(description="When it was cancelled.")
    breached_by_seconds: Seconds | None = Field(
        None, description="Working time beyond the target at the end; absent if it was not breached."
    )
    reopens: Count = Field(0, description="How often the ticket was reopened during the clock's lifetime.")
