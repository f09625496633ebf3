"""The operators' door: health and metrics."""

import json
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from kit.base import metrics
from kit.base.health import Health


def operators_door(service: str, health: Health) -> ASGIApp:
    """`/livez`, `/readyz`, `/metrics`; a door of its own, so that a network policy can tell the two apart."""

    async def answer(path: str, headers: Iterable[tuple[bytes, bytes]]) -> tuple[int, bytes, bytes]:
        if path == "/metrics":
            metrics.HEARTBEAT_AGE.set(health.heartbeat_age())
            accept = b",".join(value for name, value in headers if name == b"accept").decode("latin-1")
            media, text = metrics.exposition_for(accept, service)
            return 200, media.encode(), text
        if path in {"/livez", "/readyz"}:
            reasons = health.liveness() if path == "/livez" else await health.readiness()
            return 503 if reasons else 200, b"application/json", json.dumps(reasons).encode()
        return 404, b"application/problem+json", b'{"type":"about:blank","title":"Not Found","status":404}'

    async def app(scope: Scope, _: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, media, body = await answer(scope["path"], scope["headers"])
        headers = [(b"content-type", media), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return app
