"""Whether the services of an installation stand still: nobody in their groups, no lag, no event unpublished.

Read-only. Commands that change documents ask here first, and refuse while the answer is not empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta

from aiokafka import TopicPartition

from cli.reading import bounds, read
from cli.stores import KINDS
from cli.topics import committed, members
from contracts.envelope import Event
from contracts.topics import CONSUMES, group_name, topic_name
from kit.base.clock import SystemClock
from kit.kafka.connection import Kafka
from kit.mongo import MongoStore

#: Any entry of an outbox is older than this from now.
_EVER = timedelta(days=365)


class Refused(Exception):
    """Nothing was changed, for each of these reasons."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


async def running(kafka: Kafka, prefix: str, services: Sequence[str]) -> list[str]:
    """Return which of these services still run. Raises TransientError if no broker answers."""
    counts = await members(kafka, [group_name(service, prefix) for service in services])
    return [f"{name} has {count} running consumers: stop the service" for name, count in counts.items() if count]


async def lagging(kafka: Kafka, prefix: str, services: Sequence[str]) -> list[str]:
    """Return which of these services have records before them, by topic."""
    found = []
    for service in services:
        offsets = await committed(kafka, group_name(service, prefix))
        lag: dict[str, int] = {}
        for tp, (begin, end) in (await bounds(kafka, CONSUMES[service], prefix=prefix)).items():
            # What retention has deleted can no longer be handled.
            if behind := end - max(begin, offsets.get(TopicPartition(topic_name(tp.topic, prefix), tp.partition), 0)):
                lag[tp.topic] = lag.get(tp.topic, 0) + behind
        found += [f"{service} has not handled {count} records of {topic}" for topic, count in lag.items()]
    return found


async def unpublished(stores: Mapping[str, MongoStore]) -> list[str]:
    """Return which collections hold events that are not confirmed by Kafka."""
    found, later = [], SystemClock().now() + _EVER
    for service, store in stores.items():
        for kind in KINDS[service]:
            if rows := await store.stale(kind.collection, later, 100):
                many = "100 or more" if len(rows) == 100 else len(rows)
                found.append(f"{service}: {many} documents of {kind.collection} have unpublished events")
    return found


async def foreign(kafka: Kafka, prefix: str, stores: Mapping[str, MongoStore]) -> list[str]:
    """Return which databases do not belong to these topics: a document of what was published last is not there.

    Documents are never deleted. A connection string of another installation, set by mistake, is found so.
    """
    found = []
    for service, store in stores.items():
        for kind in KINDS[service]:
            published = set()
            async for record in read(kafka, [kind.topic], prefix=prefix, last=True):
                with suppress(ValueError):  # what is no event
                    event = Event.parse(record.value or b"")
                    published |= {event.subject} if event.source == kind.source else set()
            there = {row["_id"] for row in await store.fetch(kind.collection, sorted(published))}
            if gone := sorted(published - there):
                reason = f"{gone[0]} of {topic_name(kind.topic, prefix)} is not in {kind.collection}"
                found.append(f"{service}: {reason}: is this the database of another installation?")
    return found
