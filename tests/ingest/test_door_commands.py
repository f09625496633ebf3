"""The command door: which commands become records, and what the others are answered with."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from contracts.envelope import Command
from tests.ingest.channels import samples as s
from tests.ingest.door_rig import REPLY, Kafka, ask, opened_door, refusal, refuse
from tests.kit.fake_store import FakeStore


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


@pytest.fixture
async def client(kafka: Kafka) -> AsyncIterator[httpx.AsyncClient]:
    async with opened_door(kafka, FakeStore()) as opened:
        yield opened


async def test_a_command_goes_to_its_tickets_partition(client: httpx.AsyncClient, kafka: Kafka) -> None:
    answer = await ask(client, REPLY)
    assert answer.status_code == 202
    (sent,) = kafka.taken
    command = Command.parse(sent.value or b"")
    assert (sent.topic, sent.key, command.subject, command.time) == ("commands", b"t-1", "t-1", s.NOW)
    assert list(sent.headers) == [("content-type", b"application/cloudevents+json")]
    assert answer.json() == {"id": command.id}
    assert (command.data.text, command.data.by.kind, command.data.by.id) == ("Już jedzie", "system", "crm")


async def test_a_person_may_be_named_as_who_asks(client: httpx.AsyncClient, kafka: Kafka) -> None:
    by = {"kind": "agent", "id": "agent-zofia", "name": "Zofia"}
    await ask(client, {**REPLY, "data": {"text": "x", "by": by}})
    assert Command.parse(kafka.taken[0].value or b"").data.by.id == "agent-zofia"


async def test_the_same_key_of_the_same_caller_is_the_same_command(client: httpx.AsyncClient) -> None:
    first, again = await ask(client, REPLY), await ask(client, REPLY)
    assert first.json() == again.json()
    assert (await ask(client, REPLY, key="k2")).json() != first.json()
    assert (await ask(client, REPLY, token="erp")).json() != first.json()


@pytest.mark.parametrize(
    ("body", "token", "status"),
    [
        (REPLY, "nobody", 401),
        (REPLY, "viewer", 403),
        ({**REPLY, "type": "deskbus.command.launch.v1"}, "crm", 422),
        ({**REPLY, "type": "deskbus.command.forward.v1"}, "crm", 422),
        ({**REPLY, "data": {"text": ""}}, "crm", 422),
        ({**REPLY, "ticket_id": ""}, "crm", 422),
        ({**REPLY, "data": {"text": "x" * 400_000}}, "crm", 413),
        ({"type": "deskbus.command.set_status.v1", "ticket_id": "t", "data": {"status": "gone"}}, "crm", 422),
        ({"type": "deskbus.command.transfer.v1", "ticket_id": "t", "data": {}}, "crm", 422),
    ],
)
async def test_a_command_that_may_not_be_is_a_problem(
    client: httpx.AsyncClient, kafka: Kafka, body: Any, token: str, status: int
) -> None:
    answer = await ask(client, body, token)
    assert answer.status_code == status
    refusal(answer)
    assert kafka.taken == []


@pytest.mark.parametrize("key", ["abc-1", "x" * 128])
async def test_a_key_in_quotes_is_the_key_without_them(client: httpx.AsyncClient, key: str) -> None:
    bare, quoted = await ask(client, REPLY, key=key), await ask(client, REPLY, key=f'"{key}"')
    assert (bare.status_code, bare.json()) == (202, quoted.json())


async def test_a_command_needs_an_idempotency_key(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/commands", json=REPLY, headers={"authorization": "Bearer crm"})
    assert answer.status_code == 422


@pytest.mark.parametrize("key", ["x" * 129, '""'])
async def test_a_useless_idempotency_key_is_refused(client: httpx.AsyncClient, kafka: Kafka, key: str) -> None:
    answer = await ask(client, REPLY, key=key)
    assert answer.status_code == 400
    refusal(answer)
    assert kafka.taken == []


async def test_without_kafka_a_command_is_503(client: httpx.AsyncClient, kafka: Kafka) -> None:
    kafka.away = refuse
    answer = await ask(client, REPLY)
    assert answer.status_code == 503
    assert "retry-after" in answer.headers


async def test_the_doors_describe_themselves(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert {"/v1/channels/{channel}/webhook", "/v1/commands"} <= document["paths"].keys()
    assert "Forward" not in json.dumps(document)
