"""Reading topics without joining a group: from the beginning to what is there now, or on and on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient


@dataclass(frozen=True, slots=True)
class Line:
    """A record, as far as the command line looks at it. `topic` is without the installation's prefix."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    timestamp_ms: int


async def read(
    bootstrap: str, topics: Iterable[str], *, prefix: str = "", follow: bool = False, from_end: bool = False
) -> AsyncIterator[Line]:
    """Yield records of topics (named without prefix); ends at the ends as they were at the start, unless it follows.

    Topics that do not exist are passed over.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        there = set(await admin.list_topics())
    finally:
        await admin.close()
    names = [prefix + topic for topic in topics if prefix + topic in there]
    if not names:
        return
    # Without a group, the consumer is given all partitions of the topics that it is made with.
    consumer = AIOKafkaConsumer(
        *names,
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=100,
    )
    await consumer.start()
    try:
        parts = list(consumer.assignment())
        ends = await consumer.end_offsets(parts)
        # Not seek_to_beginning or seek_to_end: they race with the reset that the fetcher does after an assignment.
        starts = ends if from_end else await consumer.beginning_offsets(parts)
        for tp in parts:
            consumer.seek(tp, starts[tp])
        while follow or [tp for tp in parts if await consumer.position(tp) < ends[tp]]:
            polled = await consumer.getmany(timeout_ms=100, max_records=2000)
            for tp, records in polled.items():
                for r in records:
                    if follow or r.offset < ends[tp]:
                        name = tp.topic.removeprefix(prefix)
                        yield Line(name, tp.partition, r.offset, r.key, r.value, r.headers, r.timestamp)
    finally:
        await consumer.stop()
