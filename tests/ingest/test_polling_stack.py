"""Polling in ingest as it runs: a provider on loopback, real Kafka and MongoDB, two replicas."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from contracts.envelope import Event
from contracts.topics import INBOUND, TICKETS
from deploy.local import free_port
from kit.base.clock import SystemClock
from kit.process import service
from services.ingest import polling
from services.ingest.app import create_service
from services.ingest.settings import IngestSettings
from tests.conftest import Prefix
from tests.ingest.channels.cases.allegro import CASE
from tests.ingest.test_polling import Allegro

SECONDS = 60.0
"""Only ends a test that fails."""


@pytest.mark.timeout(180)
async def test_what_a_buyer_writes_opens_one_ticket_whichever_replica_polls(
    kafka: str, mongo: str, prefix: Prefix, topics: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "TICK_SECONDS", 0.2)
    for name, value in CASE.environ.items():
        monkeypatch.setenv(name, value)
    allegro = Allegro()
    await allegro.receiver.start()
    account = CASE.account.model_dump(mode="json", exclude_unset=True)
    policy = tmp_path / "ingest.yaml"
    allowed = [f"127.0.0.1:{allegro.receiver.port}"]
    own = {**account, "base_url": allegro.receiver.url, "poll_every": "1s"}
    policy.write_text(json.dumps({"accounts": [own], "allow_hosts": allowed}))
    stop, lives = asyncio.Event(), []
    for _ in range(2):
        settings = IngestSettings(
            kafka=kafka, mongo=mongo, topic_prefix=topics, mongo_prefix=prefix.mongo, port=free_port(), ops_port=0,
            smtp_enabled=False, policy=policy,
        )  # fmt: skip
        lives.append(asyncio.create_task(service.run(create_service(settings), stop)))
    consumer = AIOKafkaConsumer(topics + TICKETS, bootstrap_servers=kafka, auto_offset_reset="earliest")
    try:
        async with asyncio.timeout(SECONDS):
            await allegro.receiver.wait_for(2)  # a token, and the first turn: from now on, messages are new
        allegro.says("m1", SystemClock().now() + timedelta(seconds=1))
        await consumer.start()
        opened: list[Event] = []
        async with asyncio.timeout(SECONDS):
            async for record in consumer:
                event = Event.parse(record.value)
                opened += [event] if event.type == "deskbus.ticket.opened.v1" else []
                if opened:
                    break
        (event,) = opened
        message, ticket = event.data.message, event.data.ticket
        assert (message.text, ticket.channel, ticket.market.marketplace) == ("m1", "marketplace", "allegro")
        turns = allegro.asked
        async with asyncio.timeout(SECONDS):
            await allegro.receiver.wait_for(turns + 6)
        consumer.subscribe([topics + TICKETS, topics + INBOUND])
        await consumer.getmany(timeout_ms=1000)
        places = [TopicPartition(topics + INBOUND, n) for n in consumer.partitions_for_topic(topics + INBOUND) or ()]
        assert places
        assert sum((await consumer.end_offsets(places)).values()) == 1, "further turns wrote it to Kafka no more"
    finally:
        stop.set()
        await consumer.stop()
        assert await asyncio.gather(*lives) == [0, 0]
        await allegro.receiver.stop()
