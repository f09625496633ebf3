"""Timers: warnings and breaches, and rebasing open tickets on a changed policy file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from contracts.topics import TICKETS
from kit.base.clock import Clock
from kit.protocol.document import Decision, Document
from kit.protocol.outbox import Documents
from kit.protocol.timers import Positions, Ticker
from services.sla import metrics
from services.sla.core import tickets
from services.sla.core.state import TicketClocks, UnknownVersion
from services.sla.settings import SlaSettings
from services.sla.store import Archive, at_risk

log = structlog.get_logger(__name__)

SOON = timedelta(minutes=5)
"""A ticket is at risk this long before its next warning or breach."""
_PAGE = 200


def build_ticker(
    documents: Documents[TicketClocks], positions: Positions, archive: Archive, settings: SlaSettings, clock: Clock
) -> Ticker[TicketClocks]:
    """Build the ticker that fires due clocks of this replica's partitions, once everything before them is handled."""

    def fire(state: TicketClocks, until: datetime) -> Decision[TicketClocks] | None:
        try:
            return tickets.fire(state, until, archive, clock.now())
        except UnknownVersion as unknown:  # loaded later, so that other tickets do not wait for it
            archive.request(unknown.version)
            return None

    return Ticker(
        documents,
        positions,
        fire,
        follow=[TICKETS],
        grace=timedelta(milliseconds=settings.grace_ms),
        period=settings.tick_ms / 1000,
    )


def build_policy_job(
    documents: Documents[TicketClocks], archive: Archive, clock: Clock
) -> Callable[[], Awaitable[object]]:
    """Build the job that puts a changed file in force and, with `on_change: rebase`, rebases all open tickets on it.

    A process rebases only after it has loaded a new file, and then until no ticket is left. Otherwise a process that
    still has the old file would take tickets back to it.
    """
    pending = True

    async def job() -> None:
        nonlocal pending
        pending = await archive.refresh() or pending
        if pending and archive.current.on_change == "rebase":
            pending = await _rebase_all(documents, archive, clock)
        else:
            pending = False

    return job


async def count(documents: Documents[TicketClocks], clock: Clock) -> None:
    """Set the gauge of tickets at risk, for the partitions that this replica owns."""
    owned = list(documents.owned()) if documents.owned is not None else []
    found = await at_risk(documents, owned, clock.now() + SOON)
    metrics.set_at_risk(dict(found.most_common()))


async def _rebase_all(documents: Documents[TicketClocks], archive: Archive, clock: Clock) -> bool:
    """Bind every open ticket to the policies in force; return whether any was bound to others."""
    book, last, found = archive.current, "", False

    def rebase(doc: Document[TicketClocks]) -> None:
        if (decision := _rebased(doc.state, archive, clock)) is not None:
            documents.apply(doc, decision)

    while True:
        query = {"state.open": True, "state.version": {"$ne": book.version}, "_id": {"$gt": last}}
        page = await documents.find(query, sort=[("_id", 1)], limit=_PAGE)
        if not page:
            return found
        changed = await documents.edit((doc.id for doc in page), rebase)
        await archive.load_requested()  # for tickets whose old policies were unknown; the next run rebases them
        log.info("tickets moved to the new policies", tickets=len(changed), version=book.version)
        last, found = page[-1].id, True


def _rebased(state: TicketClocks | None, archive: Archive, clock: Clock) -> Decision[TicketClocks] | None:
    try:
        return None if state is None else tickets.rebase(state, archive, clock.now())
    except UnknownVersion as unknown:
        archive.request(unknown.version)
        return None
