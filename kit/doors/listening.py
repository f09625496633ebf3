"""How a door's connections are read: the head of a request is bounded in bytes and seconds, what is no HTTP is refused.

Bodies are bounded in kit.doors.http, which knows what is asked for. uvicorn bounds neither size nor time of a head.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

#: Bytes of request line and headers together, counted in what the socket gives at once; proxies allow 8 to 32 KiB.
MAX_HEAD = 64 * 1024
#: Seconds from the first byte of a head (or from the connection) to its end.
HEAD_SECONDS = 10.0


class _Whole:
    """A transport that keeps the head of an answer until its body is there: one system call, one packet, one wake-up.

    uvicorn writes them one after the other. A body that comes in pieces is waited for once, for its first piece.
    """

    __slots__ = ("_head", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 100 "):
            self._head = data
            return
        self._transport.write(data)

    def flush(self) -> None:
        if self._head:
            self._transport.write(self._head)
            self._head = b""

    def close(self) -> None:
        self.flush()
        self._transport.close()


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds."""

    head_seconds = HEAD_SECONDS

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_open = True
        self._taken = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._whole = _Whole(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self._taken if self._head_open else 0
        super().data_received(data)
        if self.transport.is_closing() or not self._head_open:
            return
        self._taken = before + len(data)
        if self._taken > MAX_HEAD:
            self._refuse(431, "Request Header Fields Too Large", f"At most {MAX_HEAD} bytes of headers are taken")
        elif self._deadline is None:
            self._arm()

    def on_message_begin(self) -> None:
        self._head_open, self._taken = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_open = False
        self._disarm()
        super().on_headers_complete()
        self.cycle.transport = self._whole  # type: ignore[assignment]  # what a cycle uses of a transport

    def on_response_complete(self) -> None:
        self._whole.flush()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "Bad Request", msg)

    def _arm(self) -> None:
        self._deadline = self.loop.call_later(self.head_seconds, self._too_slow)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        cycle: RequestResponseCycle | None = self.cycle  # none before the first request, whatever uvicorn declares
        if cycle is not None and not cycle.response_complete:
            self._arm()  # an answer to the request before is on its way
        else:
            self._refuse(408, "Request Timeout", "The headers did not come in time")

    def _refuse(self, status: int, title: str, detail: str) -> None:
        """Answer with a problem document and hang up."""
        problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        body = json.dumps(problem).encode()
        head = f"HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode("ascii") + b"connection: close\r\n\r\n" + body)
        self.transport.close()
