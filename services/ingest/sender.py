"""Send queued replies: find due tickets, start an attempt, have it made (`reply_delivery.py`), store its outcome.

Rule: an attempt is recorded in the ticket's document before it is made, and its outcome afterwards (`core/sending.py`).
The owner of a ticket's partition sends its messages: one message of a ticket at a time, many tickets concurrently.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol

import structlog

from contracts.ticket import Ticket
from contracts.topics import COMMAND, topic_name
from kit.base import tracing
from kit.base.clock import Clock
from kit.base.errors import TransientError
from kit.base.turns import turns, woken
from kit.protocol.document import Decision
from kit.protocol.outbox import Documents
from kit.protocol.ports import Store
from services.ingest import metrics
from services.ingest.core import sending
from services.ingest.core.arrivals import StatusReport
from services.ingest.core.messages import SendOutcome, Sent
from services.ingest.core.policy import TicketPolicy
from services.ingest.core.state import Pending, TicketState
from services.ingest.core.ticket import decide
from services.ingest.rates import SendingRates
from services.ingest.reports import EarlyReports
from services.ingest.threads import PolicyOf

log = structlog.get_logger(__name__)

#: Maximum number of tickets served concurrently.
CONCURRENT = 48
#: Maximum number of those of one account, so that a provider that hangs leaves slots for the others.
CONCURRENT_OF_ACCOUNT = 32
#: Maximum number of those that are retries, so that providers' outages do not use up all slots.
CONCURRENT_RETRIES = 24
#: Maximum number of those of one account.
RETRIES_OF_ACCOUNT = 16
#: Seconds between polls if nothing wakes the sender: for retries, and for replies queued by a process that died.
POLL_SECONDS = 0.5
#: Minimum seconds between polls while an account waits for its rate.
LEAST_SECONDS = 0.05
#: How long a ticket is skipped after an unexpected error (its document does not load, MongoDB is unavailable).
PAUSE = timedelta(seconds=5)

_FIELDS = (
    *(f"state.pending.{name}" for name in ("attempts", "into", "lost")),
    "state.ticket.channel",
    "state.ticket.account",
)
_NOT_SENT = ({"state.pending.0.into": {"$gt": ""}}, {"state.pending.0.lost": True})
"""Forwards, and replies that end without being sent. (Not `$ne` null, which a path with an index matches as well.)"""


class Owner(Protocol):
    """Knows which partitions this replica owns: the consumer."""

    def owned(self, topic: str) -> list[int]: ...


class Deliverer(Protocol):
    """Makes an attempt to send a message: `reply_delivery.ReplyDelivery`."""

    async def deliver(self, state: TicketState, attempt: Pending) -> SendOutcome: ...


class ReplySender:
    """The background job that sends queued replies."""

    def __init__(
        self,
        documents: Documents[TicketState],
        store: Store,
        owner: Owner,
        delivery: Deliverer,
        policy_of: PolicyOf,
        clock: Clock,
        *,
        prefix: str = "",
        reply_queued: asyncio.Event | None = None,
        drain_seconds: float = 5.0,
    ) -> None:
        """`reply_queued` is set when a reply was queued. On shutdown, wait `drain_seconds` for running attempts."""
        self._documents, self._store, self._owner, self._delivery = documents, store, owner, delivery
        self._policy_of, self._clock, self._early = policy_of, clock, EarlyReports(store)
        self._rates = SendingRates(store, clock)
        self._commands = topic_name(COMMAND, prefix)
        self._wake = reply_queued or asyncio.Event()
        self._drain_seconds = drain_seconds
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._retrying = set[str]()
        """Those of the busy tickets whose attempt is a retry."""
        self._accounts = dict[str, str]()
        """Account of each busy ticket that sends a reply."""
        self._paused: dict[str, datetime] = {}

    async def run(self) -> None:
        """Send until cancelled, then wait for running attempts."""
        try:
            await turns(self._clock, self.serve, self._rest, "sending")
        finally:
            await self.finish()

    async def finish(self) -> None:
        """Wait for running attempts, and cancel those that take too long: they are made again after their lease."""
        busy = list(self._busy.values())
        if busy:
            _, overdue = await asyncio.wait(busy, timeout=self._drain_seconds)
            for task in overdue:
                task.cancel()
            await asyncio.gather(*overdue, return_exceptions=True)

    async def serve(self) -> None:
        """Start attempts for due tickets, as far as there are free slots."""
        partitions = self._owner.owned(self._commands)
        if not partitions:
            return
        now = self._clock.now()
        self._paused = {ticket: until for ticket, until in self._paused.items() if until > now}
        query = {"state.send_at": {"$lte": now}, "partition": {"$in": partitions}}
        if skipped := await self._begin(query):
            await self._begin({**query, "state.pending.0.attempts": 0})
            await self._begin(query, frozenset(skipped))

    async def _begin(self, query: Mapping[str, object], waiting: frozenset[str] = frozenset()) -> set[str]:
        """Start attempts for tickets that match, but for replies of the accounts in `waiting`.

        If there may be more matches, return the accounts of which retries were skipped.
        """
        if len(self._busy) >= CONCURRENT:
            return set()
        rows = await self._due(query, waiting)
        chosen, skipped, full = self._choose(rows)
        tokens = await self._tokens(chosen)
        for row in chosen:
            account = _account(row)
            if account is not None and account in tokens:
                if tokens[account] < 1:
                    full.add(account[1])
                    continue
                tokens[account] -= 1
            self._start(row)
        if full and len(rows) == CONCURRENT:  # other accounts must not wait behind those without a token or a slot
            return skipped | await self._begin(query, waiting | full)
        return skipped if len(rows) == CONCURRENT else set()

    async def _due(self, query: Mapping[str, object], waiting: frozenset[str]) -> list[dict[str, Any]]:
        """Return due tickets, without the replies of these accounts, and of those without a token or a slot."""
        query = {**query, "_id": {"$nin": [*self._paused, *self._busy]}}
        full = {account for account, busy in Counter(self._accounts.values()).items() if busy >= CONCURRENT_OF_ACCOUNT}
        if without := sorted({*self._rates.empty(), *full, *waiting}):
            query["$or"] = [{"state.ticket.account": {"$nin": without}}, *_NOT_SENT]
        return await self._store.find(
            self._documents.kind.collection,
            query,
            sort=[("state.send_at", 1)],
            limit=CONCURRENT,
            projection=dict.fromkeys(_FIELDS, 1),
        )

    def _choose(self, rows: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], set[str], set[str]]:
        """Return the tickets that have a slot, the accounts of which retries were skipped, and those without a slot."""
        chosen: list[dict[str, Any]] = []
        skipped, full, retries = set[str](), set[str](), len(self._retrying)
        taken = Counter(self._accounts.values())
        retried = Counter(self._accounts.get(ticket) for ticket in self._retrying)
        for row in rows:
            if row["_id"] in self._busy or len(self._busy) + len(chosen) >= CONCURRENT:
                continue
            _, account = _account(row) or ("", "")
            if account and taken[account] >= CONCURRENT_OF_ACCOUNT:
                full.add(account)
                continue
            if _was_tried(row):
                if retries >= CONCURRENT_RETRIES or (account and retried[account] >= RETRIES_OF_ACCOUNT):
                    skipped.add(account)
                    continue
                retries += 1
                retried[account] += 1
            taken[account] += 1
            chosen.append(row)
        return chosen, skipped, full

    async def _tokens(self, rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str] | None, int]:
        """Return how many of these messages may leave now, for each account with a rate."""
        wanted = Counter(account for row in rows if (account := _account(row)))
        rates = {account: self._policy_of(*account).rate for account in wanted}
        return {
            account: await self._rates.take(account[1], rate, wanted[account])
            for account, rate in rates.items()
            if rate is not None
        }

    def _start(self, row: Mapping[str, Any]) -> None:
        ticket_id: str = row["_id"]
        self._busy[ticket_id] = task = asyncio.create_task(self._serve_ticket(ticket_id))
        self._retrying |= {ticket_id} if _was_tried(row) else set()
        if (account := _account(row)) is not None:
            self._accounts[ticket_id] = account[1]
        task.add_done_callback(partial(self._done, ticket_id))

    async def _rest(self) -> None:
        """Rest until a reply is queued or an account has a token; at least a moment, since each look asks MongoDB."""
        await woken(self._wake, max(LEAST_SECONDS, self._rates.wait(POLL_SECONDS)))

    def _done(self, ticket_id: str, _: asyncio.Task[None]) -> None:
        self._busy.pop(ticket_id, None)
        self._retrying.discard(ticket_id)
        self._accounts.pop(ticket_id, None)
        self._wake.set()

    async def _serve_ticket(self, ticket_id: str) -> None:
        try:
            await self.send_next(ticket_id)
        except TransientError as fault:
            log.warning("attempt not settled, retrying after its lease", document=ticket_id, fault=str(fault))
            self._paused[ticket_id] = self._clock.now() + PAUSE
        except Exception:
            log.exception("unexpected error while sending replies of a ticket", document=ticket_id)
            self._paused[ticket_id] = self._clock.now() + PAUSE

    async def send_next(self, ticket_id: str) -> None:
        """Make one attempt to send the ticket's first queued message."""
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

        doc = await self._documents.change(ticket_id, begin)
        if begun:
            told = {"deskbus.document": ticket_id, "deskbus.message": begun[0][1].message.id}
            with tracing.span("reply", parent=doc.trace or tracing.ROOT, attributes=told):
                await self._attempt(ticket_id, *begun[0])

    async def _attempt(self, ticket_id: str, state: TicketState, attempt: Pending) -> None:
        outcome = await self._delivery.deliver(state, attempt)
        if attempt.into is None and state.ticket is not None:
            metrics.SENT.labels(state.ticket.channel, _outcome_label(outcome)).inc()

        def settle(now_state: TicketState | None) -> Decision[TicketState] | None:
            if now_state is None:
                return None
            return sending.settle(now_state, attempt, outcome, self._policy(now_state), self._clock.now())

        await self._documents.change(ticket_id, settle)
        if isinstance(outcome, Sent) and outcome.channel_message_id and state.ticket is not None:
            await self._take_early(state.ticket, outcome.channel_message_id, attempt.message.id)

    async def _take_early(self, ticket: Ticket, channel_id: str, message_id: str) -> None:
        """Handle the delivery reports that arrived before the message's id was known."""
        for report in await self._early.about(ticket.channel, ticket.account, channel_id, message_id):

            def take(state: TicketState | None, report: StatusReport = report) -> Decision[TicketState] | None:
                return None if state is None else decide(state, report, self._policy(state), self._clock.now())

            await self._documents.change(ticket.id, take)

    def _policy(self, state: TicketState) -> TicketPolicy:
        assert state.ticket is not None
        return self._policy_of(state.ticket.channel, state.ticket.account)


def _was_tried(row: Mapping[str, Any]) -> bool:
    """Whether the first queued message was tried before. The row may belong to a document that does not load."""
    pending = row.get("state", {}).get("pending")
    first = pending[0] if isinstance(pending, list) and pending else None
    return isinstance(first, dict) and bool(first.get("attempts"))


def _account(row: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return channel and account of a reply to send; None for what needs no token, or if they cannot be read."""
    state = row.get("state", {})
    pending, ticket = state.get("pending"), state.get("ticket")
    first = pending[0] if isinstance(pending, list) and pending else None
    if not isinstance(first, dict) or not isinstance(ticket, dict) or first.get("into") or first.get("lost"):
        return None
    return str(ticket.get("channel")), str(ticket.get("account"))


def _outcome_label(outcome: SendOutcome) -> str:
    """Return the outcome's label in metrics."""
    if isinstance(outcome, Sent):
        return "sent"
    return "refused" if outcome.permanent else "failed"
