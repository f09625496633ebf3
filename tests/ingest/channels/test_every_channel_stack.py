"""A message of every channel through ingest as it runs: real doors, Kafka and MongoDB, with all accounts at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiosmtplib
import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from contracts.envelope import Event
from contracts.topics import INBOUND, TICKETS
from deploy.local import free_port
from kit.base.clock import SystemClock
from kit.process import service
from services.ingest import polling
from services.ingest.app import create_service
from services.ingest.channels import CHANNELS, MAILS, WEBHOOKS
from services.ingest.keys import ProviderKeys
from services.ingest.settings import IngestSettings
from tests.conftest import Prefix
from tests.ingest.channels.cases import CASES, Case

SECONDS = 60.0
"""Only ends a test that fails."""


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One policy file with the account of every case, and the secrets of all."""
    environ: dict[str, str] = {}
    for case in CASES.values():
        for name, value in case.environ.items():
            assert environ.setdefault(name, value) == value, f"{name} of {case.name} has another value elsewhere"
            monkeypatch.setenv(name, value)
    accounts = [case.account.model_dump(mode="json", exclude_unset=True) for case in CASES.values()]
    path = tmp_path / "ingest.yaml"
    path.write_text(json.dumps({"accounts": accounts}))  # JSON is YAML
    return path


@pytest.fixture
async def running(
    kafka: str, mongo: str, prefix: Prefix, topics: str, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[IngestSettings]:
    """Ingest, with both doors open. It calls no provider: their keys are at hand, and nothing is polled."""
    monkeypatch.setattr(ProviderKeys, "known", lambda _, channel: CASES[channel].keys)
    monkeypatch.setattr(polling, "POLLERS", {})
    settings = IngestSettings(
        kafka=kafka, mongo=mongo, topic_prefix=topics, mongo_prefix=prefix.mongo, port=free_port(), ops_port=0,
        smtp_port=free_port(), policy=policy,
    )  # fmt: skip
    stop = asyncio.Event()
    life = asyncio.create_task(service.run(create_service(settings), stop))
    try:
        for port in (settings.port, settings.smtp_port):
            await _listening(port)
        yield settings
    finally:
        stop.set()
        assert await life == 0


async def _listening(port: int) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


@asynccontextmanager
async def _tickets(settings: IngestSettings) -> AsyncIterator[AIOKafkaConsumer]:
    topic = settings.topic_prefix + TICKETS
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=settings.kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def _say(case: Case, body: bytes, settings: IngestSettings) -> None:
    """Bring in a body as its provider does, which tries again while Kafka is away: its partitions may be new."""
    async with asyncio.timeout(SECONDS):
        while not await _accepted(case, body, settings):  # noqa: ASYNC110 - the condition is another process's
            await asyncio.sleep(0.1)


async def _accepted(case: Case, body: bytes, settings: IngestSettings) -> bool:
    if case.name in WEBHOOKS:
        return await _posted(case, body, settings)
    if case.name in MAILS:
        return await _mailed(case, body, settings)
    record = case.record(body)  # as its fetcher writes it
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka) as producer:
        topic, key = settings.topic_prefix + INBOUND, record.key.encode()
        await producer.send_and_wait(topic, body, key, headers=record.to_headers())
    return True


async def _posted(case: Case, body: bytes, settings: IngestSettings) -> bool:
    signed = case.sign(body, SystemClock().now())
    query = signed.raw_query or f"account={case.account.name}"
    url = f"http://127.0.0.1:{settings.port}/v1/channels/{case.name}/webhook?{query}"
    async with httpx.AsyncClient(timeout=SECONDS) as http:
        answer = await http.post(url, content=signed.body, headers=dict(signed.headers))
    assert answer.status_code in {WEBHOOKS[case.name].SUCCESS.status, 503}, answer.text
    return answer.status_code != 503


async def _mailed(case: Case, body: bytes, settings: IngestSettings) -> bool:
    to, port = [case.account.addresses[0]], settings.smtp_port
    try:
        await aiosmtplib.send(body, sender="jan@example.org", recipients=to, hostname="127.0.0.1", port=port)
    except aiosmtplib.SMTPResponseException as refusal:
        if refusal.code == 451:
            return False
        raise
    return True


@pytest.mark.timeout(180)
async def test_a_message_of_every_channel_opens_a_ticket_and_the_next_one_joins_it(running: IngestSettings) -> None:
    for case in CASES.values():
        await _say(case, case.message, running)
        await _say(case, case.another, running)
    events: list[Event] = []
    awaited = 2 * len(CASES)
    async with asyncio.timeout(SECONDS), _tickets(running) as consumer:
        async for record in consumer:
            event = Event.parse(record.value)
            events += [event] if event.type in {"deskbus.ticket.opened.v1", "deskbus.message.received.v1"} else []
            if len(events) == awaited:
                break
    opened = {event.data.ticket.account: event for event in events if event.type == "deskbus.ticket.opened.v1"}
    joined = {event.data.ticket.account: event for event in events if event.type == "deskbus.message.received.v1"}
    for case in CASES.values():
        ticket, message = opened[case.account.name].data.ticket, opened[case.account.name].data.message
        assert (ticket.channel, message.text) == (CHANNELS[case.name].CHANNEL, case.text)
        assert joined[case.account.name].subject == ticket.id
