"""The doors: who may look, who may acknowledge, what they see."""

import hashlib
from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import SecretStr

from services.notify.http import build_app
from services.notify.settings import NotifySettings
from tests.notify.examples import ESCALATION, assigned, breached, queued
from tests.notify.rig import Rig

READ, ACK = {"authorization": "Bearer look"}, {"authorization": "Bearer act"}


def hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
async def client(rig: Rig) -> AsyncIterator[httpx.AsyncClient]:
    tokens = f"nok:{hashed('look')}:escalations:read;mali:{hashed('act')}:escalations:read,escalations:ack"
    app = build_app(NotifySettings(tokens=SecretStr(tokens)), rig.documents, lambda: rig.policy, rig.clock)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://notify") as client:
        yield client


async def test_an_acknowledgement_is_stored_then_answered_and_stops_the_chain(
    rig: Rig, client: httpx.AsyncClient
) -> None:
    await rig.take(assigned(0), breached(0))
    await rig.wait(0)
    answer = await client.post(f"/v1/escalations/{ESCALATION}/ack", headers=ACK)
    assert answer.status_code == 200
    assert answer.json()["standing"] == "acknowledged"
    assert answer.json()["agent"] == "Somchai"
    (alarm,) = answer.json()["alarms"]
    assert (alarm["acknowledged_by"], alarm["notified"], alarm["step"]) == ("mali", ["lead"], 0)
    await rig.wait(120)
    assert rig.sink.told() == [("lead", "firing")]


async def test_acknowledging_again_answers_the_same_and_says_nothing_new(rig: Rig, client: httpx.AsyncClient) -> None:
    await rig.take(breached(0))
    url = f"/v1/escalations/{ESCALATION}/ack"
    first = await client.post(url, headers=ACK, json={"by": "mali", "via": "slack"})
    second = await client.post(url, headers=ACK, json={"by": "nok"})
    assert first.json() == second.json()
    assert len(rig.sender.events("escalation.acknowledged")) == 1


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/v1/escalations", {}, 401),
        ("POST", f"/v1/escalations/{ESCALATION}/ack", {}, 401),
        ("POST", f"/v1/escalations/{ESCALATION}/ack", READ, 403),
        ("POST", "/v1/escalations/esc-none/ack", ACK, 404),
        ("GET", "/v1/escalations/esc-none", READ, 404),
        ("GET", "/v1/escalations/none-such", READ, 422),
        ("GET", "/v1/escalations?limit=0", READ, 422),
        ("GET", "/v1/escalations?standing=lost", READ, 422),
    ],
)
async def test_what_is_not_answered(
    client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = await client.request(method, path, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_ticket_with_which_nothing_was_the_matter_is_no_escalation(rig: Rig, client: httpx.AsyncClient) -> None:
    await rig.take(queued(0))
    assert (await client.get(f"/v1/escalations/{ESCALATION}", headers=READ)).status_code == 404
    assert (await client.get("/v1/escalations", headers=READ)).json() == {"escalations": [], "next": None}


async def test_escalations_are_listed_latest_ticket_first_in_pages(rig: Rig, client: httpx.AsyncClient) -> None:
    await rig.take(*(breached(0, ticket=f"t{n}") for n in range(5)))
    await client.post("/v1/escalations/esc-t4/ack", headers=ACK)
    seen: list[str] = []
    before: dict[str, str] = {}
    while True:
        page = (await client.get("/v1/escalations", headers=READ, params={"limit": "2", **before})).json()
        seen += [escalation["id"] for escalation in page["escalations"]]
        if page["next"] is None:
            break
        before = {"before": page["next"]}
    assert seen == ["esc-t4", "esc-t3", "esc-t2", "esc-t1", "esc-t0"]

    async def ids(**params: str) -> list[str]:
        page = (await client.get("/v1/escalations", headers=READ, params=params)).json()
        return [escalation["id"] for escalation in page["escalations"]]

    assert await ids(standing="acknowledged") == ["esc-t4"]
    assert len(await ids(standing="open", kind="breached", brand="nimbus")) == 4
    assert await ids(kind="at_risk") == []
    assert await ids(brand="korale") == []


async def test_the_route_is_explained(rig: Rig, client: httpx.AsyncClient) -> None:
    await rig.take(breached(0))
    answer = await client.get(f"/v1/escalations/{ESCALATION}/route", headers=READ)
    assert answer.json()["routes"] == ["all: entered", "breached: taken", "warnings: not_reached"]
