"""Topics: made, set right and, by tests, deleted after the table in contracts. No records are read or written here.

`python -m cli.topics` makes them without the rest of the command line: with contracts and kit it is enough, so that any
service's image can do it (compose.yaml).
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError, for_code

from cli.screen import say
from contracts import topics as table
from kit.base.errors import TransientError

log = structlog.get_logger(__name__)
_VISIBLE_SECONDS = 30.0
_SET_ON_TOPIC = 1  # ConfigSource.DYNAMIC_TOPIC_CONFIG


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id="deskbus-admin", request_timeout_ms=10_000)
    try:
        await client.start()
        yield client
    except (KafkaError, OSError) as error:
        if isinstance(error, KafkaError) and not (error.retriable or isinstance(error, KafkaConnectionError)):
            raise
        raise TransientError(f"Kafka administration: {error!r}") from error
    finally:
        await client.close()


@dataclass(frozen=True)
class TopicReport:
    """What `create_topics` did, and whose number of partitions is not the one asked for (that is never changed)."""

    created: tuple[str, ...]
    configured: tuple[str, ...]
    other_partitions: tuple[str, ...]


async def create_topics(
    bootstrap: str,
    prefix: str = "",
    partitions: int = table.DEFAULT_PARTITIONS,
    replication: int = 1,
    *,
    topics: Sequence[table.Topic] = table.TOPICS,
) -> TopicReport:
    """Make the topics that are missing, set the others' configuration right, wait until all can be used."""
    wanted = {table.topic_name(topic.name, prefix): table.settings(topic) for topic in topics}
    async with _admin(bootstrap) as admin:
        there = set(await admin.list_topics())
        missing = [name for name in wanted if name not in there]
        if missing:
            new = [NewTopic(name, partitions, replication, topic_configs=wanted[name]) for name in missing]
            _raise_errors((await admin.create_topics(new)).topic_errors)
        configured = await _configure(admin, {name: wanted[name] for name in wanted if name in there})
        counts = await _await_visible(admin, list(wanted))
    other = tuple(name for name, count in counts.items() if count != partitions)
    if other:
        log.warning("topics exist with another number of partitions", topics=other, wanted=partitions)
    return TopicReport(tuple(missing), configured, other)


def _raise_errors(errors: Sequence[tuple[object, ...]]) -> None:
    for topic, code, *why in errors:
        kind = for_code(code)
        if code and kind is not TopicAlreadyExistsError:  # somebody else was faster: that is what was wanted
            raise kind(f"{topic}: {why}")


async def _configure(admin: AIOKafkaAdminClient, wanted: dict[str, dict[str, str]]) -> tuple[str, ...]:
    """Alter what differs; returns the names of the topics altered."""
    if not wanted:
        return ()
    asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in wanted]
    wrong: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(asked):
        for _, _, _, name, entries in response.resources:
            if wanted[name].items() - {(entry[0], entry[1]) for entry in entries}:
                # Altering replaces all that is set on a topic: what an operator has set beside ours is sent along.
                theirs = {entry[0]: entry[1] for entry in entries if _is_override(entry[3])}
                wrong[name] = theirs | wanted[name]
    if wrong:
        await admin.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, name, configs=config) for name, config in wrong.items()]
        )
    return tuple(wrong)


def _is_override(source: bool | int) -> bool:
    """Whether a value was set on the topic itself; the first version of the answer says only "is a default"."""
    return not source if isinstance(source, bool) else source == _SET_ON_TOPIC


async def _await_visible(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, int]:
    """Wait until every partition has a leader; returns the number of partitions by topic."""
    async with asyncio.timeout(_VISIBLE_SECONDS):
        while True:
            described = await admin.describe_topics(list(names))
            ready = {topic["topic"]: len(topic["partitions"]) for topic in described if _is_usable(topic)}
            if len(ready) == len(names):
                return ready
            await asyncio.sleep(0.1)


def _is_usable(topic: Mapping[str, Any]) -> bool:
    partitions = topic["partitions"]
    return not topic["error_code"] and bool(partitions) and all(p["leader"] >= 0 for p in partitions)


async def delete_topics(bootstrap: str, prefix: str) -> None:
    """Delete every topic of a prefix: for tests, which have one of their own."""
    if not prefix:
        raise ValueError("refusing to delete topics without a prefix: they may be in use")
    async with _admin(bootstrap) as admin:
        ours = [name for name in await admin.list_topics() if name.startswith(f"{prefix}deskbus.")]
        if ours:
            await admin.delete_topics(ours)


async def committed(bootstrap: str, group: str) -> dict[TopicPartition, int]:
    """Return the committed positions of a consumer group; raises TransientError while no broker answers."""
    async with _admin(bootstrap) as client:
        found = await client.list_consumer_group_offsets(group)
    return {tp: at.offset for tp, at in found.items() if at.offset >= 0}


def main(environ: Mapping[str, str]) -> None:
    """Make the topics that the environment asks for, and say what was done."""
    prefix, partitions = environ.get("DESKBUS_TOPIC_PREFIX", ""), table.partitions(environ)
    report = asyncio.run(create_topics(environ["DESKBUS_KAFKA"], prefix, partitions))
    say(f"{len(report.created)} topics created, {len(report.configured)} reconfigured")


if __name__ == "__main__":
    main(os.environ)
