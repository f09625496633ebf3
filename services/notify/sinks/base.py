"""What every sink is given and gives. No sink is here; which there are is in `__init__.py`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.notify.core import text
from services.notify.core.policy import Receiver
from services.notify.core.settle import Outcome
from services.notify.core.state import Planned, dedup_key


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification on its way: what to say, to whom, and under which ids."""

    planned: Planned
    ticket_id: str
    escalation_id: str
    receiver: Receiver
    thread: str | None
    now: datetime
    """When this try is made."""

    @property
    def dedup_key(self) -> str:
        """What the receiver knows the alarm by."""
        return dedup_key(self.escalation_id, self.planned.alarm)

    def facts(self) -> dict[str, str]:
        """What templates may say."""
        planned = self.planned
        return text.facts(self.ticket_id, self.escalation_id, planned.kind, planned.alert, planned.agent)


class Sink(Protocol):
    """Delivers to one kind of receiver."""

    async def deliver(self, notification: Notification) -> Outcome: ...
