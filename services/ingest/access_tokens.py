"""Access tokens of accounts whose provider gives short-lived ones for a refresh token (OAuth 2).

Rule: one replica at a time spends a refresh token, since some providers give another one each time. The last one is
kept in MongoDB; another one in the account's secret takes its place.
"""

from __future__ import annotations

import asyncio
import hashlib
from datetime import datetime, timedelta
from typing import Any

import structlog

from kit.base.clock import Clock
from kit.http_client import Forbidden, HttpClient, Unreached
from kit.policy.secrets import Secrets, Unresolved
from kit.protocol.ports import Guarded, Store
from services.ingest import metrics
from services.ingest.accounts import Account
from services.ingest.channels import OAUTH
from services.ingest.channels.channel import Grant
from services.ingest.channels.originals import token_ref

log = structlog.get_logger(__name__)
TOKENS = "tokens"
MARGIN = timedelta(minutes=2)
"""A token is replaced this long before it expires."""
LEASE = timedelta(seconds=30)
"""How long a replica has for one refresh, and how long all wait after one that failed."""
WRITE_ATTEMPTS = 5
FINISH_SECONDS = 5.0
"""How long a refresh may go on after its caller was cancelled."""


class AccessTokens:
    """Access tokens, by account. They are shared by all replicas, and cached."""

    def __init__(self, http_client: HttpClient, store: Store, secrets: Secrets, clock: Clock) -> None:
        self._http, self._store, self._secrets, self._clock = http_client, store, secrets, clock
        self._cache: dict[str, tuple[str, str, datetime]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def secrets(self, account: Account) -> Secrets:
        """Return the secrets, with the account's access token if its channel needs one.

        Raises Unresolved if there is none at the moment, and TransientError while MongoDB is unavailable.
        """
        if account.channel not in OAUTH:
            return self._secrets
        async with self._locks.setdefault(account.name, asyncio.Lock()):
            return self._secrets.having({token_ref(account): await self._access(account)})

    async def _access(self, account: Account) -> str:
        first = self._secrets.secret(account.refresh)
        seed, now = hashlib.sha256(first.encode()).hexdigest()[:32], self._clock.now()
        cached = self._cache.get(account.name)
        if cached is not None and cached[0] == seed and cached[2] > now + MARGIN:
            return cached[1]
        row = next(iter(await self._store.fetch(TOKENS, [account.name])), None)
        if row is not None and row["seed"] == seed and row["expires_at"] > now + MARGIN:
            return self._keep(account, seed, row["access"], row["expires_at"])
        if row is not None and row["leased_until"] > now and row["seed"] == seed:
            raise Unresolved(f"the token of {account.name} is being refreshed, or its refresh failed a moment ago")
        refresh = row["refresh"] if row is not None and row["seed"] == seed else first
        version = row["version"] if row is not None else 0
        values = {"seed": seed, "refresh": refresh, "access": "", "expires_at": now, "leased_until": now + LEASE}
        outcome = await self._store.write(TOKENS, [Guarded(account.name, version, values)])
        if outcome.lost or outcome.unknown:
            raise Unresolved(f"the token of {account.name} is being refreshed by another replica")
        return await _to_the_end(asyncio.create_task(self._spend(account, refresh, version + 1, values)))

    async def _spend(self, account: Account, refresh: str, version: int, values: dict[str, Any]) -> str:
        """Get a new token, and store it with the next refresh token."""
        grant = await self._refresh(account, refresh)
        expires = self._clock.now() + timedelta(seconds=grant.seconds)
        values |= {"access": grant.access, "expires_at": expires, "refresh": grant.refresh or refresh}
        await self._store_grant(account, version, values)
        return self._keep(account, values["seed"], grant.access, expires)

    def _keep(self, account: Account, seed: str, access: str, expires: datetime) -> str:
        self._cache[account.name] = seed, access, expires
        return access

    async def _refresh(self, account: Account, refresh: str) -> Grant:
        flow = OAUTH[account.channel]
        try:
            call = flow.refresh(account, self._secrets, refresh, self._clock.now())
            answer = await self._http.call(call.method, call.url, call.headers, call.body)
            grant = flow.read(answer.status, answer.body)
        except (Forbidden, Unreached, ValueError) as fault:
            metrics.TOKENS.labels(account.channel, "failed").inc()
            log.error("an access token cannot be refreshed", account=account.name, fault=str(fault))
            raise Unresolved(f"the token of {account.name} cannot be refreshed: {fault}") from fault
        metrics.TOKENS.labels(account.channel, "refreshed").inc()
        return grant

    async def _store_grant(self, account: Account, version: int, values: dict[str, Any]) -> None:
        """Store a grant. The refresh token before it may be spent, so this is tried several times."""
        for attempt in range(WRITE_ATTEMPTS):
            outcome = await self._store.write(TOKENS, [Guarded(account.name, version, values)])
            if not outcome.lost and not outcome.unknown:
                return
            if outcome.lost:
                rows = await self._store.fetch(TOKENS, [account.name])
                if rows and rows[0]["access"] == values["access"]:
                    return  # an earlier attempt arrived after all
                break
            await self._clock.sleep(2.0**attempt / 4)
        log.error("a refresh token could not be stored; if it was spent, give a new one", account=account.name)


async def _to_the_end(refresh: asyncio.Task[str]) -> str:
    """Wait for a refresh. If we are cancelled, let it end first: otherwise the token that it spends would be lost."""
    try:
        return await asyncio.shield(refresh)
    except asyncio.CancelledError:
        await asyncio.wait([refresh], timeout=FINISH_SECONDS)
        raise
