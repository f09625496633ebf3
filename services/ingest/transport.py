"""Send one rendered message to its provider or to the mail relay. The core decides what to do after a failure."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Self

import aiosmtplib
import structlog

from kit.http_client import Answer, Forbidden, HttpClient, Unreached
from kit.relay import RelaySession, TlsOptions, tls_options
from services.ingest.channels.channel import Channel
from services.ingest.core.messages import HttpCall, MailOut, Rendered, SendFailure, SendOutcome, Sent, Upload
from services.ingest.settings import IngestSettings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Smtp:
    """The mail relay."""

    host: str = "127.0.0.1"
    port: int = 25
    username: str | None = None
    password: str | None = None
    tls: TlsOptions = field(default_factory=lambda: tls_options("none"))

    @classmethod
    def from_settings(cls, settings: IngestSettings) -> Self:
        """Return the mail relay that the settings name. Raises OSError if its CA file cannot be read."""
        password = settings.relay_password.get_secret_value() if settings.relay_password else None
        tls = tls_options(settings.relay_tls, settings.relay_ca)
        return cls(settings.relay_host, settings.relay_port, settings.relay_username, password, tls)


class Transport:
    """Sends rendered messages; every result, including errors, is returned as an outcome."""

    def __init__(self, smtp: Smtp, http_client: HttpClient, *, seconds: float = 10.0) -> None:
        """`seconds` limits each attempt; it must be well below the attempt's lease (`TicketPolicy.send_lease`)."""
        self._smtp, self._http, self._seconds = smtp, http_client, seconds

    async def send(self, rendered: Rendered, channel: Channel) -> SendOutcome:
        """Send a message, and return the outcome as the channel reads it from the response."""
        if isinstance(rendered, MailOut):
            return await self._mail(rendered, channel)
        try:
            outcome = await self._call(rendered, channel)
        except Forbidden as fault:
            return SendFailure(f"configuration: {fault}", permanent=False)  # operators can fix it
        except Unreached as fault:
            outcome = SendFailure(f"could not be reached: {fault}", permanent=False, unsure=fault.unsure)
        if isinstance(outcome, SendFailure) and isinstance(rendered, HttpCall) and rendered.once:
            return replace(outcome, permanent=False)
        if isinstance(outcome, SendFailure) and channel.IDEMPOTENT:
            return replace(outcome, repeatable=True)
        return outcome

    async def _call(self, wanted: HttpCall | Upload, channel: Channel) -> SendOutcome:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._seconds
        call: HttpCall | SendFailure
        if isinstance(wanted, Upload):
            try:
                uploaded = await self._ask(wanted.call, self._seconds)
            except Unreached as fault:
                raise Unreached(str(fault)) from fault  # the message itself has not been sent
            call = wanted.then(uploaded.status, uploaded.body)
            if isinstance(call, SendFailure):
                return call
        else:
            call = wanted
        answer = await self._ask(call, end - loop.time())
        return channel.outcome(answer.status, answer.headers, answer.body)

    async def _ask(self, call: HttpCall, seconds: float) -> Answer:
        return await self._http.call(call.method, call.url, call.headers, call.body, seconds=seconds)

    async def _mail(self, mail: MailOut, channel: Channel) -> SendOutcome:
        smtp, answer = self._smtp, None
        # Not aiosmtplib.send, which rejects the empty sender that automatic mail must have (RFC 5321, 4.5.5).
        relay = RelaySession(
            hostname=smtp.host,
            port=smtp.port,
            username=smtp.username,
            password=smtp.password,
            timeout=self._seconds,
            **smtp.tls,
        )
        try:
            async with asyncio.timeout(self._seconds), relay:
                refused, answer = await relay.sendmail(mail.sender, list(mail.recipients), mail.data)
                for response in refused.values():
                    log.warning("a recipient was refused", code=response.code)
        except aiosmtplib.SMTPRecipientsRefused as fault:
            first = fault.recipients[0]
            return channel.outcome(first.code, {}, first.message.encode())
        except aiosmtplib.SMTPAuthenticationError as fault:
            return SendFailure(f"configuration: SMTP {fault.code}: {fault.message}"[:500], permanent=False)
        except aiosmtplib.SMTPResponseException as fault:
            return channel.outcome(fault.code, {}, fault.message.encode())
        except (TimeoutError, OSError, aiosmtplib.SMTPException) as fault:
            if answer is None:  # otherwise the mail was accepted, and only QUIT failed
                return SendFailure(f"could not be reached: {fault!r}"[:500], permanent=False, unsure=relay.left)
        outcome = channel.outcome(250, {}, (answer or "").encode())
        return Sent(mail.message_id) if isinstance(outcome, Sent) else outcome
