"""What a caller may try who is let in, or nearly: keys used twice, tokens of others, JSON that is none, replays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from kit.doors.http import PROBLEM
from tests.attack.doors import BEARER, DOORS, SCOPES, Sent, ingest, tokens
from tests.ingest.channels import samples as s

JSON = {"content-type": "application/json"}


def note(text: str = "hello", ticket: str = "t1") -> dict[str, Any]:
    return {"type": "deskbus.command.note.v1", "ticket_id": ticket, "data": {"text": text}}


@pytest.fixture
async def door() -> AsyncIterator[httpx.AsyncClient]:
    sent = Sent()
    app = ingest(tokens("commands:write"), sent)
    headers = {"authorization": f"Bearer {BEARER}"}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://d", headers=headers) as client:
        client.sent = sent.records  # type: ignore[attr-defined]
        yield client


async def command(door: httpx.AsyncClient, body: Any, key: str = "k1") -> httpx.Response:
    return await door.post("/v1/commands", json=body, headers={"idempotency-key": key})


def problem(answer: httpx.Response, *statuses: int) -> dict[str, Any]:
    assert answer.status_code in statuses, answer.text
    assert answer.headers["content-type"] == PROBLEM
    document: dict[str, Any] = answer.json()
    return document


async def test_the_same_key_and_command_is_taken_again_as_the_same(door: httpx.AsyncClient) -> None:
    first, second = await command(door, note()), await command(door, note())
    assert first.status_code == second.status_code == 202
    assert first.json() == second.json()


@pytest.mark.parametrize(
    "other", [note("other"), note(ticket="t2"), {**note(), "type": "deskbus.command.hand_off.v1", "data": {}}]
)
async def test_a_key_that_comes_with_another_command_is_refused(door: httpx.AsyncClient, other: dict[str, Any]) -> None:
    await command(door, note())
    problem(await command(door, other), 422)
    assert len(door.sent) == 1  # type: ignore[attr-defined]
    assert (await command(door, other, "k2")).status_code == 202


@pytest.mark.parametrize("key", ["", '""', " ", "a" * 129, "a\tb", "ü"])
async def test_a_key_that_is_none_is_refused(door: httpx.AsyncClient, key: str) -> None:
    headers = {"idempotency-key": key.encode("latin-1").decode("latin-1").encode("latin-1")}
    problem(await door.post("/v1/commands", json=note(), headers=headers), 400, 422)  # type: ignore[arg-type]


@pytest.mark.parametrize("service", DOORS)
async def test_a_token_of_another_service_opens_nothing(service: str) -> None:
    others = [scopes for name, scopes in SCOPES.items() if name != service]
    app = DOORS[service](tokens(*",".join(others).split(",")))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://d") as client:
        document = (await client.get("/openapi.json")).json()
        for path, methods in document["paths"].items():
            if "/channels/" in path:
                continue  # these have signatures
            where = path.replace("{escalation_id}", "esc-1").replace("{agent_id}", "a").replace("{ticket_id}", "t")
            for method in methods:
                for authorization, status in (
                    (f"Bearer {BEARER}", 403), ("Bearer hunter2-wrong", 401), ("Basic aHVudGVyMg==", 401), ("", 401),
                ):  # fmt: skip
                    answer = await client.request(method, where, headers={"authorization": authorization})
                    problem(answer, status)
                    assert "hunter2" not in answer.text


HOSTILE_JSON: dict[str, bytes] = {
    "100,000 levels": b"[" * 100_000,
    "100,000 levels of objects": b'{"a":' * 100_000,
    "5,000 digits": b'{"name":"A","capacity":' + b"9" * 5000 + b"}",
    "not a number": b'{"name":"A","capacity":NaN}',
    "infinity": b'{"name":"A","capacity":1e400}',
    "half a pair as a name": rb'{"name":"A","capacity":1,"skills":{"\ud800":1}}',
    "half a pair as a field": rb'{"name":"A","capacity":1,"\ud800":1}',
    "half a pair as a value": rb'{"name":"\ud800","capacity":1}',
    "invalid UTF-8": b'{"name":"\xff\xfe","capacity":1}',
    "UTF-16": '{"name":"A"}'.encode("utf-16"),
    "NUL": b"\0",
    "nothing": b"",
    "900 KB of one text": b'"' + b"a" * 900_000 + b'"',
    "100,000 fields": b"{" + b",".join(b'"f%d":1' % n for n in range(60_000)) + b"}",
}


@pytest.mark.parametrize("body", HOSTILE_JSON.values(), ids=HOSTILE_JSON.keys())
@pytest.mark.parametrize(
    ("service", "method", "path"),
    [
        ("routing", "PUT", "/v1/agents/a"), ("routing", "POST", "/v1/simulate"),
        ("sla", "POST", "/v1/policies/match"), ("notify", "POST", "/v1/escalations/esc-1/ack"),
        ("ingest", "POST", "/v1/commands"),
    ],
)  # fmt: skip
async def test_hostile_json_is_a_problem(service: str, method: str, path: str, body: bytes) -> None:
    app = DOORS[service](tokens(*SCOPES[service].split(",")))
    headers = {**JSON, "authorization": f"Bearer {BEARER}", "idempotency-key": "k"}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://d") as client:
        answer = await client.request(method, path, content=body, headers=headers)
        if not (service == "notify" and body == b""):
            problem(answer, 400, 413, 422, 404)


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2099-01-01T00:00:00Z"])
async def test_no_instant_makes_the_calendar_fail_or_grow(at: str) -> None:
    app = DOORS["sla"](tokens("sla:read"))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://d") as client:
        answer = await client.post(
            "/v1/policies/match", json={"channel": "email", "at": at}, headers={"authorization": f"Bearer {BEARER}"}
        )
        problem(answer, 422)


async def test_headers_that_strangers_choose_do_not_come_back_in_ours(door: httpx.AsyncClient) -> None:
    path = "/v1/channels/webhook/webhook?account=a%0d%0aSet-Cookie:%20x=1"
    answer = await door.post(path, content=b"{}")
    problem(answer, 404)
    assert "set-cookie" not in answer.headers
    challenge = {"hub.mode": "subscribe", "hub.verify_token": "agreed-token", "hub.challenge": "1\r\nSet-Cookie: x=1"}
    problem(await door.get("/v1/channels/whatsapp/webhook", params=challenge), 403)
    challenge["hub.challenge"] = "<script>alert(1)</script>"
    problem(await door.get("/v1/channels/whatsapp/webhook", params=challenge), 403)


async def test_a_signature_opens_only_its_own_account_body_and_hour(door: httpx.AsyncClient) -> None:
    body = s.encode({"id": "m1", "from": {"id": "p"}, "text": "x"})
    signed = s.sign_generic(body)
    right = "/v1/channels/webhook/webhook?account=coupang-kr"
    assert (await door.post(right, content=body, headers=signed)).status_code == 202
    for path, sent, headers in (
        ("/v1/channels/webhook/webhook?account=allegro-pl", body, signed),
        (right, body + b" ", signed),
        (right, body, {**signed, "webhook-id": "other"}),
        (right, body, {**signed, "webhook-timestamp": str(int(signed["webhook-timestamp"]) + 1)}),
        (right, body, s.sign_generic(body, s.NOW.replace(hour=1))),
        ("/v1/channels/line/webhook?account=line-th", body, signed),
        ("/v1/channels/whatsapp/webhook?account=wa-th", body, {"x-hub-signature-256": "sha256="}),
    ):
        problem(await door.post(path, content=sent, headers=headers), 401)
    assert len(door.sent) == 1  # type: ignore[attr-defined]
