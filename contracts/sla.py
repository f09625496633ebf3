"""Events of the sla topic: what the clocks of a ticket say. Source /deskbus/sla, subject is the ticket id."""

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
    """Why a clock stands still (open)."""

    PENDING = "pending"
    ON_HOLD = "on_hold"
    SOLVED = "solved"
    """A resolution clock of a solved ticket: a reopen lets it go on."""


class ResumeReason(StrEnum):
    """Why a clock goes on (open)."""

    STATUS = "status"
    CUSTOMER_REPLIED = "customer_replied"
    REOPENED = "reopened"
    BOUNCED = "bounced"
    """The reply that had ended it never arrived: it goes on as if there had been none."""


class RiskReason(StrEnum):
    """Why a clock is expected to run out (open)."""

    TIME = "time"
    """Most of the time is used up."""
    UNASSIGNED = "unassigned"
    QUEUE_WAIT = "queue_wait"


class CancelReason(StrEnum):
    """Why a clock ended without being met in time (open)."""

    STOPPED_LATE = "stopped_late"
    """What it waited for happened after the breach, which stays a fact."""
    IN_TIME = "in_time"
    """What stops or ends it had happened in time and was heard of only after the breach was announced: it was none.
    One that `paused` follows goes on."""
    SOLVED = "solved"
    CLOSED = "closed"
    MERGED = "merged"
    POLICY_CHANGED = "policy_changed"
    HANDLED_BY_BOT = "handled_by_bot"
    SUPERSEDED = "superseded"
    """An earlier wait goes on, whose answer never arrived."""


class PolicyRef(Value):
    """The policy that set a clock."""

    name: Identifier = Field(description="Name of the policy.")
    version: str = Field(description="Version of the policy that is in force for this clock.")


class CalendarRef(Value):
    """The calendar that a deadline was computed with, exact enough to compute it again."""

    name: Identifier = Field(description="Name of the calendar.")
    version: str = Field(description="Version of the calendar.")
    holidays: str | None = Field(None, description="Version of the holidays.")
    tzdata: str | None = Field(None, description="Version of the time zone data, e.g. 2026a.")


class ClockEvent(Payload):
    """What all events about a clock carry. All durations are working time of the clock's calendar."""

    ticket_id: Identifier = Field(description="The ticket.")
    clock_id: Identifier = Field(description="The clock, unique within Deskbus.")
    metric: Annotated[str, Open(Metric)] = Field(description="What the clock measures.")
    policy: PolicyRef = Field(description="Policy that set it.")
    calendar: CalendarRef = Field(description="Calendar that it runs by.")
    target_seconds: Seconds = Field(description="Working time allowed.")
    started_at: Instant = Field(description="When it started.")
    due_at: Instant | None = Field(None, description="When it runs out; nothing while it is paused.")
    paused_at: Instant | None = Field(None, description="Since when it stands still.")
    elapsed_seconds: Seconds = Field(0.0, description="Working time used so far.")
    remaining_seconds: Seconds = Field(0.0, description="Working time left; 0 once it has run out.")
    facts: TicketFacts | None = Field(None, description="Facts about the ticket that rules match on.")


class ClockStarted(ClockEvent):
    """A clock runs."""

    type: ClassVar[str] = "deskbus.sla.clock_started.v1"
    message_id: str | None = Field(None, description="Customer message that it waits to see answered.")


class ClockPaused(ClockEvent):
    """The clock stands still: we wait for somebody else."""

    type: ClassVar[str] = "deskbus.sla.paused.v1"
    reason: Annotated[str, Open(PauseReason)] = Field(description="Why.")


class ClockResumed(ClockEvent):
    """The clock goes on with a new due instant."""

    type: ClassVar[str] = "deskbus.sla.resumed.v1"
    reason: Annotated[str, Open(ResumeReason)] = Field(description="Why.")
    resumed_at: Instant = Field(description="When.")
    paused_seconds: Seconds = Field(0.0, description="Working time that it stood still, this time.")


class ClockDueSoon(ClockEvent):
    """A warning that the policy asks for, a set working time before the due instant."""

    type: ClassVar[str] = "deskbus.sla.due_soon.v1"
    before_seconds: Seconds = Field(description="Which warning: working time before the due instant.")


class ClockAtRisk(ClockEvent):
    """The clock is expected to run out unless somebody acts."""

    type: ClassVar[str] = "deskbus.sla.at_risk.v1"
    reason: Annotated[str, Open(RiskReason)] = Field(description="Why.")
    detail: str | None = Field(None, description="The reason in words.")


class ClockBreached(ClockEvent):
    """The clock ran out. Announced once per deadline; `cancelled` for `in_time` says that it was none after all."""

    type: ClassVar[str] = "deskbus.sla.breached.v1"
    breached_at: Instant = Field(description="When it ran out: the due instant.")
    noticed_at: Instant | None = Field(None, description="When our timer found out.")
    breached_by_seconds: Seconds = Field(0.0, description="Working time beyond the target, as known at this event.")


class ClockMet(ClockEvent):
    """What the clock waited for happened in time; exactly at the due instant is in time."""

    type: ClassVar[str] = "deskbus.sla.met.v1"
    met_at: Instant = Field(description="When it happened.")
    message_id: str | None = Field(None, description="Reply that stopped it.")


class ClockCancelled(ClockEvent):
    """The clock ended other than by being met in time: moot, or answered after its breach."""

    type: ClassVar[str] = "deskbus.sla.cancelled.v1"
    reason: Annotated[str, Open(CancelReason)] = Field(description="Why.")
    cancelled_at: Instant = Field(description="When.")
    breached_by_seconds: Seconds | None = Field(
        None, description="Working time beyond the target at the end; nothing when it was not breached."
    )
    reopens: Count = Field(0, description="How often the ticket had been reopened while the clock lived.")
