"""Administration of topics: creates and configures them by the table in contracts. Reads and writes no records.

`python -m cli.topics` creates them without importing the services, as the rest of the command line does, so that the
image of any service can run it (compose.yaml).
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, TypeVar

import structlog
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaConnectionError,
    KafkaError,
    NotCoordinatorForGroupError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.metadata import MetadataRequest

from cli.screen import say
from contracts import topics as table
from kit.base.kafka_settings import KafkaSettings
from kit.kafka.connection import Connection, Kafka, client_options, unreachable

log = structlog.get_logger(__name__)
_VISIBLE_SECONDS = 30.0
COORDINATOR_SECONDS = 15.0
"""How long to wait for the coordinator of a consumer group."""
_IN_SYNC = "min.insync.replicas"
_SET_ON_TOPIC = 1  # ConfigSource.DYNAMIC_TOPIC_CONFIG
_GROUP = 0  # FindCoordinator is also asked for those of transactions
T = TypeVar("T")


@asynccontextmanager
async def admin(kafka: Kafka) -> AsyncIterator[AIOKafkaAdminClient]:
    """Connect a client for administration. Raises TransientError if no broker answers or accepts it."""
    client = AIOKafkaAdminClient(**client_options(kafka), client_id="deskbus-admin", request_timeout_ms=10_000)
    try:
        with _reaching(kafka):
            await client.start()
            yield client
    finally:
        await client.close()


@asynccontextmanager
async def client(kafka: Kafka) -> AsyncIterator[AIOKafkaClient]:
    """Connect a client for requests that the one for administration cannot make. Raises as `admin` does."""
    opened = AIOKafkaClient(**client_options(kafka), client_id="deskbus-admin", request_timeout_ms=10_000)
    try:
        with _reaching(kafka):
            await opened.bootstrap()
            yield opened
    finally:
        await opened.close()


@contextmanager
def _reaching(kafka: Kafka) -> Iterator[None]:
    try:
        yield
    except (KafkaError, OSError) as error:
        if isinstance(error, KafkaError) and not (error.retriable or isinstance(error, KafkaConnectionError)):
            raise
        raise unreachable(kafka, error) from error


@dataclass(frozen=True)
class TopicReport:
    """The topics that `create_topics` changed."""

    created: tuple[str, ...]
    configured: tuple[str, ...]
    other_partitions: tuple[str, ...]
    """Existing topics with another number of partitions, which is never changed."""


async def create_topics(
    kafka: Kafka,
    prefix: str = "",
    partitions: int = table.DEFAULT_PARTITIONS,
    replication: int | None = None,
    *,
    topics: Sequence[table.Topic] = table.TOPICS,
) -> TopicReport:
    """Create missing topics, correct the configuration of the others, and wait until all are usable.

    Without `replication`, the brokers' `default.replication.factor` counts. Writes need a majority
    of a topic's copies. Raises TransientError if no broker answers.
    """
    wanted = {table.topic_name(topic.name, prefix): table.settings(topic) for topic in topics}
    async with admin(kafka) as client:
        existing = set(await client.list_topics())
        missing = [name for name in wanted if name not in existing]
        if missing:
            new = [_new(name, partitions, replication, wanted[name]) for name in missing]
            _raise_errors((await client.create_topics(new)).topic_errors)
        usable = await _await_visible(client, list(wanted))
        configured = await _configure(client, wanted, usable)
    counts = {name: len(topic["partitions"]) for name, topic in usable.items()}
    other = tuple(name for name, count in counts.items() if count != partitions)
    if other:
        log.warning("topics exist with another number of partitions", topics=other, wanted=partitions)
    return TopicReport(tuple(missing), tuple(name for name in configured if name in existing), other)


def _new(name: str, partitions: int, replication: int | None, config: dict[str, str]) -> NewTopic:
    if replication is not None:
        return NewTopic(name, partitions, replication, topic_configs=config)
    # With -1 the brokers' default counts; the client library takes it only beside an assignment, which may be empty.
    return NewTopic(name, partitions, -1, replica_assignments={}, topic_configs=config)


def _raise_errors(errors: Sequence[tuple[object, ...]]) -> None:
    for topic, code, *reason in errors:
        kind = for_code(code)
        if code and kind is not TopicAlreadyExistsError:  # another process created it meanwhile
            raise kind(f"{topic}: {reason}")


async def _configure(
    client: AIOKafkaAdminClient, wanted: dict[str, dict[str, str]], described: Mapping[str, Mapping[str, Any]]
) -> tuple[str, ...]:
    """Alter configurations that differ; return the names of these topics."""
    if not wanted:
        return ()
    changes: dict[str, dict[str, str]] = {}
    for code, reason, _, name, entries in await configurations(client, list(wanted)):
        _raise_errors([(name, code, reason)])
        present = {entry[0]: entry[1] for entry in entries if _is_override(entry[3])}
        copies = min(len(partition["replicas"]) for partition in described[name]["partitions"])
        if present != (complete := overrides(present, wanted[name], copies)):
            changes[name] = complete
    if changes:
        altered = [ConfigResource(ConfigResourceType.TOPIC, name, configs=config) for name, config in changes.items()]
        for response in await client.alter_configs(altered):
            _raise_errors([(name, code, reason) for code, reason, _, name in response.resources])
    return tuple(changes)


async def configurations(client: AIOKafkaAdminClient, names: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return what a broker says of each topic, once it has heard of all: another one may have seen them first."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    async with asyncio.timeout(_VISIBLE_SECONDS):
        while True:
            found = [each for response in await client.describe_configs(resources) for each in response.resources]
            if all(code != UnknownTopicOrPartitionError.errno for code, *_ in found):
                return found
            await asyncio.sleep(0.1)


def overrides(present: Mapping[str, str], wanted: Mapping[str, str], copies: int) -> dict[str, str]:
    """Return what a topic with so many copies sets itself: what the table wants, and what operators added.

    Writes need a majority of the copies, unless an operator said otherwise: what one broker alone has, it may lose.
    """
    majority = {_IN_SYNC: str(copies // 2 + 1)} if copies > 1 else {}
    return {**majority, **present, **wanted}  # AlterConfigs replaces all: what is not sent would be gone


def _is_override(source: bool | int) -> bool:
    """Return whether a value is set on the topic itself. Version 0 of the response only has `is_default`, a bool."""
    return not source if isinstance(source, bool) else source == _SET_ON_TOPIC


async def _await_visible(client: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Wait until every partition has a leader; return the descriptions of the topics."""
    async with asyncio.timeout(_VISIBLE_SECONDS):
        while True:
            described = await client.describe_topics(list(names))
            ready = {topic["topic"]: topic for topic in described if _is_usable(topic)}
            if len(ready) == len(names):
                return ready
            await asyncio.sleep(0.1)


