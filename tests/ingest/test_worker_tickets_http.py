"""Tickets over REST: the thread in order, conditions, pages that miss and repeat nothing."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import SecretStr

from contracts.commands import AddNote, Merge, Reply, SetFacts, SetPriority
from contracts.ticket import Priority
from kit.base.settings import ServiceSettings
from kit.doors.http import door
from services.ingest.tickets_http import tickets_router
from tests.ingest.worker_rig import AGENT, Worker

DIGEST = hashlib.sha256(b"token").hexdigest()


LIMITED = (
    "brands=nimbus",
    "brands=korale",
    "accounts=coupang-kr",
    "brands=nimbus accounts=coupang-kr",
    "authors=bot/x",
    "brands=nimbus,korale",
)


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
async def http(worker: Worker) -> AsyncIterator[httpx.AsyncClient]:
    tokens = f"crm:{DIGEST}:tickets:read;other:{hashlib.sha256(b'other').hexdigest()}:x"
    for limits in LIMITED:
        tokens += f";limited:{hashlib.sha256(limits.encode()).hexdigest()}:tickets:read {limits}"
    settings = ServiceSettings(tokens=SecretStr(tokens))
    app = door("test", settings)
    app.include_router(tickets_router(worker.tickets, worker.store))
    headers = {"authorization": "Bearer token"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x", headers=headers) as client:
        yield client


async def test_a_ticket_comes_with_its_thread_oldest_first(worker: Worker, http: httpx.AsyncClient) -> None:
    await worker.take(worker.says("one", "m1"))
    ticket = worker.ticket().id
    worker.clock.advance(60)
    await worker.take(worker.asks(AddNote(by=AGENT, text="call him"), ticket, "c1"))
    await worker.take(worker.asks(Reply(by=AGENT, text="soon"), ticket, "c2"))
    await worker.take(worker.says("two", "m2", after=120))
    answer = await http.get(f"/v1/tickets/{ticket}")
    assert answer.status_code == 200
    assert answer.json()["ticket"]["message_count"] == 2
    assert [(e["kind"], e["message"]["text"]) for e in answer.json()["thread"]] == [
        ("message", "one"), ("note", "call him"), ("message", "two"), ("waiting", "soon"),
    ]  # fmt: skip


async def test_the_survivor_shows_what_was_written_on_the_merged_ticket(
    worker: Worker, http: httpx.AsyncClient
) -> None:
    await worker.take(worker.says("one", "m1", "jan"), worker.says("two", "m2", "ola", after=1))
    old, young = worker.opened()
    await worker.take(worker.asks(Merge(by=AGENT, into=old.id), young.id))
    thread = (await http.get(f"/v1/tickets/{old.id}")).json()["thread"]
    assert [(e["message"]["text"], e["ticket_id"]) for e in thread] == [("one", old.id), ("two", young.id)]


async def test_pages_miss_and_repeat_nothing(worker: Worker, http: httpx.AsyncClient) -> None:
    await worker.take(*(worker.says("x", f"m{n}", f"p{n}") for n in range(7)))
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(4):
        params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await http.get("/v1/tickets", params=params)).json()
        seen += [ticket["id"] for ticket in page["tickets"]]
        cursor = page["next"]
    assert cursor is None
    assert seen == sorted((ticket.id for ticket in worker.opened()), reverse=True)


async def test_conditions_hold_at_once(worker: Worker, http: httpx.AsyncClient) -> None:
    await worker.take(
        worker.says("a", "m1", "jan", tags=["returns"]), worker.says("b", "m2", "ola"),
        worker.says("c", "m3", "jan", account="coupang-kr"),
    )  # fmt: skip
    first, second, third = worker.opened()
    await worker.take(worker.asks(SetPriority(by=AGENT, priority=Priority.HIGH), second.id))

    async def found(**params: str) -> list[str]:
        page = (await http.get("/v1/tickets", params=params)).json()
        return [ticket["id"] for ticket in page["tickets"]]

    assert await found(tag="returns") == [first.id]
    assert await found(priority="high", brand="nimbus", country="PL") == [second.id]
    assert await found(contact=third.contact.id) == [third.id]
    assert await found(account="coupang-kr", brand="nimbus") == []
    assert await found(status="new", channel="webhook") == [third.id, second.id, first.id]


async def test_an_id_that_only_a_refused_command_named_is_no_ticket(worker: Worker, http: httpx.AsyncClient) -> None:
    await worker.take(worker.asks(AddNote(by=AGENT, text="x"), "nowhere"))
    assert (await http.get("/v1/tickets/nowhere")).status_code == 404
    assert (await http.get("/v1/tickets")).json()["tickets"] == []


@pytest.mark.parametrize("params", [{"cursor": "%"}, {"cursor": "AA"}, {"limit": "0"}, {"colour": "red"}])
async def test_what_is_not_understood_is_a_problem(http: httpx.AsyncClient, params: dict[str, str]) -> None:
    answer = await http.get("/v1/tickets", params=params)
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


async def test_another_scope_does_not_open_it(http: httpx.AsyncClient) -> None:
    assert (await http.get("/v1/tickets", headers={"authorization": "Bearer other"})).status_code == 403


@pytest.mark.parametrize(
    ("limits", "seen"),
    [
        ("brands=nimbus", [0]),
        ("brands=korale", []),
        ("accounts=coupang-kr", [1]),  # that account has no brand: a token of a brand does not see it
        ("brands=nimbus accounts=coupang-kr", []),
        ("authors=bot/x", [0, 1]),
        ("brands=nimbus,korale", [0]),
    ],
)
async def test_a_limited_token_sees_its_brands_and_accounts_only(
    worker: Worker, http: httpx.AsyncClient, limits: str, seen: list[int]
) -> None:
    await worker.take(worker.says("a", "m1", "jan"), worker.says("b", "m2", "jan", account="coupang-kr"))
    ids = [ticket.id for ticket in worker.opened()]
    bearer = {"authorization": f"Bearer {limits}"}
    page = (await http.get("/v1/tickets", headers=bearer)).json()
    assert [ticket["id"] for ticket in page["tickets"]] == [ids[number] for number in reversed(seen)]
    single = [(await http.get(f"/v1/tickets/{each}", headers=bearer)).status_code for each in ids]
    assert single == [200 if number in seen else 404 for number in range(2)]
    asked = (await http.get("/v1/tickets", params={"brand": "nimbus"}, headers=bearer)).json()
    assert len(asked["tickets"]) == (1 if 0 in seen else 0)
    asked = (await http.get("/v1/tickets", params={"brand": "korale"}, headers=bearer)).json()
    assert asked["tickets"] == []


async def test_a_limited_token_does_not_see_what_was_merged_from_another_brand(
    worker: Worker, http: httpx.AsyncClient
) -> None:
    await worker.take(worker.says("one", "m1", "jan"), worker.says("two", "m2", "ola", after=1))
    old, young = worker.opened()
    await worker.take(worker.asks(Merge(by=AGENT, into=old.id), young.id))
    await worker.take(worker.asks(SetFacts(by=AGENT, brand="korale"), old.id, "c2"))
    for limits, texts in (("brands=korale", ["one"]), ("brands=nimbus,korale", ["one", "two"])):
        answer = await http.get(f"/v1/tickets/{old.id}", headers={"authorization": f"Bearer {limits}"})
        assert [entry["message"]["text"] for entry in answer.json()["thread"]] == texts
