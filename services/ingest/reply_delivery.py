"""One try at sending a message: the reply as its channel takes it, its files, the way out, the claim on its id.

Rule: every try comes to an outcome, whatever fails in it; only a store or a broker that is away leaves it to its lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from contracts.commands import Forward
from contracts.envelope import HEADERS, Command
from contracts.ticket import Attachment, Ticket
from kit.base.clock import Clock
from kit.base.errors import TransientError
from kit.policy.secrets import Secrets, Unresolved
from kit.protocol.ports import Outgoing
from services.ingest.accounts import Accounts
from services.ingest.channels import CHANNELS
from services.ingest.channels.channel import Channel
from services.ingest.core.commands import SOURCE
from services.ingest.core.messages import (
    File,
    MailOut,
    OutgoingReply,
    Rendered,
    SendFailure,
    SendOutcome,
    Sent,
    Unsendable,
)
from services.ingest.core.moves import SYSTEM
from services.ingest.core.state import Pending, TicketState
from services.ingest.files import Files, NotFetched
from services.ingest.threads import Threads

log = structlog.get_logger(__name__)
#: Bytes of all files of one message.
MOST_FILES = 25 * 1024 * 1024
#: Messages whose files are in memory at once, each of them several times; and how long another one waits for a turn.
TURNS = 2
TURN_SECONDS = 10.0


class Sending(Protocol):
    """Writes commands: the producer."""

    async def send(self, record: Outgoing) -> None: ...


class Carrying(Protocol):
    """Takes a message to its channel: `wire.Transport`."""

    async def carry(self, rendered: Rendered, channel: Channel) -> SendOutcome: ...


class ReplyDelivery:
    """Makes tries."""

    def __init__(
        self,
        files: Files,
        threads: Threads,
        producer: Sending,
        wire: Carrying,
        accounts: Callable[[], Accounts],
        secrets: Secrets,
        clock: Clock,
        *,
        commands: str,
    ) -> None:
        """`commands` is the topic that forwards go to."""
        self._files, self._threads, self._producer, self._wire = files, threads, producer, wire
        self._accounts, self._secrets, self._clock, self._commands = accounts, secrets, clock, commands
        self._turns = asyncio.Semaphore(TURNS)

    async def take(self, state: TicketState, attempt: Pending) -> SendOutcome:
        """Make one try; raises TransientError while the store, or for a forward Kafka, is away."""
        try:
            return await self._try(state, attempt)
        except TransientError:
            raise
        except Exception as fault:
            # Not foreseen, so perhaps of this message alone: what waits behind it must get its turn.
            log.exception("unexpected error while sending a message", message=attempt.message.id)
            return SendFailure(f"unexpected error: {type(fault).__name__}: {fault}"[:500], permanent=False, unsure=True)

    async def _try(self, state: TicketState, attempt: Pending) -> SendOutcome:
        ticket = state.ticket
        assert ticket is not None
        if attempt.into is not None:
            return await self._forward(ticket.id, attempt, attempt.into)
        if all(file.url is not None for file in attempt.message.attachments):
            return await self._send(ticket, state, attempt)
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            return SendFailure("the files of other messages are on their way", permanent=False)
        try:
            return await self._send(ticket, state, attempt)
        finally:
            self._turns.release()

    async def _send(self, ticket: Ticket, state: TicketState, attempt: Pending) -> SendOutcome:
        account = self._accounts().named(ticket.channel, ticket.account)
        channel = CHANNELS.get(ticket.channel)
        if account is None or channel is None:
            return SendFailure(f"there is no account {ticket.account} on {ticket.channel}", permanent=False)
        try:
            rendered = channel.render(await self._reply(state, attempt), account, self._secrets)
        except Unsendable as fault:
            return SendFailure(str(fault), permanent=True)
        except NotFetched as fault:
            return SendFailure(f"a file: {fault}", permanent=fault.permanent)
        except Unresolved as fault:
            return SendFailure(f"configuration: {fault}", permanent=False)
        # Before it goes: an answer or a report may be here before we have noted that it was sent.
        ours = rendered.message_id if isinstance(rendered, MailOut) else attempt.message.id
        await self._claim(ticket, attempt, ours)
        outcome = await self._wire.carry(rendered, channel)
        if isinstance(outcome, Sent) and outcome.channel_message_id not in {None, ours}:
            await self._claim(ticket, attempt, outcome.channel_message_id or ours)
        return outcome

    async def _claim(self, ticket: Ticket, attempt: Pending, channel_id: str) -> None:
        await self._threads.claim_sent(ticket.channel, ticket.account, channel_id, ticket.id, attempt.message.id)

    async def _reply(self, state: TicketState, attempt: Pending) -> OutgoingReply:
        ticket, message = state.ticket, attempt.message
        assert ticket is not None
        files = tuple([await self._file(file, ticket) for file in message.attachments])
        if sum(len(file.content or b"") for file in files) > MOST_FILES:
            raise Unsendable(f"the files together exceed {MOST_FILES} bytes")
        return OutgoingReply(
            message_id=message.id,
            ticket_id=ticket.id,
            to=ticket.contact.address or "",
            to_name=ticket.contact.name,
            text=message.text,
            html=attempt.html,
            at=attempt.asked_at,
            tried_at=self._clock.now(),
            author_name=message.author.name,
            files=files,
            subject=ticket.subject,
            in_reply_to=message.in_reply_to,
            references=state.references if message.in_reply_to == state.answers else (),
            conversation=state.conversation,
            order_ref=ticket.order_ref,
            automated=message.automated,
        )

    async def _file(self, file: Attachment, ticket: Ticket) -> File:
        if file.url is not None:
            return File(file.name, file.media_type, url=file.url)
        if file.ref is None:
            raise Unsendable(f"the file {file.name} is empty")
        content = await self._files.read(file.ref, ticket)
        if content is None:
            raise Unsendable(f"the file {file.name} does not exist")
        return File(file.name, file.media_type, content=content)

    async def _forward(self, ticket_id: str, attempt: Pending, into: str) -> SendOutcome:
        data = Forward(by=SYSTEM, message=attempt.message, from_ticket_id=ticket_id, contact=attempt.contact)
        command = Command.of(
            data, id=f"forward:{ticket_id}:{attempt.message.id}", source=SOURCE, subject=into, time=attempt.asked_at,
            correlationid=attempt.command,
        )  # fmt: skip
        await self._producer.send(Outgoing(self._commands, into.encode(), command.encode(), HEADERS))
        return Sent()
