"""The REST doors: agents, presence, queues, explanations; over the fake store."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from services.routing.http import build_app
from services.routing.settings import RoutingSettings
from tests.kit.fake_store import FakeStore
from tests.routing.scenario import Log, Replica, at, fake_clock, opened, policy, ticket, transfer

TOKENS = ";".join(
    f"{name}:{hashlib.sha256(name.encode()).hexdigest()}:{scopes}"
    for name, scopes in (("lead", "agents:read,agents:write,routing:read"), ("stranger", "other"))
)
ANN: dict[str, Any] = {
    "name": "Ann",
    "capacity": 2,
    "skills": {"lang-en": 3},
    "languages": ["en"],
    "presence": "online",
}


@pytest.fixture
def replica() -> Replica:
    return Replica(FakeStore(), fake_clock(), Log())


@pytest.fixture
async def door(replica: Replica) -> AsyncIterator[httpx.AsyncClient]:
    app = build_app(RoutingSettings(tokens=SecretStr(TOKENS)), replica.assigner, replica.clock, replica.changed)
    headers = {"authorization": "Bearer lead"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://r", headers=headers) as client:
        yield client


async def test_agent_is_made_changed_and_removed(door: httpx.AsyncClient, replica: Replica) -> None:
    assert (await door.put("/v1/agents/ann", json=ANN)).status_code == 201
    assert (await door.put("/v1/agents/ann", json=ANN)).status_code == 200
    changed = await door.put("/v1/agents/ann", json={**ANN, "capacity": 5})
    assert changed.json()["agent"]["capacity"] == 5
    assert (await door.get("/v1/agents/ann")).json() == changed.json()
    assert [view["agent"]["id"] for view in (await door.get("/v1/agents")).json()] == ["ann"]
    assert (await door.delete("/v1/agents/ann")).status_code == 204
    assert (await door.delete("/v1/agents/ann")).status_code == 204
    assert (await door.get("/v1/agents/ann")).status_code == 404
    assert (await door.get("/v1/agents")).json() == []
    assert replica.log.said("ann") == ["updated", "updated", "removed"]
    assert (await door.put("/v1/agents/ann", json=ANN)).status_code == 201


async def test_presence_gives_and_takes_work(door: httpx.AsyncClient, replica: Replica) -> None:
    await door.put("/v1/agents/ann", json={**ANN, "presence": "offline"})
    await replica.hear(opened(ticket()))
    answer = await door.put("/v1/agents/ann/presence", json={"presence": "online"})
    assert answer.json()["agent"]["presence"] == "online"
    await replica.turn()
    assert (await door.get("/v1/agents/ann")).json()["tickets"] == ["t1"]
    await door.put("/v1/agents/ann/presence", json={"presence": "offline"})
    await replica.turn()
    assert (await door.get("/v1/agents/ann")).json() | {"agent": None} == {
        "agent": None, "load": 0, "tickets": [], "last_assigned_at": "2026-11-02T09:00:00Z",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/v1/agents/ann", {**ANN, "capacity": -1}, 422),
        ("PUT", "/v1/agents/ann", {**ANN, "skills": {"lang-en": 6}}, 422),
        ("PUT", "/v1/agents/ann", {**ANN, "shoe": 42}, 422),
        ("PUT", "/v1/agents/an%20n", ANN, 422),
        ("PUT", "/v1/agents/nobody/presence", {"presence": "online"}, 404),
        ("PUT", "/v1/agents/nobody/presence", {"presence": "lunch"}, 422),
        ("GET", "/v1/agents/nobody", None, 404),
        ("DELETE", "/v1/agents/nobody", None, 404),
        ("GET", "/v1/tickets/none/decision", None, 404),
        ("POST", "/v1/simulate", {"facts": {"channel": "email"}, "queue": "nowhere"}, 422),
    ],
)
async def test_bad_requests_are_problem_documents_and_write_nothing(
    door: httpx.AsyncClient, replica: Replica, method: str, path: str, body: Any, status: int
) -> None:
    answer = await door.request(method, path, json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert isinstance(replica.store, FakeStore)
    assert replica.store.writes == 0


@pytest.mark.parametrize(("token", "status"), [("", 401), ("unknown", 401), ("stranger", 403)])
async def test_doors_open_only_to_those_who_may(door: httpx.AsyncClient, token: str, status: int) -> None:
    headers = {"authorization": f"Bearer {token}"}
    for path in ("/v1/agents", "/v1/queues", "/v1/tickets/t1/decision"):
        assert (await door.get(path, headers=headers)).status_code == status


async def test_queues_tell_depth_age_and_priorities(door: httpx.AsyncClient, replica: Replica) -> None:
    await replica.hear(
        opened(ticket("t1")), opened(ticket("t2", priority="urgent")), opened(ticket("t3", language="th"))
    )
    replica.clock.advance(60)  # type: ignore[attr-defined]
    queues = {view["queue"]: view for view in (await door.get("/v1/queues")).json()}
    assert {name: view["depth"] for name, view in queues.items()} == {"thai": 1, "returns": 0, "english": 2}
    assert queues["english"]["oldest_wait_seconds"] == 60
    assert queues["english"]["waiting"] == {"low": 0, "normal": 1, "high": 0, "urgent": 1}


async def test_decision_is_told_for_who_has_a_ticket_and_for_who_waits(
    door: httpx.AsyncClient, replica: Replica
) -> None:
    await door.put("/v1/agents/ann", json={**ANN, "capacity": 1})
    await replica.hear(opened(ticket("t1")))
    told = (await door.get("/v1/tickets/t1/decision")).json()
    assert (told["agent"]["id"], told["decision"]["candidates"][0]["chosen"], told["now"]) == ("ann", True, None)
    await replica.hear(opened(ticket("t2")))
    told = (await door.get("/v1/tickets/t2/decision")).json()
    assert (told["phase"], told["agent"], told["now"]["agent"]) == ("waiting", None, None)
    assert told["now"]["passed_over"] == {"at_capacity": 1}
    assert told["now"]["nobody"] is None


async def test_decision_names_nobody_for_a_ticket_that_no_rule_wants(door: httpx.AsyncClient, replica: Replica) -> None:
    replica.policy = policy(b"queues: {a: {}}\nrules: [{match: {brand: korale}, queue: a}]")
    await door.put("/v1/agents/ann", json=ANN)
    await replica.hear(opened(ticket("t1")))
    told = (await door.get("/v1/tickets/t1/decision")).json()
    assert (told["phase"], told["queue"], told["now"]["agent"]) == ("waiting", None, None)
    assert told["now"]["nobody"] == "no_queue: no rule of the policy matches the ticket"


async def test_decision_tells_what_else_a_ticket_waits_for(door: httpx.AsyncClient, replica: Replica) -> None:
    await door.put("/v1/agents/bob", json={**ANN, "name": "Bob", "capacity": 0})
    await door.put("/v1/agents/ann", json=ANN)
    await replica.hear(opened(ticket("t1", language="th")))
    replica.clock.advance(121)  # type: ignore[attr-defined]
    await replica.turn()
    await replica.command("t1", transfer(agent_id="bob"))
    told = (await door.get("/v1/tickets/t1/decision")).json()
    assert (told["queue"], told["overflow_queues"]) == ("thai", ["english"])
    assert (told["waits_for"], told["waits_for_until"]) == ({"id": "bob", "name": "Bob"}, "2026-11-02T09:07:01Z")
    assert (told["now"]["agent"], told["now"]["queue"]) == (None, "thai")
    assert told["now"]["passed_over"] == {"at_capacity": 1, "declined": 1}


async def test_ticket_that_is_not_there_has_no_decision_although_a_transfer_of_it_was_refused(
    door: httpx.AsyncClient, replica: Replica
) -> None:
    record = replica.asked("t9", transfer(queue="thai"))
    replica.clock.advance(3)  # type: ignore[attr-defined]
    assert await replica.delivery.handle([record]) == set()
    assert (await door.get("/v1/tickets/t9/decision")).status_code == 404


async def test_queues_tell_the_wait_without_the_time_in_somebodys_hands(
    door: httpx.AsyncClient, replica: Replica
) -> None:
    await door.put("/v1/agents/ann", json=ANN)
    await replica.hear(opened(ticket("t1")))
    replica.clock.advance(600)  # type: ignore[attr-defined]
    await door.put("/v1/agents/ann/presence", json={"presence": "offline"})
    await replica.turn()
    replica.clock.advance(5)  # type: ignore[attr-defined]
    queues = {view["queue"]: view for view in (await door.get("/v1/queues")).json()}
    assert (queues["english"]["oldest_wait_seconds"], queues["english"]["depth"]) == (5, 1)


async def test_simulation_says_queue_agent_and_reasons_and_changes_nothing(
    door: httpx.AsyncClient, replica: Replica
) -> None:
    await door.put("/v1/agents/ann", json=ANN)
    before = replica.store.writes  # type: ignore[attr-defined]
    asked = {"facts": {"channel": "email", "language": "en-GB"}}
    told = (await door.post("/v1/simulate", json=asked)).json()
    assert (told["queue"], told["explanation"]["agent"]["id"]) == ("english", "ann")
    asked = {"facts": {"channel": "email", "language": "th"}}
    told = (await door.post("/v1/simulate", json=asked)).json()
    assert (told["queue"], told["explanation"]["agent"]) == ("thai", None)
    assert told["explanation"]["passed_over"] == {"language": 1}
    assert told["explanation"]["nobody"].startswith("no_agent_with_language")
    assert replica.store.writes == before  # type: ignore[attr-defined]
    assert at(0) == replica.clock.now()
