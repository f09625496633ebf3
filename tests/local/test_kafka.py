"""The local Kafka with more than its defaults: listeners and users of its own, and three brokers as one cluster."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from cli.topics import create_topics
from contracts.topics import TOPICS, topic_name
from deploy.local import KafkaServer, free_port
from deploy.local.kafka import Listener, brokers
from tests.system.rig import until

_SET_ON_TOPIC = 1

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[KafkaServer, Listener]]:
    """A broker with a listener that asks for a password, and with one user."""
    listener = Listener("SAFE", free_port(), "SASL_PLAINTEXT")
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    server = KafkaServer(
        tmp_path / "kafka",
        free_port(),
        listeners=[listener],
        properties={
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.safe.scram-sha-512.sasl.jaas.config": scram,
        },
        format_options=["--add-scram", "SCRAM-SHA-512=[name=alice,password=secret]"],
    )
    server.start()
    try:
        server.wait_ready()
        yield server, listener
    finally:
        server.kill()


async def test_a_broker_has_the_listeners_and_users_that_it_is_given(guarded: tuple[KafkaServer, Listener]) -> None:
    server, listener = guarded

    async def names(password: str) -> list[str]:
        client = AIOKafkaAdminClient(
            bootstrap_servers=f"{server.host}:{listener.port}",
            security_protocol=listener.protocol,
            sasl_mechanism="SCRAM-SHA-512",
            sasl_plain_username="alice",
            sasl_plain_password=password,
        )
        try:
            await client.start()
            found: list[str] = await client.list_topics()
            return found
        finally:
            await client.close()

    assert await names("secret") == []
    with pytest.raises(KafkaError):
        await names("wrong")


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[KafkaServer]]:
    """A cluster of three brokers."""
    made = brokers(tmp_path, [free_port() for _ in range(3)])
    for broker in made:
        broker.start()
    try:
        for broker in made:
            broker.wait_ready()
        yield made
    finally:
        for broker in made:
            broker.kill()


async def test_topics_of_three_brokers_have_three_copies_and_need_two(three: list[KafkaServer]) -> None:
    everywhere = ",".join(broker.address for broker in three)
    client = AIOKafkaAdminClient(bootstrap_servers=everywhere)
    await client.start()
    try:
        await create_topics(everywhere, "t.", 2, topics=TOPICS[:2])
        async with AIOKafkaConsumer(topic_name(TOPICS[0].name, "t."), bootstrap_servers=everywhere, group_id="g"):
            pass  # creates the topic of committed offsets
        ours = [topic_name(topic.name, "t.") for topic in TOPICS[:2]]
        for topic in await client.describe_topics([*ours, "__consumer_offsets"]):
            assert [len(p["replicas"]) for p in topic["partitions"]] == [3] * len(topic["partitions"])
        for name in [*ours, "__consumer_offsets"]:
            await until(partial(_says, client, name, "unclean.leader.election.enable", "false"), 20, name)
            await until(partial(_says, client, name, "min.insync.replicas", "2", itself=name in ours), 20, name)
    finally:
        await client.close()


async def _says(client: AIOKafkaAdminClient, topic: str, name: str, value: str, *, itself: bool = False) -> bool:
    """Whether a broker knows this value of a topic, set on the topic `itself`. It hears of changes later."""
    (response,) = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    entry = next(entry for entry in response.resources[0][4] if entry[0] == name)
    return bool(entry[1] == value and (entry[3] == _SET_ON_TOPIC or not itself))
