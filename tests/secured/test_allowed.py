"""On a real broker, each user may do what `access` lists and no more: every topic, group and operation is tried."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError
from aiokafka.protocol.admin import (
    AlterConfigsRequest,
    CreatePartitionsRequest,
    CreateTopicsRequest,
    DeleteTopicsRequest,
    DescribeConfigsRequest,
)
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from contracts import topics as table
from contracts.access import USERS, access
from kit.base.kafka_settings import KafkaSettings
from kit.kafka.connection import Connection
from tests.secured.broker import Secured
from tests.secured.conftest import PREFIX

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]  # the first test waits for the broker
NAMES = [prefix + topic.name for prefix in (PREFIX, "other.") for topic in table.TOPICS]
GROUPS = [table.group_name(service, prefix) for prefix in (PREFIX, "other.") for service in table.SERVICES]
IMPLIED = {"Read": "Describe", "Write": "Describe", "AlterConfigs": "DescribeConfigs"}
_TOPIC = 2
Codes = dict[str, int]


def batch() -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 65536)
    builder.append(0, timestamp=1, key=b"k", value=b"v", headers=[])
    return bytes(builder.build())


def by_partition(answer: Any) -> Codes:
    """Read the error of each topic's one partition, which is the second value of a partition's row."""
    return {topic: rows[0][1] for topic, rows in answer.topics}


def by_topic(answer: Any) -> Codes:
    return {row[0]: row[1] for row in answer.topic_errors}


def by_resource(answer: Any) -> Codes:
    return {row[3]: row[0] for row in answer.resources}


#: Operation -> the request that needs it for all topics, and how its answer tells of each topic.
TOPIC_REQUESTS: dict[str, tuple[Callable[[], Any], Callable[[Any], Codes]]] = {
    "Read": (lambda: FetchRequest(0, 0, 10_000_000, 0, [(n, [(0, 0, 1000)]) for n in NAMES]), by_partition),
    "Write": (lambda: ProduceRequest(None, -1, 5000, [(n, [(0, batch())]) for n in NAMES]), by_partition),
    "Describe": (lambda: MetadataRequest(NAMES), lambda answer: {row[1]: row[0] for row in answer.topics}),
    "Create": (lambda: CreateTopicsRequest([(n, 1, 1, [], []) for n in NAMES], 5000, validate_only=True), by_topic),
    "DescribeConfigs": (lambda: DescribeConfigsRequest([(_TOPIC, n, ["retention.ms"]) for n in NAMES]), by_resource),
    "AlterConfigs": (
        lambda: AlterConfigsRequest([(_TOPIC, n, [("retention.ms", "1000000")]) for n in NAMES], validate_only=True),
        by_resource,
    ),
    "Alter": (
        lambda: CreatePartitionsRequest([(n, (2, None)) for n in NAMES], 5000, validate_only=True),
        by_topic,
    ),
}


def is_allowed(codes: Codes) -> set[str]:
    assert set(codes) == set(NAMES)
    return {name for name, code in codes.items() if code != TopicAuthorizationFailedError.errno}


def listed(user: str, operation: str, resource: str = "topic") -> set[str]:
    """What `access` lists, with what Kafka's authorizer takes for granted."""
    return {
        each.name
        for each in access(user, PREFIX)
        if each.resource == resource
        and operation in {*each.operations, *(IMPLIED[given] for given in each.operations if given in IMPLIED)}
    }


async def as_user(broker: Secured, user: str) -> AIOKafkaClient:
    client = AIOKafkaClient(**Connection(KafkaSettings.of(broker.scram(user))).options())
    await client.bootstrap()
    return client


async def ask(client: AIOKafkaClient, request: Any) -> Any:
    return await client.send(client.get_random_node(), request)


@pytest.mark.parametrize("user", USERS)
async def test_a_user_may_do_with_topics_what_is_listed_and_nothing_else(broker: Secured, user: str) -> None:
    client = await as_user(broker, user)
    try:
        for operation, (request, codes) in TOPIC_REQUESTS.items():
            allowed = is_allowed(codes(await ask(client, request())))
            assert allowed == listed(user, operation), operation
        deleted = await ask(client, DeleteTopicsRequest(NAMES, 5000))
        assert is_allowed(dict(deleted.topic_error_codes)) == set()
    finally:
        await client.close()


@pytest.mark.parametrize("user", USERS)
async def test_a_user_may_do_with_groups_what_is_listed_and_nothing_else(broker: Secured, user: str) -> None:
    """A commit also needs to read the topic; the one asked with is read by the group's own service."""
    client, refused = await as_user(broker, user), GroupAuthorizationFailedError.errno
    commits, fetches = set(), set()
    try:
        for group in GROUPS:
            prefix, _, service = group.partition("deskbus.")
            topic = prefix + table.retry(service)
            answer = await ask(client, OffsetCommitRequest(group, -1, "", -1, [(topic, [(0, 0, "")])]))
            if by_partition(answer)[topic] != refused:
                commits.add(group)
            answer = await ask(client, OffsetFetchRequest(group, None))
            if answer.error_code != refused:
                fetches.add(group)
    finally:
        await client.close()
    assert commits == listed(user, "Read", "group")
    assert fetches == listed(user, "Describe", "group")


@pytest.mark.parametrize("service", table.SERVICES)
def test_what_is_listed_for_a_service_is_what_its_code_reads_and_writes(service: str) -> None:
    assert listed(service, "Read") == {PREFIX + name for name in table.CONSUMES[service]}
    assert listed(service, "Write") == {PREFIX + name for name in table.PRODUCES[service]}
