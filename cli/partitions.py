"""Moving an installation to another number of partitions: new topics, and the partition of every document again.

Rule: the documents move only while everything stands still, and a second run ends where the first one would have. The
services are then started with the new prefix. What subscribers read in the old topics stays there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cli.letters import Choice, find
from cli.reading import TopicRecord, bounds, read
from cli.standstill import Refused, foreign, lagging, running, unpublished
from cli.stores import KINDS
from cli.topics import committed, create_topics
from contracts.topics import MAX_MESSAGE_BYTES, SERVICES, TOPICS, group_name, topic_name
from kit.kafka.connection import Kafka
from kit.kafka.producer import Producer
from kit.mongo import MongoStore
from kit.protocol.ports import Outgoing
from kit.protocol.record import partition_of

#: Documents that are read, and changed, in one statement.
PAGE = 1_000
_COMPACTED = tuple(topic.name for topic in TOPICS if topic.compacted)


@dataclass
class Move:
    """What was, or would be, moved."""

    documents: dict[str, int] = field(default_factory=dict)
    """Collection, with its service -> its documents."""
    moved: dict[str, int] = field(default_factory=dict)
    """… of which the partition differs."""
    created: int = 0
    copied: int = 0
    """Records of compacted topics."""
    letters: dict[str, int] = field(default_factory=dict)
    """Service -> dead letters that were never replayed. They stay in the old topics."""
    applied: bool = False

    def lines(self) -> Iterator[str]:
        """Yield what was moved, or would be."""
        if self.applied:
            yield f"{self.created} topics created, {self.copied} records of compacted topics copied"
        for name, count in self.documents.items():
            yield f"{name}: {self.moved[name]} of {count} documents {'moved' if self.applied else 'would move'}"
        for service, count in self.letters.items():
            if count:
                yield f"{service}: {count} dead letters that were never replayed stay in the old topics"
        yield "start the services with the new prefix" if self.applied else "nothing was changed; --apply does it"


async def move(
    kafka: Kafka,
    stores: Mapping[str, MongoStore],
    *,
    prefix: str,
    to_prefix: str,
    partitions: int,
    replication: int | None = None,
    apply: bool = False,
) -> Move:
    """Move all services; without `apply`, only count. Raises Refused where something does not stand still."""
    if reasons := await _obstacles(kafka, stores, prefix, to_prefix, partitions):
        raise Refused(reasons)
    report = Move(applied=apply)
    for service in SERVICES:
        letters = (await find(kafka, service, Choice(), prefix=prefix)).letters
        report.letters[service] = sum(not letter.replayed for letter in letters)
    if apply:
        report.created = len((await create_topics(kafka, to_prefix, partitions, replication)).created)
        report.copied = await _copy(kafka, prefix, to_prefix)
    for service, store in stores.items():
        for kind in KINDS[service]:
            name = f"{service}.{kind.collection}"
            report.documents[name] = report.moved[name] = 0
            last = ""
            query = {"_id": {"$gt": last}}
            while rows := await store.find(
                kind.collection, query, sort=[("_id", 1)], limit=PAGE, projection=["partition"]
            ):
                new = {row["_id"]: partition_of(kind.home_key(row["_id"]).encode(), partitions) for row in rows}
                other = {row["_id"]: new[row["_id"]] for row in rows if row.get("partition") != new[row["_id"]]}
                if apply:
                    await store.set_each(kind.collection, "partition", other)
                report.documents[name] += len(rows)
                report.moved[name] += len(other)
                query = {"_id": {"$gt": rows[-1]["_id"]}}
    return report


async def _obstacles(
    kafka: Kafka, stores: Mapping[str, MongoStore], prefix: str, to_prefix: str, partitions: int
) -> list[str]:
    """Return why nothing may be moved now. Raises TransientError while a server is away."""
    names = [topic.name for topic in TOPICS]
    old = await bounds(kafka, names, prefix=prefix)
    if to_prefix == prefix:
        return ["the new prefix is the old one: topics are not changed in place, as that would break their order"]
    if missing := sorted(set(names) - {tp.topic for tp in old}):
        return [f"there are no topics {', '.join(topic_name(name, prefix) for name in missing)}: is the prefix right?"]
    reasons = await running(kafka, prefix, SERVICES)
    reasons += await lagging(kafka, prefix, SERVICES)
    reasons += await unpublished(stores)
    reasons += await foreign(kafka, prefix, stores)
    new = await bounds(kafka, names, prefix=to_prefix)
    counts = {name: sum(tp.topic == name for tp in new) for name in names}
    reasons += [
        f"{topic_name(name, to_prefix)} exists with {count} partitions"
        for name, count in counts.items()
        if count not in {0, partitions}
    ]
    reasons += await running(kafka, to_prefix, SERVICES)
    used = [service for service in SERVICES if await committed(kafka, group_name(service, to_prefix))]
    return reasons + [f"{group_name(service, to_prefix)} has been at work already" for service in used]


async def _copy(kafka: Kafka, prefix: str, to_prefix: str) -> int:
    """Copy the last record of each key of compacted topics, which hold what is true now, unless it is the last there.

    A copy that is older came from a run before the services went on with the old topics.
    """
    copied = 0
    producer = Producer(kafka, client_id="deskbus-partitions", max_request_bytes=MAX_MESSAGE_BYTES)
    await producer.start()
    try:
        for topic in _COMPACTED:
            latest: dict[bytes | None, TopicRecord] = {}
            async for record in read(kafka, [topic], prefix=prefix):
                latest[record.key] = record
            there = {record.key: record.value async for record in read(kafka, [topic], prefix=to_prefix)}
            for record in latest.values():
                if record.key in there and there[record.key] == record.value:
                    continue
                await producer.send(Outgoing(topic_name(topic, to_prefix), record.key, record.value, record.headers))
                copied += 1
    finally:
        await producer.stop()
    return copied
