"""Public doors: problem documents (RFC 9457), bearer tokens with scopes, limits of size and time. No route is here.

The middleware is plain ASGI: a webhook door pays for it on every request.
"""

import asyncio
import contextlib
import functools
import json
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from http import HTTPStatus
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic_core import from_json
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.values import trace_context
from kit.base import metrics, tracing
from kit.base.errors import TransientError
from kit.base.series import Counter, Histogram
from kit.base.settings import ServiceSettings
from kit.base.tokens import Caller, find
from kit.base.tracing import Span

log = structlog.get_logger(__name__)
PROBLEM = "application/problem+json"
#: Major version of the REST APIs, as in their paths. The version of Deskbus is in pyproject.toml.
API_VERSION = "1"
#: What is still read, and for how long, of a body that was refused for its size.
_AWAY_BYTES, _AWAY_SECONDS = 64 * 1024 * 1024, 5.0
#: What a request may take by default: bytes of its body, seconds to its answer.
MAX_BODY, SECONDS = 1 << 20, 15.0
_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}


class Problem(HTTPException):
    """An error for the caller, as a problem document. A subclass, so that FastAPI lets it through from anywhere."""

    def __init__(
        self,
        status: int,
        title: str | None = None,
        detail: str | None = None,
        *,
        type: str = "about:blank",  # noqa: A002 - the member's name in RFC 9457
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))
        title = title or HTTPStatus(status).phrase
        self.document = {"type": type, "title": title, "status": status, "detail": detail, **members}

    def response(self) -> Response:
        """The document with its headers."""
        # What a caller wrote may be quoted here (the name of a field), and JSON can name half of a surrogate pair.
        text = json.dumps({k: v for k, v in self.document.items() if v is not None}, ensure_ascii=False)
        return Response(text.encode("utf-8", "replace"), self.status_code, self.headers, PROBLEM)


def _translate(error: Exception) -> Problem:
    """Whatever was raised, as something that may be told to a stranger."""
    match error:
        case Problem():
            return error
        case StarletteHTTPException():
            return Problem(error.status_code, detail=str(error.detail), headers=error.headers)
        case RequestValidationError():
            fields = [{"field": ".".join(map(str, e["loc"])), "reason": e["msg"]} for e in error.errors()]
            return Problem(422, "Invalid request", errors=fields)
        case TransientError():
            return Problem(503, detail="Try again in a moment", headers={"retry-after": "2"})
    return Problem(500)


# --- Who is calling. ---


_bearer = HTTPBearer(auto_error=False, description="A token whose SHA-256 the service knows.")


