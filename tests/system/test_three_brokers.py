"""Three brokers: one vanishes and its work moves on; two die, and the door refuses until they are back.

The brokers are those of all tests here, which leave them running.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import aiosmtplib
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from cli.topics import create_topics
from cli.traffic import Mail
from contracts.topics import TOPICS, topic_name
from deploy.local import KafkaServer, free_port
from deploy.local.kafka import brokers
from kit.kafka import private
from kit.kafka.reading import PollingConsumer
from tests.conftest import Prefix
from tests.system.rig import System, pieces, system, until

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


@pytest.fixture
async def deskbus(
    three: list[KafkaServer], everywhere: str, mongo: str, prefix: Prefix, tmp_path: Path
) -> AsyncIterator[System]:
    """A running system with agents."""
    environment = {
        "DESKBUS_KAFKA": everywhere,
        "DESKBUS_MONGO": mongo,
        "DESKBUS_TOPIC_PREFIX": prefix.topics,
        "DESKBUS_MONGO_PREFIX": prefix.mongo,
    }
    async with system(environment, tmp_path / "logs") as made:
        await made.create_topics()
        made.start()
        await made.agents()
        try:
            yield made
        finally:
            for broker in three:
                broker.start()
            for broker in three:
                broker.wait_ready(120)


async def test_brokers_go_and_services_go_on_by_themselves(deskbus: System, three: list[KafkaServer]) -> None:
    processes = {replica.name: replica.process for replica in deskbus.fleet.replicas}
    async with deskbus.doors(patience=120) as doors:
        await doors.send_all(pieces(deskbus, 10))
        await deskbus.settled(10)
        three[0].suspend()  # a machine that is lost answers nothing, and closes no connection; it led partitions
        deskbus.kafka = ",".join(broker.address for broker in three[1:])
        await doors.send_all(pieces(deskbus, 20))
        await deskbus.settled(30, 75)
        await _alive(deskbus)

        for broker in three[:2]:
            broker.kill()
        await _refused(deskbus)
        await _alive(deskbus)
        waiting = asyncio.create_task(doors.send_all(pieces(deskbus, 20)))
        for broker in three[:2]:
            broker.start()
        assert len(await waiting) == 20
        report = await deskbus.settled(50)
    assert report.clean, report.faults
    assert report.counts["dead letters"] == 0
    assert {replica.name: replica.process for replica in deskbus.fleet.replicas if replica.alive} == processes


async def _alive(deskbus: System) -> None:
    for replica in deskbus.fleet.replicas:
        assert (await deskbus.http.get(f"{replica.ops_url}/livez")).json() == [], replica.name


async def _refused(deskbus: System) -> None:
    """Both doors say within two seconds that they take nothing now."""
    hook = deskbus.traffic.whatsapp("halo")
    began = time.monotonic()
    answer = await deskbus.http.post(deskbus.one("ingest").url + hook.path, content=hook.body, headers=hook.headers)
    assert time.monotonic() - began < 2.5, "2 s and what the machine is busy with"
    assert answer.status_code == 503
    mail = next(piece for piece in pieces(deskbus, 40) if isinstance(piece, Mail))
    port = deskbus.one("ingest").extra_ports["smtp"]
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) as client:
        began = time.monotonic()
        with pytest.raises(aiosmtplib.SMTPDataError) as refusal:
            await client.sendmail(mail.sender, list(mail.recipients), mail.data)
        assert time.monotonic() - began < 2.5
        assert refusal.value.code == 451
