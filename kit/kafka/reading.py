"""How records and ends of partitions are read off Kafka, by a client library with habits of its own.

Which batches that makes is decided here; what is done with them, and which positions are committed, is `consumer.py`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError

from kit.base.clock import Clock
from kit.base.errors import TransientError
from kit.kafka.batch_size import BatchSize, Records, Weigh, fitting, weigh_all
from kit.kafka.private import unreadable
from kit.protocol.record import Unread, weight

log = structlog.get_logger(__name__)

#: Longest wait of one poll, in ms: records of resumed partitions do not wake a poll.
POLL_MS = 200
#: Seconds until a question to the broker or the group's coordinator is given up.
ANSWER_SECONDS = 5.0
#: Longest wait for one record that is known to be there.
LOOK_MS = 1000


@asynccontextmanager
async def in_time() -> AsyncIterator[None]:
    """Bound a question that the client library would ask until it is answered; raises KafkaTimeoutError.

    Without it a long outage of Kafka keeps the poll loop in one call, and liveness takes that for a hanging process.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            yield
    except TimeoutError as late:
        raise KafkaTimeoutError(f"no answer within {ANSWER_SECONDS:g} s") from late


class PollingConsumer(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka has no types
    """aiokafka's consumer for FastStream's loop: once it has `polls`, those decide what a poll brings."""

    polls: PollLoop | None = None

    async def getmany(self, *partitions: TopicPartition, **options: Any) -> Records:
        """Return a batch. `PollLoop` asks the library itself, past this method."""
        if self.polls is not None:
            return await self.polls.getmany()
        found: Records = await super().getmany(*partitions, **options)
        return found


async def _nothing() -> None:
    """Do nothing before a poll."""


class PollLoop:
    """The polls of one client. They return only with records: after an empty poll, FastStream sleeps."""

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
        """Records of which none is urgent wait up to `gather` seconds for more, and go as one batch.

        `weigh` says how many bytes a record takes in memory while it is handled. `before` is awaited before each poll,
        `after` called with the records of a batch, before the client can fetch ahead. `poll` is the library's own poll.
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
                # The client library reads names of headers as UTF-8 and would fail on this record for ever.
                self._drop()
                polled = await self._around(fault)
            except Exception:  # whatever it was: what the client had given out of its buffers is not here
                self._drop()
                raise
            self._take(polled)
        if polled:
            self._after()
        return polled

    async def _poll(self, *partitions: TopicPartition, **options: Any) -> Records:
        """Poll for a bounded time. While partitions move the client waits for its share, however long that takes.

        The bound loses nothing of what is given out: between taking records and returning them the client never waits.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS) as bound:
                return await self._unbounded(*partitions, **options)
        except TimeoutError:
            if not bound.expired():
                raise
            return {}

    def _fitting(self, polled: Records) -> Records:
        """Take what a batch has room for, and go back to the rest."""
        taken, left = fitting(polled, self._size.bytes, self._weigh)
        for tp in self._client.assignment() & left.keys():
            self._client.seek(tp, left[tp])
        return taken

    def _take(self, polled: Records) -> None:
        """Have records in hand: their batch begins some steps later, and timers must not run ahead of it."""
        self._in_hand({tp: records[0].offset for tp, records in polled.items() if records})

    async def _wait_for_more(self, polled: Records) -> None:
        """Add to what was polled until something urgent comes, the time is over or there is no more room."""
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
        """Take nothing as handled for now: a poll that fails drops what it had taken of other partitions."""
        self._dropped = True
        self._in_hand(dict.fromkeys(self._client.assignment(), 0))

    async def _go_back(self) -> None:
        """Go back to what is committed. Until that has worked nothing is polled: it would be committed past this."""
        client = self._client
        for (
            tp
        ) in client.assignment():  # each has its time: many may take longer together, and would begin again for ever
            async with in_time():
                at = await client.committed(tp)
                client.seek(tp, at) if at is not None else await client.seek_to_beginning(tp)
            self._beat()
        self._dropped = False
        self._in_hand({})

    async def _around(self, fault: UnicodeDecodeError) -> Records:
        """Pass a record by: first comes what stands before it, then the record itself, as one without content."""
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
                client.seek(tp, position)  # offsets with gaps: one record after the other
        log.error("a record cannot be read", topic=tp.topic, partition=tp.partition, offset=offset)
        client.seek(tp, offset + 1)
        return {
            tp: [Unread(tp.topic, tp.partition, offset, f"the name of a header is not valid UTF-8: {fault.reason}")]
        }


class Ends:
    """Where partitions end, and since when records wait in them.

    Asked on a connection of its own: on the consumer's the answer waits behind its polls.
    """

    def __init__(self, servers: str, client_id: str) -> None:
        self._options: dict[str, Any] = {
            "bootstrap_servers": servers,
            "client_id": client_id,
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "max_partition_fetch_bytes": 1,  # brokers give one whole batch all the same
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
        """Let go of the connection."""
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
        """Return the timestamps (seconds) of the first records at these offsets or behind them.

        What cannot be read or has no timestamp is left out. Raises TransientError while the broker is away.
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
    """Return when a record was written (seconds); None where its producer gave no time (Kafka: -1)."""
    timestamp: int | None = getattr(record, "timestamp", None)
    return timestamp / 1000 if timestamp and timestamp > 0 else None


async def _look(client: AIOKafkaConsumer, tp: TopicPartition, offset: int) -> Any:
    """Read one record, or nothing if there is none or the client library cannot read it."""
    client.assign([tp])
    client.seek(tp, offset)
    try:
        polled = await client.getmany(tp, timeout_ms=LOOK_MS, max_records=1)
    except UnicodeDecodeError:
        return None
    return next(iter(polled.get(tp, ())), None)
