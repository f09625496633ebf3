"""Carries one rendered message to its provider or to the next mail server. What to do after a failure is the core's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiosmtplib
import httpx
import structlog

from services.ingest.channels.channel import Channel
from services.ingest.core.messages import HttpCall, MailOut, Refused, Rendered, SendOutcome, Sent

log = structlog.get_logger(__name__)
#: Bytes of a provider's answer that are read: an id, or a reason.
MOST_ANSWER = 64 * 1024


@dataclass(frozen=True, slots=True)
class Smtp:
    """The next mail server."""

    host: str = "127.0.0.1"
    port: int = 25
    username: str | None = None
    password: str | None = None
    use_tls: bool = False
    start_tls: bool = False


class Wire:
    """Carries one rendered message; whatever happens becomes an outcome."""

    def __init__(self, smtp: Smtp, client: httpx.AsyncClient, *, seconds: float = 10.0) -> None:
        """Bound each try by `seconds`, which is well below the lease that a try has in its ticket."""
        self._smtp, self._client, self._seconds = smtp, client, seconds

    async def carry(self, rendered: Rendered, channel: Channel) -> SendOutcome:
        """Send, and let the channel read the answer."""
        try:
            async with asyncio.timeout(self._seconds):
                if isinstance(rendered, MailOut):
                    return await self._mail(rendered, channel)
                return await self._call(rendered, channel)
        except (TimeoutError, OSError, httpx.TransportError, aiosmtplib.SMTPException) as fault:
            return Refused(f"could not be reached: {fault!r}"[:500], permanent=False)

    async def _call(self, call: HttpCall, channel: Channel) -> SendOutcome:
        # Unpacked by nobody, and read only as far as an answer goes: whoever answers must not fill our memory.
        headers = {**call.headers, "accept-encoding": "identity"}
        async with self._client.stream(call.method, call.url, headers=headers, content=call.body) as answer:
            taken = bytearray()
            async for chunk in answer.aiter_raw():
                taken += chunk
                if len(taken) >= MOST_ANSWER:
                    break
            return channel.outcome(answer.status_code, answer.headers, bytes(taken[:MOST_ANSWER]))

    async def _mail(self, mail: MailOut, channel: Channel) -> SendOutcome:
        smtp = self._smtp
        try:
            # Not aiosmtplib.send, which takes the empty sender of automatic mail (RFC 5321, 4.5.5) for a forgotten one.
            async with aiosmtplib.SMTP(
                hostname=smtp.host,
                port=smtp.port,
                username=smtp.username,
                password=smtp.password,
                use_tls=smtp.use_tls,
                start_tls=smtp.start_tls or None,
                timeout=self._seconds,
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
