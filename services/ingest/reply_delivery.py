"""Make one attempt to send a message: load its files, render it for its channel, claim its id, and send it.

Rule: every attempt has an outcome, whatever fails, unless MongoDB or Kafka is unavailable; then its lease expires.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from contracts.commands import Forward
from contracts.envelope import HEADERS, Command
from contracts.ticket import Attachment, AuthorKind, Ticket
from contracts.tickets import FailureReason
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
from services.ingest.files import AccountSecrets, Files, NotFetched
from services.ingest.threads import Threads

log = structlog.get_logger(__name__)
#: Maximum bytes of all files of one message.
MAX_FILES_BYTES = 25 * 1024 * 1024
#: Maximum number of messages whose files are in memory at once; each file is held several times.
FILE_SLOTS = 2
#: How long a message waits for a slot.
FILE_SLOT_SECONDS = 10.0


class CommandSender(Protocol):
    """Writes commands to Kafka: the producer."""

    async def send(self, record: Outgoing) -> None: ...


class MessageTransport(Protocol):
    """Sends a rendered message: `transport.Transport`."""

    async def send(self, rendered: Rendered, channel: Channel) -> SendOutcome: ...


class ReplyDelivery:
    """Makes attempts to send messages."""

    def __init__(
        self,
        files: Files,
        threads: Threads,
        producer: CommandSender,
        transport: MessageTransport,
        accounts: Callable[[], Accounts],
        secrets: Secrets,
        clock: Clock,
        *,
        commands: str,
        tokens: AccountSecrets | None = None,
    ) -> None:
        """`commands` is the topic that forwards go to."""
        self._files, self._threads, self._producer, self._transport = files, threads, producer, transport
        self._accounts, self._secrets, self._clock, self._commands = accounts, secrets, clock, commands
        self._tokens = tokens
        self._file_slots = asyncio.Semaphore(FILE_SLOTS)

    async def deliver(self, state: TicketState, attempt: Pending) -> SendOutcome:
        """Make one attempt. Raises TransientError if MongoDB, or Kafka for a forward, is unavailable."""
        try:
            return await self._try(state, attempt)
        except TransientError:
            raise
        except Exception as fault:
            # Possibly caused by this message alone, so it must fail and not block the messages queued behind it.
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
            async with asyncio.timeout(FILE_SLOT_SECONDS):
                await self._file_slots.acquire()
        except TimeoutError:
            return SendFailure("the files of other messages are on their way", permanent=False)
        try:
            return await self._send(ticket, state, attempt)
        finally:
            self._file_slots.release()

    async def _send(self, ticket: Ticket, state: TicketState, attempt: Pending) -> SendOutcome:
        account = self._accounts().named(ticket.channel, ticket.account)
        if account is None:
            return SendFailure(f"there is no account {ticket.account} on {ticket.channel}", permanent=False)
        channel = CHANNELS[account.channel]
        try:
            secrets = await self._tokens.secrets(account) if self._tokens else self._secrets
            rendered = channel.render(await self._reply(state, attempt), account, secrets)
        except Unsendable as fault:
            return SendFailure(str(fault), permanent=True, why=FailureReason.UNSENDABLE)
        except NotFetched as fault:
            return SendFailure(f"a file: {fault}", permanent=fault.permanent)
        except Unresolved as fault:
            return SendFailure(f"configuration: {fault}", permanent=False)
        # Claim the id before sending: an answer or report may arrive before the attempt's outcome is stored.
        ours = rendered.message_id if isinstance(rendered, MailOut) else attempt.message.id
        await self._claim(ticket, attempt, ours)
        outcome = await self._transport.send(rendered, channel)
        if isinstance(outcome, Sent) and outcome.channel_message_id not in {None, ours}:
            await self._claim(ticket, attempt, outcome.channel_message_id or ours)
        return outcome

    async def _claim(self, ticket: Ticket, attempt: Pending, channel_id: str) -> None:
        await self._threads.claim_sent(ticket.channel, ticket.account, channel_id, ticket.id, attempt.message.id)

    async def _reply(self, state: TicketState, attempt: Pending) -> OutgoingReply:
        ticket, message = state.ticket, attempt.message
        assert ticket is not None
        files = tuple([await self._file(file, ticket) for file in message.attachments])
        if sum(len(file.content or b"") for file in files) > MAX_FILES_BYTES:
            raise Unsendable(f"the files together exceed {MAX_FILES_BYTES} bytes")
        return OutgoingReply(
            message_id=message.id,
            ticket_id=ticket.id,
            to=ticket.contact.address or "",
            to_name=ticket.contact.name,
            text=message.text,
            html=attempt.html,
            template=attempt.template,
            reply_token=attempt.reply_token,
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
            by_person=message.author.kind == AuthorKind.AGENT and not message.automated,
            customer_wrote_at=ticket.last_customer_message_at,
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
