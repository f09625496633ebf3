"""Polling: a provider on loopback, the cursor in MongoDB, one replica at a time, each message taken once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from prometheus_client import REGISTRY

from contracts import topics
from contracts.inbound import InboundRecord
from kit.base.errors import TransientError
from kit.http_client import HttpClient
from kit.mongo import MongoStore
from kit.protocol.ports import Guarded, WriteOutcome
from services.ingest.access_tokens import AccessTokens
from services.ingest.accounts import Accounts
from services.ingest.channels.allegro import OVERLAP, PAGE
from services.ingest.intake import Intake
from services.ingest.polling import LEASE, MAX_BACKOFF, POLLS, Polling
from tests.conftest import Prefix
from tests.fake_clock import FakeClock
from tests.ingest.channels.cases.allegro import CASE, message
from tests.ingest.channels.desk import Desk
from tests.ingest.channels.samples import NOW
from tests.ingest.door_rig import Kafka
from tests.kit.fake_store import FakeStore
from tests.kit.raw import Raw
from tests.notify.receivers import HttpReceiver, Reply, Request


class Allegro:
    """The message center, as its API lists it."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.fault: Reply | None = None
        self.receiver = HttpReceiver(self._answer)

    def says(self, identifier: str, at: datetime, thread: str = "t1", *, ours: bool = False) -> None:
        author = {"login": "nimbus" if ours else f"buyer-{thread}", "isInterlocutor": not ours}
        said = message(identifier, identifier, thread={"id": thread}, createdAt=at.isoformat(), author=author)
        self.messages.append(said)

    def _answer(self, request: Request) -> Reply:
        if request.path == "/auth/oauth/token":
            return Reply(body=b'{"access_token":"access","expires_in":43200,"refresh_token":"next"}')
        assert request.headers["authorization"] == "Bearer access"
        if self.fault is not None:
            return self.fault
        url = urlsplit(request.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        offset, limit = int(query["offset"]), int(query["limit"])
        if url.path == "/messaging/threads":
            last: dict[str, str] = {}
            for each in self.messages:
                last[each["thread"]["id"]] = max(each["createdAt"], last.get(each["thread"]["id"], ""))
            newest = sorted(last.items(), key=lambda each: each[1], reverse=True)
            found = [{"id": name, "read": False, "lastMessageDateTime": at} for name, at in newest]
            return Reply(body=json.dumps({"threads": found[offset : offset + limit]}).encode())
        after = datetime.fromisoformat(query["after"])
        own = [each for each in self.messages if each["thread"]["id"] == url.path.split("/")[3]]
        own = [each for each in own if datetime.fromisoformat(each["createdAt"]) > after]
        own.sort(key=lambda each: each["createdAt"], reverse=True)
        return Reply(body=json.dumps({"messages": own[offset : offset + limit]}).encode())

    @property
    def asked(self) -> int:
        return sum("/messaging/" in request.path for request in self.receiver.requests)


class World:
    def __init__(self, allegro: Allegro, http_client: HttpClient, store: Any) -> None:
        self.allegro, self.http, self.store, self.kafka, self.clock = (
            allegro,
            http_client,
            store,
            Kafka(),
            FakeClock(NOW),
        )
        self.account = CASE.account.model_copy(update={"base_url": allegro.receiver.url})

    def replica(self, store: Any = None) -> Polling:
        store = store or self.store
        intake = Intake(self.kafka, store, self.clock, topic="inbound", seconds=1, claim_seconds=1)
        tokens = AccessTokens(self.http, store, CASE.secrets, self.clock)
        accounts = Accounts.model_construct(accounts=(self.account,))
        return Polling(store, intake, self.http, tokens, lambda: accounts, self.clock)

    async def turn(self, replica: Polling, minutes: float = 1) -> None:
        """Let the replica take the turn that is due after so many minutes."""
        self.clock.advance(minutes * 60)
        await replica.tick()
        await asyncio.gather(*replica._turns.values())

    def records(self) -> list[InboundRecord]:
        return [InboundRecord.from_kafka(sent.value, sent.headers) for sent in self.kafka.taken]

    def ids(self) -> list[str]:
        return [json.loads(record.body)["id"] for record in self.records()]

    async def taken(self) -> list[str]:
        """The provider's ids of the messages that a worker takes from what is in Kafka."""
        desk = Desk(CASE)
        rows = [
            Raw(topics.INBOUND, 0, n, sent.value or b"", headers=list(sent.headers))
            for n, sent in enumerate(self.kafka.taken)
        ]
        assert await desk.worker.take(*rows) == set()
        return desk.ids()

    async def row(self) -> Mapping[str, Any]:
        (row,) = await self.store.fetch(POLLS, ["allegro-pl"])
        found: Mapping[str, Any] = row
        return found


@pytest.fixture
async def allegro() -> AsyncIterator[Allegro]:
    made = Allegro()
    await made.receiver.start()
    yield made
    await made.receiver.stop()


@pytest.fixture
async def http_client(allegro: Allegro) -> AsyncIterator[HttpClient]:
    made = HttpClient(lambda: {f"127.0.0.1:{allegro.receiver.port}"}, agent="test", seconds=5)
    yield made
    await made.close()


@pytest.fixture
def world(allegro: Allegro, http_client: HttpClient) -> World:
    return World(allegro, http_client, FakeStore())


@pytest.fixture
async def stored(allegro: Allegro, http_client: HttpClient, mongo: str, prefix: Prefix) -> AsyncIterator[World]:
    store = MongoStore(mongo, f"{prefix.mongo}_ingest")
    yield World(allegro, http_client, store)
    store.close()


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


async def test_it_begins_now_and_takes_what_is_written_from_then_on(world: World) -> None:
    replica = world.replica()
    world.allegro.says("old", at(-60))
    await world.turn(replica, 0)
    assert world.ids() == []
    world.allegro.says("m1", at(0.5))
    world.allegro.says("ours", at(0.6), ours=True)
    world.allegro.says("m2", at(0.7))
    await world.turn(replica)
    assert world.ids() == ["m1", "m2"]
    first, second = world.records()
    assert first.key == second.key == "allegro-pl:t1"
    assert (first.channel, first.account, first.verified) == ("allegro", "allegro-pl", True)
    await world.turn(replica)
    assert world.ids() == ["m1", "m2"]


async def test_a_message_that_appears_late_is_taken_once(world: World) -> None:
    replica = world.replica()
    await world.turn(replica, 0)
    world.allegro.says("m2", at(0.9))
    await world.turn(replica)
    world.allegro.says("m1", at(0.5))
    for _ in range(int(OVERLAP.total_seconds() // 60) + 2):
        await world.turn(replica)
    assert world.ids() == ["m2", "m1"]


async def test_many_threads_and_messages_are_read_page_by_page(world: World) -> None:
    replica = world.replica()
    await world.turn(replica, 0)
    for number in range(2 * PAGE + 1):
        world.allegro.says(f"a{number:02d}", at(0.1 + number / 1000), thread="long")
        world.allegro.says(f"b{number:02d}", at(0.2 + number / 1000), thread=f"t{number}")
    await world.turn(replica)
    found = world.ids()
    assert sorted(found) == sorted(each["id"] for each in world.allegro.messages)
    assert [each for each in found if each.startswith("a")] == [f"a{number:02d}" for number in range(2 * PAGE + 1)]


async def test_a_thread_that_moves_to_the_first_page_is_not_missed(world: World) -> None:
    """After an outage, a customer on the second page writes once more while the pages are read."""
    replica, moved = world.replica(), list[Request]()
    await world.turn(replica, 0)
    world.allegro.says("first", at(1), thread="t0")
    for number in range(1, PAGE + 5):
        world.allegro.says(f"m{number}", at(20 + number / 100), thread=f"t{number}")

    def answer(request: Request) -> Reply:
        if request.path.startswith("/messaging/threads?") and f"offset={PAGE}" in request.path and not moved:
            moved.append(request)
            world.allegro.says("second", at(29.9), thread="t0")
        return world.allegro._answer(request)

    world.allegro.receiver.answer = answer
    await world.turn(replica, 30)
    await world.turn(replica)
    assert moved
    assert sorted(world.ids()) == sorted(each["id"] for each in world.allegro.messages)
    assert world.ids().index("first") < world.ids().index("second")


async def test_an_instant_ahead_of_time_ends_no_polling(world: World) -> None:
    replica = world.replica()
    await world.turn(replica, 0)
    world.allegro.says("from the future", at(10_000), thread="t0")
    await world.turn(replica)
    world.allegro.says("m1", at(7), thread="t1")
    await world.turn(replica, 8)
    assert world.ids() == ["from the future", "m1"]


async def test_nothing_is_asked_before_the_next_turn_is_due(world: World) -> None:
    replica = world.replica()
    await world.turn(replica, 0)
    asked = world.allegro.asked
    await world.turn(replica, 0.9)
    assert world.allegro.asked == asked
    await world.turn(replica, 0.2)
    assert world.allegro.asked == asked + 1


async def test_while_kafka_is_away_the_cursor_stays(world: World) -> None:
    replica = world.replica()
    await world.turn(replica, 0)
    before = (await world.row())["cursor"]
    world.allegro.says("m1", at(0.5))

    async def away(_: float) -> None:
        raise TransientError("no broker")

    world.kafka.away = away
    await world.turn(replica)
    row = await world.row()
    assert (row["cursor"], row["failures"]) == (before, 1)
    world.kafka.away = None
    await world.turn(replica, 10)
    assert world.ids() == ["m1"]
    assert (await world.row())["failures"] == 0


async def test_retry_after_is_kept_and_the_pause_grows(world: World) -> None:
    replica = world.replica()
    await world.turn(replica, 0)
    world.allegro.fault = Reply(429, {"retry-after": "1800"})
    await world.turn(replica)
    row = await world.row()
    assert row["next_at"] == world.clock.now() + timedelta(minutes=30)
    world.allegro.fault = Reply(503)
    await world.turn(replica, 30)
    assert (await world.row())["next_at"] == world.clock.now() + timedelta(minutes=4)
    for _ in range(4):
        await world.turn(replica, 60)
    assert (await world.row())["next_at"] == world.clock.now() + MAX_BACKOFF


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]"])
async def test_an_answer_that_cannot_be_read_moves_no_cursor(world: World, body: bytes) -> None:
    replica = world.replica()
    await world.turn(replica, 0)
    before = (await world.row())["cursor"]
    world.allegro.fault = Reply(200, body=body)
    await world.turn(replica)
    row = await world.row()
    assert (row["cursor"], row["failures"]) == (before, 1)


async def test_the_age_of_the_last_success_is_measured(world: World) -> None:
    replica = world.replica()
    await world.turn(replica, 0)
    world.allegro.fault = Reply(500)
    await world.turn(replica, 20)
    assert REGISTRY.get_sample_value("deskbus_ingest_poll_age_seconds", {"channel": "allegro"}) == 1200
    world.allegro.fault = None
    await world.turn(replica, 20)
    await replica.tick()
    assert REGISTRY.get_sample_value("deskbus_ingest_poll_age_seconds", {"channel": "allegro"}) == 0


class Killed(BaseException):
    """The process is gone."""


class Dying:
    """A store whose process is killed when it is about to move the cursor."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def write(self, collection: str, writes: list[Guarded]) -> WriteOutcome:
        if collection == POLLS:
            (row,) = await self._store.fetch(POLLS, [writes[0].id])
            if writes[0].set["cursor"] != row["cursor"]:
                raise Killed
        outcome: WriteOutcome = await self._store.write(collection, writes)
        return outcome


async def test_killed_between_kafka_and_the_cursor_each_message_is_taken_once(stored: World) -> None:
    victim, successor = stored.replica(Dying(stored.store)), stored.replica()
    await stored.turn(successor, 0)
    stored.allegro.says("m1", at(0.5))
    stored.allegro.says("m2", at(0.6), thread="t2")
    with pytest.raises(Killed):
        await stored.turn(victim)
    assert stored.ids() == ["m1", "m2"]
    await stored.turn(successor, 0.5)
    assert stored.ids() == ["m1", "m2"], "the lease of the killed replica still holds"
    await stored.turn(successor, LEASE.total_seconds() / 60)
    assert stored.ids() == ["m1", "m2", "m1", "m2"], "its records are repeated"
    assert sorted(await stored.taken()) == ["m1", "m2"]


async def test_of_several_replicas_one_polls(stored: World) -> None:
    fleet = [stored.replica() for _ in range(4)]
    await stored.turn(fleet[0], 0)
    for number in range(1, 6):
        stored.allegro.says(f"m{number}", at(number - 0.5))
        stored.clock.advance(60)
        await asyncio.gather(*(replica.tick() for replica in fleet))
        await asyncio.gather(*(task for replica in fleet for task in replica._turns.values()))
    assert stored.ids() == [f"m{number}" for number in range(1, 6)]


async def test_a_replica_that_stops_leaves_its_turn_to_another(stored: World) -> None:
    leaving, other = stored.replica(), stored.replica()
    await stored.turn(leaving, 0)
    stored.allegro.says("m1", at(0.5))
    waiting = asyncio.Event()

    async def wait(_: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    stored.kafka.away = wait
    stored.clock.advance(60)
    await leaving.tick()
    async with asyncio.timeout(20):
        await waiting.wait()
    (task,) = leaving._turns.values()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    stored.kafka.away = None
    await stored.turn(other, 0)
    assert stored.ids() == ["m1"]


async def test_a_replica_that_lost_its_lease_moves_no_cursor(stored: World) -> None:
    slow, other = stored.replica(), stored.replica()
    await stored.turn(slow, 0)
    stored.allegro.says("m1", at(0.5))
    waiting, resume = asyncio.Event(), asyncio.Event()

    async def wait(_: float) -> None:
        waiting.set()
        await resume.wait()

    stored.kafka.away = wait
    stored.clock.advance(60)
    await slow.tick()
    async with asyncio.timeout(20):
        await waiting.wait()
    stored.kafka.away = None
    await stored.turn(other, LEASE.total_seconds() / 60 + 1)
    after = await stored.row()
    resume.set()
    await asyncio.gather(*slow._turns.values())
    assert await stored.row() == after
    assert await stored.taken() == ["m1"]
