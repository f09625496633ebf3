"""Events in: every ticket's events change that ticket's escalation. No rules here."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from contracts import topics
from contracts.assignments import TicketUnroutable
from contracts.envelope import Event
from contracts.sla import ClockAtRisk, ClockBreached, ClockDueSoon
from kit.protocol.document import Decision, Document
from kit.protocol.handling import BaseHandling, Incoming
from kit.protocol.record import Record
from services.notify.core import alerts, escalation
from services.notify.core.policy import NotifyPolicy
from services.notify.core.state import Escalation, escalation_id

FOLLOWED = (topics.SLA, topics.ASSIGNMENTS, topics.TICKETS)
"""Topics keyed by ticket. Timers wait for their ends."""

_RAISING = tuple(f'"{event.type}"'.encode() for event in (ClockBreached, ClockAtRisk, ClockDueSoon, TicketUnroutable))


def is_urgent(record: Record) -> bool:
    """Say whether a record may raise an alert. The others wait for each other: most tickets never raise one.

    Only a look at the bytes; one that it misses is told of a moment later.
    """
    value = record.value or b""
    return any(name in value for name in _RAISING)


class NotifyHandling(BaseHandling[Escalation]):
    """Decides with the policy that is in force."""

    event_types = alerts.EVENT_TYPES

    def __init__(self, policy: Callable[[], NotifyPolicy]) -> None:
        self._policy = policy

    async def locate(self, items: Sequence[Incoming]) -> Mapping[str, Document[Escalation]]:
        """Every event of a ticket belongs to its one escalation: what has been seen is counted by source."""
        for item in items:
            if item.head is not None:  # also of what cannot be read: its number is missing from that document
                item.doc_id = escalation_id(item.head.subject)
        return {}

    def decide(self, state: Escalation | None, item: Incoming, now: datetime) -> Decision[Escalation]:
        """Decide."""
        if not isinstance(item.event, Event):
            return Decision()
        return escalation.decide(state, item.event, self._policy(), now, incomplete=item.incomplete)
