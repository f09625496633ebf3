"""The interface of sinks. The table of sinks is in `__init__.py`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.notify.core import text
from services.notify.core.policy import Receiver
from services.notify.core.settle import Outcome
from services.notify.core.state import Planned, dedup_key


@dataclass(frozen=True, slots=True)
class Notification:
    """One attempt to send a notification: content, receiver and ids."""

    planned: Planned
    ticket_id: str
    escalation_id: str
    receiver: Receiver
    thread: str | None
    now: datetime
    """Time of this attempt."""

    @property
    def dedup_key(self) -> str:
        """Return the key by which the receiver identifies the alarm."""
        return dedup_key(self.escalation_id, self.planned.alarm)

    def facts(self) -> dict[str, str]:
        """Return the facts for templates."""
        planned = self.planned
        return text.facts(self.ticket_id, self.escalation_id, planned.kind, planned.alert, planned.agent)


class Sink(Protocol):
    """Sends notifications to one kind of receiver."""

    async def deliver(self, notification: Notification) -> Outcome: ...
