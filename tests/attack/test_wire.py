"""What a stranger's socket may do to a door: heads, lengths, pipelines; bounded in bytes and seconds, never a fault."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from fastapi import FastAPI, Request

from kit.base.settings import ServiceSettings
from kit.doors.http import PROBLEM, door
from kit.doors.listening import MAX_HEAD, BoundedProtocol
from kit.process.service import _Door

MB = 1_000_000


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(BoundedProtocol, "head_seconds", 0.3)
    app: FastAPI = door("t", ServiceSettings(), max_body=1000, seconds=0.5)

    @app.get("/x")
    async def x() -> str:
        return "here"

    @app.post("/raw")
    async def raw(request: Request) -> int:
        return len(await request.body())

    opened = await _Door.open(app, "127.0.0.1", 0, 1)
    while not opened.server.started:  # noqa: ASYNC110 - uvicorn offers no event
        await asyncio.sleep(0.01)
    yield opened.port
    await opened.close()


async def talk(port: int, *chunks: bytes) -> bytes:
    """All that comes back until the door hangs up; what it does not take any more is not sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        async with asyncio.timeout(8):
            for chunk in chunks:
                writer.write(chunk)
                await writer.drain()
            answer = await reader.read()
    except ConnectionError:
        pass
    finally:
        writer.close()
    return answer


def problem(answer: bytes, status: int) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), answer[:200]
    assert PROBLEM.encode() in head
    assert json.loads(body)["status"] == status


GET = b"GET /x HTTP/1.1\r\nHost: a\r\n"


async def test_a_head_at_the_limit_is_taken(port: int) -> None:
    answer = await talk(port, GET + b"X: " + b"a" * (MAX_HEAD - 100) + b"\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "chunks",
    [[b"X: ", *[b"a" * MB] * 60], [b"X: " + b"a" * 1000 + b"\r\n"] * 60_000, [b"a" * MB] * 60],
    ids=["one header", "60,000 headers", "a name without end"],
)
async def test_an_endless_head_is_refused_and_kept_nowhere(port: int, chunks: list[bytes]) -> None:
    before = psutil.Process().memory_info().rss
    answer = await talk(port, GET, *chunks)
    assert b" 200 " not in answer
    assert psutil.Process().memory_info().rss - before < 20 * MB
    assert (await talk(port, GET + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_a_head_a_little_above_the_limit_is_told_so(port: int) -> None:
    problem(await talk(port, GET + b"X: " + b"a" * MAX_HEAD), 431)


@pytest.mark.parametrize("begun", [b"", b"GET", GET, GET + b"X: y"])
async def test_a_head_that_does_not_come_is_not_waited_for(port: int, begun: bytes) -> None:
    problem(await talk(port, begun), 408)


async def test_the_head_of_a_second_request_is_bounded_too(port: int) -> None:
    answer = await talk(port, GET + b"\r\n" + GET + b"X: ")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in answer


async def test_a_body_that_trickles_is_ended(port: int) -> None:
    problem(await talk(port, b"POST /raw HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nab"), 408)


@pytest.mark.parametrize(
    "head",
    [
        b"POST /raw HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"POST /raw HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /raw HTTP/1.1\r\nHost: a\r\nContent-Length: \xb2\r\n\r\n",
        b"POST /raw HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /raw HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\x16\x03\x01\x00\r\n\r\n",
        b"GET http://[::/x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /ü HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
        GET + b"X: a\0b\r\n\r\n",
        b"BREW /x HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_a_problem(port: int, head: bytes) -> None:
    problem(await talk(port, head), 400)


async def test_an_answer_to_head_leaves_though_it_has_no_body(port: int) -> None:
    answer = await talk(port, b"HEAD /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "path", [b"/../../etc/passwd", b"/%2e%2e/%2e%2e/etc/passwd", b"//x", b"/x/%00", b"/x%0d%0aA:b", b"/%ff"]
)
async def test_no_path_leads_anywhere_else(port: int, path: bytes) -> None:
    problem(await talk(port, b"GET " + path + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), 404)


async def test_a_length_of_thousands_of_digits_is_too_large_and_no_fault_of_ours() -> None:
    app = door("t", ServiceSettings(), max_body=10)
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    headers = [(b"content-length", b"9" * 5000)]
    scope = {"type": "http", "method": "POST", "path": "/", "raw_path": b"/", "query_string": b"", "headers": headers}
    await app(scope, receive, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 413


OPENS = re.compile(
    r"^\s*(import|from) (zipfile|tarfile|gzip|bz2|lzma|xml|lxml|pickle|marshal|shelve)\b|unpack_archive|decompress"
)


def test_nothing_here_unpacks_or_reads_xml(root: Path) -> None:
    """No zip bomb and no XML bomb, as long as nobody here has what would open one."""
    found = [
        f"{path.relative_to(root)}: {line}"
        for folder in ("services", "kit")
        for path in sorted((root / folder).rglob("*.py"))
        for line in path.read_text("utf-8").splitlines()
        if OPENS.search(line)
    ]
    assert found == []
