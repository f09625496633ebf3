"""Reading records and the ends of partitions off Kafka, around the habits of the client library.

Which records make a batch is decided here; what is done with them, and which positions are committed, in `consumer.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError

from kit.base.clock import Clock
from kit.base.errors import TransientError
from kit.kafka.batch_size import BatchSize, Records, Weigh, fitting, weigh_all
from kit.kafka.connection import Kafka, client_options
from kit.kafka.private import raise_group_errors, unreadable
from kit.protocol.record import Record, Unread, weight

R = TypeVar("R", bound=Record)
log = structlog.get_logger(__name__)

#: Longest wait of one poll in ms: records of partitions that are resumed meanwhile do not end it.
POLL_MS = 200
#: Seconds until a request to the broker or the group's coordinator is given up.
ANSWER_SECONDS = 5.0
#: Age in ms at which clients ask anew who leads which partition: a leader that has vanished does not tell them.
METADATA_MS = 10_000
#: Longest wait in ms for a record that is known to exist.
LOOK_MS = 1000


@asynccontextmanager
async def in_time() -> AsyncIterator[None]:
    """Bound a request that the client library would repeat until it is answered; raises KafkaTimeoutError.

    Without the bound a long outage keeps the poll loop in one call, which liveness takes for a hanging process.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            yield
    except TimeoutError as late:
        raise KafkaTimeoutError(f"no answer within {ANSWER_SECONDS:g} s") from late


def lane(record: Record) -> TopicPartition:
    """Return the partition of a record."""
    return TopicPartition(record.topic, record.partition)


def firsts(records: Iterable[R]) -> dict[TopicPartition, R]:
    """Return the first of these records in each partition."""
    found: dict[TopicPartition, R] = {}
    for record in records:
        found.setdefault(lane(record), record)
    return found


