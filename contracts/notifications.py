"""Events of the notifications topic: escalations and the notifications they send.

Source /deskbus/notify, subject is the escalation id.
"""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from contracts.payload import Payload
from contracts.values import Count, Identifier, Instant, Milliseconds, Open, Value


class SinkName(StrEnum):
    """Sink that delivers a notification (open)."""

    WEBHOOK = "webhook"
    SLACK = "slack"
    EMAIL = "email"
    PAGERDUTY = "pagerduty"
    SMS = "sms"


class NotificationKind(StrEnum):
    """Kind of a notification (open)."""

    FIRING = "firing"
    REMINDER = "reminder"
    RESOLVED = "resolved"
    DIGEST = "digest"


class ResolveReason(StrEnum):
    """Why an escalation ended (open)."""

    MET = "met"
    STOPPED_LATE = "stopped_late"
    CANCELLED = "cancelled"
    ASSIGNED = "assigned"
    OPERATOR = "operator"
    EXHAUSTED = "exhausted"
    """All steps and repeats were used up."""


class Alert(Value):
    """The problem that an escalation is about."""

    name: Identifier = Field(description="Name of the alert, e.g. sla_breached.")
    labels: dict[str, str] = Field(default_factory=dict, description="Facts that routes match on.")
    tags: tuple[str, ...] = Field(
        (), description="Tags of the ticket when the alert was raised; routes match on them too."
    )
    summary: str = Field(description="One line for people.")
    cause: str | None = Field(None, description="Id of the event that raised it.")
    started_at: Instant = Field(description="When the problem began.")


class Target(Value):
    """A receiver of notifications."""

    kind: str = Field(description="person, schedule, team or webhook.")
    name: Identifier = Field(description="Name in the configuration.")


class EscalationEvent(Payload):
    """Base of all events about an escalation."""

    escalation_id: Identifier = Field(description='Escalation id: "esc-" and the ticket id.')
    ticket_id: Identifier = Field(description="The ticket.")


class EscalationOpened(EscalationEvent):
    """An alert about a ticket was raised."""

    type: ClassVar[str] = "deskbus.escalation.opened.v1"
    alert: Alert = Field(description="The alert.")
    route: str = Field(description="Route that matched.")
    chain: str | None = Field(None, description="Escalation chain; absent if only one notification is sent.")
    opened_at: Instant = Field(description="When it was opened.")


class EscalationStepReached(EscalationEvent):
    """A step of the chain was reached: the first one, or the next one because nobody acknowledged in time."""

    type: ClassVar[str] = "deskbus.escalation.step_reached.v1"
    alert: Alert | None = Field(None, description="The alert.")
    chain: str | None = Field(None, description="The escalation chain.")
    step: Count = Field(description="Index of the step, from 0.")
    round: Count = Field(0, description="Number of repeats of the whole chain so far.")
    targets: tuple[Target, ...] = Field((), description="Receivers of this step.")
    reached_at: Instant = Field(description="When it was reached.")


class EscalationAcknowledged(EscalationEvent):
    """Someone acknowledged the alert; the chain stops."""

    type: ClassVar[str] = "deskbus.escalation.acknowledged.v1"
    by: str = Field(description="Who acknowledged.")
    via: str | None = Field(None, description="How: rest, slack or pagerduty.")
    step: Count | None = Field(None, description="Last step reached.")
    acknowledged_at: Instant = Field(description="When it was acknowledged.")
    after_ms: Milliseconds | None = Field(None, description="Time from opened to acknowledged.")


class EscalationExhausted(EscalationEvent):
    """Nobody acknowledged, and no step, repeat or receiver is left. The problem still exists."""

    type: ClassVar[str] = "deskbus.escalation.exhausted.v1"
    alert: Alert = Field(description="The alert.")
    chain: str | None = Field(None, description="The escalation chain.")
    round: Count = Field(0, description="Number of repeats of the whole chain.")
    exhausted_at: Instant = Field(description="When it was exhausted.")


class EscalationResolved(EscalationEvent):
    """The problem is over, or the escalation was ended."""

    type: ClassVar[str] = "deskbus.escalation.resolved.v1"
    alert: Alert | None = Field(None, description="The alert.")
    reason: Annotated[str, Open(ResolveReason)] = Field(description="Why it ended.")
    resolved_at: Instant = Field(description="When it was resolved.")


class NotificationEvent(Payload):
    """Base of all events about one notification to one receiver."""

    notification_id: Identifier = Field(description="Id of the notification; the same when it is sent again.")
    escalation_id: Identifier = Field(description="The escalation.")
    ticket_id: Identifier = Field(description="The ticket.")
    kind: Annotated[str, Open(NotificationKind)] = Field(description="Kind of the notification.")
    step: Count | None = Field(None, description="Step of the chain.")
    target: Target = Field(description="The receiver.")
    sink: Annotated[str, Open(SinkName)] = Field(description="Sink that delivered it.")
    dedup_key: str = Field(
        description="Key that identifies the alarm: the same in all notifications about it, at every receiver."
    )
    attempts: Count = Field(1, description="Number of attempts so far.")
    status: int | None = Field(None, description="The receiver's status code, if it sent one.")


class NotificationSent(NotificationEvent):
    """The receiver accepted a notification."""

    type: ClassVar[str] = "deskbus.notification.sent.v1"
    sent_at: Instant = Field(description="When it was accepted.")
    after_ms: Milliseconds | None = Field(None, description="Time from the decision to notify until it was accepted.")
    thread: str | None = Field(
        None, description="The receiver's id of the thread that this escalation's notifications belong to."
    )


class NotificationFailed(NotificationEvent):
    """The receiver refused a notification, or could not be reached within the allowed attempts."""

    type: ClassVar[str] = "deskbus.notification.failed.v1"
    error: str = Field(description="The receiver's answer, or why it could not be reached.")
    permanent: bool = Field(default=True, description="Whether no further attempts follow.")
    failed_at: Instant = Field(description="When the last attempt failed.")


class NotificationWithdrawn(NotificationEvent):
    """The alert ended before the outcome was known. A receiver that may have got the notification is told the end."""

    type: ClassVar[str] = "deskbus.notification.withdrawn.v1"
    withdrawn_at: Instant = Field(description="When attempts were stopped.")
