"""Really sends what tickets promised: mail over SMTP, the rest to the providers' HTTP APIs, forwards as commands.

Rule: a try is begun in the ticket's document before it is made and settled there after it (`core.sending`). Each ticket
is served by the owner of its partition; one message of a ticket at a time, many tickets side by side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Protocol

import structlog

from contracts.commands import Forward
from contracts.envelope import Command
from contracts.ticket import Ticket
from contracts.topics import COMMAND, topic_name
from kit.clock import Clock, woken
from kit.document import Decision
from kit.errors import Passing
from kit.outbox import Documents
from kit.producer import Outgoing
from services.ingest import metrics
from services.ingest.accounts import Accounts, MissingSecret, Outside
from services.ingest.channels import CHANNELS
from services.ingest.channels.channel import Channel
from services.ingest.core import sending
from services.ingest.core.arrivals import StatusReport
from services.ingest.core.commands import SOURCE
from services.ingest.core.messages import (
    File,
    MailOut,
    OutgoingReply,
    Refused,
    Rendered,
    SendOutcome,
    Sent,
    Unsendable,
)
from services.ingest.core.moves import SYSTEM
from services.ingest.core.policy import TicketPolicy
from services.ingest.core.state import Pending, TicketState
from services.ingest.core.ticket import decide
from services.ingest.reports import EarlyReports
from services.ingest.store import Keeping
from services.ingest.threads import PolicyOf, Threads

log = structlog.get_logger(__name__)

#: Tickets that are served at once.
CONCURRENT = 32
#: Seconds between looks while nobody wakes the sender: retries, and promises of a process that died.
PERIOD = 0.5
CONTENT_TYPE = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)


class Owner(Protocol):
    """Says which partitions are ours: the consumer."""

    def owned(self, topic: str) -> list[int]: ...


class Sending(Protocol):
    """Writes commands: the producer."""

    async def send(self, record: Outgoing) -> None: ...


class Carrying(Protocol):
    """Takes a message to its channel: `wire.Wire`."""

    async def carry(self, rendered: Rendered, channel: Channel) -> SendOutcome: ...


class ReplySender:
    """The background job."""

    def __init__(
        self,
        documents: Documents[TicketState],
        store: Keeping,
        threads: Threads,
        owner: Owner,
        producer: Sending,
        wire: Carrying,
        accounts: Callable[[], Accounts],
        outside: Outside,
        policy_of: PolicyOf,
        clock: Clock,
        *,
        prefix: str = "",
        promised: asyncio.Event | None = None,
    ) -> None:
        """`promised` is set by whoever stores a promise, so that nobody waits for the next look."""
        self._documents, self._store, self._threads, self._owner = documents, store, threads, owner
        self._producer, self._wire, self._accounts, self._outside = producer, wire, accounts, outside
        self._policy_of, self._clock, self._early = policy_of, clock, EarlyReports(store)
        self._commands = topic_name(COMMAND, prefix)
        self._awake = promised or asyncio.Event()
        self._busy: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Serve until cancelled; what is in hand then is tried again after its lease."""
        try:
            while True:
                self._awake.clear()
                try:
                    await self.serve()
                except Passing as fault:
                    log.warning("sending waits", fault=str(fault))
                except Exception:
                    log.exception("a look for messages to send failed")
                await woken(self._awake, PERIOD)
        finally:
            for task in list(self._busy.values()):
                task.cancel()

    async def serve(self) -> None:
        """Begin what is due, as far as hands are free."""
        partitions = self._owner.owned(self._commands)
        free = CONCURRENT - len(self._busy)
        if not partitions or free <= 0:
            return
        query = {"state.send_at": {"$lte": self._clock.now()}, "partition": {"$in": partitions}}
        rows = await self._store.find(
            self._documents.kind.collection, query, sort=[("state.send_at", 1)], limit=CONCURRENT, projection={"_id": 1}
        )
        for row in rows:
            ticket_id: str = row["_id"]
            if ticket_id not in self._busy and len(self._busy) < CONCURRENT:
                task = asyncio.create_task(self._serve_ticket(ticket_id))
                self._busy[ticket_id] = task
                task.add_done_callback(partial(self._done, ticket_id))

    def _done(self, ticket_id: str, _: asyncio.Task[None]) -> None:
        self._busy.pop(ticket_id, None)
        self._awake.set()

    async def _serve_ticket(self, ticket_id: str) -> None:
        try:
            await self.send_next(ticket_id)
        except Passing as fault:
            log.warning("left to its lease", document=ticket_id, fault=str(fault))
        except Exception:
            log.exception("a message could not be sent", document=ticket_id)

    async def send_next(self, ticket_id: str) -> None:
        """Make one try of the first message that waits."""
        begun: list[TicketState] = []

        def begin(state: TicketState | None) -> Decision[TicketState] | None:
            begun.clear()
            if state is None:
                return None
            decision = sending.begin(state, self._policy(state), self._clock.now())
            if decision is not None and decision.state is not None:
                begun.append(decision.state)
            return decision

        await self._documents.change(ticket_id, begin)
        if not begun:
            return
        state, tried = begun[0], begun[0].pending[0]
        outcome = await self._try(state, tried)
        if tried.into is None and state.ticket is not None:
            metrics.SENT.labels(state.ticket.channel, _named(outcome)).inc()

        def settle(now_state: TicketState | None) -> Decision[TicketState] | None:
            if now_state is None:
                return None
            return sending.settle(now_state, tried, outcome, self._policy(now_state), self._clock.now())

        await self._documents.change(ticket_id, settle)
        if isinstance(outcome, Sent) and outcome.channel_message_id and state.ticket is not None:
            await self._take_early(state.ticket, outcome.channel_message_id, tried.message.id)

    async def _take_early(self, ticket: Ticket, channel_id: str, message_id: str) -> None:
        """Take what the channel had said about the message before we knew its id."""
        for report in await self._early.about(ticket.channel, ticket.account, channel_id, message_id):

            def take(state: TicketState | None, report: StatusReport = report) -> Decision[TicketState] | None:
                return None if state is None else decide(state, report, self._policy(state), self._clock.now())

            await self._documents.change(ticket.id, take)

    def _policy(self, state: TicketState) -> TicketPolicy:
        assert state.ticket is not None
        return self._policy_of(state.ticket.channel, state.ticket.account)

    async def _try(self, state: TicketState, tried: Pending) -> SendOutcome:
        ticket = state.ticket
        assert ticket is not None
        if tried.into is not None:
            return await self._forward(ticket.id, tried, tried.into)
        account = self._accounts().named(ticket.channel, ticket.account)
        channel = CHANNELS.get(ticket.channel)
        if account is None or channel is None:
            return Refused(f"there is no account {ticket.account} on {ticket.channel}", permanent=False)
        try:
            rendered = channel.render(await self._reply(state, tried), account, self._outside)
        except Unsendable as fault:
            return Refused(str(fault), permanent=True)
        except MissingSecret as fault:
            return Refused(f"configuration: {fault}", permanent=False)
        # Before it goes: an answer or a report may be here before we have noted that it was sent.
        ours = rendered.message_id if isinstance(rendered, MailOut) else tried.message.id
        await self._claim(ticket, tried, ours)
        outcome = await self._wire.carry(rendered, channel)
        if isinstance(outcome, Sent) and outcome.channel_message_id not in {None, ours}:
            await self._claim(ticket, tried, outcome.channel_message_id or ours)
        return outcome

    async def _claim(self, ticket: Ticket, tried: Pending, channel_id: str) -> None:
        await self._threads.claim_sent(ticket.channel, ticket.account, channel_id, ticket.id, tried.message.id)

    async def _reply(self, state: TicketState, tried: Pending) -> OutgoingReply:
        ticket, message = state.ticket, tried.message
        assert ticket is not None
        files = [await self._file(a.name, a.media_type, a.ref) for a in message.attachments]
        return OutgoingReply(
            message_id=message.id,
            ticket_id=ticket.id,
            to=ticket.contact.address or "",
            to_name=ticket.contact.name,
            text=message.text,
            html=tried.html,
            at=tried.asked_at,
            author_name=message.author.name,
            files=tuple(file for file in files if file is not None),
            subject=ticket.subject,
            in_reply_to=message.in_reply_to,
            references=state.references if message.in_reply_to == state.answers else (),
            conversation=state.conversation,
            order_ref=ticket.order_ref,
            automated=message.automated,
        )

    async def _file(self, name: str, media_type: str, ref: str | None) -> File | None:
        if ref is None:
            return None
        if ref.startswith(("https://", "http://")):
            return File(name, media_type, url=ref)
        content = await self._store.get_blob(ref)
        return None if content is None else File(name, media_type, content=content)

    async def _forward(self, ticket_id: str, tried: Pending, into: str) -> SendOutcome:
        data = Forward(by=SYSTEM, message=tried.message, from_ticket_id=ticket_id, contact=tried.contact)
        command = Command.of(
            data, id=f"forward:{ticket_id}:{tried.message.id}", source=SOURCE, subject=into, time=tried.asked_at,
            correlationid=tried.command,
        )  # fmt: skip
        await self._producer.send(Outgoing(self._commands, into.encode(), command.encode(), CONTENT_TYPE))
        return Sent()


def _named(outcome: SendOutcome) -> str:
    """Return the outcome's name for the metric."""
    if isinstance(outcome, Sent):
        return "sent"
    return "refused" if outcome.permanent else "failed"
