"""Poll the providers that push nothing, and write what is new to Kafka through the same Intake as the doors.

Rule: one replica polls an account at a time, and the cursor moves only after Kafka has acknowledged everything before
it. Both are in one document, guarded by its version: a replica that lost its lease can repeat records, whose messages
have been taken, but cannot move the cursor. What to ask, and what is new, the channel's generator says.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog

from contracts.inbound import HttpRequest
from kit.base.clock import Clock
from kit.base.errors import TransientError
from kit.base.ids import uuid7
from kit.base.turns import every
from kit.http_client import Answer, Forbidden, HttpClient, Unreached
from kit.policy.secrets import Unresolved
from kit.protocol.ports import Guarded, Store
from services.ingest import metrics
from services.ingest.access_tokens import AccessTokens
from services.ingest.accounts import Account, Accounts
from services.ingest.channels import POLLERS
from services.ingest.channels.channel import Batch, short_key
from services.ingest.channels.reading import retry_after
from services.ingest.core.messages import HttpCall, Unreadable
from services.ingest.intake import Envelope, Intake

log = structlog.get_logger(__name__)
POLLS = "polls"
LEASE = timedelta(seconds=60)
RENEW_BEFORE = timedelta(seconds=30)
TICK_SECONDS = 5.0
MAX_BACKOFF = timedelta(minutes=15)
MAX_STEPS = 20_000
"""Calls and batches of one turn; a channel that makes more is broken."""
MAX_ANSWER = 4 * 1024 * 1024


class _Stopped(Exception):
    """The turn cannot go on. `after`: how long the provider wants to be left alone."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class _LeaseLost(Exception):
    """Another replica polls this account now."""


@dataclass
class _Turn:
    """One replica's turn at one account: the document as this replica has written it."""

    store: Store
    clock: Clock
    name: str
    version: int
    row: dict[str, Any] = field(default_factory=dict)

    async def write(self, **values: Any) -> None:
        """Write fields, and the lease. Raises _LeaseLost, or TransientError if it is unknown whether it was written."""
        self.row |= {"leased_until": self.clock.now() + LEASE, **values}
        outcome = await self.store.write(POLLS, [Guarded(self.name, self.version, self.row)])
        if outcome.unknown:
            raise TransientError("the cursor may not have been written")
        if outcome.lost:
            raise _LeaseLost
        self.version += 1

    async def keep(self) -> None:
        """Renew the lease if it ends soon."""
        if self.row["leased_until"] - self.clock.now() < RENEW_BEFORE:
            await self.write()


