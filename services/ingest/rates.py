"""How fast replies leave: a token bucket for each account, which all replicas share.

Rule: a reply that has to wait is delayed, never failed. A bucket is one document, changed under its version guard. It
has the instant (GCRA's theoretical arrival time) at which it will be full again, so that nothing refills it. Without
its document, a bucket is full; what is lost with the database is at most one burst.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from kit.base.clock import Clock
from kit.base.errors import TransientError
from kit.policy.rate import Limit
from kit.protocol.ports import Guarded, Store

RATES = "rates"
#: Maximum rounds against other replicas that change the same bucket at the same time.
ROUNDS = 20


class SendingRates:
    """The buckets of this installation, and which of them this replica knows to be empty."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._empty: dict[str, datetime] = {}

    def empty(self) -> list[str]:
        """Return the accounts that must wait for their next token."""
        now = self._clock.now()
        self._empty = {account: until for account, until in self._empty.items() if until > now}
        return sorted(self._empty)

    def wait(self, most: float) -> float:
        """Return the seconds until an account has its next token, at most `most`."""
        now = self._clock.now()
        return min([most, *((until - now).total_seconds() for until in self._empty.values())])

    async def take(self, account: str, rate: Limit, wanted: int) -> int:
        """Take up to `wanted` tokens, and return how many. Raises TransientError if the bucket cannot be read."""
        for _ in range(ROUNDS):
            row = next(iter(await self._store.fetch(RATES, [account])), None)
            now = self._clock.now().timestamp()
            # Not further ahead than an empty bucket: a clock was wrong, or the rate was lower before.
            full_at = min(max(row["full_at"] if row else now, now), now + rate.burst * rate.interval)
            free = int(rate.burst - (full_at - now) / rate.interval + 1e-6)
            taken = max(0, min(wanted, free))
            if not taken:
                self._wait_for_next(account, rate, full_at)
                return 0
            full_at += taken * rate.interval
            write = Guarded(account, row["version"] if row else 0, {"full_at": full_at})
            outcome = await self._store.write(RATES, [write])
            if outcome.unknown:
                raise TransientError("MongoDB did not confirm a write")
            if not outcome.lost:
                if taken < wanted:
                    self._wait_for_next(account, rate, full_at)
                return taken
        self._empty[account] = self._clock.now() + timedelta(seconds=rate.interval)
        return 0

    def _wait_for_next(self, account: str, rate: Limit, full_at: float) -> None:
        next_at = full_at - (rate.burst - 1) * rate.interval
        self._empty[account] = datetime.fromtimestamp(next_at, UTC) + timedelta(milliseconds=1)
