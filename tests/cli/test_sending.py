"""The sender is as patient as providers are, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx
import pytest

from cli.sending import Doors, RefusedError
from cli.traffic import Traffic

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@asynccontextmanager
async def door(*statuses: int) -> AsyncIterator[tuple[Doors, list[bytes]]]:
    """A door that answers with these, one after the other, then with the last of them."""
    asked: list[bytes] = []
    answers = list(statuses)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        asked.append(head + await reader.readexactly(length))
        status = answers.pop(0) if len(answers) > 1 else answers[0]
        body = b'{"receipt":"r1","id":"c1"}'
        writer.write(b"HTTP/1.1 %d X\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % (status, len(body)) + body)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, Doors([url], token="t", patience=5) as doors:
        yield doors, asked


async def test_a_door_that_is_shut_for_a_moment_is_tried_again_with_the_same_bytes() -> None:
    async with door(503, 429, 202) as (doors, asked):
        assert await doors.send(Traffic(1, lambda: NOW).sms()) == "r1"
    assert len(asked) == 3
    assert len({request.partition(b"\r\n\r\n")[2] for request in asked}) == 1
    assert doors.retries == 2


@pytest.mark.parametrize("status", [401, 404, 413])
async def test_a_refusal_is_not_tried_again(status: int) -> None:
    async with door(status) as (doors, asked):
        with pytest.raises(RefusedError) as refused:
            await doors.send(Traffic(1, lambda: NOW).line())
    assert (refused.value.status, len(asked)) == (status, 1)


async def test_a_command_keeps_its_key_over_retries() -> None:
    async with door(503, 202) as (doors, asked):
        assert await doors.post_command("t1", "note", {"text": "x"}) == {"receipt": "r1", "id": "c1"}
    keys = {line for request in asked for line in request.lower().split(b"\r\n") if line.startswith(b"idempotency-key")}
    assert (len(asked), len(keys)) == (2, 1)
    assert b'"type":"deskbus.command.note.v1"' in asked[0]


async def test_patience_ends() -> None:
    async with Doors(["http://127.0.0.1:1"], patience=0.0) as doors:
        with pytest.raises(httpx.ConnectError):
            await doors.send(Traffic(1, lambda: NOW).line())
