"""Topics are made from the table, again and again without harm."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import GroupCoordinatorNotAvailableError, GroupLoadInProgressError
from typer.testing import CliRunner

from cli import topics as command
from cli.__main__ import app
from cli.topics import committed, configurations, create_topics, delete_topics, existing, members, overrides
from contracts.envelope import HEADERS
from contracts.topics import AGENTS, MAX_VALUE_BYTES, TICKETS, TOPICS, topic_name
from kit.base.errors import TransientError
from kit.kafka.producer import Producer
from kit.protocol.ports import Outgoing
from tests.conftest import Prefix
from tests.system.rig import until

TABLE = [topic for topic in TOPICS if topic.name == TICKETS or topic.compacted]


async def config(kafka: str, topic: str) -> dict[str, str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        return {entry[0]: entry[1] for entry in response.resources[0][4]}
    finally:
        await admin.close()


async def alter(kafka: str, topic: str, **values: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        names = {name.replace("_", "."): value for name, value in values.items()}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=names)])
    finally:
        await admin.close()


async def shown(kafka: str, topic: str, **values: str) -> None:
    """Wait until the broker has taken a configuration over from its controller, which happens after the answer."""
    wanted = {name.replace("_", "."): value for name, value in values.items()}

    async def same() -> bool:
        return wanted.items() <= (await config(kafka, topic)).items()

    await until(same, 20, f"{topic} has {wanted}")


async def test_topics_are_made_once_with_the_tables_configuration(kafka: str, prefix: Prefix) -> None:
    try:
        first = await create_topics(kafka, prefix.topics, 2, topics=TABLE)
        again = await create_topics(kafka, prefix.topics, 2, topics=TABLE)
        assert set(first.created) == {topic_name(topic.name, prefix.topics) for topic in TABLE}
        assert (again.created, again.configured, again.other_partitions) == ((), (), ())
        for topic in TABLE:
            actual = await config(kafka, topic_name(topic.name, prefix.topics))
            assert actual["cleanup.policy"] == ("compact" if topic.compacted else "delete")
            assert actual["max.message.bytes"] == str(topic.max_message_bytes)
    finally:
        await delete_topics(kafka, prefix.topics)


async def test_changed_table_is_applied_and_what_operators_set_stays(kafka: str, prefix: Prefix) -> None:
    (topic,) = (topic for topic in TABLE if topic.name == TICKETS)
    name = topic_name(topic.name, prefix.topics)
    try:
        await create_topics(kafka, prefix.topics, 1, topics=[topic])
        await alter(kafka, name, segment_ms="3600000")
        await shown(kafka, name, segment_ms="3600000")
        report = await create_topics(kafka, prefix.topics, 1, topics=[replace(topic, retention_ms=1_234_567)])
        assert report.configured == (name,)
        await shown(kafka, name, retention_ms="1234567", segment_ms="3600000")
    finally:
        await delete_topics(kafka, prefix.topics)


@pytest.mark.parametrize("name", [TICKETS, AGENTS])
async def test_the_largest_record_that_settings_allow_is_taken(kafka: str, topics: str, name: str) -> None:
    """Else its document's events would never be confirmed, and its partition would stand still."""
    producer = Producer(kafka, client_id="test")
    await producer.start()
    try:
        largest = Outgoing(topic_name(name, topics), b"k" * 1000, b"x" * MAX_VALUE_BYTES, HEADERS)
        assert await producer.send_runs([[largest]]) == [1]
    finally:
        await producer.stop()


async def test_number_of_partitions_is_reported_and_never_changed(kafka: str, prefix: Prefix) -> None:
    try:
        await create_topics(kafka, prefix.topics, 1, topics=TABLE[:1])
        report = await create_topics(kafka, prefix.topics, 3, topics=TABLE[:1])
        assert report.other_partitions == (topic_name(TABLE[0].name, prefix.topics),)
    finally:
        await delete_topics(kafka, prefix.topics)


