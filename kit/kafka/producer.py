"""Writing to Kafka: acknowledged by all replicas, idempotent, bounded in time, with a new producer after a fatal error.

Rule: records of one run (one document's outbox, in order) reach their partition in that order, and no record is sent
while an earlier one of its run is not confirmed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from kit.base.errors import TransientError
from kit.kafka.connection import Kafka, client_options, unreachable
from kit.kafka.private import disconnect, sender_has_ended
from kit.protocol.ports import Outgoing
from kit.protocol.record import partition_of

log = structlog.get_logger(__name__)

#: Bytes of one produce batch. A larger record is sent alone.
BATCH_BYTES = 256 * 1024
#: Seconds after which an awaited send counts as unconfirmed, and its producer as stuck.
SEND_SECONDS = 10.0


def _choose(key: bytes | None, every: Sequence[int], available: Sequence[int]) -> int:
    """Choose a record's partition as aiokafka's default does, but hash each key only once."""
    return random.choice(available or every) if key is None else every[partition_of(key, len(every))]


class Producer:
    """An idempotent producer that outlives its own fatal errors."""

    def __init__(self, kafka: Kafka, *, client_id: str, max_request_bytes: int = 1_000_000) -> None:
        self._kafka = kafka
        self._options: dict[str, Any] = {
            **client_options(kafka),
            "client_id": client_id,
            "acks": "all",
            "enable_idempotence": True,
            "max_batch_size": BATCH_BYTES,
            "max_request_size": max_request_bytes,
            "request_timeout_ms": int(SEND_SECONDS * 500),  # one broker may vanish without a word, another answers
            "retry_backoff_ms": 50,
            "metadata_max_age_ms": 10_000,
            "partitioner": _choose,
        }
        self._producer: AIOKafkaProducer | None = None
        self._replacing = asyncio.Lock()
        self._farewells: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect; raises TransientError while no broker answers."""
        await self._current()

    async def stop(self) -> None:
        """Send what is buffered, within the bound, and disconnect."""
        if self._producer is not None:
            await _close(self._producer)
            self._producer = None
        for farewell in list(self._farewells):
            farewell.cancel()

    def fault(self) -> str | None:
        """Return what is wrong with the sender task, for liveness: one that has ended never sends again."""
        if self._producer is None:
            return None
        return "the producer's sender task has exited" if sender_has_ended(self._producer) else None

    async def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has; raises TransientError while the broker is away."""
        _, counts = await self._reached({topic})
        return counts[topic]

    async def send(self, record: Outgoing, *, seconds: float = SEND_SECONDS) -> None:
        """Send one record and wait until all replicas have it; raises TransientError where that is not sure in time.

        An unconfirmed record may still be appended later.
        """
        producer, headers = self._producer, list(record.headers)
        try:
            async with asyncio.timeout(seconds):
                producer = producer or await self._current()
                await (await producer.send(record.topic, record.value, key=record.key, headers=headers))
        except (KafkaError, TimeoutError) as error:
            if producer is not None and _fatal(error):
                self._replace(producer, error)
            raise TransientError(f"not confirmed by Kafka: {error!r}") from error

    async def send_runs(self, runs: Sequence[Sequence[Outgoing]]) -> list[int]:
        """Send runs of records; returns for each run how many records, from its beginning, were confirmed.

        All records of a run have one topic and one key. Runs to different partitions are sent concurrently. Raises
        TransientError while the broker is away.
        """
        confirmed = [0] * len(runs)
        producer, counts = await self._reached({run[0].topic for run in runs if run})
        lanes: dict[tuple[str, int], list[tuple[int, Outgoing]]] = defaultdict(list)
        for index, run in enumerate(runs):
            if run:
                topic = run[0].topic
                lane = lanes[topic, partition_of(run[0].key, counts[topic])]
                lane.extend((index, record) for record in run)
        sent = await asyncio.gather(*(self._send_lane(producer, lane, confirmed, *tp) for tp, lane in lanes.items()))
        if (fatal := next(filter(None, sent), None)) is not None:
            self._replace(producer, fatal)
        return confirmed

    async def _reached(self, topics: Collection[str]) -> tuple[AIOKafkaProducer, dict[str, int]]:
        """Return a connected producer and the topics' partition counts; raises TransientError after `SEND_SECONDS`."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                producer = await self._current()
                return producer, {topic: len(await producer.partitions_for(topic)) for topic in topics}
        except (KafkaError, TimeoutError) as error:
            raise TransientError(f"the partitions of {', '.join(topics)} are unknown: {error!r}") from error

    async def _send_lane(
        self,
        producer: AIOKafkaProducer,
        lane: Sequence[tuple[int, Outgoing]],
        confirmed: list[int],
        topic: str,
        partition: int,
    ) -> Exception | None:
        """Send a partition's records batch after batch, up to the first failure; return that error if it is fatal."""
        start = 0
        while start < len(lane):
            builder = producer.create_batch()
            end = start
            while end < len(lane) and _append(builder, lane[end][1]):
                end += 1
            builder.close()
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    await (await producer.send_batch(builder, topic, partition=partition))
            except (KafkaError, TimeoutError) as error:
                log.warning("records not confirmed", topic=topic, partition=partition, error=repr(error))
                return error if _fatal(error) else None
            for index, _ in lane[start:end]:
                confirmed[index] += 1
            start = end
        return None

    async def _fresh(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(**self._options)
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await producer.start()
        except BaseException as error:  # also where the caller gives up waiting: it must not stay open
            self._farewell(producer)
            if isinstance(error, KafkaError | TimeoutError | OSError):
                raise unreachable(self._kafka, error) from error
            raise
        return producer

    async def _current(self) -> AIOKafkaProducer:
        producer = self._producer
        if producer is None:
            async with self._replacing:
                producer = self._producer = self._producer or await self._fresh()
        return producer

    def _replace(self, poisoned: AIOKafkaProducer, error: Exception) -> None:
        """Drop a producer that a refused or hanging record has poisoned; the next send makes a new one.

        Callers set a deadline, so this never waits. Of several sends that failed on one producer, the first drops it.
        """
        if self._producer is poisoned:
            self._producer = None
            log.warning("replacing the producer", error=repr(error))
            self._farewell(poisoned)

    def _farewell(self, producer: AIOKafkaProducer) -> None:
        """Close a producer in the background."""
        farewell = asyncio.create_task(_close(producer))
        self._farewells.add(farewell)
        farewell.add_done_callback(self._farewells.discard)


def _append(builder: Any, record: Outgoing) -> bool:
    headers = list(record.headers)
    return builder.append(timestamp=None, key=record.key, value=record.value, headers=headers) is not None


def _fatal(error: Exception) -> bool:
    """Whether a producer is unusable after an error.

    A timeout means a stuck sender; an error that cannot be retried poisons an idempotent producer's sequence.
    """
    return isinstance(error, TimeoutError) or not getattr(error, "retriable", False)


async def _close(producer: AIOKafkaProducer) -> None:
    """Send what is buffered, within a bound, and disconnect."""
    with contextlib.suppress(KafkaError, TimeoutError):
        async with asyncio.timeout(2):
            await producer.flush()
    await disconnect(producer)
