"""The way from the tickets topic to the core and back. No rules here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from contracts.topics import BY_NAME, TICKETS
from kit.protocol.document import Decision, Document
from kit.protocol.handling import BaseHandling, Incoming
from services.sla.core import tickets
from services.sla.core.state import TicketClocks
from services.sla.store import Archive


class SlaHandling(BaseHandling[TicketClocks]):
    """Takes events of tickets."""

    begins = BY_NAME[TICKETS].sources[0]

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    async def locate(self, items: list[Incoming]) -> Mapping[str, Document[TicketClocks]]:
        """Keep the subject as the document's id, and look up policies that the last batch found to be missing."""
        await self._archive.look_up()
        return await super().locate(items)

    def decide(self, state: TicketClocks | None, item: Incoming, now: datetime) -> Decision[TicketClocks]:
        """Let the core decide."""
        assert item.event is not None
        return tickets.decide(state, item.event, self._archive, now)
