"""The load: requests over plain sockets, records over a bare producer, and a watcher of what comes of them.

As little work as possible is done here, since it shares the machine with what it measures.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from cli.traffic import Hook, Traffic
from contracts import topics
from contracts.inbound import HttpRequest, InboundRecord
from kit.base.clock import SystemClock
from kit.base.ids import uuid7
from services.ingest.channels import WEBHOOKS
from services.ingest.channels import channel as channels

_CORRELATION = re.compile(rb'"correlationid":"([0-9a-f-]{36})"')
ASSIGNED = b'"type":"deskbus.ticket.assigned.v1"'
STARTED = b'"type":"deskbus.sla.clock_started.v1"'


def hooks(traffic: Traffic, count: int) -> list[Hook]:
    """Messages of the channels that come by HTTP, each from another customer."""
    makers = (
        traffic.whatsapp,
        traffic.line,
        traffic.sms,
        lambda: traffic.webhook("coupang-kr"),
        lambda: traffic.webhook("allegro-pl"),
    )
    return [makers[number % len(makers)]() for number in range(count)]


def request_bytes(hook: Hook, host: str) -> bytes:
    """A whole HTTP request."""
    headers = "".join(f"{name}: {value}\r\n" for name, value in hook.headers.items())
    head = f"POST {hook.path} HTTP/1.1\r\nhost: {host}\r\n{headers}content-length: {len(hook.body)}\r\n\r\n"
    return head.encode() + hook.body


class Client:
    """Connections to one door. Each carries one request at a time, as a provider's does."""

    def __init__(self, url: str, connections: int) -> None:
        place = urlsplit(url)
        self.host, self._port, self._count = place.hostname or "", place.port or 80, connections
        self._free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        for _ in range(self._count):
            self._free.put_nowait(await asyncio.open_connection(self.host, self._port))
        return self

    async def __aexit__(self, *_: object) -> None:
        while not self._free.empty():
            self._free.get_nowait()[1].close()

    async def send(self, request: bytes) -> None:
        """Send one request; anything but 200, 202 or 204 is an error."""
        reader, writer = await self._free.get()
        if reader.at_eof():  # the door closes what was quiet for some seconds
            writer.close()
            reader, writer = await asyncio.open_connection(self.host, self._port)
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            await reader.readexactly(length)
        finally:
            self._free.put_nowait((reader, writer))
        if head[9:12] not in {b"200", b"202", b"204"}:
            raise RuntimeError(f"the door did not take it: {head[:60]!r}")

    async def send_all(self, requests: Sequence[bytes]) -> None:
        """Send all, on all connections."""
        waiting = iter(requests)

        async def one() -> None:
            for request in waiting:
                await self.send(request)

        await asyncio.gather(*(one() for _ in range(self._count)))


def inbound_record(hook: Hook) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    """Key, value and headers as the door writes them for this request, with the receipt made now."""
    name = hook.path.split("/")[3]
    channel = WEBHOOKS[name]
    query = {"account": hook.account} if "?account=" in hook.path else {}
    given = channels.Request(hook.body, hook.headers, query, "", "POST")
    record = InboundRecord(
        receipt=uuid7(),
        channel=name,
        account=hook.account,
        key=channels.short_key(hook.account, channel.contact_key(given) or channels.digest(hook.body)),
        received_at=SystemClock().now(),
        content_type=hook.headers["content-type"],
        body=hook.body,
        size=len(hook.body),
        verified=True,
        http=HttpRequest(headers={h: hook.headers[h] for h in channel.HEADERS if h in hook.headers}),
    )
    return record.key.encode(), hook.body, record.to_headers()


class Feeder:
    """A bare producer that writes inbound records itself: what the door would cost is left out."""

    def __init__(self, kafka: str, prefix: str) -> None:
        self._topic = topics.topic_name(topics.INBOUND, prefix)
        self._producer = AIOKafkaProducer(
            bootstrap_servers=kafka, acks="all", enable_idempotence=True, max_batch_size=256 * 1024, linger_ms=5
        )

    async def __aenter__(self) -> Self:
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()

    async def feed(self, batch: Sequence[Hook]) -> None:
        """Write them, and wait for Kafka's acknowledgement."""
        sent = []
        for hook in batch:
            key, value, headers = inbound_record(hook)
            sent.append(await self._producer.send(self._topic, value, key=key, headers=headers))
        await asyncio.gather(*sent)


@dataclass
class Watcher:
    """Follows assignments and clocks, and knows when each ticket had both."""

    consumer: AIOKafkaConsumer
    assigned: dict[bytes, tuple[bytes, int, float]] = field(default_factory=dict)
    """Ticket -> receipt, the record's own time in ms, when it was seen here."""
    clocked: set[bytes] = field(default_factory=set)
    done: int = 0
    last: float = 0.0
    """When the last effect was seen (monotonic)."""
    moved: float = 0.0
    """When anything was seen (monotonic)."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        clock = SystemClock()
        while True:
            polled = await self.consumer.getmany(timeout_ms=200, max_records=5000)
            now, wall = clock.monotonic(), clock.now().timestamp() * 1000
            for records in polled.values():
                for record in records:
                    self._take(record, wall)
            if polled:
                self.moved = now
                done = len(self.clocked & self.assigned.keys())
                if done != self.done:
                    self.done, self.last = done, now
                    self.changed.set()

    def _take(self, record: Any, wall: float) -> None:
        if ASSIGNED in record.value:
            found = _CORRELATION.search(record.value)
            self.assigned.setdefault(record.key, (found[1] if found else b"", record.timestamp, wall))
        elif STARTED in record.value:
            self.clocked.add(record.key)

    async def until(self, count: int, seconds: float) -> None:
        """Wait until so many tickets are assigned and clocked; gives up after so many seconds without any progress."""
        while self.done < count:
            self.changed.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self.changed.wait()
            except TimeoutError:
                raise TimeoutError(f"{self.done} of {count} tickets, and none more in {seconds:.0f} s") from None

    def latencies(self) -> tuple[list[float], list[float]]:
        """Milliseconds from the door's receipt (a UUIDv7 tells its time) to the record, and to its being seen."""
        written, seen = [], []
        for receipt, stamp, wall in self.assigned.values():
            if receipt:
                accepted = int(receipt[:13].replace(b"-", b""), 16)
                written.append(float(stamp - accepted))
                seen.append(wall - accepted)
        return sorted(written), sorted(seen)


@asynccontextmanager
async def watching(kafka: str, prefix: str) -> AsyncIterator[Watcher]:
    """A watcher from the present ends on."""
    names = [topics.topic_name(name, prefix) for name in (topics.ASSIGNMENTS, topics.SLA)]
    consumer = AIOKafkaConsumer(
        *names, bootstrap_servers=kafka, enable_auto_commit=False, auto_offset_reset="latest", fetch_max_wait_ms=20
    )
    await consumer.start()
    try:
        parts = list(consumer.assignment())
        for tp, end in (await consumer.end_offsets(parts)).items():
            consumer.seek(tp, end)
        watcher = Watcher(consumer)
        following = asyncio.create_task(watcher.run())
        try:
            yield watcher
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
    finally:
        await consumer.stop()


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")