def requires(scope: str, *, keeps: Collection[str] = ()) -> Callable[..., Awaitable[Caller]]:
    """A dependency: the caller, if the token has this scope.

    `keeps` are the kinds of limits that the route keeps. A token with any other is refused: it would open more than was
    meant. Whom a token may speak as (`authors`) does not matter where nothing is said, at scopes that end in `:read`.
    """
    kept = {*keeps, "authors"} if scope.endswith(":read") else set(keeps)

    async def authorised(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> Caller:
        caller = find(request.app.state.callers, credentials.credentials) if credentials else None
        if caller is None:
            raise Problem(401, detail="A valid bearer token is required", headers={"www-authenticate": "Bearer"})
        if scope not in caller.scopes:
            challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
            raise Problem(403, detail=f"The scope {scope} is required", headers={"www-authenticate": challenge})
        if unkept := sorted(caller.limits.keys() - kept):
            raise Problem(403, detail=f"This API cannot enforce the token's limit on {' and '.join(unkept)}")
        return caller

    return authorised


# --- Reading. ---


class _JsonRequest(Request):
    """Reads JSON as strictly as the contracts do: no half of a surrogate pair, no NaN, nothing nested without end."""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            try:
                self._json = from_json(await self.body(), allow_inf_nan=False)
            except ValueError as error:
                raise Problem(422, "Invalid JSON body", str(error)[:200]) from None
        return self._json


class _Route(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def strictly(request: Request) -> Response:
            return await handle(_JsonRequest(request.scope, request.receive))

        return strictly


class Router(APIRouter):
    """What a service declares its routes on."""

    def __init__(self, **options: Any) -> None:
        super().__init__(route_class=_Route, **options)


# --- Limits. ---


class Guard:
    """Bounds what a request may take, counts it, and turns what escapes into a problem without internals."""

    def __init__(self, app: ASGIApp, max_body: int, seconds: float = SECONDS) -> None:
        """`max_body` in bytes; `seconds` from the head of a request to the end of its answer."""
        self.app = app
        self.max_body = max_body
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with _span(scope) as span:
            await self._answer(scope, receive, send, span)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, span: Span) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        status = 0
        taken = 0
        reading = ended = False

        async def counted_receive() -> Message:
            nonlocal taken, reading, ended
            reading = True
            message = await receive()
            reading = False
            ended = not message.get("more_body", False)
            taken += len(message.get("body", b""))
            if taken > self.max_body:
                raise self._too_large()
            return message

        async def noted_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if status == 413 and not ended:
                    await _read_away(receive)
            await send(message)

        try:
            self._check_length(scope)
            async with asyncio.timeout(self.seconds):
                await self.app(scope, counted_receive, noted_send)
        except ClientDisconnect:
            pass  # nobody is there to be answered
        except Exception as error:
            if isinstance(error, TimeoutError):
                error = Problem(408, headers={"connection": "close"}) if reading else TransientError("out of time")
            elif not isinstance(error, Problem | TransientError):
                log.exception("request failed", path=scope["path"])
            if status:
                raise  # half an answer is out: the server must break the connection
            await _translate(error).response()(scope, receive, noted_send)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            requests, seconds = _counters(route, _known(scope["method"]), str(status or 499))  # 499: the caller left
            requests.inc()
            seconds.observe(loop.time() - begin)
            if tracing.is_on():
                _describe(span, route, _known(scope["method"]), status or 499)

    def _check_length(self, scope: Scope) -> None:
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and (len(value) > 18 or int(value) > self.max_body):
                raise self._too_large()  # int() itself refuses thousands of digits

    def _too_large(self) -> Problem:
        # The rest of the body may not have been read, so the connection is of no more use.
        detail = f"At most {self.max_body} bytes are taken"
        return Problem(413, "The body is too large", detail, headers={"connection": "close"})


async def _read_away(receive: Receive) -> None:
    """Let a caller finish sending, within bounds: one who is cut off while he sends does not see the answer."""
    left = _AWAY_BYTES
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_AWAY_SECONDS):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body"):
                    return


@functools.cache  # routes, methods and statuses are few: finding a metric's child costs more than counting
def _counters(route: str, method: str, status: str) -> tuple[Counter, Histogram]:
    return metrics.REQUESTS.labels(route, method, status), metrics.REQUEST_SECONDS.labels(route)


def _span(scope: Scope) -> Span:
    """Begin the span of a request, below the caller's if it sent a valid one."""
    if not tracing.is_on():
        return tracing.UNRECORDED
    parent = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"), None)
    return tracing.span(_known(scope["method"]), "server", parent=trace_context(parent) or tracing.ROOT)


def _describe(span: Span, route: str, method: str, status: int) -> None:
    """Say what the request was, by its route's template: path and query may hold ids of contacts."""
    span.rename(f"{method} {route}")
    span.note({"http.request.method": method, "http.route": route, "http.response.status_code": status})
    if status >= 500:
        span.fail(str(status))


def _known(method: str) -> str:
    return method if method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} else "other"


def door(
    title: str,
    settings: ServiceSettings,
    *,
    max_body: int = MAX_BODY,
    seconds: float = SECONDS,
    **options: Any,
) -> FastAPI:
    """A FastAPI application whose every error is a problem document and whose every request is bounded."""
    problem = {"description": "A problem document (RFC 9457)", "content": {PROBLEM: {"schema": _SCHEMA}}}
    app = FastAPI(
        title=title, version=API_VERSION, docs_url=None, redoc_url=None, responses={"default": problem}, **options
    )
    app.router.route_class = _Route
    app.state.callers = settings.callers

    async def answer(_: Request, error: Exception) -> Response:
        return _translate(error).response()

    for kind in (StarletteHTTPException, RequestValidationError, TransientError):
        app.add_exception_handler(kind, answer)
    app.add_middleware(Guard, max_body=max_body, seconds=seconds)
    return app
