"""The doors of sla, as a caller sees them."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from kit.protocol.document import Decision
from services.sla.core import tickets
from services.sla.core.state import TicketClocks
from services.sla.http import build_app
from services.sla.settings import SlaSettings
from tests.sla.desk import Writer, at, book
from tests.sla.rig import Rig

TEXT = """
policies:
  - name: vip
    match: {tier: gold}
    targets: {first_reply: 10m, resolution: 2h}
    warn: {due_soon: 2m, at_risk: 50%}
  - name: default
    match: {channel: email}
    targets: {first_reply: 30m}
"""
TOKENS = "; ".join(
    f"{name}:{hashlib.sha256(name.encode()).hexdigest()}:{scope}"
    for name, scope in (("reader", "sla:read"), ("stranger", "tickets:read"))
)


@pytest.fixture
def rig() -> Rig:
    return Rig(book(TEXT))


@pytest.fixture
async def client(rig: Rig) -> AsyncIterator[httpx.AsyncClient]:
    app = build_app(SlaSettings(tokens=SecretStr(TOKENS)), rig.documents, rig.archive, rig.clock)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    headers = {"authorization": "Bearer reader"}
    async with httpx.AsyncClient(transport=transport, base_url="http://sla", headers=headers) as session:
        yield session


async def breach(rig: Rig, ticket_id: str, t: float, **facts: Any) -> None:
    await rig.take(Writer(ticket_id, **facts).opened(t))
    rig.clock.set(at(t + 31))

    def fire(state: TicketClocks | None) -> Decision[TicketClocks] | None:
        assert state is not None
        return tickets.fire(state, at(t + 31), rig.archive, rig.clock.now())

    await rig.documents.change(ticket_id, fire)


async def test_the_clocks_of_a_ticket_with_what_is_used_and_left_now(rig: Rig, client: httpx.AsyncClient) -> None:
    await rig.take(Writer().opened(0))
    rig.clock.set(at(12))
    answer = await client.get("/v1/tickets/t-1/clocks")
    assert answer.status_code == 200
    (clock,) = answer.json()["clocks"]
    assert (clock["metric"], clock["state"], clock["policy"]["name"]) == ("first_reply", "running", "default")
    assert (clock["elapsed_seconds"], clock["remaining_seconds"]) == (720, 1080)
    assert clock["due_at"] == "2026-11-23T09:30:00Z"
    assert clock["calendar"]["tzdata"]


async def test_clocks_that_ended_come_after_those_that_live(rig: Rig, client: httpx.AsyncClient) -> None:
    write = Writer(customer={"tier": "gold"})
    for event in (write.opened(0), write.replied(1)):
        await rig.take(event)
    clocks = (await client.get("/v1/tickets/t-1/clocks")).json()["clocks"]
    assert [(clock["metric"], clock["state"], clock["outcome"]) for clock in clocks] == [
        ("resolution", "running", None),
        ("first_reply", "ended", "met"),
    ]


async def test_a_ticket_that_nobody_has_heard_of_is_404(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/tickets/none/clocks")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/tickets/t/clocks"), ("GET", "/v1/breaches"), ("POST", "/v1/policies/match")]
)
@pytest.mark.parametrize(("token", "status"), [("nobody", 401), ("stranger", 403)])
async def test_every_door_wants_the_scope(
    client: httpx.AsyncClient, method: str, path: str, token: str, status: int
) -> None:
    answer = await client.request(method, path, headers={"authorization": f"Bearer {token}"}, json={"channel": "email"})
    assert answer.status_code == status


async def test_breaches_are_paged_from_the_latest_without_a_loss(rig: Rig, client: httpx.AsyncClient) -> None:
    for number in range(5):
        await breach(rig, f"t-{number}", 10 * number)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await client.get("/v1/breaches", params={"limit": "2", **cursor})).json()
        seen += [item["ticket_id"] for item in page["items"]]
        if page.get("next") is None:
            break
        cursor = {"cursor": page["next"]}
    assert seen == ["t-4", "t-3", "t-2", "t-1", "t-0"]


async def test_two_breaches_of_one_millisecond_are_on_two_pages(rig: Rig, client: httpx.AsyncClient) -> None:
    for ticket_id in ("a", "b"):
        await breach(rig, ticket_id, 0)
    first = (await client.get("/v1/breaches", params={"limit": "1"})).json()
    second = (await client.get("/v1/breaches", params={"limit": "1", "cursor": first["next"]})).json()
    assert {page["items"][0]["ticket_id"] for page in (first, second)} == {"a", "b"}


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({}, {"plain", "gold"}),
        ({"policy": "vip"}, {"gold"}),
        ({"policy": "nobody"}, set()),
        ({"metric": "first_reply"}, {"plain", "gold"}),
        ({"metric": "resolution"}, set()),
        ({"since": "2026-11-23T10:00:00Z"}, {"gold"}),
        ({"until": "2026-11-23T10:00:00Z"}, {"plain"}),
    ],
)
async def test_breaches_by_what_they_are(
    rig: Rig, client: httpx.AsyncClient, params: dict[str, str], found: set[str]
) -> None:
    await breach(rig, "plain", 0)
    await breach(rig, "gold", 60, customer={"tier": "gold"})
    items = (await client.get("/v1/breaches", params=params)).json()["items"]
    assert {item["ticket_id"] for item in items} == found


async def test_a_breach_that_was_answered_late_stays_but_is_no_longer_open(rig: Rig, client: httpx.AsyncClient) -> None:
    write = Writer()
    await rig.take(write.opened(0))
    await rig.take(write.replied(40))
    (item,) = (await client.get("/v1/breaches")).json()["items"]
    assert (item["open"], item["breached_at"]) == (False, "2026-11-23T09:30:00Z")


async def test_which_policy_would_apply_and_until_when(client: httpx.AsyncClient) -> None:
    asked = {"channel": "line", "tier": "gold", "at": "2026-11-23T16:00:00+07:00"}
    body = (await client.post("/v1/policies/match", json=asked)).json()
    assert body["policy"]["name"] == "vip"
    assert body["calendar"]["name"] == "always"
    assert [(clock["metric"], clock["due_at"]) for clock in body["clocks"]] == [
        ("first_reply", "2026-11-23T09:10:00Z"),
        ("resolution", "2026-11-23T11:00:00Z"),
    ]
    assert [(warning["at"], warning["kind"]) for warning in body["clocks"][0]["warnings"]] == [
        ("2026-11-23T09:05:00Z", "at_risk"),
        ("2026-11-23T09:08:00Z", "due_soon"),
    ]


async def test_a_ticket_that_no_policy_takes_has_no_clocks(client: httpx.AsyncClient) -> None:
    body = (await client.post("/v1/policies/match", json={"channel": "line"})).json()
    assert body["policy"] is None
    assert body["clocks"] == []


async def test_what_cannot_be_understood_is_422(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/policies/match", json={"channel": "line", "priority": "extreme"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "body.priority"
    assert (await client.get("/v1/breaches", params={"limit": "0"})).status_code == 422


async def test_while_the_store_is_away_the_doors_ask_to_come_again(rig: Rig, client: httpx.AsyncClient) -> None:
    rig.store.away = True
    answer = await client.get("/v1/breaches")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]


async def test_the_clocks_of_a_ticket_are_shown_by_a_process_that_does_not_know_its_policies_yet(rig: Rig) -> None:
    await rig.archive.refresh()
    await rig.take(Writer().opened(0))
    other = Rig(book(TEXT.replace("30m", "40m")), rig.store)
    app = build_app(SlaSettings(tokens=SecretStr(TOKENS)), other.documents, other.archive, other.clock)
    headers = {"authorization": "Bearer reader"}
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://sla", headers=headers) as session:
        answer = await session.get("/v1/tickets/t-1/clocks")
    assert answer.status_code == 200
    assert [clock["target_seconds"] for clock in answer.json()["clocks"]] == [1800]
