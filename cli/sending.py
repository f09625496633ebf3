"""Client of ingest's public API for simulated traffic: bounded concurrency, and retries as providers make them.

The messages are made by traffic.py. A permanent refusal raises RefusedError.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Self, TypeVar

import aiosmtplib
import httpx

from cli.traffic import Hook, Mail, Piece
from kit.base.ids import uuid7

T = TypeVar("T")
_CONNECTIONS_PER_CLIENT = 32
_RETRIABLE = {408, 425, 429, 500, 502, 503, 504}


class RefusedError(Exception):
    """Ingest refused a request permanently."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text[:500]}")
        self.status = status


class Doors:
    """Client of ingest over HTTP and SMTP. Several addresses are used in turn, also for retries.

    `patience` is how long a message is retried, `longest_pause` the maximum delay between attempts, both in seconds.
    """

    def __init__(
        self,
        urls: Sequence[str],
        smtp: Sequence[tuple[str, int]] = (),
        *,
        token: str = "",
        at_once: int = 32,
        patience: float = 60.0,
        longest_pause: float = 2.0,
    ) -> None:
        self._urls, self._smtp, self._token, self._patience = list(urls), list(smtp), token, patience
        self._longest_pause = longest_pause
        self._limit = asyncio.Semaphore(at_once)
        self._turn = 0
        self._random = Random(0)
        # Several clients, as httpx searches all connections of a client per request: 512 of them took most of a core.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=_CONNECTIONS_PER_CLIENT)
        tls = ssl.create_default_context()
        count = -(-at_once // _CONNECTIONS_PER_CLIENT)
        self._clients = [
            httpx.AsyncClient(timeout=15, limits=limits, verify=tls, trust_env=False) for _ in range(count)
        ]
        self._idle: list[aiosmtplib.SMTP] = []
        self.retries = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            await client.aclose()
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def send(self, piece: Piece) -> str:
        """Send until it is accepted; return the receipt (for mail, the server's reply). Raises RefusedError."""
        async with self._limit:
            if isinstance(piece, Mail):
                return await self._retry(lambda: self._mail(piece))
            return await self._retry(lambda: self._hook(piece))

    async def send_all(self, pieces: Iterable[Piece]) -> list[str]:
        """Send many concurrently; return the receipts in order."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.send(piece)) for piece in pieces]
        return [task.result() for task in tasks]

    async def post_command(
        self, ticket_id: str, name: str, data: Mapping[str, Any], *, key: str | None = None
    ) -> dict[str, Any]:
        """Post a command, e.g. `reply` with `{"by": …, "text": …}`. Commands with the same key take effect once."""
        document = {"type": f"deskbus.command.{name}.v1", "ticket_id": ticket_id, "data": dict(data)}
        headers = {"authorization": f"Bearer {self._token}", "idempotency-key": key or uuid7()}

        async def once() -> dict[str, Any]:
            answer = await self._http().post(f"{self._url()}/v1/commands", json=document, headers=headers)
            return dict(_accepted(answer).json())

        async with self._limit:
            return await self._retry(once)

    async def get(self, path: str) -> Any:
        """Return the JSON of a GET."""

        async def once() -> Any:
            answer = await self._http().get(self._url() + path, headers={"authorization": f"Bearer {self._token}"})
            return _accepted(answer).json()

        return await self._retry(once)

    # -- one attempt -------------------------------------------------------------------------------------------------

    def _url(self) -> str:
        self._turn += 1
        return self._urls[self._turn % len(self._urls)]

    def _http(self) -> httpx.AsyncClient:
        return self._random.choice(self._clients)

    async def _hook(self, piece: Hook) -> str:
        answer = await self._http().post(self._url() + piece.path, content=piece.body, headers=piece.headers)
        accepted = _accepted(answer)
        return str(accepted.json().get("receipt", "")) if accepted.content else ""  # none for Twilio

    async def _mail(self, piece: Mail) -> str:
        async with self._connection() as connection:
            _, text = await connection.sendmail(piece.sender, list(piece.recipients), piece.data)
            return text

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiosmtplib.SMTP]:
        connection = self._idle.pop() if self._idle else None
        if connection is None or not connection.is_connected:
            self._turn += 1
            host, port = self._smtp[self._turn % len(self._smtp)]
            connection = aiosmtplib.SMTP(hostname=host, port=port, timeout=15, start_tls=False)
            await connection.connect()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)

    async def _retry(self, once: Callable[[], Awaitable[T]]) -> T:
        """Retry with growing delays until `patience` is over, then raise the last error."""
        loop, wait = asyncio.get_running_loop(), 0.1
        deadline = loop.time() + self._patience
        while True:
            try:
                return await once()
            except aiosmtplib.SMTPResponseException as fault:
                if fault.code >= 500:
                    raise RefusedError(fault.code, fault.message) from fault
                last: Exception = fault
            except (_RetriableError, httpx.TransportError, aiosmtplib.SMTPException, OSError) as fault:
                last = fault
            if loop.time() > deadline:
                raise last
            self.retries += 1
            await asyncio.sleep(wait * self._random.uniform(0.5, 1))
            wait = min(wait * 2, self._longest_pause)


def _accepted(answer: httpx.Response) -> httpx.Response:
    if answer.status_code in _RETRIABLE:
        raise _RetriableError(f"status {answer.status_code}")
    if answer.status_code >= 300:
        raise RefusedError(answer.status_code, answer.text)
    return answer


class _RetriableError(Exception):
    """Ingest cannot accept the request now."""