class PollingConsumer(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka has no types
    """aiokafka's consumer for FastStream's loop: once it has `polls`, those decide what a poll returns."""

    polls: PollLoop | None = None

    def __init__(self, *topics: str, **options: Any) -> None:
        super().__init__(*topics, **options)
        raise_group_errors(self)

    async def getmany(self, *partitions: TopicPartition, **options: Any) -> Records:
        """Return a batch. `PollLoop` itself polls the library past this method."""
        if self.polls is not None:
            return await self.polls.getmany()
        found: Records = await super().getmany(*partitions, **options)
        return found


async def _nothing() -> None:
    """Do nothing before a poll."""


class PollLoop:
    """The polls of one client. They return only with records, because FastStream sleeps after an empty poll."""

    def __init__(
        self,
        client: AIOKafkaConsumer,
        clock: Clock,
        *,
        running: Callable[[], bool],
        beat: Callable[[], object],
        in_hand: Callable[[Mapping[TopicPartition, int]], None],
        size: BatchSize,
        before: Callable[[], Awaitable[object]] = _nothing,
        after: Callable[[], object] = lambda: None,
        poll: Callable[..., Awaitable[Records]] | None = None,
        weigh: Weigh = weight,
        gather: float = 0.0,
        urgent: Callable[[Any], bool] = lambda _: True,
    ) -> None:
        """Records of which none is `urgent` wait up to `gather` seconds for more, and become one batch.

        `weigh` returns how many bytes a record takes in memory while it is handled. `in_hand` is called with the first
        offsets of what is polled and not handled, `before` is awaited before each poll, and `after` is called once
        there is a batch, before the client can fetch ahead. `poll` is the library's own poll.
        """
        self._client, self._clock, self._size, self._weigh = client, clock, size, weigh
        self._before, self._after, self._gather, self._urgent = before, after, gather, urgent
        self._running, self._beat, self._in_hand = running, beat, in_hand
        self._unbounded: Callable[..., Awaitable[Records]] = poll or client.getmany
        self._dropped = False

    async def getmany(self) -> Records:
        """Wait until there are records."""
        polled: Records = {}
        while not polled and self._running():
            self._beat()
            try:
                if self._dropped:
                    await self._go_back()
                self._in_hand({})
                await self._before()
                polled = await self._poll(timeout_ms=POLL_MS, max_records=self._size.records)
                if self._gather and polled:
                    await self._wait_for_more(polled)
                polled = self._fitting(polled)
            except UnicodeDecodeError as fault:
                # The client library decodes the names of headers as UTF-8, and would fail on this record forever.
                self._drop()
                polled = await self._around(fault)
            except Exception:  # whatever it was, what the client had taken out of its buffers is lost
                self._drop()
                raise
            self._take(polled)
        if polled:
            self._after()
        return polled

    async def _poll(self, *partitions: TopicPartition, **options: Any) -> Records:
        """Poll for a bounded time: during a rebalance the client would wait until it has ended.

        No record is lost by that: between taking records out of its buffers and returning them the client never waits.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS) as bound:
                return await self._unbounded(*partitions, **options)
        except TimeoutError:
            if not bound.expired():
                raise
            return {}

    def _fitting(self, polled: Records) -> Records:
        """Return the records that fit into a batch, and seek back to the others."""
        taken, left = fitting(polled, self._size.bytes, self._weigh)
        for tp in self._client.assignment() & left.keys():
            self._client.seek(tp, left[tp])
        return taken

    def _take(self, polled: Records) -> None:
        """Mark records as not handled yet: their batch begins some steps later, and timers must not overtake it."""
        self._in_hand({tp: records[0].offset for tp, records in polled.items() if records})

    async def _wait_for_more(self, polled: Records) -> None:
        """Add to what was polled until something urgent arrives, the time is up, or the batch is full."""
        end = self._clock.monotonic() + self._gather
        new = polled
        while self._running() and not any(self._urgent(record) for records in new.values() for record in records):
            self._beat()
            self._take(polled)
            left = end - self._clock.monotonic()
            room = self._size.records - sum(len(records) for records in polled.values())
            if left <= 0 or room <= 0 or weigh_all(polled, self._weigh) >= self._size.bytes:
                return
            new = await self._poll(timeout_ms=min(POLL_MS, max(1, round(left * 1000))), max_records=room)
            for tp, records in new.items():
                polled.setdefault(tp, []).extend(records)

    def _drop(self) -> None:
        """Count nothing as handled: a poll that fails drops what it had taken from other partitions."""
        self._dropped = True
        self._in_hand(dict.fromkeys(self._client.assignment(), 0))

    async def _go_back(self) -> None:
        """Seek back to what is committed. Nothing is polled before: it would be committed past the dropped records."""
        client = self._client
        # Each partition has a time limit of its own: many may take longer together, and would start over each time.
        for tp in client.assignment():
            async with in_time():
                at = await client.committed(tp)
                client.seek(tp, at) if at is not None else await client.seek_to_beginning(tp)
            self._beat()
        self._dropped = False
        self._in_hand({})

    async def _around(self, fault: UnicodeDecodeError) -> Records:
        """Get past a record that cannot be read: return the records before it, or the record itself without content."""
        client = self._client
        found = unreadable(client)
        await self._go_back()
        if found is None:
            raise fault
        tp, offset = found
        async with in_time():
            position: int = await client.position(tp)
        for most in (min(offset - position, self._size.records), 1) if position < offset else ():
            try:
                return await self._poll(tp, timeout_ms=1000, max_records=most)
            except UnicodeDecodeError:
                client.seek(tp, position)  # offsets have gaps: take one record at a time
        log.error("a record cannot be read", topic=tp.topic, partition=tp.partition, offset=offset)
        client.seek(tp, offset + 1)
        reason = f"the name of a header is not valid UTF-8: {fault.reason}"
        return {tp: [Unread(tp.topic, tp.partition, offset, reason)]}


class Ends:
    """Where partitions end, and since when records wait in them.

    Has a connection of its own: on the consumer's, answers would wait behind its polls.
    """

    def __init__(self, kafka: Kafka, client_id: str) -> None:
        self._options: dict[str, Any] = {
            **client_options(kafka),
            "client_id": client_id,
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "request_timeout_ms": int(ANSWER_SECONDS * 800),  # before `in_time` ends: then the connection is renewed
            "metadata_max_age_ms": METADATA_MS,
            "max_partition_fetch_bytes": 1,  # brokers still return one whole batch
        }
        self._looking = asyncio.Lock()
        self._client: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Connect; raises KafkaError or OSError while no broker answers."""
        client = AIOKafkaConsumer(**self._options)
        try:
            await client.start()
        except BaseException:
            await client.stop()
            raise
        self._client = client

    async def stop(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            await client.stop()

    async def of(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the end offsets; raises TransientError while the broker is away."""
        if not partitions:
            return {}
        if self._client is None:
            raise TransientError("not connected")
        try:
            async with in_time():
                ends: dict[TopicPartition, int] = await self._client.end_offsets(list(partitions))
        except KafkaError as error:
            raise TransientError(f"the end offsets are unknown: {error!r}") from error
        return ends

    async def instants(self, places: Mapping[TopicPartition, int]) -> dict[TopicPartition, float]:
        """Return the timestamps (in seconds) of the first records at or after these offsets.

        Records that cannot be read or have no timestamp are left out. Raises TransientError while the broker is away.
        """
        found: dict[TopicPartition, float] = {}
        async with self._looking:
            if (client := self._client) is None:
                raise TransientError("not connected")
            try:
                for tp, offset in places.items():
                    async with in_time():
                        record = await _look(client, tp, offset)
                    if record and (written := instant(record)):
                        found[tp] = written
            except KafkaError as error:
                raise TransientError(f"waiting records are unknown: {error!r}") from error
            finally:
                client.unsubscribe()
        return found


def instant(record: Any) -> float | None:
    """Return when a record was written (in seconds); None where its producer gave no time (Kafka: -1)."""
    timestamp: int | None = getattr(record, "timestamp", None)
    return timestamp / 1000 if timestamp and timestamp > 0 else None


async def _look(client: AIOKafkaConsumer, tp: TopicPartition, offset: int) -> Any:
    """Return the first record at or after an offset; None if there is none, or the client library cannot read it."""
    client.assign([tp])
    client.seek(tp, offset)
    try:
        polled = await client.getmany(tp, timeout_ms=LOOK_MS, max_records=1)
    except UnicodeDecodeError:
        return None
    return next(iter(polled.get(tp, ())), None)
