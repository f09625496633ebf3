"""Routes of a door that are plain ASGI: answered before FastAPI is asked, and declared in its document all the same.

For what is asked most. Limits, metrics and problem documents are kit.doors.http's, and the same for every route.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

Refused = Callable[[Scope, int], None]


class Gone(Exception):
    """The caller has left while he was sending: nobody is there to be answered."""


class PlainRoute:
    """One method of one path, what answers it, and who is told the status of what was refused before or in it."""

    def __init__(self, method: str, path: str, app: ASGIApp, refused: Refused | None) -> None:
        self.method, self.path, self.app, self.refused = method, path, app, refused
        self._matches = compile_path(path)[0].match

    def takes(self, scope: Scope) -> bool:
        """Whether it answers this request; if so the scope says which route it is and what the path names."""
        found = self._matches(scope["path"]) if scope["method"] == self.method else None
        if found is None:
            return False
        scope["route"], scope["path_params"] = self, found.groupdict()
        return True


def declare(router: APIRouter, route: PlainRoute, **documented: Any) -> None:
    """Put the route into the document. Whoever gets there by FastAPI's own way is answered by the same code."""

    class Answer(Response):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await route.app(scope, receive, send)

    async def answer(_: Request) -> Response:
        return Answer()

    router.add_api_route(route.path, answer, methods=[route.method], **documented)


async def read_body(receive: Callable[[], Awaitable[Any]]) -> bytes:
    """The whole body; raises Gone. What is too large or too slow is kit.doors.http's guard's."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts = [body]
        while message.get("more_body"):
            message = await receive()
            parts.append(message.get("body", b""))
        body = b"".join(parts)
    if message["type"] == "http.disconnect":
        raise Gone
    return body


async def answer_json(send: Send, status: int, body: bytes) -> None:
    """Send a whole JSON document."""
    headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def answer_empty(send: Send, status: int) -> None:
    """Send a status that has no body."""
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body"})
