"""Public keys of providers, by the id that a signature names: fetched in the background, kept in memory for a while.

Rule: a request never causes a call, only a wish. Wishes are few, and keys are fetched one after the other with a pause,
so that forged ids cause no flood of calls; the id that was asked for most often is fetched first. A restarted process
fetches again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from kit.base.clock import Clock
from kit.base.errors import TransientError
from kit.base.turns import turns, woken
from kit.http_client import Forbidden, HttpClient, Unreached
from kit.policy.secrets import Secrets, Unresolved
from services.ingest import metrics
from services.ingest.accounts import Accounts
from services.ingest.channels import KEYS
from services.ingest.channels.channel import VerifyKey

log = structlog.get_logger(__name__)
MAX_KEYS = 100
"""Per channel, as the next two."""
MAX_WISHES = 32
MAX_ABSENT = 1000
KEEP_SECONDS = 24 * 3600
RENEW_SECONDS = 3600
"""A key is fetched again after this time, and goes on to be used until that succeeds."""
ABSENT_SECONDS = 600
"""How long an id is refused that the provider did not know."""
PAUSE_SECONDS = 2.0


@dataclass(slots=True)
class _Key:
    verify: VerifyKey
    account: str
    fetched_at: float


class _Ring:
    """The keys of one channel."""

    def __init__(self) -> None:
        self.keys: OrderedDict[str, _Key] = OrderedDict()
        self.absent: OrderedDict[str, float] = OrderedDict()
        self.wishes: dict[str, tuple[str, int]] = {}
        self.snapshot: dict[str, VerifyKey] = {}

    def keep(self, kid: str, key: _Key) -> None:
        self.keys[kid] = key
        self.keys.move_to_end(kid)
        while len(self.keys) > MAX_KEYS:
            self.keys.popitem(last=False)
        self.snapshot = {kid: key.verify for kid, key in self.keys.items()}

    def drop(self, kid: str) -> None:
        if self.keys.pop(kid, None) is not None:
            self.snapshot = {kid: key.verify for kid, key in self.keys.items()}


class ProviderKeys:
    """The keys of all channels that have some."""

    def __init__(
        self, http_client: HttpClient, accounts: Callable[[], Accounts], secrets: Secrets, clock: Clock
    ) -> None:
        self._http, self._accounts, self._secrets, self._clock = http_client, accounts, secrets, clock
        self._rings = {channel: _Ring() for channel in KEYS}
        self._wished = asyncio.Event()

    def known(self, channel: str) -> Mapping[str, VerifyKey]:
        """Return the keys at hand, which must not be changed."""
        ring = self._rings.get(channel)
        return ring.snapshot if ring is not None else {}

    def wish(self, channel: str, account: str, kid: str) -> bool:
        """Have a key fetched. Return False if the provider said lately that there is none."""
        ring = self._rings[channel]
        since = ring.absent.get(kid)
        if since is not None and self._clock.monotonic() - since < ABSENT_SECONDS:
            return False
        if kid in ring.wishes:
            ring.wishes[kid] = account, ring.wishes[kid][1] + 1
        elif len(ring.wishes) < MAX_WISHES:
            ring.wishes[kid] = account, 1
        self._wished.set()
        return True

    async def run(self) -> None:
        """Fetch what is wished for, until cancelled."""

        async def rest() -> None:
            if any(ring.wishes for ring in self._rings.values()):
                await self._clock.sleep(PAUSE_SECONDS)
            else:
                await woken(self._wished, 60)

        await turns(self._clock, self.fetch_one, rest, "provider keys")

    async def fetch_one(self) -> None:
        """Fetch the key of each channel that was asked for most often, and forget those that are too old."""
        for channel, ring in self._rings.items():
            self._look_at_ages(channel, ring)
            if ring.wishes:
                kid = max(ring.wishes, key=lambda each: ring.wishes[each][1])
                account, _ = ring.wishes.pop(kid)
                await self._fetch(channel, ring, account, kid)

    def _look_at_ages(self, channel: str, ring: _Ring) -> None:
        for kid, key in list(ring.keys.items()):
            age = self._clock.monotonic() - key.fetched_at
            if age > RENEW_SECONDS:
                self.wish(channel, key.account, kid)
            if age > KEEP_SECONDS:
                ring.drop(kid)

    async def _fetch(self, channel: str, ring: _Ring, name: str, kid: str) -> None:
        account, source = self._accounts().named(channel, name), KEYS[channel]
        if account is None:
            return
        try:
            login = source.login(account, self._secrets)
            answer = await self._http.call(login.method, login.url, login.headers, login.body)
            wanted = source.call(kid, account, self._secrets, source.token(answer.status, answer.body))
            answer = await self._http.call(wanted.method, wanted.url, wanted.headers, wanted.body)
            found = source.read(answer.status, answer.body)
        except (Unresolved, Forbidden, Unreached, ValueError) as fault:
            metrics.PROVIDER_KEYS.labels(channel, "failed").inc()
            raise TransientError(f"a public key of {channel} cannot be fetched: {fault}") from fault
        if found is None:
            metrics.PROVIDER_KEYS.labels(channel, "absent").inc()
            ring.drop(kid)
            ring.absent[kid] = self._clock.monotonic()
            ring.absent.move_to_end(kid)
            while len(ring.absent) > MAX_ABSENT:
                ring.absent.popitem(last=False)
            return
        metrics.PROVIDER_KEYS.labels(channel, "fetched").inc()
        ring.keep(kid, _Key(found, name, self._clock.monotonic()))
