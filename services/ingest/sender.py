"""Sends what tickets promised: looks for what is due, begins a try, has it made (`outgoing`), settles its outcome.

Rule: a try is begun in the ticket's document before it is made and settled there after it (`core.sending`). Each ticket
is served by the owner of its partition; one message of a ticket at a time, many tickets side by side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol

import structlog

from contracts.ticket import Ticket
from contracts.topics import COMMAND, topic_name
from kit.base.clock import Clock
from kit.base.errors import TransientError
from kit.base.turns import turns, woken
from kit.protocol.document import Decision
from kit.protocol.outbox import Documents
from services.ingest import metrics
from services.ingest.core import sending
from services.ingest.core.arrivals import StatusReport
from services.ingest.core.messages import SendOutcome, Sent
from services.ingest.core.policy import TicketPolicy
from services.ingest.core.state import Pending, TicketState
from services.ingest.core.ticket import decide
from services.ingest.reports import EarlyReports
from services.ingest.store import Keeping
from services.ingest.threads import PolicyOf

log = structlog.get_logger(__name__)

#: Tickets that are served at once.
CONCURRENT = 32
#: Of them, those that were attempt before: while a provider is away, its messages must not keep all hands busy.
AGAIN = 16
#: Seconds between looks while nobody wakes the sender: retries, and promises of a process that died.
PERIOD = 0.5
#: How long a ticket rests that could not be served (its document does not load, the store is away).
REST = timedelta(seconds=5)


class Owner(Protocol):
    """Says which partitions are ours: the consumer."""

    def owned(self, topic: str) -> list[int]: ...


class Trying(Protocol):
    """Makes a try: `outgoing.ReplyDelivery`."""

    async def take(self, state: TicketState, attempt: Pending) -> SendOutcome: ...


class ReplySender:
    """The background job."""

    def __init__(
        self,
        documents: Documents[TicketState],
        store: Keeping,
        owner: Owner,
        way: Trying,
        policy_of: PolicyOf,
        clock: Clock,
        *,
        prefix: str = "",
        promised: asyncio.Event | None = None,
        drain_seconds: float = 5.0,
    ) -> None:
        """`promised` is set when a promise is stored. At its end the job waits `drain_seconds` for tries in hand."""
        self._documents, self._store, self._owner, self._way = documents, store, owner, way
        self._policy_of, self._clock, self._early = policy_of, clock, EarlyReports(store)
        self._commands = topic_name(COMMAND, prefix)
        self._awake = promised or asyncio.Event()
        self._farewell = drain_seconds
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._again = set[str]()
        """Those of the busy tickets whose message was attempt before."""
        self._resting: dict[str, datetime] = {}

    async def run(self) -> None:
        """Serve until cancelled; what is on its way then may arrive and be settled still."""
        try:
            await turns(self._clock, self.serve, partial(woken, self._awake, PERIOD), "sending")
        finally:
            await self.finish()

    async def finish(self) -> None:
        """Wait for tries in hand. One that takes longer is let go, and made again after its lease."""
        busy = list(self._busy.values())
        if busy:
            _, late = await asyncio.wait(busy, timeout=self._farewell)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def serve(self) -> None:
        """Begin what is due, as far as hands are free."""
        partitions = self._owner.owned(self._commands)
        if not partitions:
            return
        now = self._clock.now()
        self._resting = {ticket: until for ticket, until in self._resting.items() if until > now}
        query = {"state.send_at": {"$lte": now}, "partition": {"$in": partitions}}
        if await self._begin(query):
            await self._begin({**query, "state.pending.0.attempts": 0})

    async def _begin(self, query: Mapping[str, object]) -> bool:
        """Begin what is found; says whether there is more, of which some may be begun still."""
        if len(self._busy) >= CONCURRENT:
            return False
        rows = await self._store.find(
            self._documents.kind.collection,
            {**query, "_id": {"$nin": [*self._resting, *self._busy]}},
            sort=[("state.send_at", 1)],
            limit=CONCURRENT,
            projection={"state.pending.attempts": 1},
        )
        passed_over = False
        for row in rows:
            ticket_id: str = row["_id"]
            again = _was_tried(row)
            if again and len(self._again) >= AGAIN:
                passed_over = True
            elif ticket_id not in self._busy and len(self._busy) < CONCURRENT:  # both may have changed meanwhile
                self._busy[ticket_id] = task = asyncio.create_task(self._serve_ticket(ticket_id))
                self._again |= {ticket_id} if again else set()
                task.add_done_callback(partial(self._done, ticket_id))
        return passed_over and len(rows) == CONCURRENT

    def _done(self, ticket_id: str, _: asyncio.Task[None]) -> None:
        self._busy.pop(ticket_id, None)
        self._again.discard(ticket_id)
        self._awake.set()

    async def _serve_ticket(self, ticket_id: str) -> None:
        try:
            await self.send_next(ticket_id)
        except TransientError as fault:
            log.warning("attempt not settled, retrying after its lease", document=ticket_id, fault=str(fault))
            self._resting[ticket_id] = self._clock.now() + REST
        except Exception:
            log.exception("unexpected error while sending replies of a ticket", document=ticket_id)
            self._resting[ticket_id] = self._clock.now() + REST

    async def send_next(self, ticket_id: str) -> None:
        """Make one try of the first message that waits."""
        begun: list[tuple[TicketState, Pending]] = []

        def begin(state: TicketState | None) -> Decision[TicketState] | None:
            begun.clear()
            if state is None:
                return None
            decision = sending.begin(state, self._policy(state), self._clock.now())
            if decision is not None and decision.state is not None:
                attempt = sending.started(state, decision.state)
                begun.extend([] if attempt is None else [(decision.state, attempt)])
            return decision

        await self._documents.change(ticket_id, begin)
        if not begun:
            return
        state, attempt = begun[0]
        outcome = await self._way.take(state, attempt)
        if attempt.into is None and state.ticket is not None:
            metrics.SENT.labels(state.ticket.channel, _named(outcome)).inc()

        def settle(now_state: TicketState | None) -> Decision[TicketState] | None:
            if now_state is None:
                return None
            return sending.settle(now_state, attempt, outcome, self._policy(now_state), self._clock.now())

        await self._documents.change(ticket_id, settle)
        if isinstance(outcome, Sent) and outcome.channel_message_id and state.ticket is not None:
            await self._take_early(state.ticket, outcome.channel_message_id, attempt.message.id)

    async def _take_early(self, ticket: Ticket, channel_id: str, message_id: str) -> None:
        """Take what the channel had said about the message before we knew its id."""
        for report in await self._early.about(ticket.channel, ticket.account, channel_id, message_id):

            def take(state: TicketState | None, report: StatusReport = report) -> Decision[TicketState] | None:
                return None if state is None else decide(state, report, self._policy(state), self._clock.now())

            await self._documents.change(ticket.id, take)

    def _policy(self, state: TicketState) -> TicketPolicy:
        assert state.ticket is not None
        return self._policy_of(state.ticket.channel, state.ticket.account)


def _was_tried(row: Mapping[str, Any]) -> bool:
    """Whether the first message that waits was attempt before; the row may be of a document that does not load."""
    pending = row.get("state", {}).get("pending")
    first = pending[0] if isinstance(pending, list) and pending else None
    return isinstance(first, dict) and bool(first.get("attempts"))


def _named(outcome: SendOutcome) -> str:
    """Return the outcome's name for the metric."""
    if isinstance(outcome, Sent):
        return "sent"
    return "refused" if outcome.permanent else "failed"
