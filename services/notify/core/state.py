"""The state of an escalation: alarms, planned notifications, who was notified. What changes it is in other files."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from contracts.notifications import Alert
from contracts.values import Value
from kit.base.ids import stable_id
from services.notify.core.latest import LatestEvents

PREFIX = "esc-"


def escalation_id(ticket_id: str) -> str:
    """Return the id of a ticket's escalation."""
    return PREFIX + ticket_id


def dedup_key(escalation: str, alarm: str) -> str:
    """Return the key by which receivers identify an alarm, at most 255 characters. No two alarms share one."""
    return f"{escalation}:{stable_id(alarm)}"


class Standing(StrEnum):
    """The status of an alarm or of an escalation."""

    QUIET = "quiet"
    """No alarm was ever opened (escalations only)."""
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Alarm(Value):
    """One alert on one route, and how far it has been escalated."""

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
    """The latest step taken, from 0."""
    round: int = 0
    """Repeats of the whole chain so far."""
    next_at: datetime | None = None
    """When the next step, the reminder or the end of the acknowledgement is due."""
    notified: tuple[str, ...] = ()
    """Receivers that accepted a firing notification since it opened."""
    superseded: bool = False
    """A worse alarm took its place, or its alert was withdrawn: no more notifications, even if its clock resumes."""
    paused: bool = False
    """Its clock is paused, and so are its steps."""
    remaining: float | None = None
    """While paused: seconds from the clock's resumption to the next step."""
    acked_by: str | None = None
    acked_at: datetime | None = None
    reminded: bool = False
    exhausted: bool = False
    """All steps and repeats are used up without an acknowledgement."""
    ended_at: datetime | None = None
    ended_reason: str | None = None


class Planned(Value):
    """A notification that is not settled yet: to be sent, retried or dropped."""

    id: str
    number: int
    alarm: str
    kind: str
    alert: Alert
    agent: str | None = None
    """Who had the ticket when this was planned. Every attempt sends the same content."""
    step: int | None = None
    receiver: str
    target: str
    """Kind of the receiver: person, schedule, team or webhook."""
    sink: str
    planned_at: datetime
    next_try: datetime
    attempts: int = 0
    unsettled: int = 0
    """Attempts without a known outcome: they may have arrived. Counted before each attempt."""
    withdrawn: bool = False
    """No longer to be sent: the deliverer drops it."""


class Escalation(Value):
    """All alarms of one ticket, and their notifications."""

    ticket_id: str = ""
    queue: str | None = None
    agent: str | None = None
    over_at: datetime | None = None
    """When the ticket was solved or closed. Alerts raised before that but received later are not notified."""
    ticket_version: int | None = None
    """Version of the ticket when it was last solved, closed or reopened. Such events with an older one are ignored."""
    latest_events: LatestEvents = ()
    """Recorded only while events are missing; see `latest.py`."""
    alarms: tuple[Alarm, ...] = ()
    planned: tuple[Planned, ...] = ()
    count: int = 0
    """Notifications planned so far."""
    threads: dict[str, str] = Field(default_factory=dict)
    """Receiver -> its id for the thread of this escalation."""
    disabled: tuple[str, ...] = ()
    """Receivers that answered 410 Gone: they get nothing more about this escalation."""

    @property
    def id(self) -> str:
        """Return the escalation's id."""
        return escalation_id(self.ticket_id)

    @property
    def standing(self) -> Standing:
        """Return `open` if any alarm is open, else `acknowledged` if any is, else `resolved`."""
        if not self.alarms:
            return Standing.QUIET
        found = {alarm.standing for alarm in self.alarms if not alarm.superseded}
        return next((s for s in (Standing.OPEN, Standing.ACKNOWLEDGED) if s in found), Standing.RESOLVED)

    @property
    def due(self) -> datetime | None:
        """Return when the next step or reminder of any alarm is due."""
        return min((alarm.next_at for alarm in self.alarms if alarm.next_at is not None), default=None)

    @property
    def next_try(self) -> datetime | None:
        """Return when the next notification is to be sent or dropped."""
        return min((planned.next_try for planned in self.planned), default=None)
