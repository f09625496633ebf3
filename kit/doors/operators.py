"""The operators' door: health and metrics."""

import json

from starlette.types import ASGIApp, Receive, Scope, Send

from kit.base import metrics
from kit.base.health import Health


def operators_door(service: str, health: Health) -> ASGIApp:
    """`/livez`, `/readyz`, `/metrics`; a door of its own, so that a network policy can tell the two apart."""

    async def answer(path: str) -> tuple[int, bytes, bytes]:
        if path == "/metrics":
            metrics.HEARTBEAT_AGE.set(health.heartbeat_age())
            return 200, b"text/plain; version=0.0.4; charset=utf-8", metrics.exposition(service)
        if path in {"/livez", "/readyz"}:
            reasons = health.liveness() if path == "/livez" else await health.readiness()
            return 503 if reasons else 200, b"application/json", json.dumps(reasons).encode()
        return 404, b"application/problem+json", b'{"type":"about:blank","title":"Not Found","status":404}'

    async def app(scope: Scope, _: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, media, body = await answer(scope["path"])
        headers = [(b"content-type", media), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return app