def _is_usable(topic: Mapping[str, Any]) -> bool:
    partitions = topic["partitions"]
    return not topic["error_code"] and bool(partitions) and all(p["leader"] >= 0 for p in partitions)


async def delete_topics(kafka: Kafka, prefix: str) -> None:
    """Delete all topics of a prefix, for tests and the demo. Raises ValueError for an empty prefix."""
    if not prefix:
        raise ValueError("refusing to delete topics without a prefix: they may be in use")
    async with admin(kafka) as client:
        ours = [name for name in await client.list_topics() if name.startswith(f"{prefix}deskbus.")]
        if ours:
            await client.delete_topics(ours)


async def existing(kafka: Kafka, names: Sequence[str]) -> list[str]:
    """Return which of these topics exist. Raises TransientError if no broker answers.

    Raises TopicAuthorizationFailedError if this user may not see some: a list of all topics just leaves them out.
    """
    async with client(kafka) as opened:
        answer = await opened.send(opened.get_random_node(), MetadataRequest(names, allow_auto_topic_creation=False))
    codes = {name: code for code, name, *_ in answer.topics}
    if hidden := [name for name in names if codes[name] == TopicAuthorizationFailedError.errno]:
        raise TopicAuthorizationFailedError(", ".join(hidden))
    return [name for name in names if codes[name] != UnknownTopicOrPartitionError.errno]


async def committed(kafka: Kafka, group: str) -> dict[TopicPartition, int]:
    """Return the committed offsets of a consumer group. Raises TransientError if no broker answers."""
    async with client(kafka) as opened:
        answer = await _coordinated(partial(_offsets, opened, group))
    return {
        TopicPartition(topic, partition): offset
        for topic, rows in answer.topics
        for partition, offset, *_ in rows
        if offset >= 0
    }


async def _offsets(client: AIOKafkaClient, group: str) -> Any:
    """Ask for the offsets. aiokafka's own method takes an error of the whole group for "nothing is committed"."""
    node = await client.coordinator_lookup(_GROUP, group)
    answer = await client.send(node, OffsetFetchRequest(group, None))
    for code in (answer.error_code, *(row[-1] for _, rows in answer.topics for row in rows)):
        if code:
            raise for_code(code)(group)
    return answer


async def members(kafka: Kafka, groups: Sequence[str]) -> dict[str, int]:
    """Return how many consumers each group has. Raises TransientError if no broker answers."""
    counts: dict[str, int] = {}
    async with admin(kafka) as client:
        for name in groups:  # one at a time: aiokafka 0.14 cannot read an answer about several
            counts[name] = await _coordinated(partial(_members_of, client, name))
    return counts


async def _members_of(client: AIOKafkaAdminClient, group: str) -> int:
    (response,) = await client.describe_consumer_groups([group])
    code, _, _, _, _, found = response.groups[0][:6]
    if code:
        raise for_code(code)(group)
    return len(found)


async def _coordinated(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until the group has a coordinator: the first question to a new Kafka makes the topic of all groups."""
    until = monotonic() + COORDINATOR_SECONDS
    while True:
        try:
            return await ask()
        except (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError):
            if monotonic() > until:
                raise
            await asyncio.sleep(COORDINATOR_SECONDS / 100)


def main(environ: Mapping[str, str]) -> None:
    """Create the topics by the variables of the environment, and print a summary."""
    prefix, partitions = environ.get("DESKBUS_TOPIC_PREFIX", ""), table.partitions(environ)
    report = asyncio.run(create_topics(Connection(KafkaSettings.of(environ)), prefix, partitions))
    say(f"{len(report.created)} topics created, {len(report.configured)} reconfigured")


if __name__ == "__main__":
    main(os.environ)
