"""How many wait, by queue and priority, for gauges and doors: counted by the server, since a queue may be long."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from contracts.ticket import Priority
from kit.protocol.outbox import Documents
from services.routing.core.state import TicketState

_PRIORITIES = {priority.rank: priority for priority in Priority}


@dataclass(frozen=True, slots=True)
class Waiting:
    """Some tickets that wait, alike in these."""

    queue: str | None
    priority: Priority
    unroutable: bool
    count: int
    oldest: datetime | None
    """Since when the one waits that waits longest."""


async def waiting(documents: Documents[TicketState]) -> list[Waiting]:
    """Count those who wait."""
    by = ["state.queue", "state.urgency", "state.unroutable"]
    rows = await documents.store.tally(
        documents.kind.collection, {"state.phase": "waiting"}, by, least="state.waiting_since"
    )
    return [
        Waiting(queue, _PRIORITIES[urgency], unroutable is not None, row["count"], row["least"])
        for row in rows
        for queue, urgency, unroutable in [row["by"]]
    ]


def oldest(groups: Iterable[Waiting]) -> datetime | None:
    """Since when the one waits that waits longest of all these."""
    return min((group.oldest for group in groups if group.oldest is not None), default=None)
