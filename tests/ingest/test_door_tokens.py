"""Limits of tokens at the door of commands: whom a token speaks as, and what a command says about who asked."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from contracts.envelope import Command
from kit.doors.http import door
from services.ingest.commands_http import commands_router
from services.ingest.intake import Intake
from services.ingest.settings import IngestSettings
from tests.fake_clock import FakeClock
from tests.ingest.channels import samples as s
from tests.ingest.door_rig import REPLY, Kafka, ask
from tests.kit.fake_store import FakeStore

TOKENS = {
    "crm": "",
    "bot": "authors=bot/faq",
    "desk": "authors=agent/*",
    "two": "authors=bot/faq,system/cron",
    "nimbus": "brands=nimbus,azure accounts=wa-th",
}


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


@pytest.fixture
async def client(kafka: Kafka) -> AsyncIterator[httpx.AsyncClient]:
    clock = FakeClock(s.NOW)
    tokens = [f"{n}:{hashlib.sha256(n.encode()).hexdigest()}:commands:write {limits}" for n, limits in TOKENS.items()]
    app = door("ingest", IngestSettings(tokens=SecretStr(";".join(tokens))))
    intake = Intake(kafka, FakeStore(), clock, topic="inbound", seconds=0.2, claim_seconds=0.2)
    app.include_router(commands_router(intake, clock, "commands"))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://desk.nimbus.example") as opened:
        yield opened


@pytest.mark.parametrize(
    ("token", "by", "status", "author"),
    [
        ("bot", None, 202, ("bot", "faq")),
        ("bot", ("bot", "faq"), 202, ("bot", "faq")),
        ("bot", ("bot", "other"), 403, None),
        ("bot", ("agent", "anna"), 403, None),
        ("bot", ("agent", "faq"), 403, None),
        ("bot", ("system", "bot"), 403, None),
        ("bot", ("bot", None), 403, None),
        ("desk", ("agent", "anna"), 202, ("agent", "anna")),
        ("desk", ("agent", None), 403, None),
        ("desk", ("bot", "faq"), 403, None),
        ("desk", None, 422, None),
        ("two", None, 422, None),
        ("two", ("system", "cron"), 202, ("system", "cron")),
        ("crm", ("agent", "anna"), 202, ("agent", "anna")),
    ],
)
async def test_a_token_speaks_as_its_authors_only(
    client: httpx.AsyncClient,
    kafka: Kafka,
    token: str,
    by: tuple[str, str | None] | None,
    status: int,
    author: tuple[str, str] | None,
) -> None:
    data: dict[str, Any] = {"text": "x"} if by is None else {"text": "x", "by": {"kind": by[0], "id": by[1]}}
    answer = await ask(client, {**REPLY, "data": data}, token)
    assert answer.status_code == status
    spoken = [Command.parse(sent.value or b"").data.by for sent in kafka.taken]
    assert [(each.kind, each.id) for each in spoken] == ([] if author is None else [author])


async def test_a_command_says_which_token_asked_and_what_it_reaches(client: httpx.AsyncClient, kafka: Kafka) -> None:
    await ask(client, REPLY, "nimbus")
    await ask(client, REPLY, "crm")
    limited, free = (Command.parse(sent.value or b"") for sent in kafka.taken)
    assert (limited.caller, limited.brands, limited.accounts) == ("nimbus", "azure,nimbus", "wa-th")
    assert (free.caller, free.brands, free.accounts) == ("crm", None, None)
