"""The route past FastAPI: bounded, counted and answered with problems like every other."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.types import Message, Receive, Scope, Send

from kit.base import metrics
from kit.base.errors import TransientError
from kit.base.settings import ServiceSettings
from kit.doors.http import PROBLEM, Problem, door
from services.ingest.asgi import PostFirst, read_body, respond
from services.ingest.channels.channel import Answer

PATH = "/v1/boxes/{box}/post"


async def post(scope: Scope, receive: Receive, send: Send) -> None:
    body = await read_body(receive)
    match scope["path_params"]["box"]:
        case "full":
            raise Problem(409, "It is full")
        case "away":
            raise TransientError("MongoDB is away")
        case "broken":
            raise ValueError("the password is hunter2")
    await respond(send, Answer(202, b"%d" % len(body)))


@pytest.fixture
def too_large() -> list[str]:
    return []


@pytest.fixture
def boxes() -> FastAPI:
    made = door("boxes", ServiceSettings(), max_body=1000)

    @made.get(PATH)
    async def look(request: Request) -> str:
        return f"GET {request.path_params['box']}"

    return made


@pytest.fixture
def app(boxes: FastAPI, too_large: list[str]) -> Any:
    return PostFirst(boxes, PATH, post, 1000, lambda scope: too_large.append(scope["path_params"]["box"]))


@pytest.fixture
async def client(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://door", timeout=5) as client:
        yield client


async def test_it_answers_without_fastapi(client: httpx.AsyncClient, boxes: FastAPI) -> None:
    boxes.build_middleware_stack = lambda: pytest.fail("FastAPI was asked")  # type: ignore[method-assign]
    answer = await client.post("/v1/boxes/a/post", content=b"12345")
    assert (answer.status_code, answer.json(), answer.headers["content-type"]) == (202, 5, "application/json")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/boxes/a/post", 200),
        ("PUT", "/v1/boxes/a/post", 405),
        ("POST", "/v1/boxes//post", 404),
        ("POST", "/v1/boxes/a/b/post", 404),
        ("POST", "/v1/boxes/a/post/", 307),
    ],
)
async def test_other_methods_and_paths_are_fastapis(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    assert (await client.request(method, path)).status_code == status


@pytest.mark.parametrize(("box", "status"), [("full", 409), ("away", 503), ("broken", 500)])
async def test_what_it_raises_is_a_problem(
    client: httpx.AsyncClient, too_large: list[str], box: str, status: int
) -> None:
    answer = await client.post(f"/v1/boxes/{box}/post", content=b"x")
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    assert answer.json()["status"] == status
    assert "hunter2" not in answer.text
    assert too_large == []


@pytest.mark.parametrize("declared", [True, False])
async def test_its_body_is_bounded_and_too_large_a_one_is_told_of(
    client: httpx.AsyncClient, too_large: list[str], declared: bool
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x" * 100

    answer = await client.post("/v1/boxes/a/post", content=b"x" * 1001 if declared else chunks())
    assert answer.status_code == 413
    assert too_large == ["a"]


async def test_a_body_in_pieces_is_whole(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(7):
            yield b"x" * 100

    assert (await client.post("/v1/boxes/a/post", content=chunks())).json() == 700


async def ask(app: Any, *messages: Message) -> list[Message]:
    sent: list[Message] = []
    coming = iter(messages)

    async def receive() -> Message:
        return next(coming)

    async def send(message: Message) -> None:
        sent.append(message)

    path = PATH.format(box="a")
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    await app({**scope, "headers": [], "http_version": "1.1"}, receive, send)
    return sent


async def test_who_has_left_while_sending_is_not_answered_and_counted_as_such(app: Any) -> None:
    counted = metrics.REQUESTS.labels(PATH, "POST", "499")._value
    before = counted.get()
    piece = {"type": "http.request", "body": b"x", "more_body": True}
    assert await ask(app, piece, {"type": "http.disconnect"}) == []
    assert counted.get() == before + 1


async def test_it_is_counted_by_its_template(client: httpx.AsyncClient) -> None:
    counted = metrics.REQUESTS.labels(PATH, "POST", "202")._value
    before = counted.get()
    await client.post("/v1/boxes/a/post")
    assert counted.get() == before + 1
