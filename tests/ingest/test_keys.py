"""Providers' keys: fetched in the background from a real server, whatever arrives at the door."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from kit.base.errors import TransientError
from kit.http_client import HttpClient
from services.ingest.accounts import Accounts
from services.ingest.keys import ABSENT_SECONDS, KEEP_SECONDS, MAX_KEYS, MAX_WISHES, RENEW_SECONDS, ProviderKeys
from tests.fake_clock import FakeClock
from tests.ingest.channels.cases.ebay import CASE, KID, key_answer, sign, signature
from tests.ingest.channels.samples import NOW
from tests.ingest.door_rig import Kafka, opened_door
from tests.kit.fake_store import FakeStore
from tests.notify.receivers import HttpReceiver, Reply, Request

HOOK = "/v1/channels/ebay/webhook?account=ebay-de"


class EBay:
    """eBay's endpoints. `absent`: it knows no key; `status`: what it answers otherwise."""

    def __init__(self) -> None:
        self.absent, self.status, self.body = False, 200, key_answer()
        self.receiver = HttpReceiver(self._answer)

    def _answer(self, request: Request) -> Reply:
        if request.path == "/identity/v1/oauth2/token":
            assert request.headers["authorization"].startswith("Basic ")
            assert b"client_credentials" in request.body
            return Reply(body=b'{"access_token":"app","expires_in":7200}')
        assert request.headers["authorization"] == "Bearer app"
        return Reply(404) if self.absent else Reply(self.status, body=self.body)

    @property
    def asked(self) -> list[str]:
        """The ids of the keys that were asked for."""
        paths = [request.path for request in self.receiver.requests]
        return [path.rpartition("/")[2] for path in paths if "/public_key/" in path]


@pytest.fixture
async def ebay() -> AsyncIterator[EBay]:
    made = EBay()
    await made.receiver.start()
    yield made
    await made.receiver.stop()


@pytest.fixture
async def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
async def keys(ebay: EBay, clock: FakeClock) -> AsyncIterator[ProviderKeys]:
    account = CASE.account.model_copy(update={"base_url": ebay.receiver.url})
    accounts = Accounts.model_construct(accounts=(account,))
    http_client = HttpClient(lambda: {f"127.0.0.1:{ebay.receiver.port}"}, agent="test", seconds=5)
    yield ProviderKeys(http_client, lambda: accounts, CASE.secrets, clock)
    await http_client.close()


@asynccontextmanager
async def running(keys: ProviderKeys) -> AsyncIterator[None]:
    task = asyncio.create_task(keys.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(clock: FakeClock, holds: object, step: float = 1.0) -> None:
    async with asyncio.timeout(20):
        while not holds():  # type: ignore[operator]
            clock.advance(step)
            await asyncio.sleep(0.01)


async def test_the_first_request_is_told_to_come_again_and_the_next_is_let_in(
    ebay: EBay, keys: ProviderKeys, clock: FakeClock
) -> None:
    signed, kafka = sign(CASE.message, NOW), Kafka()
    async with running(keys), opened_door(kafka, FakeStore(), CASE.accounts, CASE.secrets, keys) as client:
        first = await client.post(HOOK, content=signed.body, headers=dict(signed.headers))
        assert (first.status_code, first.headers["retry-after"], kafka.taken) == (503, "2", [])
        await until(clock, lambda: keys.known("ebay"))
        again = await client.post(HOOK, content=signed.body, headers=dict(signed.headers))
        assert (again.status_code, len(kafka.taken)) == (204, 1)
    assert ebay.asked == [KID]


async def test_an_id_that_ebay_does_not_know_is_refused_for_a_while(
    ebay: EBay, keys: ProviderKeys, clock: FakeClock
) -> None:
    ebay.absent = True
    assert keys.wish("ebay", "ebay-de", "k")
    await keys.fetch_one()
    signed = {"x-ebay-signature": signature(CASE.message, "k")}
    async with opened_door(Kafka(), FakeStore(), CASE.accounts, CASE.secrets, keys) as client:
        assert (await client.post(HOOK, content=CASE.message, headers=signed)).status_code == 412
        clock.advance(ABSENT_SECONDS)
        assert (await client.post(HOOK, content=CASE.message, headers=signed)).status_code == 503
    assert ebay.asked == ["k"]


async def test_a_fault_of_ebay_is_no_answer_and_the_provider_is_told_to_come_again(
    ebay: EBay, keys: ProviderKeys
) -> None:
    ebay.status = 500
    keys.wish("ebay", "ebay-de", KID)
    with pytest.raises(TransientError):
        await keys.fetch_one()
    assert keys.wish("ebay", "ebay-de", KID)
    ebay.status = 200
    await keys.fetch_one()
    assert set(keys.known("ebay")) == {KID}


async def test_a_flood_of_forged_ids_causes_few_calls_and_does_not_hide_the_true_one(
    ebay: EBay, keys: ProviderKeys
) -> None:
    keys.wish("ebay", "ebay-de", KID)
    for number in range(10_000):
        keys.wish("ebay", "ebay-de", f"forged-{number}")
    keys.wish("ebay", "ebay-de", KID)
    assert len(keys._rings["ebay"].wishes) == MAX_WISHES
    await keys.fetch_one()
    assert ebay.asked == [KID], "one call a turn, and first what was asked for most often"


async def test_turns_have_a_pause(ebay: EBay, keys: ProviderKeys, clock: FakeClock) -> None:
    for number in range(3):
        keys.wish("ebay", "ebay-de", f"k{number}")
    async with running(keys):
        await until(clock, lambda: clock.sleepers, step=0)
        assert len(ebay.asked) == 1
        await until(clock, lambda: len(ebay.asked) == 3)


async def test_a_key_is_fetched_again_and_forgotten_if_that_fails_for_a_day(
    ebay: EBay, keys: ProviderKeys, clock: FakeClock
) -> None:
    keys.wish("ebay", "ebay-de", KID)
    await keys.fetch_one()
    ebay.status = 503
    clock.advance(RENEW_SECONDS + 1)
    with pytest.raises(TransientError):
        await keys.fetch_one()
    assert set(keys.known("ebay")) == {KID}, "it is used until another is there"
    clock.advance(KEEP_SECONDS)
    with pytest.raises(TransientError):
        await keys.fetch_one()
    assert keys.known("ebay") == {}


async def test_a_key_that_was_withdrawn_is_used_no_more(ebay: EBay, keys: ProviderKeys, clock: FakeClock) -> None:
    keys.wish("ebay", "ebay-de", KID)
    await keys.fetch_one()
    ebay.absent = True
    clock.advance(RENEW_SECONDS + 1)
    await keys.fetch_one()
    assert keys.known("ebay") == {}


async def test_keys_are_bounded(ebay: EBay, keys: ProviderKeys) -> None:
    for number in range(MAX_KEYS + 1):
        keys.wish("ebay", "ebay-de", f"k{number}")
        await keys.fetch_one()
    assert len(keys.known("ebay")) == MAX_KEYS
    assert "k0" not in keys.known("ebay")


async def test_only_the_host_of_the_account_is_called(ebay: EBay, clock: FakeClock) -> None:
    http_client = HttpClient(set, agent="test", seconds=5)
    account = CASE.account.model_copy(update={"base_url": ebay.receiver.url})
    keys = ProviderKeys(http_client, lambda: Accounts.model_construct(accounts=(account,)), CASE.secrets, clock)
    keys.wish("ebay", "ebay-de", KID)
    with pytest.raises(TransientError, match="allow_hosts"):
        await keys.fetch_one()
    assert ebay.receiver.requests == []
    await http_client.close()