async def test_a_broker_that_has_not_heard_of_a_new_topic_is_asked_again() -> None:
    answers = [(3, "unknown", 2, "t", []), (0, None, 2, "t", [("retention.ms", "1", False, 1)])]

    class Late:
        async def describe_configs(self, _: object) -> list[SimpleNamespace]:
            return [SimpleNamespace(resources=[answers.pop(0)])]

    late: Any = Late()
    assert [found[0] for found in await configurations(late, ["t"])] == [0]
    assert answers == []


@pytest.mark.parametrize(
    ("copies", "present", "in_sync"),
    [
        (1, {}, None),
        (2, {}, "2"),
        (3, {}, "2"),
        (5, {}, "3"),
        (3, {"min.insync.replicas": "1"}, "1"),
    ],
)
def test_writes_need_a_majority_unless_operators_say_otherwise(
    copies: int, present: dict[str, str], in_sync: str | None
) -> None:
    complete = overrides({"segment.ms": "1", "retention.ms": "2", **present}, {"retention.ms": "3"}, copies)
    assert complete.pop("min.insync.replicas", None) == in_sync
    assert complete == {"segment.ms": "1", "retention.ms": "3"}


async def test_broker_that_is_away_is_a_fault_that_may_pass(unused_tcp_port: int) -> None:
    with pytest.raises(TransientError):
        await create_topics(f"127.0.0.1:{unused_tcp_port}")


async def test_topics_without_a_prefix_are_never_deleted() -> None:
    with pytest.raises(ValueError, match="prefix"):
        await delete_topics("127.0.0.1:1", "")


async def test_topics_that_exist_are_told_from_those_that_do_not_and_are_not_created(kafka: str, topics: str) -> None:
    here, gone = topic_name(TICKETS, topics), f"{topics}never"
    assert await existing(kafka, [here, gone]) == [here]
    assert await existing(kafka, [gone]) == []


class Young:
    """A Kafka in which nobody has asked for a group yet: it makes their topic, and has no coordinator meanwhile."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals

    @asynccontextmanager
    async def connect(self, _: object) -> AsyncIterator["Young"]:
        yield self

    async def describe_consumer_groups(self, groups: list[str]) -> list[SimpleNamespace]:
        self._refuse(groups[0])
        return [SimpleNamespace(groups=[(0, groups[0], "Stable", "consumer", "range", [{}, {}])])]

    async def coordinator_lookup(self, _: int, group: str) -> int:
        self._refuse(group)
        return 1

    async def send(self, _: int, __: object) -> SimpleNamespace:
        """Answer for a group whose offsets the coordinator is still loading, and then with them."""
        self.refusals -= 1
        if self.refusals >= -2:
            return SimpleNamespace(error_code=GroupLoadInProgressError.errno, topics=[])
        return SimpleNamespace(error_code=0, topics=[("t", [(0, 7, "", 0), (1, -1, "", 0)])])

    def _refuse(self, group: str) -> None:
        self.refusals -= 1
        if self.refusals >= 0:
            raise GroupCoordinatorNotAvailableError(group)


async def test_members_are_asked_for_until_the_group_has_a_coordinator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "COORDINATOR_SECONDS", 0.3)
    monkeypatch.setattr(command, "admin", Young(3).connect)
    assert await members("kafka:9092", ["deskbus.sla"]) == {"deskbus.sla": 2}
    monkeypatch.setattr(command, "admin", Young(10_000).connect)
    with pytest.raises(GroupCoordinatorNotAvailableError):
        await members("kafka:9092", ["deskbus.sla"])


async def test_a_group_that_is_still_loaded_is_not_taken_for_one_without_commits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command, "COORDINATOR_SECONDS", 0.3)
    monkeypatch.setattr(command, "client", Young(1).connect)
    assert await committed("kafka:9092", "deskbus.sla") == {TopicPartition("t", 0): 7}
    monkeypatch.setattr(command, "client", Young(10_000).connect)
    with pytest.raises(GroupCoordinatorNotAvailableError):
        await committed("kafka:9092", "deskbus.sla")


def test_what_kafka_refuses_is_told_in_one_line(kafka: str, prefix: Prefix) -> None:
    done = CliRunner().invoke(app, ["topics", "--replication", "99", "--kafka", kafka, "--prefix", prefix.topics])
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("deskbus: Kafka refuses that: ")
    assert "InvalidReplicationFactorError" in line
