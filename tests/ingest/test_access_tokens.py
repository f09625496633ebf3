"""Access tokens: refreshed by one replica, kept in MongoDB, replaced before they expire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest

from kit.http_client import HttpClient
from kit.mongo import MongoStore
from kit.policy.secrets import Secrets, Unresolved
from kit.protocol.ports import WriteOutcome
from services.ingest.access_tokens import LEASE, MARGIN, TOKENS, AccessTokens
from services.ingest.channels.originals import token_ref
from tests.conftest import Prefix
from tests.fake_clock import FakeClock
from tests.ingest.channels.cases.ebay import CASE
from tests.ingest.channels.samples import NOW
from tests.kit.fake_store import FakeStore
from tests.notify.receivers import HttpReceiver, Reply, Request


class Provider:
    """A token endpoint that gives a new refresh token each time, and takes each of them once."""

    def __init__(self) -> None:
        self.valid, self.number, self.fault = CASE.environ["DESKBUS_REFRESH_EBAY"], 0, 0
        self.receiver = HttpReceiver(self._answer)

    def _answer(self, request: Request) -> Reply:
        if self.fault:
            return Reply(self.fault)
        (refresh,) = parse_qs(request.body.decode())["refresh_token"]
        if refresh != self.valid:
            return Reply(400, body=b'{"error":"invalid_grant"}')
        self.number += 1
        self.valid = f"refresh-{self.number}"
        body = f'{{"access_token":"access-{self.number}","expires_in":7200,"refresh_token":"{self.valid}"}}'
        return Reply(body=body.encode())


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    made = Provider()
    await made.receiver.start()
    yield made
    await made.receiver.stop()


@pytest.fixture
async def http_client(provider: Provider) -> AsyncIterator[HttpClient]:
    made = HttpClient(lambda: {f"127.0.0.1:{provider.receiver.port}"}, agent="test", seconds=5)
    yield made
    await made.close()


class Replicas:
    def __init__(self, provider: Provider, http_client: HttpClient, store: Any) -> None:
        self.account = CASE.account.model_copy(update={"base_url": provider.receiver.url})
        self.clock, self.store, self.http = FakeClock(NOW), store, http_client

    def replica(self, **environ: str) -> AccessTokens:
        return AccessTokens(self.http, self.store, Secrets({**CASE.environ, **environ}), self.clock)

    async def token(self, replica: AccessTokens) -> str:
        return (await replica.secrets(self.account)).secret(token_ref(self.account))


@pytest.fixture
def replicas(provider: Provider, http_client: HttpClient) -> Replicas:
    return Replicas(provider, http_client, FakeStore())


async def test_a_token_is_kept_until_shortly_before_it_expires(provider: Provider, replicas: Replicas) -> None:
    one = replicas.replica()
    assert [await replicas.token(one) for _ in range(3)] == ["access-1"] * 3
    replicas.clock.advance(7200 - MARGIN.total_seconds() - 1)
    assert await replicas.token(one) == "access-1"
    replicas.clock.advance(1)
    assert await replicas.token(one) == "access-2"
    assert provider.number == 2


async def test_a_restarted_replica_goes_on_with_what_the_last_one_was_given(
    provider: Provider, replicas: Replicas
) -> None:
    assert await replicas.token(replicas.replica()) == "access-1"
    assert await replicas.token(replicas.replica()) == "access-1"
    replicas.clock.advance(7200)
    assert await replicas.token(replicas.replica()) == "access-2"
    assert provider.number == 2


async def test_another_refresh_token_in_the_secret_takes_the_place_of_a_spent_one(
    provider: Provider, replicas: Replicas
) -> None:
    assert await replicas.token(replicas.replica()) == "access-1"
    provider.valid = "given-anew"
    replicas.clock.advance(7200)
    with pytest.raises(Unresolved, match="invalid_grant"):
        await replicas.token(replicas.replica())
    assert await replicas.token(replicas.replica(DESKBUS_REFRESH_EBAY="given-anew")) == "access-2"


async def test_after_a_failure_all_replicas_wait(provider: Provider, replicas: Replicas) -> None:
    provider.fault = 503
    one, two = replicas.replica(), replicas.replica()
    with pytest.raises(Unresolved, match="503"):
        await replicas.token(one)
    for replica in (one, two):
        with pytest.raises(Unresolved, match="a moment ago"):
            await replicas.token(replica)
    assert len(provider.receiver.requests) == 1
    provider.fault = 0
    replicas.clock.advance(LEASE.total_seconds())
    assert await replicas.token(two) == "access-1"


@pytest.mark.parametrize("written", [True, False])
async def test_a_grant_is_stored_although_the_first_answer_of_the_store_is_lost(
    provider: Provider, http_client: HttpClient, written: bool
) -> None:
    class Forgetful(FakeStore):
        lost = False

        async def write(self, collection: str, writes: Any) -> WriteOutcome:
            if collection == TOKENS and writes[0].set["access"] and not self.lost:
                self.lost = True
                if written:
                    await super().write(collection, writes)
                return WriteOutcome(unknown=True)
            return await super().write(collection, writes)

    replicas = Replicas(provider, http_client, Forgetful())
    task = asyncio.create_task(replicas.token(replicas.replica()))
    async with asyncio.timeout(20):
        while not task.done():
            replicas.clock.advance(1)
            await asyncio.sleep(0.01)
    assert await task == "access-1"
    assert await replicas.token(replicas.replica()) == "access-1"
    assert provider.number == 1


async def test_replicas_spend_a_refresh_token_once(
    provider: Provider, http_client: HttpClient, mongo: str, prefix: Prefix
) -> None:
    store = MongoStore(mongo, f"{prefix.mongo}_tokens")
    replicas = Replicas(provider, http_client, store)
    fleet = [replicas.replica() for _ in range(5)]
    try:
        found = await asyncio.gather(*(replicas.token(each) for each in fleet), return_exceptions=True)
        given = [each for each in found if isinstance(each, str)]
        assert given == ["access-1"] * len(given) != []
        assert all(isinstance(each, str | Unresolved) for each in found)
        assert [await replicas.token(each) for each in fleet] == ["access-1"] * 5
        (row,) = await store.fetch(TOKENS, [replicas.account.name])
        assert (row["refresh"], row["expires_at"] - NOW) == ("refresh-1", timedelta(hours=2))
        assert len(provider.receiver.requests) == 1, "the others do not even ask"
    finally:
        store.close()


async def test_a_channel_with_lasting_credentials_gets_the_secrets_alone(replicas: Replicas) -> None:
    other = replicas.account.model_copy(update={"channel": "line"})
    secrets = await replicas.replica().secrets(other)
    with pytest.raises(Unresolved):
        secrets.secret(token_ref(other))


async def test_a_refresh_ends_although_its_caller_is_cancelled(
    provider: Provider, http_client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shutting down, or a request that takes too long, must not lose the refresh token that the provider has given."""
    replicas = Replicas(provider, http_client, FakeStore())
    answered, call = asyncio.Event(), http_client.call

    async def slow(*told: Any) -> Any:
        answer = await call(*told)
        answered.set()
        await asyncio.sleep(0)
        return answer

    monkeypatch.setattr(http_client, "call", slow)
    task = asyncio.create_task(replicas.token(replicas.replica()))
    async with asyncio.timeout(20):
        await answered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    (row,) = await replicas.store.fetch(TOKENS, [replicas.account.name])
    assert row["refresh"] == provider.valid == "refresh-1"
    assert await replicas.token(replicas.replica()) == "access-1"
