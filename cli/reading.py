"""Reading topics without a consumer group: up to their present ends, or following them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition

from cli.topics import existing
from kit.kafka.connection import Kafka, client_options


@dataclass(frozen=True, slots=True)
class TopicRecord:
    """A record of a topic. `topic` is the name without the installation's prefix."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    timestamp_ms: int


async def read(
    kafka: Kafka,
    topics: Iterable[str],
    *,
    prefix: str = "",
    follow: bool = False,
    from_end: bool = False,
    last: bool = False,
) -> AsyncIterator[TopicRecord]:
    """Yield the records of topics, named without prefix. Topics that do not exist are skipped.

    Stops at the ends that the topics had at the start, unless `follow` is set. `last` yields the last record
    of each partition only. Raises TopicAuthorizationFailedError
    if this user may not see some of them.
    """
    names = await existing(kafka, [prefix + topic for topic in topics])
    if not names:
        return
    # Without a group, a consumer is assigned all partitions of the topics passed to its constructor.
    consumer = AIOKafkaConsumer(
        *names,
        **client_options(kafka),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=100,
    )
    await consumer.start()
    try:
        parts = list(consumer.assignment())
        ends = await consumer.end_offsets(parts)
        # seek_to_beginning and seek_to_end would race with the fetcher's own reset after an assignment.
        starts = ends if from_end else await consumer.beginning_offsets(parts)
        if last:
            starts = {tp: max(start, ends[tp] - 1) for tp, start in starts.items()}
        for tp in parts:
            consumer.seek(tp, starts[tp])
        while follow or [tp for tp in parts if await consumer.position(tp) < ends[tp]]:
            polled = await consumer.getmany(timeout_ms=100, max_records=2000)
            for tp, records in polled.items():
                for r in records:
                    if follow or r.offset < ends[tp]:
                        name = tp.topic.removeprefix(prefix)
                        yield TopicRecord(name, tp.partition, r.offset, r.key, r.value, r.headers, r.timestamp)
    finally:
        await consumer.stop()


async def bounds(kafka: Kafka, topics: Iterable[str], *, prefix: str = "") -> dict[TopicPartition, tuple[int, int]]:
    """Return the first offset and the end of each partition, topics named without prefix. Leaves out unknown topics."""
    names = await existing(kafka, [prefix + topic for topic in topics])
    if not names:
        return {}
    consumer = AIOKafkaConsumer(*names, **client_options(kafka), enable_auto_commit=False)
    await consumer.start()
    try:
        parts = list(consumer.assignment())
        begins, ends = await consumer.beginning_offsets(parts), await consumer.end_offsets(parts)
        return {TopicPartition(tp.topic.removeprefix(prefix), tp.partition): (begins[tp], ends[tp]) for tp in parts}
    finally:
        await consumer.stop()
