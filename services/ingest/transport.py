"""Carries one rendered message to its provider or to the next mail server. What to do after a failure is the core's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

import aiosmtplib
import structlog

from kit.http_client import Answer, Forbidden, HttpClient, Unreached
from kit.relay import RelaySession, TlsOptions, tls_options
from services.ingest.channels.channel import Channel
from services.ingest.core.messages import HttpCall, MailOut, Rendered, SendFailure, SendOutcome, Sent, Upload

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Smtp:
    """The next mail server."""

    host: str = "127.0.0.1"
    port: int = 25
    username: str | None = None
    password: str | None = None
    tls: TlsOptions = field(default_factory=lambda: tls_options("none"))


class Transport:
    """Carries one rendered message; whatever happens becomes an outcome."""

    def __init__(self, smtp: Smtp, http_client: HttpClient, *, seconds: float = 10.0) -> None:
        """Bound each try by `seconds`, which is well below the lease that a try has in its ticket."""
        self._smtp, self._http, self._seconds = smtp, http_client, seconds

    async def carry(self, rendered: Rendered, channel: Channel) -> SendOutcome:
        """Send, and let the channel read the answer."""
        if isinstance(rendered, MailOut):
            return await self._mail(rendered, channel)
        try:
            outcome = await self._call(rendered, channel)
        except Forbidden as fault:
            return SendFailure(f"configuration: {fault}", permanent=False)  # which the operator can mend
        except Unreached as fault:
            outcome = SendFailure(f"could not be reached: {fault}", permanent=False, unsure=fault.unsure)
        if isinstance(outcome, SendFailure) and channel.IDEMPOTENT:
            return replace(outcome, unsure=False)
        return outcome

    async def _call(self, wanted: HttpCall | Upload, channel: Channel) -> SendOutcome:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._seconds
        call: HttpCall | SendFailure
        if isinstance(wanted, Upload):
            try:
                taken = await self._ask(wanted.call, self._seconds)
            except Unreached as fault:
                raise Unreached(str(fault)) from fault  # the message itself has not been sent
            call = wanted.then(taken.status, taken.body)
            if isinstance(call, SendFailure):
                return call
        else:
            call = wanted
        answer = await self._ask(call, end - loop.time())
        return channel.outcome(answer.status, answer.headers, answer.body)

    async def _ask(self, call: HttpCall, seconds: float) -> Answer:
        return await self._http.call(call.method, call.url, call.headers, call.body, seconds=seconds)

    async def _mail(self, mail: MailOut, channel: Channel) -> SendOutcome:
        smtp, said = self._smtp, None
        # Not aiosmtplib.send, which takes the empty sender of automatic mail (RFC 5321, 4.5.5) for a forgotten one.
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
                refused, said = await relay.sendmail(mail.sender, list(mail.recipients), mail.data)
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
            if said is None:  # else only the drain_seconds has failed
                return SendFailure(f"could not be reached: {fault!r}"[:500], permanent=False, unsure=relay.left)
        outcome = channel.outcome(250, {}, (said or "").encode())
        return Sent(mail.message_id) if isinstance(outcome, Sent) else outcome
