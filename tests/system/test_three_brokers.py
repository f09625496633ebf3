"""Three brokers: one dies and its work moves on; two die, and the door refuses until they are back.

The brokers are those of all tests here, which leave them running.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from cli.topics import create_topics
from contracts.topics import TOPICS, topic_name
from deploy.local import KafkaServer, free_port
from deploy.local.kafka import brokers
from kit.kafka import private
from kit.kafka.reading import PollingConsumer
from tests.system.rig import until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
_SET_ON_TOPIC = 1


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[KafkaServer]]:
    made = brokers(tmp_path_factory.mktemp("kafka"), [free_port() for _ in range(3)])
    for broker in made:
        broker.start()
    try:
        for broker in made:
            broker.wait_ready(120)
        yield made
    finally:
        for broker in made:
            broker.kill()


@pytest.fixture
def everywhere(three: list[KafkaServer]) -> str:
    return ",".join(broker.address for broker in three)


async def test_topics_of_three_brokers_have_three_copies_and_need_two(everywhere: str) -> None:
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


async def test_commits_are_read_again_when_the_coordinator_has_moved(everywhere: str) -> None:
    """A broker that does not coordinate the group says so for the whole group: that is no group without commits."""
    await create_topics(everywhere, "moved.", 2, topics=TOPICS[:1])
    topic = topic_name(TOPICS[0].name, "moved.")
    client = PollingConsumer(topic, bootstrap_servers=everywhere, group_id="moved", enable_auto_commit=False)
    await client.start()
    try:
        tp = TopicPartition(topic, 0)
        await client.commit({tp: (7, "starts=1")})
        coordinator = client._coordinator
        coordinator.coordinator_id = next(n for n in (1, 2, 3) if n != coordinator.coordinator_id)
        assert await private.committed_with_metadata(client, [tp]) == {tp: (7, "starts=1")}
    finally:
        await client.stop()
