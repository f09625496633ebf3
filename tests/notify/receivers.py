"""Receivers on loopback for the sinks: an HTTP server that plays a part, a mail server that keeps what it gets."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import UnthreadedController


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    hang: bool = False


class HttpReceiver:
    """Answers every POST with what `answer` says, and remembers it."""

    def __init__(self, answer: Callable[[Request], Reply] = lambda _: Reply()) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.arrived = asyncio.Condition()
        self.port = 0
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self, port: int = 0) -> "HttpReceiver":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def wait_for(self, count: int, seconds: float = 20) -> None:
        async with asyncio.timeout(seconds), self.arrived:
            await self.arrived.wait_for(lambda: len(self.requests) >= count)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            request = Request(head[0].split(" ")[1], headers, body)
            reply = self.answer(request)
            async with self.arrived:
                self.requests.append(request)
                self.arrived.notify_all()
            if reply.hang:
                await reader.read()
                return
            lines = {"content-length": str(len(reply.body)), "connection": "close", **reply.headers}
            text = f"HTTP/1.1 {reply.status} X\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items()) + "\r\n"
            writer.write(text.encode() + reply.body)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class MailReceiver:
    """An SMTP server; `answer` may give another line than 250 at the end of data."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.answer = "250 OK"
        self.refuse: str | None = None
        self._controller: UnthreadedController | None = None

    @property
    def port(self) -> int:
        assert self._controller is not None
        server = self._controller.server
        assert isinstance(server, asyncio.Server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> "MailReceiver":
        self._controller = UnthreadedController(self, "127.0.0.1", 0, loop=asyncio.get_running_loop())
        self._controller.server = await self._controller._create_server()
        return self

    async def stop(self) -> None:
        if self._controller is not None and self._controller.server is not None:
            self._controller.server.close()

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if self.refuse is not None:
            return self.refuse
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.answer.startswith("250"):
            mail = message_from_bytes(envelope.content, policy=policy.default)
            assert isinstance(mail, EmailMessage)
            self.mails.append(mail)
        return self.answer
