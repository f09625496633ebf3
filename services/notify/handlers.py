"""From the topics to the core: the events of a ticket change the ticket's escalation. No rules here."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from contracts import topics
from contracts.assignments import TicketUnroutable
from contracts.envelope import Event
from contracts.sla import ClockAtRisk, ClockBreached, ClockDueSoon
from kit.protocol.document import Decision, Document
from kit.protocol.handling import Handling, Incoming
from kit.protocol.record import Record
from services.notify.core import alerts, escalation
from services.notify.core.policy import NotifyPolicy
from services.notify.core.state import Escalation, escalation_id

FOLLOWED = (topics.SLA, topics.ASSIGNMENTS, topics.TICKETS)
"""Topics, all keyed by ticket. Timers wait until everything in them before a deadline is handled."""

_RAISING = tuple(f'"{event.type}"'.encode() for event in (ClockBreached, ClockAtRisk, ClockDueSoon, TicketUnroutable))


def is_urgent(record: Record) -> bool:
    """Return whether a record may raise an alert. The others are gathered into larger batches.

    This searches the bytes for event types and parses nothing; an alert that it misses is handled a moment later.
    """
    value = record.value or b""
    return any(name in value for name in _RAISING)


class NotifyHandling(Handling[Escalation]):
    """Handles events with the policy in force."""

    event_types = alerts.EVENT_TYPES

    def __init__(self, policy: Callable[[], NotifyPolicy]) -> None:
        self._policy = policy

    async def locate(self, items: Sequence[Incoming]) -> Mapping[str, Document[Escalation]]:
        """Assign every event of a ticket to its escalation, which counts per source what it has seen."""
        for item in items:
            if item.head is not None:  # an unreadable event too: it leaves a hole in that document
                item.doc_id = escalation_id(item.head.subject)
        return {}

    def decide(self, state: Escalation | None, item: Incoming, now: datetime) -> Decision[Escalation]:
        if not isinstance(item.event, Event):
            return Decision()
        return escalation.decide(state, item.event, self._policy(), now, incomplete=item.incomplete)
