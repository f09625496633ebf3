"""Kafka or MongoDB goes away while customers write. These tests have servers of their own, to stop as they like."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from deploy.local import KafkaServer, MongoServer, free_port
from tests.system.rig import System, pieces, system, until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


class OwnServers:
    """A system, and the servers under it."""

    def __init__(self, made: System, kafka: KafkaServer, mongo: MongoServer) -> None:
        self.system, self.kafka, self.mongo = made, kafka, mongo


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[OwnServers]:
    kafka = KafkaServer(tmp_path / "kafka", free_port())
    mongo = MongoServer(tmp_path / "mongo", free_port())
    for server in (kafka, mongo):
        server.start()
    try:
        for server in (kafka, mongo):
            server.wait_ready()
        environment = {
            "DESKBUS_KAFKA": kafka.address,
            "DESKBUS_MONGO": mongo.address,
            "DESKBUS_TOPIC_PREFIX": "away.",
            "DESKBUS_MONGO_PREFIX": "away",
        }
        async with system(environment, tmp_path / "logs") as made:
            await made.create_topics()
            yield OwnServers(made, kafka, mongo)
    finally:
        for server in (kafka, mongo):
            server.kill()


async def test_without_mongodb_the_door_still_takes_and_nothing_of_it_is_lost(own: OwnServers) -> None:
    deskbus = own.system
    deskbus.start()
    await deskbus.agents()
    async with deskbus.doors(patience=0) as doors:
        await doors.send_all(pieces(deskbus, 10))
        await deskbus.settled(10)
        own.mongo.kill()
        taken = await doors.send_all(pieces(deskbus, 30))  # no patience: each must be taken at once
        assert len(taken) == 30
        assert all([await _alive(deskbus, r.ops_url) for r in deskbus.fleet.replicas])
        own.mongo.start()
        own.mongo.wait_ready()
    report = await deskbus.settled(40)
    assert report.clean, report.faults
    assert report.counts["dead letters"] == 0


async def test_without_kafka_the_door_says_so_within_two_seconds_and_takes_nothing(own: OwnServers) -> None:
    deskbus = own.system
    deskbus.start(services=["ingest"])
    own.kafka.suspend()
    hook = deskbus.traffic.whatsapp("halo")
    began = time.monotonic()
    answer = await _post(deskbus, hook.path, hook.body, hook.headers)
    assert time.monotonic() - began < 2.5, "2 s and what the machine is busy with"
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) > 0
    own.kafka.resume()
    own.kafka.kill()
    began = time.monotonic()
    answer = await _post(deskbus, hook.path, hook.body, hook.headers)
    assert time.monotonic() - began < 2.5
    assert answer.status_code == 503
    assert await _alive(deskbus, deskbus.one("ingest").ops_url)
    own.kafka.start()
    own.kafka.wait_ready()
    async with deskbus.doors(patience=60) as doors:
        await doors.send(hook)


async def test_no_replica_asks_for_a_restart_however_long_kafka_is_away(
    own: OwnServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka dies with batches in hand, and stays away for much longer than liveness lets a poll loop hang."""
    deskbus, limit = own.system, 20.0
    monkeypatch.setenv("DESKBUS_LIVENESS_SECONDS", f"{limit:g}")
    deskbus.start()
    await deskbus.agents()
    async with deskbus.doors(patience=120) as doors:
        await doors.send_all(pieces(deskbus, 10))
        await deskbus.settled(10)
        sending = asyncio.create_task(doors.send_all(pieces(deskbus, 200)))
        await until(partial(_has_taken, deskbus, 30), 60, "some of the messages are on their way")
        own.kafka.kill()
        gone = time.monotonic()
        while time.monotonic() - gone < 2.5 * limit:
            assert {r.name: await _reasons(deskbus, r.ops_url) for r in deskbus.fleet.replicas} == {
                r.name: [] for r in deskbus.fleet.replicas
            }
            await asyncio.sleep(0.5)
        own.kafka.start()
        own.kafka.wait_ready()
        assert len(await sending) == 200
    report = await deskbus.settled(210)
    assert report.clean, report.faults


async def _reasons(deskbus: System, ops_url: str) -> list[str]:
    reasons: list[str] = (await deskbus.http.get(f"{ops_url}/livez")).json()
    return reasons


async def _has_taken(deskbus: System, messages: int) -> bool:
    return (await deskbus.audit()).counts["messages"] >= messages


async def _post(deskbus: System, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    return await deskbus.http.post(deskbus.one("ingest").url + path, content=body, headers=headers)


async def _alive(deskbus: System, ops_url: str) -> bool:
    return (await deskbus.http.get(f"{ops_url}/livez")).status_code == 200
