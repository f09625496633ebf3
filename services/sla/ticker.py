"""What time makes happen: warnings and breaches, and a new policy file taking hold of clocks that run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from contracts.topics import TICKETS
from kit.base.clock import Clock
from kit.protocol.document import Decision
from kit.protocol.outbox import Documents
from kit.protocol.timers import Positions, Ticker
from services.sla.core import tickets
from services.sla.core.state import TicketClocks, UnknownVersion
from services.sla.settings import SlaSettings
from services.sla.store import Archive

log = structlog.get_logger(__name__)

_PAGE = 200


def build_ticker(
    documents: Documents[TicketClocks], positions: Positions, archive: Archive, settings: SlaSettings, clock: Clock
) -> Ticker[TicketClocks]:
    """Fire due clocks of the partitions that are ours, once all that happened before is handled."""

    def fire(state: TicketClocks, until: datetime) -> Decision[TicketClocks] | None:
        try:
            return tickets.fire(state, until, archive, clock.now())
        except UnknownVersion as unknown:  # the others' time does not wait until it is looked up
            archive.want(unknown.version)
            return None

    return Ticker(
        documents,
        positions,
        fire,
        clock,
        prefix=settings.topic_prefix,
        follow=[TICKETS],
        grace=timedelta(milliseconds=settings.grace_ms),
        period=settings.tick_ms / 1000,
    )


def build_policy_job(
    documents: Documents[TicketClocks], archive: Archive, clock: Clock
) -> Callable[[], Awaitable[object]]:
    """Put a changed file in force and, if it says so, every open ticket that is bound to another one.

    That is done by a process that sees a file for the first time, and only then: one that still has the old file while
    another has the new one must not take clocks back. It goes on until no ticket is left.
    """
    owed = True

    async def job() -> None:
        nonlocal owed
        owed = await archive.refresh() or owed
        if owed and archive.current.on_change == "rebase":
            owed = await _rebase_all(documents, archive, clock)
        else:
            owed = False

    return job


async def _rebase_all(documents: Documents[TicketClocks], archive: Archive, clock: Clock) -> bool:
    """Bind every open ticket to the policies in force; says whether there were any that had to be."""
    book, last, found = archive.current, "", False
    while True:
        query = {"state.open": True, "state.version": {"$ne": book.version}, "_id": {"$gt": last}}
        page = await documents.find(query, sort=[("_id", 1)], limit=_PAGE)
        if not page:
            return found
        changed = await documents.change_many(
            [doc.id for doc in page], lambda _, state: _rebased(state, archive, clock)
        )
        await archive.look_up()  # what some were bound to and is not known here: they come in the next turn
        log.info("tickets moved to the new policies", tickets=len(changed), version=book.version)
        last, found = page[-1].id, True


def _rebased(state: TicketClocks | None, archive: Archive, clock: Clock) -> Decision[TicketClocks] | None:
    try:
        return None if state is None else tickets.rebase(state, archive, clock.now())
    except UnknownVersion as unknown:
        archive.want(unknown.version)
        return None
