"""The webhook door. Commands are commands_http.py's, reading tickets is tickets_http.py's.

Rule: verify over raw bytes, write to Kafka, answer 202. Nothing is parsed here but what finds the account and the
partition; both looks are light, and wrong ones cost order only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import structlog
from fastapi import Request
from fastapi.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.inbound import HttpRequest
from kit.clock import Clock
from kit.http import Problem, Router
from services.ingest import metrics
from services.ingest.accounts import Account, Accounts, MissingSecret, Outside
from services.ingest.channels import WEBHOOKS, Webhook
from services.ingest.channels import channel as channels
from services.ingest.intake import Envelope, Intake

log = structlog.get_logger(__name__)
PATH = "/v1/channels/{channel}/webhook"
_ACCEPTED = {"description": "Kafka has it; the receipt is its id", "content": {"application/json": {}}}
_RETRY = {"retry-after": "2"}


class CountTooLarge:
    """ASGI: counts webhooks that kit's guard refuses, most of them before a route has seen them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 413:
                parts = scope["path"].split("/")
                if parts[1:3] == ["v1", "channels"]:
                    name = parts[3] if len(parts) > 3 and parts[3] in WEBHOOKS else "other"
                    metrics.REFUSED.labels(name, "too_large").inc()
            await send(message)

        await self._app(scope, receive, noted if scope["type"] == "http" else send)


class _Plain:
    """ASGI: a route without FastAPI's dependencies and validation. The same route stands declared, for the document."""

    path = PATH

    def __init__(self, take: Callable[[Request], Awaitable[Response]]) -> None:
        self._take = take

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self  # metrics name the route by its path
        response = await self._take(Request(scope, receive))
        await response(scope, receive, send)


def webhook_router(intake: Intake, policy: Callable[[], Accounts], outside: Outside, clock: Clock) -> Router:
    """The webhook door. `policy` gives the accounts in force, anew for every request."""
    router = Router(tags=["channels"])

    @router.post(
        PATH, status_code=202, responses={202: _ACCEPTED}, summary="Take a webhook of a channel's provider",
        description="`?account=` names the account; without it the body's own name of it is looked up (WhatsApp "
        "phone_number_id, LINE destination, Twilio To).",
        openapi_extra={"parameters": _PARAMETERS, "requestBody": {"content": {"*/*": {"schema": {"type": "string"}}}}},
    )  # fmt: skip
    async def take(request: Request) -> Response:
        name, channel = _channel(request)
        given = _request(request, await request.body())
        account = _account(name, channel, given, policy())
        _verify(channel, given, account, outside, clock)
        envelope = Envelope(
            channel=name,
            account=account.name,
            key=channels.short_key(account.name, channel.contact_key(given) or channels.digest(given.body)),
            content_type=given.headers.get("content-type", "application/octet-stream")[:200],
            http=HttpRequest.model_construct(
                method="POST",
                url=None,
                query={},
                headers={h: v for h in channel.HEADERS if (v := given.headers.get(h))},
            ),
            verified=True,
            traceparent=given.headers.get("traceparent", "")[:100] or None,
        )
        receipt = await intake.take(envelope, given.body)
        return Response(f'{{"receipt":"{receipt}"}}', 202, media_type="application/json")

    # First in the list, so it is the one that answers: FastAPI's way to a handler costs more than what is done here.
    router.routes.insert(0, Route(PATH, _Plain(take), methods=["POST"], include_in_schema=False))

    @router.get(
        PATH, summary="Answer a provider's challenge", openapi_extra={"parameters": _PARAMETERS},
        responses={200: {"description": "The challenge, echoed", "content": {"text/plain": {}}}},
    )  # fmt: skip
    async def challenge(request: Request) -> Response:
        name, channel = _channel(request)
        given = _request(request, b"")
        for account in _challenged(name, given, policy()):
            try:
                answer = channel.challenge(given, account, outside)
            except MissingSecret:
                continue
            if answer is not None:
                return Response(answer, media_type="text/plain")
        metrics.REFUSED.labels(name, "signature").inc()
        raise Problem(403, "The challenge is not ours", "The verify token is not the one that was agreed")

    return router


_PARAMETERS = [
    {"name": "channel", "in": "path", "required": True, "schema": {"type": "string", "enum": sorted(WEBHOOKS)}},
    {"name": "account", "in": "query", "required": False, "schema": {"type": "string"}},
]


def _channel(request: Request) -> tuple[str, Webhook]:
    name = request.path_params["channel"]
    channel = WEBHOOKS.get(name)
    if channel is None:
        metrics.REFUSED.labels("other", "unknown_channel").inc()
        raise Problem(404, "No such channel", f"Channels with webhooks: {', '.join(sorted(WEBHOOKS))}")
    return name, channel


def _request(request: Request, body: bytes) -> channels.Request:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.scope["headers"]}
    raw_query = request.scope["query_string"].decode("latin-1")
    query: Mapping[str, str] = request.query_params if raw_query else {}
    return channels.Request(body, headers, query, raw_query, request.method)


def _account(name: str, channel: Webhook, given: channels.Request, accounts: Accounts) -> Account:
    named = given.query.get("account")
    if named is not None:
        account = accounts.named(name, named)
    else:
        identifier = channel.account_id(given)
        account = accounts.external(name, identifier) if identifier else None
    if account is None:
        metrics.REFUSED.labels(name, "unknown_account").inc()
        raise Problem(404, "No such account", "Neither ?account= nor the body names an account of this channel")
    return account


def _challenged(name: str, given: channels.Request, accounts: Accounts) -> list[Account]:
    """The account named, or all of the channel: one app of Meta's has one challenge for several numbers."""
    if (named := given.query.get("account")) is not None:
        account = accounts.named(name, named)
        found = [account] if account else []
    else:
        found = [account for account in accounts.accounts if account.channel == name]
    if not found:
        metrics.REFUSED.labels(name, "unknown_account").inc()
        raise Problem(404, "No such account")
    return found


def _verify(channel: Webhook, given: channels.Request, account: Account, outside: Outside, clock: Clock) -> None:
    try:
        channel.verify(given, account, outside, clock.now())
    except channels.Forged as forged:
        metrics.REFUSED.labels(account.channel, forged.why).inc()
        detail = (
            "The timestamp is too far from now" if forged.why == "stale" else "The signature is missing or not right"
        )
        raise Problem(401, "Not verified", detail, headers={"www-authenticate": "Signature"}) from None
    except MissingSecret as missing:
        # Ours to mend: the provider must keep the message and come again.
        log.error("an account has no secret to verify with", account=account.name, missing=str(missing))
        metrics.REFUSED.labels(account.channel, "secret").inc()
        raise Problem(503, detail="This account is not ready", headers=_RETRY) from None
