"""Doors: every error is a problem document, tokens open only what they name, nothing unbounded is read."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Request
from pydantic import BaseModel, SecretStr
from starlette.types import Message

from kit.base import metrics
from kit.base.errors import TransientError
from kit.base.settings import ServiceSettings
from kit.base.tokens import Caller
from kit.doors.http import PROBLEM, Problem, door, requires


class Thing(BaseModel):
    name: str
    size: int


def hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@pytest.fixture
def app() -> FastAPI:
    tokens = f"anna:{hashed('let-me')}:things:read,things:write;bob:{hashed('look')}:things:read"
    for limit in ("brands=a", "accounts=a", "authors=a", "brands=a authors=a"):
        tokens += f";limited:{hashed(limit)}:things:read,things:write {limit}"
    app = door("things", ServiceSettings(tokens=SecretStr(tokens)), max_body=1000, seconds=3)
    router = APIRouter(prefix="/v1")

    @router.post("/things", status_code=201)
    async def create(thing: Thing, caller: Annotated[Caller, Depends(requires("things:write"))]) -> str:
        return f"{caller.name} made {thing.name}"

    @router.get("/limits/read")
    async def reading(caller: Annotated[Caller, Depends(requires("things:read"))]) -> str:
        return caller.name

    @router.get("/limits/brands")
    async def brands(caller: Annotated[Caller, Depends(requires("things:write", keeps=("brands",)))]) -> list[bool]:
        return [caller.reaches("brands", value) for value in ("a", "b", None)] + [caller.reaches("accounts", "b")]

    @router.get("/things/{thing}")
    async def read(thing: str) -> str:
        match thing:
            case "gone":
                raise Problem(410, "It is gone", "since Monday", type="/problems/gone", since="Monday")
            case "broken":
                raise ValueError("the password is hunter2")
            case "away":
                raise TransientError("MongoDB is away")
            case "slow":
                await asyncio.Event().wait()
        return thing

    @router.post("/raw")
    async def raw(request: Request) -> int:
        return len(await request.body())

    app.include_router(router)
    return app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://door", timeout=5) as client:
        yield client


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["content-type"] == PROBLEM
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    assert document["title"]
    return document


BEARER = {"authorization": "Bearer let-me"}


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/nothing", 404), ("DELETE", "/v1/things/a", 405)])
async def test_unknown_path_and_method_are_problems(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    problem(await client.request(method, path), status)


async def test_validation_problem_names_each_field(client: httpx.AsyncClient) -> None:
    document = problem(await client.post("/v1/things", json={"size": "big"}, headers=BEARER), 422)
    assert {entry["field"] for entry in document["errors"]} == {"body.name", "body.size"}
    assert "big" not in str(document)


async def test_body_that_is_no_json_is_a_problem(client: httpx.AsyncClient) -> None:
    problem(await client.post("/v1/things", content=b"{", headers=BEARER), 422)


async def test_problem_carries_its_type_and_members(client: httpx.AsyncClient) -> None:
    document = problem(await client.get("/v1/things/gone"), 410)
    assert document == {
        "type": "/problems/gone",
        "title": "It is gone",
        "status": 410,
        "detail": "since Monday",
        "since": "Monday",
    }


async def test_fault_of_ours_tells_nothing_about_our_insides(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/things/broken")
    problem(response, 500)
    assert "hunter2" not in response.text


async def test_passing_fault_asks_to_come_again(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/things/away")
    problem(response, 503)
    assert int(response.headers["retry-after"]) > 0


async def test_request_that_takes_too_long_is_ended(client: httpx.AsyncClient) -> None:
    problem(await client.get("/v1/things/slow"), 503)


async def test_body_that_never_comes_is_ended(app: FastAPI) -> None:
    sent: list[Any] = []

    async def silent() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/raw",
        "headers": [(b"transfer-encoding", b"chunked")],
        "query_string": b"",
        "http_version": "1.1",
    }
    await app(scope, silent, send)
    assert sent[0]["status"] == 408


async def test_declared_length_above_the_limit_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/raw", content=b"x" * 1001)
    problem(response, 413)
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize("path", ["/v1/raw", "/v1/things"])
async def test_an_endless_body_is_kept_nowhere_and_read_away_within_bounds(
    client: httpx.AsyncClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.doors.http._AWAY_BYTES", 500)
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"x" * 100

    problem(await client.post(path, content=endless(), headers=BEARER), 413)
    assert read <= 12 + 5


async def test_body_at_the_limit_is_taken(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/raw", content=b"x" * 1000)).json() == 1000


async def test_token_with_the_scope_opens(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/things", json={"name": "a", "size": 1}, headers=BEARER)
    assert (response.status_code, response.json()) == (201, "anna made a")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer other"}, 401),
        ({"authorization": "Basic let-me"}, 401),
        ({"authorization": f"Bearer {hashed('let-me')}"}, 401),  # the stored hash is no token
        ({"authorization": "Bearer look"}, 403),
    ],
)
async def test_without_a_token_of_that_scope_the_door_stays_shut(
    client: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    response = await client.post("/v1/things", json={"name": "a", "size": 1}, headers=headers)
    problem(response, status)
    assert response.headers["www-authenticate"].startswith("Bearer")


async def test_requests_are_counted_by_route_and_never_by_path(client: httpx.AsyncClient) -> None:
    counted = metrics.REQUESTS.labels("/v1/things/{thing}", "GET", "200")._value
    unmatched = metrics.REQUESTS.labels("unmatched", "GET", "404")._value
    before = counted.get(), unmatched.get()
    await client.get("/v1/things/a")
    await client.get("/v1/things/b")
    await client.get("/nowhere/c")
    assert (counted.get(), unmatched.get()) == (before[0] + 2, before[1] + 1)


async def test_openapi_documents_problems_instead_of_the_frameworks_own_errors(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    responses = document["paths"]["/v1/things"]["post"]["responses"]
    assert PROBLEM in responses["default"]["content"]
    assert "422" not in responses


async def test_a_caller_who_is_still_sending_sees_the_answer() -> None:
    app = door("t", ServiceSettings(), max_body=10)
    sent: list[Message] = []
    chunks = iter([{"type": "http.request", "body": b"x" * 8, "more_body": True}] * 5)
    asked = 0

    async def receive() -> Message:
        nonlocal asked
        asked += 1
        return next(chunks, {"type": "http.request", "body": b"", "more_body": False})

    async def send(message: Message) -> None:
        sent.append(message)

    @app.post("/take")
    async def take(request: Request) -> None:
        await request.body()

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/take",
        "raw_path": b"/take",
        "query_string": b"",
        "headers": [],
    }
    await app(scope, receive, send)
    assert sent[0]["status"] == 413
    assert asked == 6, "the body is read to its end before the answer goes"


@pytest.mark.parametrize(
    ("token", "read", "write"),
    [
        ("let-me", 200, 200),
        ("brands=a", 403, 200),
        ("accounts=a", 403, 403),
        ("authors=a", 200, 403),  # who only reads speaks as nobody
        ("brands=a authors=a", 403, 403),
    ],
)
async def test_a_token_is_refused_where_its_limits_are_not_kept(
    client: httpx.AsyncClient, token: str, read: int, write: int
) -> None:
    bearer = {"authorization": f"Bearer {token}"}
    for path, status in (("/v1/limits/read", read), ("/v1/limits/brands", write)):
        response = await client.get(path, headers=bearer)
        assert response.status_code == status
        if status != 200:
            assert "limit on" in problem(response, status)["detail"]


async def test_a_limited_token_reaches_what_it_is_limited_to_and_no_more(client: httpx.AsyncClient) -> None:
    limited = await client.get("/v1/limits/brands", headers={"authorization": "Bearer brands=a"})
    assert limited.json() == [True, False, False, True]
    free = await client.get("/v1/limits/brands", headers={"authorization": "Bearer let-me"})
    assert free.json() == [True, True, True, True]