class Polling:
    """Polls all accounts whose channel is polled."""

    def __init__(
        self,
        store: Store,
        intake: Intake,
        http_client: HttpClient,
        tokens: AccessTokens,
        accounts: Callable[[], Accounts],
        clock: Clock,
    ) -> None:
        self._store, self._intake, self._http, self._tokens = store, intake, http_client, tokens
        self._accounts, self._clock, self._replica = accounts, clock, uuid7()
        self._begun_at = clock.now()
        self._turns: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Begin turns as they are due, until cancelled; then end those that are under way."""
        try:
            await every(self._clock, TICK_SECONDS, self.tick, "polling")()
        finally:
            for task in self._turns.values():
                task.cancel()
            await asyncio.gather(*self._turns.values(), return_exceptions=True)

    async def tick(self) -> None:
        """Begin the turns that are due, and measure how long ago each channel was polled with success."""
        polled = [account for account in self._accounts().accounts if account.channel in POLLERS]
        rows = {row["_id"]: row for row in await self._store.fetch(POLLS, [account.name for account in polled])}
        now = self._clock.now()
        self._measure(polled, rows, now)
        for account in polled:
            row = rows.get(account.name)
            busy = account.name in self._turns and not self._turns[account.name].done()
            leased = row is not None and row["leased_until"] > now
            if busy or leased or (row is not None and row["next_at"] > now):
                continue
            self._turns[account.name] = asyncio.create_task(self.turn(account, row))

    def _measure(self, polled: list[Account], rows: Mapping[str, Mapping[str, Any]], now: datetime) -> None:
        ages = dict.fromkeys(POLLERS, 0.0)
        for account in polled:
            since = (rows.get(account.name) or {}).get("polled_at") or self._begun_at
            ages[account.channel] = max(ages[account.channel], (now - since).total_seconds())
        for channel, age in ages.items():
            metrics.POLL_AGE.labels(channel).set(age)

    async def turn(self, account: Account, row: Mapping[str, Any] | None) -> None:
        """Poll an account once, if this replica gets the lease."""
        turn = _Turn(self._store, self._clock, account.name, row["version"] if row else 0)
        known = {name: (row or {}).get(name) for name in ("cursor", "polled_at", "failures")}
        turn.row = {**known, "next_at": self._clock.now(), "failures": known["failures"] or 0}
        try:
            await turn.write(replica=self._replica)
        except (_LeaseLost, TransientError):
            return
        try:
            await self._poll(account, turn)
            now = self._clock.now()
            await turn.write(next_at=now + account.poll_every, polled_at=now, failures=0, leased_until=now)
            metrics.POLLS.labels(account.channel, "done").inc()
        except _LeaseLost:
            metrics.POLLS.labels(account.channel, "lost").inc()
            log.warning("another replica polls this account", account=account.name)
        except (_Stopped, TransientError, Unresolved, Unreached, Forbidden, Unreadable) as fault:
            await self._failed(account, turn, fault)
        except asyncio.CancelledError:  # this replica stops, and another may go on at once
            with contextlib.suppress(_LeaseLost, TransientError):
                await turn.write(next_at=self._clock.now(), leased_until=self._clock.now())
            raise
        except Exception as bug:
            log.exception("unexpected error while polling", account=account.name)
            await self._failed(account, turn, bug)

    async def _failed(self, account: Account, turn: _Turn, fault: Exception) -> None:
        failures = turn.row["failures"] + 1
        pause = min(account.poll_every * 2 ** min(failures, 10), MAX_BACKOFF)
        if isinstance(fault, _Stopped) and fault.after is not None:
            pause = max(pause, timedelta(seconds=fault.after))
        log.warning("polling failed", account=account.name, failures=failures, fault=str(fault)[:300])
        metrics.POLLS.labels(account.channel, "failed").inc()
        now = self._clock.now()
        try:
            await turn.write(next_at=now + pause, failures=failures, leased_until=now)
        except (_LeaseLost, TransientError) as lost:  # the lease runs out
            log.warning("a failed poll could not be recorded", account=account.name, fault=str(lost))

    async def _poll(self, account: Account, turn: _Turn) -> None:
        secrets = await self._tokens.secrets(account)
        steps = POLLERS[account.channel](turn.row["cursor"], account, secrets, self._clock.now())
        answer: bytes | None = None
        for _ in range(MAX_STEPS):
            try:
                step = steps.send(answer)
            except StopIteration:
                return
            await turn.keep()
            if isinstance(step, HttpCall):
                answer = await self._ask(step)
            else:
                await self._take(account, step, turn)
                answer = None
        raise _Stopped("too many requests in one poll")

    async def _ask(self, call: HttpCall) -> bytes:
        answer: Answer = await self._http.call(call.method, call.url, call.headers, call.body, most=MAX_ANSWER)
        if answer.status != 200 or answer.cut:
            reason = "the answer is too long" if answer.cut else f"HTTP {answer.status}: {answer.excerpt()}"
            raise _Stopped(reason, retry_after(answer.headers))
        return answer.body

    async def _take(self, account: Account, batch: Batch, turn: _Turn) -> None:
        """Write the records, then the cursor."""
        for item in batch.items:
            await turn.keep()
            envelope = Envelope(
                channel=account.channel,
                account=account.name,
                key=short_key(account.name, item.key),
                content_type="application/json",
                http=_POLLED,
                verified=True,
            )
            await self._intake.take(envelope, item.body)
        if batch.cursor is not None:
            await turn.write(cursor=dict(batch.cursor))


_POLLED = HttpRequest(method="GET")
