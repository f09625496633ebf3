"""Public HTTP doors that write: channels' webhooks and commands. Reading tickets is tickets_http.py's.

Rule: verify over raw bytes, write to Kafka, answer 202. Nothing is parsed here but what finds the account and the
partition; both looks are light, and wrong ones cost order only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response

from contracts.inbound import HttpRequest
from kit.clock import Clock
from kit.http import Problem
from services.ingest import metrics
from services.ingest.accounts import Account, Accounts, MissingSecret, Outside
from services.ingest.channels import WEBHOOKS, Webhook
from services.ingest.channels import channel as channels
from services.ingest.intake import Envelope, Intake

log = structlog.get_logger(__name__)
PATH = "/v1/channels/{channel}/webhook"
_ACCEPTED = {"description": "Kafka has it; the receipt is its id", "content": {"application/json": {}}}
_RETRY = {"retry-after": "2"}


def webhook_router(intake: Intake, policy: Callable[[], Accounts], outside: Outside, clock: Clock) -> APIRouter:
    """The webhook door. `policy` gives the accounts in force, anew for every request."""
    router = APIRouter(tags=["channels"])

    @router.post(
        PATH, status_code=202, responses={202: _ACCEPTED}, summary="Take a webhook of a channel's provider",
        description="`?account=` names the account; without it the body's own name of it is looked up (WhatsApp "
        "phone_number_id, LINE destination, Twilio To).",
        openapi_extra={"parameters": _PARAMETERS, "requestBody": {"content": {"*/*": {"schema": {"type": "string"}}}}},
    )  # fmt: skip
    async def take(request: Request) -> Response:
        name, channel = _channel(request)
        given = await _read(request, name)
        account = _account(name, channel, given, policy())
        _verify(channel, given, account, outside, clock)
        envelope = Envelope(
            channel=name,
            account=account.name,
            key=channels.short_key(account.name, channel.contact_key(given) or _anyone(given.body)),
            content_type=given.headers.get("content-type", "application/octet-stream")[:200],
            http=HttpRequest.model_construct(
                method="POST", url=None, query={}, headers={h: v for h in channel.HEADERS if (v := given.headers.get(h))}
            ),
            verified=True,
            traceparent=given.headers.get("traceparent", "")[:100] or None,
        )
        receipt = await intake.take(envelope, given.body)
        return Response(f'{{"receipt":"{receipt}"}}', 202, media_type="application/json")

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


async def _read(request: Request, name: str) -> channels.Request:
    """The whole body; kit's guard bounds it while it comes."""
    try:
        return _request(request, await request.body())
    except Problem as problem:
        if problem.status_code == 413:
            metrics.REFUSED.labels(name, "too_large").inc()
        raise


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
        detail = "The timestamp is too far from now" if forged.why == "stale" else "The signature is missing or not right"
        raise Problem(401, "Not verified", detail, headers={"www-authenticate": "Signature"}) from None
    except MissingSecret as missing:
        # Ours to mend: the provider must keep the message and come again.
        log.error("an account has no secret to verify with", account=account.name, missing=str(missing))
        metrics.REFUSED.labels(account.channel, "secret").inc()
        raise Problem(503, detail="This account is not ready", headers=_RETRY) from None


def _anyone(body: bytes) -> str:
    """A key for a body that names nobody: spread, and the same for the same body."""
    return channels.digest(body)


def count_too_large(app: FastAPI) -> Any:
    """Count what kit's guard refuses by Content-Length before a route has seen it."""
    return app
