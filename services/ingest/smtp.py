"""The mail door: SMTP, and LMTP after LHLO. Writes raw mail to Kafka, answers 250 once acknowledged. Parses nothing.

Rule: unknown recipients are refused at RCPT (550). Mail that cannot be stored is refused temporarily (451), so that the
sending server retries.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import structlog
from aiosmtpd.smtp import SMTP, syntax

from contracts.inbound import HttpRequest
from kit.base.errors import TransientError
from kit.doors.tls import DoorCertificate
from services.ingest import metrics
from services.ingest.accounts import Account, Accounts
from services.ingest.channels import MAILS, email
from services.ingest.channels import channel as channels
from services.ingest.intake import Envelope, Intake
from services.ingest.settings import IngestSettings

log = structlog.get_logger(__name__)
MAX_RECIPIENTS = 50
MAX_COMMANDS = 100
"""Maximum number of commands of each kind per session; for RCPT, times `MAX_RECIPIENTS`."""
_MAX_LINE_BYTES = 64 * 1024
_REPLIES = {
    "taken": "250 2.0.0 Accepted",
    "later": "451 4.3.0 Storage unavailable, try again later",
    "no_recipient": "554 5.5.1 No valid recipients",
}


@dataclass(frozen=True, slots=True)
class MailLimits:
    """Limits of the mail door, in bytes, sessions and seconds."""

    max_bytes: int
    sessions: int = 200
    session_seconds: float = 600
    idle_seconds: float = 60
    hostname: str = "deskbus.invalid"


@dataclass
class _Handler:
    """Handles aiosmtpd's hooks."""

    intake: Intake
    policy: Callable[[], Accounts]

    async def handle_MAIL(self, _: Any, __: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802 - aiosmtpd's name
        if len(address) > 320:
            return "501 5.1.7 The sender's address is too long"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(self, _: Any, __: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802 - aiosmtpd's name
        if len(envelope.rcpt_tos) >= MAX_RECIPIENTS:
            return "452 4.5.3 Too many recipients"
        if len(address) > 320 or any(c.isspace() for c in address) or self._mailbox(address) is None:
            metrics.REFUSED.labels(email.CHANNEL, "unknown_account").inc()
            return "550 5.1.1 No such mailbox"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Write one record per account: a mail to two accounts opens a ticket on each."""
        outcomes: dict[str, str] = {}
        wanted: dict[str, tuple[Account, list[str]]] = {}
        for address in envelope.rcpt_tos:
            account = self._mailbox(address)
            if account is not None:
                wanted.setdefault(account.name, (account, []))[1].append(address)
        body = envelope.content if isinstance(envelope.content, bytes) else bytes(str(envelope.content), "utf-8")
        for account, addresses in wanted.values():
            outcome = await self._take(account, addresses, envelope.mail_from or "", server, session, body)
            outcomes |= dict.fromkeys(addresses, outcome)
        if server.lmtp:  # one answer for each recipient
            return "\r\n".join(_REPLIES[outcomes.get(address, "no_recipient")] for address in envelope.rcpt_tos)
        # If only some accounts got the mail, the sender retries it, and the others drop the duplicate.
        return _REPLIES["later" if "later" in outcomes.values() else "taken" if outcomes else "no_recipient"]

    def _mailbox(self, address: str) -> Account | None:
        account = self.policy().addressed(address)
        return account if account is not None and account.channel in MAILS else None

    async def _take(
        self, account: Account, addresses: list[str], mail_from: str, server: Any, session: Any, body: bytes
    ) -> str:
        peer = session.peer[0] if isinstance(session.peer, tuple) and session.peer else ""
        query = {"mail_from": "" if mail_from == "<>" else mail_from, "rcpt_to": " ".join(addresses)}
        known = HttpRequest.model_construct(
            method="LMTP" if server.lmtp else "SMTP", url=None, query=query, headers={"peer": str(peer)}
        )
        key = channels.short_key(account.name, MAILS[account.channel](body))
        envelope = Envelope(account.channel, account.name, key, "message/rfc822", known, verified=False)
        try:
            await self.intake.take(envelope, body)
        except TransientError as fault:
            log.warning("a mail was temporarily refused", account=account.name, reason=str(fault))
            return "later"
        return "taken"

    async def handle_exception(self, error: Exception) -> str:
        log.error("a mail session failed", error=repr(error))
        return "451 4.3.0 Internal error, try again later"


class _Session(SMTP):
    """One connection, with limits that aiosmtpd lacks: number of sessions, total duration, bytes without line end."""

    line_length_limit = _MAX_LINE_BYTES

    def __init__(self, door: MailDoor, handler: _Handler, **options: Any) -> None:
        super().__init__(handler, **options)
        self.door = door
        self.lmtp = False
        self.deadline: asyncio.TimerHandle | None = None
        self.line_bytes = 0

    @syntax("LHLO hostname")
    async def smtp_LHLO(self, arg: str) -> None:  # noqa: N802 - aiosmtpd finds commands by these names
        self.lmtp = True
        await self.smtp_EHLO(arg)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.deadline is None:  # STARTTLS calls this again
            self.deadline = self.loop.call_later(self.door.limits.session_seconds, transport.close)
        if not self.door.enter(self) and isinstance(transport, asyncio.Transport):
            transport.write(b"421 4.3.2 Too many sessions, try again later\r\n")
            transport.close()

    def data_received(self, data: bytes) -> None:
        end = data.rfind(b"\n")
        self.line_bytes = len(data) - end - 1 if end >= 0 else self.line_bytes + len(data)
        if self.line_bytes > _MAX_LINE_BYTES * 4 and self.transport is not None:  # aiosmtpd would buffer all of it
            self.transport.close()
            return
        super().data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
        self.door.leave(self)
        super().connection_lost(error)

    def hang_up(self) -> None:
        if self.transport is not None:
            self.transport.close()


@dataclass
class MailDoor:
    """The SMTP server."""

    intake: Intake
    policy: Callable[[], Accounts]
    limits: MailLimits
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    port: int = 0
    """Once it listens, the port it has; 0 picks a free one."""
    _server: asyncio.Server | None = None
    _open: set[_Session] = field(default_factory=set)
    _empty: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def from_settings(
        cls,
        settings: IngestSettings,
        intake: Intake,
        policy: Callable[[], Accounts],
        certificate: DoorCertificate | None = None,
    ) -> Self:
        """Return the door as the settings describe it; with a certificate it offers STARTTLS."""
        limits = MailLimits(
            settings.max_body,
            settings.smtp_sessions,
            settings.smtp_session_seconds,
            settings.smtp_idle_seconds,
            settings.smtp_hostname,
        )
        tls = certificate.context if certificate else None
        return cls(intake, policy, limits, tls, settings.host, settings.smtp_port)

    async def start(self) -> None:
        """Listen."""
        logging.getLogger("mail.log").setLevel(logging.ERROR)  # aiosmtpd logs every command, including addresses
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._session, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self, seconds: float = 5) -> None:
        """Stop listening, wait up to `seconds` for open sessions to end, then close them."""
        if self._server is not None:
            self._server.close()
        if self._open:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._empty.wait()
        for session in list(self._open):
            session.hang_up()

    def enter(self, session: _Session) -> bool:
        """Register a session. Return False if there are too many."""
        if session not in self._open and len(self._open) >= self.limits.sessions:
            return False
        self._open.add(session)
        metrics.SMTP_SESSIONS.set(len(self._open))
        return True

    def leave(self, session: _Session) -> None:
        """Unregister a session."""
        self._open.discard(session)
        metrics.SMTP_SESSIONS.set(len(self._open))
        if not self._open:
            self._empty.set()

    def _session(self) -> asyncio.Protocol:
        session: asyncio.Protocol = _Session(
            self,
            _Handler(self.intake, self.policy),
            data_size_limit=self.limits.max_bytes,
            enable_SMTPUTF8=True,
            decode_data=False,
            hostname=self.limits.hostname,
            ident="Deskbus",
            timeout=self.limits.idle_seconds,
            command_call_limit={"RCPT": MAX_COMMANDS * MAX_RECIPIENTS, "*": MAX_COMMANDS},
            tls_context=self.tls,
            loop=asyncio.get_running_loop(),
        )
        return session
