"""The doors' one way in: a verified body to the inbound topic, acknowledged by Kafka before anybody is told so.

Rule: what Kafka has not acknowledged is not accepted. Only a body that is too large for a record needs MongoDB too.
"""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from prometheus_client import Counter

from contracts.inbound import MAX_INLINE_BYTES, HttpRequest, to_headers
from kit.base.clock import Clock
from kit.base.errors import TransientError
from kit.base.ids import uuid7
from kit.protocol.ports import Outgoing
from services.ingest import metrics

#: Our headers go into the same record as the body: a request that has more of them than this leaves a claim check too.
_MAX_HEADERS = 32 * 1024


@functools.cache
def _accepted(channel: str) -> Counter:
    return metrics.ACCEPTED.labels(channel)


class RecordSender(Protocol):
    """What writes to Kafka: within the seconds it is done, or TransientError is raised."""

    async def send(self, record: Outgoing, *, seconds: float) -> None: ...


class Blobs(Protocol):
    """What keeps large bodies."""

    async def put_blob(self, blob_id: str, body: bytes, *, expires: datetime | None = None) -> None: ...


@dataclass(slots=True)
class Envelope:
    """What a door knows of a message besides its body. Not frozen: that would make it slow to make."""

    channel: str
    account: str
    key: str
    content_type: str
    http: HttpRequest
    verified: bool
    traceparent: str | None = None


class Intake:
    """Takes messages and commands for Kafka."""

    def __init__(
        self,
        sender: RecordSender,
        blobs: Blobs,
        clock: Clock,
        *,
        topic: str,
        seconds: float,
        claim_seconds: float,
        claim_for: timedelta = timedelta(days=60),
    ) -> None:
        """`seconds` and `claim_seconds`: the time of Kafka and of the store. `claim_for`: how long a body is kept."""
        self._sender, self._blobs, self._clock = sender, blobs, clock
        self._topic, self._seconds, self._claim_seconds = topic, seconds, claim_seconds
        self._claim_for = claim_for

    async def take(self, envelope: Envelope, body: bytes) -> str:
        """Return the receipt once the message is safe; raises TransientError when that is not sure in time."""
        receipt = uuid7()
        begin = self._clock.monotonic()
        claim = None
        if len(body) > MAX_INLINE_BYTES:
            claim = await self._leave(receipt, body)
        headers = to_headers(
            receipt=receipt,
            channel=envelope.channel,
            account=envelope.account,
            key=envelope.key,
            received_at=self._clock.now(),
            content_type=envelope.content_type,
            size=len(body),
            claim=claim,
            verified=envelope.verified,
            http=envelope.http,
            traceparent=envelope.traceparent,
        )
        if sum([len(name) + len(value) for name, value in headers]) > _MAX_HEADERS:
            raise ValueError("the headers of a message are too large")
        key = envelope.key.encode("utf-8", "surrogateescape")
        try:
            await self.send(Outgoing(self._topic, key, b"" if claim else body, headers))
        except TransientError:
            metrics.REFUSED.labels(envelope.channel, "away").inc()
            raise
        _accepted(envelope.channel).inc()
        metrics.ACCEPT_SECONDS.observe(self._clock.monotonic() - begin)
        return receipt

    async def send(self, record: Outgoing) -> None:
        """Write one record within the door's time; raises TransientError."""
        await self._sender.send(record, seconds=self._seconds)

    async def _leave(self, receipt: str, body: bytes) -> str:
        expires = self._clock.now() + self._claim_for
        try:
            async with asyncio.timeout(self._claim_seconds):
                await self._blobs.put_blob(receipt, body, expires=expires)
        except TimeoutError as error:
            raise TransientError("MongoDB did not store a large body in time") from error
        metrics.CLAIMS.inc()
        return receipt
