"""The escalation as a value: alarms, planned notifications, who was told. What changes it is in the other files."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from contracts.notifications import Alert
from contracts.values import Value
from kit.base.ids import stable_id
from services.notify.core.heard import Words

PREFIX = "esc-"


def escalation_id(ticket_id: str) -> str:
    """The escalation of a ticket."""
    return PREFIX + ticket_id


def dedup_key(escalation: str, alarm: str) -> str:
    """What receivers know an alarm by: each has its own, so the end of one ends no other. At most 255 characters."""
    return f"{escalation}:{stable_id(alarm)}"


class Standing(StrEnum):
    """Where an alarm, or an escalation as a whole, is."""

    QUIET = "quiet"
    """Nothing was ever the matter (escalations only)."""
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Alarm(Value):
    """One alert on one route, and how far people have been told about it."""

    key: str
    kind: str
    about: str
    alert: Alert
    route: str
    chain: str | None = None
    receiver: str | None = None
    repeat_interval: float
    """Seconds."""
    standing: Standing = Standing.OPEN
    opened_at: datetime
    raised_at: datetime
    """Time of the event that raised it."""
    step: int | None = None
    """The step reached last, from 0."""
    round: int = 0
    next_at: datetime | None = None
    """When time matters to it next: the next step, a reminder, the end of an acknowledgement."""
    notified: tuple[str, ...] = ()
    """Receivers that took a firing notification since it opened."""
    superseded: bool = False
    """Worse has been told in its place, or it never was so: nothing more is said about it when its clock goes on."""
    paused: bool = False
    """The clock that it warns of stands still, and so does all that it waits for."""
    left: float | None = None
    """While paused: seconds until `next_at`, counted from when the clock goes on."""
    acked_by: str | None = None
    acked_at: datetime | None = None
    reminded: bool = False
    exhausted: bool = False
    """All steps and repeats were used and nobody has acknowledged."""
    ended_at: datetime | None = None
    ended_reason: str | None = None


class Planned(Value):
    """A notification that is decided and not settled."""

    id: str
    number: int
    alarm: str
    kind: str
    alert: Alert
    agent: str | None = None
    """Who had the ticket then: a resend says the same as the first try."""
    step: int | None = None
    receiver: str
    target: str
    """What kind of target the receiver is."""
    sink: str
    planned_at: datetime
    next_try: datetime
    attempts: int = 0
    begun: int = 0
    """Tries whose outcome is not known: they may have reached the receiver. Counted before each one is made."""
    moot: bool = False
    """Withdrawn before it was known to have been sent: it is not tried again, only dropped."""


class Escalation(Value):
    """All that is the matter with one ticket."""

    ticket_id: str = ""
    queue: str | None = None
    agent: str | None = None
    over_at: datetime | None = None
    """When the ticket was solved or closed; what was raised before that and arrives later is not told."""
    ticket_version: int | None = None
    """Version of the ticket with which it was last solved, closed or reopened: an earlier such event comes too late."""
    words: Words = ()
    """What was heard while something of the same source was missing."""
    alarms: tuple[Alarm, ...] = ()
    planned: tuple[Planned, ...] = ()
    count: int = 0
    """Notifications planned so far."""
    threads: dict[str, str] = Field(default_factory=dict)
    """Receiver -> thread of this escalation there."""
    disabled: tuple[str, ...] = ()
    """Receivers that said they are gone (410): not told of this escalation again."""

    @property
    def id(self) -> str:
        """The escalation's id."""
        return escalation_id(self.ticket_id)

    @property
    def standing(self) -> Standing:
        """Of the alarms that hold, the least looked after."""
        if not self.alarms:
            return Standing.QUIET
        here = {alarm.standing for alarm in self.alarms if not alarm.superseded}
        return next((s for s in (Standing.OPEN, Standing.ACKNOWLEDGED) if s in here), Standing.RESOLVED)

    @property
    def due(self) -> datetime | None:
        """The next instant at which time changes an alarm."""
        return min((alarm.next_at for alarm in self.alarms if alarm.next_at is not None), default=None)

    @property
    def next_try(self) -> datetime | None:
        """The next instant at which a notification is to be tried or dropped."""
        return min((planned.next_try for planned in self.planned), default=None)
