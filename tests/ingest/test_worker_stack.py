"""Ingest as it runs: its real doors, Kafka and MongoDB; providers are local receivers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiosmtplib
import httpx
import pytest
import yaml
from aiokafka import AIOKafkaConsumer
from aiosmtpd.controller import Controller

from contracts.envelope import Event
from contracts.topics import TICKETS
from deploy.local import free_port
from kit.base.clock import SystemClock
from kit.process import service
from services.ingest.app import create_service
from services.ingest.settings import IngestSettings
from tests.conftest import Prefix
from tests.ingest.worker_rig import ACCOUNTS

KEY = b"secret-secret-secret"
TOKEN = "crm-token"


@dataclass
class Provider:
    """A channel's API that takes what it is given."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(int(h.split(":")[1]) for h in head.split("\r\n") if h.lower().startswith("content-length"))
        self.calls.append(json.loads(await reader.readexactly(length)))
        status = self.answers.pop(0) if self.answers else 200
        body = b'{"id":"provider-1"}'
        writer.write(f"HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()


class Relay:
    """A mail server that takes what it is given."""

    def __init__(self) -> None:
        self.mails: list[Any] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        self.mails.append(envelope)
        return "250 OK"


@dataclass
class Running:
    """The service, and what a test needs to talk to it."""

    http: httpx.AsyncClient
    smtp_port: int
    provider: Provider
    relay: Relay
    events: list[Event]

    async def say(self, text: str, number: str, person: str = "jan") -> None:
        body = json.dumps({"type": "message", "id": number, "from": {"id": person, "name": "Jan"}, "text": text})
        stamp = str(int(SystemClock().now().timestamp()))
        signed = hmac.new(KEY, f"{number}.{stamp}.{body}".encode(), hashlib.sha256).digest()
        headers = {
            "webhook-id": number,
            "webhook-timestamp": stamp,
            "webhook-signature": "v1," + base64.b64encode(signed).decode(),
        }
        answer = await self.http.post("/v1/channels/webhook/webhook?account=allegro-pl", content=body, headers=headers)
        assert answer.status_code == 202, answer.text

    async def ask(self, kind: str, ticket: str, key: str, **data: Any) -> None:
        body = {"type": f"deskbus.command.{kind}.v1", "ticket_id": ticket, "data": data}
        answer = await self.http.post("/v1/commands", json=body, headers={"idempotency-key": key})
        assert answer.status_code == 202, answer.text

    async def until(self, true: Callable[[], bool], seconds: float = 40) -> None:
        """Wait for a condition; the bound only ends a test that fails."""
        async with asyncio.timeout(seconds):
            while not true():  # noqa: ASYNC110 - the condition is another process's
                await asyncio.sleep(0.02)

    def types(self) -> list[str]:
        return [event.type.removeprefix("deskbus.").removesuffix(".v1") for event in self.events]


@asynccontextmanager
async def following(kafka: str, topic: str) -> AsyncIterator[list[Event]]:
    events: list[Event] = []
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()

    async def follow() -> None:
        async for record in consumer:
            events.append(Event.parse(record.value))  # noqa: PERF401 - the test looks on

    task = asyncio.create_task(follow())
    try:
        yield events
    finally:
        task.cancel()
        await consumer.stop()


@pytest.fixture
async def running(
    kafka: str, mongo: str, prefix: Prefix, topics: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Running]:
    monkeypatch.setenv("S", "whsec_" + base64.b64encode(KEY).decode())
    provider, relay = Provider(), Relay()
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    mail = Controller(relay, "127.0.0.1", free_port())
    mail.start()
    accounts = json.loads(json.dumps(ACCOUNTS))
    accounts["accounts"][0]["base_url"] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/replies"
    accounts["allow_hosts"] = ["127.0.0.1"]
    policy = tmp_path / "ingest.yaml"
    policy.write_text(yaml.safe_dump(accounts))
    token = f"crm:{hashlib.sha256(TOKEN.encode()).hexdigest()}:tickets:read,commands:write"
    settings = IngestSettings(
        kafka=kafka, mongo=mongo, topic_prefix=topics, mongo_prefix=prefix.mongo, port=free_port(), ops_port=0,
        smtp_port=free_port(), policy=policy, tokens=token, relay_host="127.0.0.1", relay_port=mail.port,
    )  # fmt: skip
    stop = asyncio.Event()
    life = asyncio.create_task(service.run(create_service(settings), stop))
    headers = {"authorization": f"Bearer {TOKEN}"}
    try:
        async with (
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.port}", headers=headers) as http,
            following(kafka, topics + TICKETS) as events,
        ):
            up = Running(http, settings.smtp_port, provider, relay, events)
            await _listening(settings.port, settings.smtp_port)
            yield up
    finally:
        stop.set()
        assert await life == 0
        mail.stop()
        server.close()


async def _listening(*ports: int) -> None:
    async with asyncio.timeout(20):
        for port in ports:
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    break


