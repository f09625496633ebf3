"""What time makes happen: warnings and breaches, and a new policy file taking hold of clocks that run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from contracts.topics import TICKETS
from kit.clock import Clock
from kit.document import Decision
from kit.errors import Passing
from kit.outbox import Documents
from kit.timers import Positions, Ticker
from services.sla import metrics
from services.sla.core import tickets
from services.sla.core.state import TicketClocks
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
            decision = tickets.fire(state, until, archive, clock.now())
        except Passing:  # its policies are being looked up; the others' time does not wait for that
            return None
        if decision is not None:
            metrics.count(decision.events)
        return decision

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
    """Put a changed file in force and, if it says so, every clock that runs on its terms.

    That is done by a process that sees a file for the first time, and only then: one that still has the old file while
    another has the new one must not take clocks back.
    """
    owed = True

    async def job() -> None:
        nonlocal owed
        owed = await archive.refresh() or owed
        if owed and archive.current.on_change == "rebase":
            await _rebase_all(documents, archive, clock)
        owed = False

    return job


async def _rebase_all(documents: Documents[TicketClocks], archive: Archive, clock: Clock) -> None:
    query = {"state.version": {"$in": archive.others}, "state.open": True}
    while page := await documents.find(query, limit=_PAGE):
        await documents.change_many(
            [doc.id for doc in page],
            lambda _, state: None if state is None else _rebased(state, archive, clock.now()),
        )
        log.info("clocks put on the new policies", tickets=len(page), version=archive.current.version)


def _rebased(state: TicketClocks, archive: Archive, now: datetime) -> Decision[TicketClocks] | None:
    decision = tickets.rebase(state, archive, now)
    if decision is not None:
        metrics.count(decision.events)
    return decision
