"""Events of the notifications topic: who was told, and did it help.

Source /deskbus/notify, subject is the escalation id.
"""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from contracts.payload import Payload
from contracts.values import Count, Identifier, Instant, Milliseconds, Open, Value


class SinkName(StrEnum):
    """What a notification goes through (open)."""

    WEBHOOK = "webhook"
    SLACK = "slack"
    EMAIL = "email"
    PAGERDUTY = "pagerduty"
    SMS = "sms"


class NotificationKind(StrEnum):
    """What a notification says (open)."""

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
    """What is the matter."""

    name: Identifier = Field(description="Name of the alert, e.g. sla_breached.")
    labels: dict[str, str] = Field(
        default_factory=dict, description="Facts that routes, silences and inhibition match on."
    )
    tags: tuple[str, ...] = Field((), description="Tags of the ticket when it was raised; routes match on them too.")
    summary: str = Field(description="One line for people.")
    cause: str | None = Field(None, description="Id of the event that raised it.")
    started_at: Instant = Field(description="Since when it holds.")


class Target(Value):
    """Who is told."""

    kind: str = Field(description="person, schedule, team or webhook.")
    name: Identifier = Field(description="Name in the configuration.")


class EscalationEvent(Payload):
    """What all events about an escalation carry."""

    escalation_id: Identifier = Field(description='The escalation: "esc-" and the ticket id.')
    ticket_id: Identifier = Field(description="The ticket.")


class EscalationOpened(EscalationEvent):
    """Something about a ticket needs people."""

    type: ClassVar[str] = "deskbus.escalation.opened.v1"
    alert: Alert = Field(description="What is the matter.")
    route: str = Field(description="Route of the tree that matched.")
    chain: str | None = Field(
        None, description="Escalation chain that is followed; nothing when one notification is all."
    )
    opened_at: Instant = Field(description="When.")


class EscalationStepReached(EscalationEvent):
    """Nobody acknowledged in time, or it is the first step: the next ones are told."""

    type: ClassVar[str] = "deskbus.escalation.step_reached.v1"
    alert: Alert | None = Field(None, description="What is the matter.")
    chain: str | None = Field(None, description="The chain.")
    step: Count = Field(description="Index of the step, from 0.")
    round: Count = Field(0, description="Repeats of the whole chain so far.")
    targets: tuple[Target, ...] = Field((), description="Who is told at this step.")
    reached_at: Instant = Field(description="When.")


class EscalationAcknowledged(EscalationEvent):
    """Somebody takes care; the chain stops."""

    type: ClassVar[str] = "deskbus.escalation.acknowledged.v1"
    by: str = Field(description="Who.")
    via: str | None = Field(None, description="Where: rest, slack, pagerduty.")
    step: Count | None = Field(None, description="Step that had been reached.")
    acknowledged_at: Instant = Field(description="When.")
    after_ms: Milliseconds | None = Field(None, description="From opened to acknowledged.")


class EscalationExhausted(EscalationEvent):
    """Nobody acknowledged, and no step or repeat is left, or nobody who can be told. What is the matter still holds."""

    type: ClassVar[str] = "deskbus.escalation.exhausted.v1"
    alert: Alert = Field(description="What is the matter.")
    chain: str | None = Field(None, description="The chain.")
    round: Count = Field(0, description="Repeats of the whole chain that were made.")
    exhausted_at: Instant = Field(description="When.")


class EscalationResolved(EscalationEvent):
    """What was the matter is over."""

    type: ClassVar[str] = "deskbus.escalation.resolved.v1"
    alert: Alert | None = Field(None, description="What was the matter.")
    reason: Annotated[str, Open(ResolveReason)] = Field(description="Why it is over.")
    resolved_at: Instant = Field(description="When.")


class NotificationEvent(Payload):
    """What events about one notification to one target carry."""

    notification_id: Identifier = Field(description="Id of the notification; a resend keeps it.")
    escalation_id: Identifier = Field(description="The escalation.")
    ticket_id: Identifier = Field(description="The ticket.")
    kind: Annotated[str, Open(NotificationKind)] = Field(description="What it says.")
    step: Count | None = Field(None, description="Step of the chain.")
    target: Target = Field(description="Who is told.")
    sink: Annotated[str, Open(SinkName)] = Field(description="What it went through.")
    dedup_key: str = Field(
        description="Key that receivers know the alarm by: one for all that is said of it, everywhere."
    )
    attempts: Count = Field(1, description="Tries so far.")
    status: int | None = Field(None, description="The receiver's status code, when it gave one.")


class NotificationSent(NotificationEvent):
    """The receiver took it."""

    type: ClassVar[str] = "deskbus.notification.sent.v1"
    sent_at: Instant = Field(description="When it was taken.")
    after_ms: Milliseconds | None = Field(None, description="From the decision to notify until it was taken.")


class NotificationFailed(NotificationEvent):
    """The receiver refused it, or could not be reached within the tries allowed."""

    type: ClassVar[str] = "deskbus.notification.failed.v1"
    error: str = Field(description="What the receiver said, or what kept us from reaching it.")
    permanent: bool = Field(default=True, description="No more tries follow.")
    failed_at: Instant = Field(description="When the last try failed.")


class NotificationWithdrawn(NotificationEvent):
    """It ended before it was known whether the receiver took it. Who may have is told the end, like those who did."""

    type: ClassVar[str] = "deskbus.notification.withdrawn.v1"
    withdrawn_at: Instant = Field(description="When no more tries were to follow.")
