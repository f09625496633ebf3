"""The HTTP doors over Kafka and MongoDB in memory, and helpers to read their responses."""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from pydantic import SecretStr

from contracts.inbound import InboundRecord
from kit.base.errors import TransientError
from kit.doors.http import PROBLEM, door
from kit.policy.secrets import Secrets
from kit.protocol.ports import Outgoing
from services.ingest.accounts import Accounts
from services.ingest.commands_http import commands_router
from services.ingest.http import KnownKeys, with_webhooks
from services.ingest.intake import Intake
from services.ingest.settings import IngestSettings
from tests.fake_clock import FakeClock
from tests.ingest.channels import samples as s
from tests.kit.fake_store import FakeStore

MAX_BODY = 2_000_000


class Kafka:
    """Accepts records, or fails while `away` is set."""

    def __init__(self) -> None:
        self.taken: list[Outgoing] = []
        self.away: Callable[[float], Any] | None = None

    async def send(self, record: Outgoing, *, seconds: float) -> None:
        if self.away is not None:
            await self.away(seconds)
        self.taken.append(record)


@asynccontextmanager
async def opened_door(
    kafka: Kafka,
    store: FakeStore,
    accounts: Accounts = s.ACCOUNTS,
    secrets: Secrets = s.SECRETS,
    keys: KnownKeys | None = None,
) -> AsyncIterator[httpx.AsyncClient]:
    clock = FakeClock(s.NOW)
    tokens = "".join(
        f"{name}:{hashlib.sha256(name.encode()).hexdigest()}:{scope};"
        for name, scope in (("crm", "commands:write"), ("erp", "commands:write"), ("viewer", "tickets:read"))
    )
    app = door("ingest", IngestSettings(tokens=SecretStr(tokens)), max_body=MAX_BODY)
    intake = Intake(kafka, store, clock, topic="inbound", seconds=0.2, claim_seconds=0.2)
    app.include_router(commands_router(intake, clock, "commands"))
    whole = with_webhooks(app, intake, lambda: accounts, secrets, clock, max_body=MAX_BODY, keys=keys)
    transport = httpx.ASGITransport(whole)
    async with httpx.AsyncClient(transport=transport, base_url="https://desk.nimbus.example") as opened:
        yield opened


def record(kafka: Kafka) -> InboundRecord:
    (sent,) = kafka.taken
    return InboundRecord.from_kafka(sent.value, sent.headers)


def refusal(answer: httpx.Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == PROBLEM
    document: dict[str, Any] = answer.json()
    assert document["status"] == answer.status_code
    return document


async def refuse(_: float) -> None:
    raise TransientError("no broker")


REPLY = {"type": "deskbus.command.reply.v1", "ticket_id": "t-1", "data": {"text": "Już jedzie"}}


async def ask(client: httpx.AsyncClient, body: Any, token: str = "crm", key: str = "k1") -> httpx.Response:
    headers = {"authorization": f"Bearer {token}", "idempotency-key": key}
    return await client.post("/v1/commands", json=body, headers=headers)
