"""Really sends what tickets promised: mail over SMTP, the rest to the providers' HTTP APIs, forwards as commands.

Rule: a try is begun in the ticket's document before it is made and settled there after it (`core.sending`). Each ticket
is served by the owner of its partition; one message of a ticket at a time, many tickets side by side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import aiosmtplib
import httpx
import structlog

from contracts.commands import Forward
from contracts.envelope import Command
from contracts.topics import COMMAND, topic_name
from kit.clock import Clock
from kit.document import Decision
from kit.errors import Passing
from kit.mongo import MongoStore
from kit.outbox import Documents
from kit.producer import Outgoing, Producer
from services.ingest.accounts import Accounts, MissingSecret, Outside
from services.ingest.channels import CHANNELS
from services.ingest.channels.channel import Channel
from services.ingest.core import sending
from services.ingest.core.commands import SOURCE
from services.ingest.core.messages import (
    File,
    HttpCall,
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
from services.ingest.threads import PolicyOf, Threads

log = structlog.get_logger(__name__)

#: Tickets that are served at once.
CONCURRENT = 32
#: Seconds between looks while nobody wakes the sender: retries, and promises of a process that died.
PERIOD = 0.5
#: Seconds that one try may take; the lease is longer.
TRY_SECONDS = 30.0
CONTENT_TYPE = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)


@dataclass(frozen=True, slots=True)
class Smtp:
    """The next mail server."""

    host: str = "127.0.0.1"
    port: int = 25
    username: str | None = None
    password: str | None = None
    use_tls: bool = False
    start_tls: bool | None = None


class Owner(Protocol):
    """Says which partitions are ours: the consumer."""

    def owned(self, topic: str) -> list[int]: ...


class Wire:
    """Carries one rendered message; whatever happens becomes an outcome."""

    def __init__(self, smtp: Smtp, client: httpx.AsyncClient) -> None:
        self._smtp, self._client = smtp, client

    async def carry(self, rendered: Rendered, channel: Channel) -> SendOutcome:
        """Send, and let the channel read the answer."""
        try:
            async with asyncio.timeout(TRY_SECONDS):
                if isinstance(rendered, MailOut):
                    return await self._mail(rendered, channel)
                return await self._call(rendered, channel)
        except (TimeoutError, OSError, httpx.TransportError, aiosmtplib.SMTPException) as fault:
            return Refused(f"could not be reached: {fault!r}"[:500], permanent=False)

    async def _call(self, call: HttpCall, channel: Channel) -> SendOutcome:
        answer = await self._client.request(call.method, call.url, headers=dict(call.headers), content=call.body)
        return channel.outcome(answer.status_code, answer.headers, answer.content)

    async def _mail(self, mail: MailOut, channel: Channel) -> SendOutcome:
        smtp = self._smtp
        try:
            refused, said = await aiosmtplib.send(
                mail.data,
                sender=mail.sender,
                recipients=list(mail.recipients),
                hostname=smtp.host,
                port=smtp.port,
                username=smtp.username,
                password=smtp.password,
                use_tls=smtp.use_tls,
                start_tls=smtp.start_tls,
                timeout=TRY_SECONDS / 2,
            )
        except aiosmtplib.SMTPRecipientsRefused as fault:
            first = fault.recipients[0]
            return channel.outcome(first.code, {}, first.message.encode())
        except aiosmtplib.SMTPResponseException as fault:
            return channel.outcome(fault.code, {}, fault.message.encode())
        for response in refused.values():
            log.warning("a recipient was refused", code=response.code)
        outcome = channel.outcome(250, {}, said.encode())
        return Sent(mail.message_id) if isinstance(outcome, Sent) else outcome


class ReplySender:
    """The background job."""

    def __init__(
        self,
        documents: Documents[TicketState],
        store: MongoStore,
        threads: Threads,
        owner: Owner,
        producer: Producer,
        wire: Wire,
        accounts: Callable[[], Accounts],
        outside: Outside,
        policy_of: PolicyOf,
        clock: Clock,
        *,
        prefix: str = "",
    ) -> None:
        self._documents, self._store, self._threads, self._owner = documents, store, threads, owner
        self._producer, self._wire, self._accounts, self._outside = producer, wire, accounts, outside
        self._policy_of, self._clock = policy_of, clock
        self._commands = topic_name(COMMAND, prefix)
        self._awake = asyncio.Event()
        self._busy: dict[str, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """Look now: something was promised."""
        self._awake.set()

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
                try:
                    async with asyncio.timeout(PERIOD):
                        await self._awake.wait()
                except TimeoutError:
                    continue
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
                task.add_done_callback(lambda _, done=ticket_id: self._done(done))

    def _done(self, ticket_id: str) -> None:
        self._busy.pop(ticket_id, None)
        self.wake()

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

        def settle(now_state: TicketState | None) -> Decision[TicketState] | None:
            if now_state is None:
                return None
            return sending.settle(now_state, tried, outcome, self._policy(now_state), self._clock.now())

        await self._documents.change(ticket_id, settle)

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
        if isinstance(rendered, MailOut):  # an answer may be here before we have noted that it was sent
            await self._threads.claim_sent(
                ticket.channel, ticket.account, rendered.message_id, ticket.id, tried.message.id
            )
        outcome = await self._wire.carry(rendered, channel)
        if isinstance(outcome, Sent) and outcome.channel_message_id and isinstance(rendered, HttpCall):
            await self._threads.claim_sent(
                ticket.channel, ticket.account, outcome.channel_message_id, ticket.id, tried.message.id
            )
        return outcome

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