async def test_a_webhook_becomes_a_ticket_and_its_reply_is_really_sent(running: Running) -> None:
    running.provider.answers = [503]  # the first try fails and is made again
    await running.say("Gdzie jest paczka?", "m1")
    await running.until(lambda: running.types() == ["ticket.opened"])
    ticket = running.events[0].subject
    by = {"kind": "agent", "id": "anna", "name": "Anna"}
    await running.ask("reply", ticket, "k1", by=by, text="W drodze")
    await running.ask("reply", ticket, "k1", by=by, text="W drodze")
    await running.until(lambda: "ticket.status_changed" in running.types())
    assert running.types() == ["ticket.opened", "message.sent", "ticket.status_changed"]
    sent = running.events[1].data
    assert (sent.attempts, sent.message.text, sent.ticket.first_reply_at is not None) == (2, "W drodze", True)
    assert len(running.provider.calls) == 2
    assert running.provider.calls[0] == running.provider.calls[1]
    assert running.events[2].data.ticket.status == "pending"

    answer = await running.http.get(f"/v1/tickets/{ticket}")
    assert answer.status_code == 200
    assert [entry["message"]["text"] for entry in answer.json()["thread"]] == ["Gdzie jest paczka?", "W drodze"]
    page = (await running.http.get("/v1/tickets", params={"status": "pending", "brand": "nimbus"})).json()
    assert [entry["id"] for entry in page["tickets"]] == [ticket]
    assert page["next"] is None


async def test_a_mail_becomes_a_ticket_and_the_answer_to_our_reply_comes_back_to_it(running: Running) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "Jan <jan@example.org>", "support@nimbus.example", "Parcel"
    mail["Message-ID"] = "<1@example.org>"
    mail.set_content("Where is it?")
    await aiosmtplib.send(mail, hostname="127.0.0.1", port=running.smtp_port)
    await running.until(lambda: running.types() == ["ticket.opened"])
    ticket = running.events[0].subject
    await running.ask("reply", ticket, "k1", by={"kind": "agent", "id": "anna"}, text="On its way")
    await running.until(lambda: "message.sent" in running.types())
    (sent,) = running.relay.mails
    assert sent.rcpt_tos == ["jan@example.org"]
    ours = running.events[1].data.message.channel_message_id
    assert f"Message-ID: {ours}".encode() in sent.content
    assert b"In-Reply-To: <1@example.org>" in sent.content

    answer = EmailMessage()
    answer["From"], answer["To"], answer["Subject"] = "jan@example.org", "support@nimbus.example", "Re: Parcel"
    answer["Message-ID"], answer["In-Reply-To"] = "<2@example.org>", ours
    answer.set_content("Thank you")
    await aiosmtplib.send(answer, hostname="127.0.0.1", port=running.smtp_port)
    await running.until(lambda: "message.received" in running.types())
    assert {event.subject for event in running.events} == {ticket}
    assert [event.sequence for event in running.events] == list(range(1, len(running.events) + 1))


async def test_tickets_are_read_with_the_scope_only(running: Running) -> None:
    async with httpx.AsyncClient(base_url=running.http.base_url) as stranger:
        assert (await stranger.get("/v1/tickets")).status_code == 401
    assert (await running.http.get("/v1/tickets/nowhere")).status_code == 404
    assert (await running.http.get("/v1/tickets", params={"cursor": "\u00e9"})).status_code == 400


async def test_a_customers_file_and_an_upload_leave_with_a_reply_and_the_door_gives_both(running: Running) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Message-ID"] = "jan@example.org", "support@nimbus.example", "<1@example.org>"
    mail.set_content("Look")
    mail.add_attachment(b"PNG", maintype="image", subtype="png", filename="photo.png")
    await aiosmtplib.send(mail, hostname="127.0.0.1", port=running.smtp_port)
    await running.until(lambda: running.types() == ["ticket.opened"])
    (photo,) = running.events[0].data.message.attachments
    answer = await running.http.post("/v1/files", params={"name": "label.pdf"}, content=b"%PDF")
    assert answer.status_code == 201
    files = [{"name": "a", "media_type": "image/png", "ref": photo.ref}, answer.json()]
    by, ticket = {"kind": "agent", "id": "anna"}, running.events[0].subject
    stolen = [{**files[0], "ref": f"{photo.ref}0"}]
    await running.ask("reply", ticket, "k1", by=by, text="Here", attachments=stolen)
    await running.ask("reply", ticket, "k2", by=by, text="Here", attachments=files)
    await running.until(lambda: "message.sent" in running.types())
    assert running.types()[1:3] == ["command.rejected", "message.sent"]
    (sent,) = running.relay.mails
    assert b"label.pdf" in sent.content
    for file, content in zip(files, (b"PNG", b"%PDF"), strict=True):
        assert (await running.http.get(f"/v1/files/{file['ref']}")).content == content
    assert (await running.http.get("/v1/files/nothing")).status_code == 404
