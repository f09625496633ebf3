"""Carries one rendered message to its provider or to the next mail server. What to do after a failure is the core's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import aiosmtplib
import structlog

from kit.outward import Forbidden, Outward, Unreached
from kit.relay import TlsOptions, tls_options
from services.ingest.channels.channel import Channel
from services.ingest.core.messages import HttpCall, MailOut, Refused, Rendered, SendOutcome, Sent, Upload

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Smtp:
    """The next mail server."""

    host: str = "127.0.0.1"
    port: int = 25
    username: str | None = None
    password: str | None = None
    tls: TlsOptions = field(default_factory=lambda: tls_options("none"))


class Wire:
    """Carries one rendered message; whatever happens becomes an outcome."""

    def __init__(self, smtp: Smtp, way_out: Outward, *, seconds: float = 10.0) -> None:
        """Bound each try by `seconds`, which is well below the lease that a try has in its ticket."""
        self._smtp, self._way_out, self._seconds = smtp, way_out, seconds

    async def carry(self, rendered: Rendered, channel: Channel) -> SendOutcome:
        """Send, and let the channel read the answer."""
        try:
            async with asyncio.timeout(self._seconds):
                if isinstance(rendered, MailOut):
                    return await self._mail(rendered, channel)
                return await self._call(rendered, channel)
        except Forbidden as fault:
            return Refused(f"configuration: {fault}", permanent=False)  # which the operator can mend
        except (TimeoutError, OSError, Unreached, aiosmtplib.SMTPException) as fault:
            return Refused(f"could not be reached: {fault!r}"[:500], permanent=False)

    async def _call(self, wanted: HttpCall | Upload, channel: Channel) -> SendOutcome:
        call: HttpCall | Refused
        if isinstance(wanted, Upload):
            taken = await self._way_out.call(wanted.call.method, wanted.call.url, wanted.call.headers, wanted.call.body)
            call = wanted.then(taken.status, taken.body)
            if isinstance(call, Refused):
                return call
        else:
            call = wanted
        answer = await self._way_out.call(call.method, call.url, call.headers, call.body)
        return channel.outcome(answer.status, answer.headers, answer.body)

    async def _mail(self, mail: MailOut, channel: Channel) -> SendOutcome:
        smtp = self._smtp
        try:
            # Not aiosmtplib.send, which takes the empty sender of automatic mail (RFC 5321, 4.5.5) for a forgotten one.
            async with aiosmtplib.SMTP(
                hostname=smtp.host,
                port=smtp.port,
                username=smtp.username,
                password=smtp.password,
                timeout=self._seconds,
                **smtp.tls,
            ) as relay:
                refused, said = await relay.sendmail(mail.sender, list(mail.recipients), mail.data)
        except aiosmtplib.SMTPRecipientsRefused as fault:
            first = fault.recipients[0]
            return channel.outcome(first.code, {}, first.message.encode())
        except aiosmtplib.SMTPResponseException as fault:
            return channel.outcome(fault.code, {}, fault.message.encode())
        for response in refused.values():
            log.warning("a recipient was refused", code=response.code)
        outcome = channel.outcome(250, {}, said.encode())
        return Sent(mail.message_id) if isinstance(outcome, Sent) else outcome
