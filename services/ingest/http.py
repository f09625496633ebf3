"""The webhook door: verify the signature over the raw bytes, write them to Kafka, answer as the provider expects.

Rule: before the signature is verified, the body is read only to find the account. The record's key is read afterwards;
it determines nothing but order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import parse_qsl

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from contracts.inbound import HttpRequest
from contracts.values import trace_context
from kit.base.clock import Clock
from kit.doors.http import MAX_BODY, Problem, Router
from kit.policy.secrets import Secrets, Unresolved
from services.ingest import metrics
from services.ingest.accounts import Account, Accounts
from services.ingest.asgi import PostFirst, read_body, respond
from services.ingest.channels import WEBHOOKS, Webhook
from services.ingest.channels import channel as channels
from services.ingest.intake import Envelope, Intake


class KnownKeys(Protocol):
    """Providers' public keys: `keys.ProviderKeys`."""

    def known(self, channel: str) -> Mapping[str, channels.VerifyKey]: ...
    def wish(self, channel: str, account: str, kid: str) -> bool: ...


log = structlog.get_logger(__name__)
PATH = "/v1/channels/{channel}/webhook"


def _those(holds: Callable[[Webhook], bool]) -> str:
    return ", ".join(name for name, channel in WEBHOOKS.items() if holds(channel))


def _accepted(status: int) -> dict[str, Any]:
    names = _those(lambda channel: status == channel.SUCCESS.status)
    answers = [channel.SUCCESS for channel in WEBHOOKS.values() if channel.SUCCESS.status == status]
    types: dict[str, Any] = {answer.media_type: {} for answer in answers if answer.body}
    return {"description": f"Accepted and stored in Kafka. Channels: {names}", **({"content": types} if types else {})}


_ACCEPTED: dict[int | str, dict[str, Any]] = {
    status: _accepted(status) for status in sorted({channel.SUCCESS.status for channel in WEBHOOKS.values()})
}
_RETRY = {"retry-after": "2"}
_BODY_ONLY = HttpRequest()


def _too_large(scope: Scope) -> None:
    name = scope["path_params"]["channel"]
    metrics.REFUSED.labels(name if name in WEBHOOKS else "other", "too_large").inc()


def with_webhooks(
    door: FastAPI,
    intake: Intake,
    policy: Callable[[], Accounts],
    secrets: Secrets,
    clock: Clock,
    *,
    max_body: int = MAX_BODY,
    keys: KnownKeys | None = None,
) -> ASGIApp:
    """Return an app that handles webhooks and passes all else to `door`. `policy` returns the current accounts."""
    door.include_router(_declared(policy, secrets))
    return PostFirst(door, PATH, _taking(intake, policy, secrets, clock, keys), max_body, _too_large)


def _taking(
    intake: Intake, policy: Callable[[], Accounts], secrets: Secrets, clock: Clock, keys: KnownKeys | None
) -> ASGIApp:
    async def take(scope: Scope, receive: Receive, send: Send) -> None:
        name, channel = _channel(scope)
        request = _request(scope, await read_body(receive))
        if keys is not None:
            request.keys = keys.known(name)
        account = _account(name, channel, request, policy())
        if account is None and channel.ACCOUNT_BY_SECRET and "account" not in request.query:
            account = _signer(name, channel, request, policy(), secrets, clock)
        if account is None:
            metrics.REFUSED.labels(name, "unknown_account").inc()
            raise Problem(404, "Unknown account", "Neither ?account= nor the body names an account of this channel")
        try:
            _verify(channel, request, account, secrets, clock)
        except channels.UnknownKey as unknown:
            raise _without_key(channel, account, keys, unknown.kid) from None
        if challenge := channel.CHALLENGES.get("POST"):
            answer = challenge(request, account, secrets)
            if answer is not None:
                await respond(send, answer)
                return
        headers = request.headers
        envelope = Envelope(
            channel=name,
            account=account.name,
            key=channels.short_key(account.name, channel.contact_key(request) or channels.digest(request.body)),
            content_type=headers.get("content-type", "application/octet-stream")[:200],
            http=_parser_headers(channel, headers),
            verified=True,
            traceparent=trace_context(headers.get("traceparent")),
        )
        receipt = await intake.take(envelope, request.body)
        await respond(send, channel.SUCCESS, receipt)

    return take


def _declared(policy: Callable[[], Accounts], secrets: Secrets) -> Router:
    router = Router(tags=["channels"])

    @router.post(
        PATH, status_code=202, responses=_ACCEPTED, summary="Receive a provider's webhook",
        description="`?account=` names the account. Without it, the account is looked up by the id in the body, its "
        "`external_id`. A body without a known id belongs to the account whose secret signed it; channels: "
        f"{_those(lambda channel: channel.ACCOUNT_BY_SECRET)}.",
        openapi_extra={"parameters": _PARAMETERS, "requestBody": {"content": {"*/*": {"schema": {"type": "string"}}}}},
    )  # fmt: skip
    async def answer(_: Request) -> Response:
        raise AssertionError("PostFirst handles this request; the route is declared for the OpenAPI document")

    @router.get(
        PATH, summary="Answer a provider's verification request", openapi_extra={"parameters": _PARAMETERS},
        responses={200: {"description": "The answer to the challenge", "content": {"*/*": {}}}},
    )  # fmt: skip
    async def challenge(raw: Request) -> Response:
        name, channel = _channel(raw.scope)
        request = _request(raw.scope, b"")
        challenge_of = channel.CHALLENGES.get("GET")
        for account in _verifiable_accounts(name, request, policy()) if challenge_of else ():
            try:
                answer = challenge_of(request, account, secrets) if challenge_of else None
            except Unresolved:
                continue
            if answer is not None:
                return Response(answer.body, answer.status, media_type=answer.media_type)
        metrics.REFUSED.labels(name, "signature").inc()
        raise Problem(403, "Verification failed", "The verify token does not match")

    return router


