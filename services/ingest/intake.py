"""Write accepted messages to the inbound topic, for all doors.

Rule: a message is accepted only once Kafka has acknowledged it. Only a body too large for a record also needs MongoDB.
"""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, Self

from contracts.inbound import MAX_INLINE_BYTES, HttpRequest, to_headers
from contracts.topics import INBOUND, topic_name
from kit.base import tracing
from kit.base.clock import Clock
from kit.base.errors import TransientError
from kit.base.ids import uuid7
from kit.base.series import Counter
from kit.protocol.ports import Outgoing, Store
from services.ingest import blobs, metrics
from services.ingest.settings import IngestSettings

#: Maximum bytes of a record's headers, so that headers and an inline body fit into one record.
_MAX_HEADERS = 32 * 1024


@functools.cache
def _accepted(channel: str) -> Counter:
    return metrics.ACCEPTED.labels(channel)


class RecordSender(Protocol):
    """Writes a record to Kafka; raises TransientError if that does not succeed within `seconds`."""

    async def send(self, record: Outgoing, *, seconds: float) -> None: ...


@dataclass(slots=True)
class Envelope:
    """What a door knows about a message besides its body. Not frozen, since creating frozen instances is slower."""

    channel: str
    account: str
    key: str
    content_type: str
    http: HttpRequest
    verified: bool
    traceparent: str | None = None


class Intake:
    """Writes messages and commands to Kafka."""

    def __init__(
        self,
        sender: RecordSender,
        store: Store,
        clock: Clock,
        *,
        topic: str,
        seconds: float,
        claim_seconds: float,
        claim_for: timedelta = timedelta(days=60),
    ) -> None:
        """`seconds`, `claim_seconds`: timeouts of Kafka and MongoDB. `claim_for`: how long a large body is stored."""
        self._sender, self._store, self._clock = sender, store, clock
        self._topic, self._seconds, self._claim_seconds = topic, seconds, claim_seconds
        self._claim_for = claim_for

    @classmethod
    def from_settings(cls, settings: IngestSettings, sender: RecordSender, store: Store, clock: Clock) -> Self:
        """Return an intake with the timeouts of the settings."""
        return cls(
            sender,
            store,
            clock,
            topic=topic_name(INBOUND, settings.topic_prefix),
            seconds=settings.door_seconds,
            claim_seconds=settings.claim_seconds,
            claim_for=timedelta(days=settings.claim_days),
        )

    async def take(self, envelope: Envelope, body: bytes) -> str:
        """Write a message and return its receipt once Kafka has acknowledged it. Raises TransientError on timeout."""
        with tracing.span(f"accept {envelope.channel}", "producer") as span:
            return await self._take(envelope, body, span.traceparent or envelope.traceparent)

    async def _take(self, envelope: Envelope, body: bytes, traceparent: str | None) -> str:
        receipt = uuid7()
        begin = self._clock.monotonic()
        claim = None
        if len(body) > MAX_INLINE_BYTES:
            claim = await self._store_body(receipt, body)
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
            traceparent=traceparent,
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
        """Write one record within the door's timeout. Raises TransientError."""
        await self._sender.send(record, seconds=self._seconds)

    async def _store_body(self, receipt: str, body: bytes) -> str:
        expires = self._clock.now() + self._claim_for
        try:
            async with asyncio.timeout(self._claim_seconds):
                await blobs.put(self._store, receipt, body, expires=expires)
        except TimeoutError as error:
            raise TransientError("MongoDB did not store a large body in time") from error
        metrics.CLAIMS.inc()
        return receipt
