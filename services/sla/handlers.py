"""From the tickets topic to the core. No rules here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from contracts.topics import BY_NAME, TICKETS
from kit.protocol.document import Decision, Document
from kit.protocol.handling import Handling, Incoming
from services.sla.core import tickets
from services.sla.core.state import TicketClocks, versions
from services.sla.store import Archive


class SlaHandling(Handling[TicketClocks]):
    """Handles events of tickets."""

    begins = BY_NAME[TICKETS].sources[0]

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    async def before_decide(self, docs: Sequence[Document[TicketClocks]]) -> None:
        """Load the policies that these tickets are bound to."""
        await self._archive.ensure_loaded(set().union(*(versions(doc.state) for doc in docs if doc.state is not None)))

    def decide(self, state: TicketClocks | None, item: Incoming, now: datetime) -> Decision[TicketClocks]:
        assert item.event is not None
        return tickets.decide(state, item.event, self._archive, now)