_PARAMETERS = [
    {"name": "channel", "in": "path", "required": True, "schema": {"type": "string", "enum": sorted(WEBHOOKS)}},
    {"name": "account", "in": "query", "required": False, "schema": {"type": "string"}},
]


def _channel(scope: Scope) -> tuple[str, Webhook]:
    name = scope["path_params"]["channel"]
    channel = WEBHOOKS.get(name)
    if channel is None:
        metrics.REFUSED.labels("other", "unknown_channel").inc()
        raise Problem(404, "Unknown channel", f"Channels with webhooks: {', '.join(sorted(WEBHOOKS))}")
    return name, channel


def _request(scope: Scope, body: bytes) -> channels.Request:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    raw_query = scope["query_string"].decode("latin-1")
    query = dict(parse_qsl(raw_query, keep_blank_values=True)) if raw_query else {}
    return channels.Request(body, headers, query, raw_query, scope["method"])


def _parser_headers(channel: Webhook, headers: Mapping[str, str]) -> HttpRequest:
    """Return the headers that the channel's parser needs; most channels need none."""
    kept = {name: value for name in channel.HEADERS if (value := headers.get(name))}
    return HttpRequest(headers=kept) if kept else _BODY_ONLY


def _account(name: str, channel: Webhook, request: channels.Request, accounts: Accounts) -> Account | None:
    named = request.query.get("account")
    if named is not None:
        return _own(name, accounts.named(name, named))
    identifier = channel.account_id(request)
    return accounts.external(name, identifier) if identifier else None


def _own(name: str, account: Account | None) -> Account | None:
    """Return the account unless another provider carries it: its secrets are for that provider's signatures."""
    return account if account is not None and account.channel == name else None


def _signer(
    name: str, channel: Webhook, request: channels.Request, accounts: Accounts, secrets: Secrets, clock: Clock
) -> Account | None:
    """Return the account whose secret signed a body that names no known account, or None.

    Meta sends notices that are about no phone number, and an app may have numbers that are not configured here. If such
    webhooks were answered with 404, Meta would retry them for days and finally disable the webhook for all accounts.
    """
    by_secret = {account.signing: account for account in accounts.accounts if account.channel == name}
    for account in by_secret.values():
        with contextlib.suppress(channels.Forged, Unresolved):
            channel.verify(request, account, secrets, clock.now())
            return account
    return None


def _verifiable_accounts(name: str, request: channels.Request, accounts: Accounts) -> list[Account]:
    """Return the given account, or all of the channel: a Meta app with several numbers has one verification request."""
    if (named := request.query.get("account")) is not None:
        account = _own(name, accounts.named(name, named))
        found = [account] if account else []
    else:
        found = [account for account in accounts.accounts if account.channel == name]
    if not found:
        metrics.REFUSED.labels(name, "unknown_account").inc()
        raise Problem(404, "Unknown account")
    return found


def _without_key(channel: Webhook, account: Account, keys: KnownKeys | None, kid: str) -> Problem:
    """Have the key fetched, and return the answer that makes the provider retry; or refuse a key that is none."""
    if keys is not None and not keys.wish(account.channel, account.name, kid):
        metrics.REFUSED.labels(account.channel, "signature").inc()
        return Problem(channel.REFUSAL_STATUS, "Verification failed", "The provider has no key with that id")
    metrics.REFUSED.labels(account.channel, "key").inc()
    return Problem(503, detail="The signature's key is being fetched", headers=_RETRY)


def _verify(channel: Webhook, request: channels.Request, account: Account, secrets: Secrets, clock: Clock) -> None:
    try:
        channel.verify(request, account, secrets, clock.now())
    except channels.Forged as forged:
        metrics.REFUSED.labels(account.channel, forged.reason).inc()
        detail = (
            "The timestamp is too far from now" if forged.reason == "stale" else "The signature is missing or not right"
        )
        headers = {"www-authenticate": "Signature"} if channel.REFUSAL_STATUS == 401 else {}
        raise Problem(channel.REFUSAL_STATUS, "Verification failed", detail, headers=headers) from None
    except channels.UnknownKey:
        raise
    except Unresolved as missing:
        # A configuration error of ours: 503 makes the provider retry.
        log.error(
            "cannot verify a webhook: a secret or variable is missing", account=account.name, missing=str(missing)
        )
        metrics.REFUSED.labels(account.channel, "secret").inc()
        raise Problem(503, detail="This account is not configured completely", headers=_RETRY) from None
