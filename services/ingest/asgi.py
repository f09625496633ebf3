"""The webhook route as plain ASGI, since it is the busiest one and FastAPI would take longer than handling the request.

kit's guard limits it, counts it and answers errors with problem documents, as it does for all other routes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kit.doors.http import Guard
from services.ingest.channels.channel import Answer


class PostFirst:
    """Handles POST requests on one path, and passes all others to `door`."""

    def __init__(
        self, door: ASGIApp, path: str, answer: ASGIApp, max_body: int, too_large: Callable[[Scope], None]
    ) -> None:
        """`too_large` is called for bodies above `max_body` bytes, usually without a call of `answer`."""
        self._door, self.path, self._too_large = door, path, too_large
        self._answer = Guard(answer, max_body)
        self._matches = compile_path(path)[0].match

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        post = scope["type"] == "http" and scope["method"] == "POST"
        found = self._matches(scope["path"]) if post else None
        if found is None:
            await self._door(scope, receive, send)
            return
        scope["route"], scope["path_params"] = self, found.groupdict()

        async def noted(message: Message) -> None:
            if message.get("status") == 413:
                self._too_large(scope)
            await send(message)

        await self._answer(scope, receive, noted)


async def read_body(receive: Callable[[], Awaitable[Any]]) -> bytes:
    """Return the whole body. Raises ClientDisconnect. The guard limits its size and time."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts = [body]
        while message.get("more_body"):
            message = await receive()
            parts.append(message.get("body", b""))
        body = b"".join(parts)
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return body


async def respond(send: Send, answer: Answer, receipt: str = "") -> None:
    """Send an answer, with the receipt in its body if there is a place for it."""
    body = answer.body.replace(b"%s", receipt.encode()) if receipt else answer.body
    headers = [] if answer.status == 204 else [(b"content-length", b"%d" % len(body))]
    if body:
        headers.append((b"content-type", answer.media_type.encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
