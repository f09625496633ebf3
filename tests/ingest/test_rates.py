"""Rates of accounts: replicas share a bucket, replies wait for it, and other accounts do not.

With MongoDB's server as well as with the fake store.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from contracts.commands import Merge, Reply
from kit.policy.rate import Limit
from kit.protocol.document import Decision
from services.ingest.accounts import Accounts
from services.ingest.core.messages import HttpCall, SendFailure
from services.ingest.core.state import TicketState
from services.ingest.rates import SendingRates
from services.ingest.sender import CONCURRENT, CONCURRENT_OF_ACCOUNT, RETRIES_OF_ACCOUNT
from tests.fake_clock import FakeClock
from tests.ingest.sender_rig import ALL, FakeTransport, sender, served
from tests.ingest.worker_rig import AGENT, START, Worker
from tests.kit.both_stores import BOTH, Store, one_of
from tests.kit.fake_store import Contested

SECOND = timedelta(seconds=1)
AWAY = SendFailure("away", permanent=False)


@pytest.fixture(params=BOTH)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with one_of(request, "ingest") as made:
        yield made


def limited(worker: Worker, count: int, period: timedelta = SECOND) -> None:
    """Give the rig's first account a rate, and all others an API."""
    first, *others = worker.accounts.accounts
    changed = first.model_copy(update={"rate": Limit(count, period)})
    others = [each.model_copy(update={"base_url": first.base_url}) for each in others]
    worker.accounts = Accounts(accounts=(changed, *others))


# --- The bucket. ---


async def test_a_bucket_gives_a_burst_and_then_one_token_after_another(store: Store) -> None:
    clock = FakeClock(START)
    rates = SendingRates(store, clock)
    assert await rates.take("a", Limit(4, SECOND), 10) == 4
    assert await rates.take("a", Limit(4, SECOND), 10) == 0
    for _ in range(3):
        clock.advance(0.25)
        assert await rates.take("a", Limit(4, SECOND), 10) == 1
    clock.advance(3600)
    assert await rates.take("a", Limit(4, SECOND), 10) == 4


async def test_many_replicas_at_once_take_no_more_than_there_is(store: Store) -> None:
    clock = FakeClock(START)
    taken = await asyncio.gather(*(SendingRates(store, clock).take("a", Limit(10, SECOND), 4) for _ in range(8)))
    assert sum(taken) == 10


async def test_replicas_share_a_bucket_and_accounts_do_not(store: Store) -> None:
    clock = FakeClock(START)
    one, other = SendingRates(store, clock), SendingRates(store, clock)
    assert [await one.take("a", Limit(5, SECOND), 3), await other.take("a", Limit(5, SECOND), 3)] == [3, 2]
    assert await other.take("b", Limit(5, SECOND), 3) == 3


async def test_a_replica_that_loses_the_race_takes_from_what_is_left() -> None:
    clock, store = FakeClock(START), Contested()
    rates = SendingRates(store, clock)
    await rates.take("a", Limit(5, SECOND), 2)
    store.loses["a"] = 3
    assert await rates.take("a", Limit(5, SECOND), 9) == 3
    assert await SendingRates(store, clock).take("a", Limit(5, SECOND), 1) == 0


async def test_an_empty_account_is_asked_about_again_when_its_token_is_there(store: Store) -> None:
    clock = FakeClock(START)
    rates = SendingRates(store, clock)
    await rates.take("a", Limit(30, timedelta(minutes=1)), 2)
    assert rates.empty() == ["a"]
    assert rates.wait(9) == pytest.approx(2, abs=0.01)
    assert rates.wait(0.5) == 0.5
    clock.advance(2.1)
    assert rates.empty() == []
    assert rates.wait(9) == 9


async def test_a_wrong_clock_delays_replies_by_a_bucket_at_most(store: Store) -> None:
    clock, fast = FakeClock(START), FakeClock(START)
    fast.advance(3600)
    await SendingRates(store, fast).take("a", Limit(2, SECOND), 2)
    assert await SendingRates(store, clock).take("a", Limit(2, SECOND), 1) == 0
    rates = SendingRates(store, clock)
    assert await rates.take("a", Limit(2, SECOND), 1) == 0
    assert rates.wait(9) <= 1


# --- Replies. ---


async def queued(worker: Worker, count: int, account: str = "allegro-pl", *, person: str = "p") -> None:
    """Queue replies on as many tickets."""
    people = [f"{account}-{person}-{number}" for number in range(count)]
    await worker.take(*(worker.says("?", f"m-{each}", each, account=account) for each in people))
    tickets = worker.opened()[-count:]
    await worker.take(
        *(worker.asks(Reply(by=AGENT, text=who), t.id, who) for who, t in zip(people, tickets, strict=True))
    )


def texts(wire: FakeTransport) -> list[str]:
    return [json.loads(call.body)["text"] for call in wire.sent if isinstance(call, HttpCall)]


async def test_replies_of_a_limited_account_wait_and_none_fails() -> None:
    worker, wire = Worker(), FakeTransport()
    limited(worker, 2)
    await queued(worker, 5)
    hands = sender(worker, wire, *ALL)
    counts = []
    for _ in range(4):
        await served(hands)
        counts.append(len(wire.sent))
        worker.clock.advance(0.6)
    assert counts == [2, 3, 4, 5]
    assert "message.failed" not in worker.types()
    assert {event.data.attempts for event in worker.events() if event.type == "deskbus.message.sent.v1"} == {1}


async def test_two_senders_keep_a_rate_together(store: Any) -> None:
    worker, wire = Worker(store), FakeTransport()
    limited(worker, 3)
    await queued(worker, 12)
    one, other = sender(worker, wire, 0, 1), sender(worker, wire, 2, 3)
    counts = []
    for _ in range(4):
        await asyncio.gather(served(one), served(other))
        counts.append(len(wire.sent))
        worker.clock.advance(1.01)
    assert counts == [3, 6, 9, 12]
    assert len(set(texts(wire))) == 12
    assert "message.failed" not in worker.types()


async def test_a_backlog_of_one_account_does_not_hold_up_another() -> None:
    worker, wire = Worker(), FakeTransport()
    limited(worker, 1)
    await queued(worker, CONCURRENT + 5)
    worker.clock.advance(1)
    await queued(worker, 1, "coupang-kr")
    await served(sender(worker, wire, *ALL))
    assert texts(wire)[1:] == ["coupang-kr-p-0"]


async def test_retries_that_find_no_slot_take_no_token_from_new_replies() -> None:
    worker = Worker()
    wire = FakeTransport(outcomes=[AWAY] * CONCURRENT_OF_ACCOUNT)
    await queued(worker, CONCURRENT_OF_ACCOUNT)
    hands = sender(worker, wire, *ALL)
    await served(hands)
    worker.clock.advance(10)  # all are retries now, and half of the slots are for them
    limited(worker, RETRIES_OF_ACCOUNT + 2)
    wire.before = asyncio.Event()
    await hands.serve()
    await queued(worker, 2, person="new")
    await hands.serve()
    assert len(hands._busy) == RETRIES_OF_ACCOUNT + 2
    wire.before.set()
    await served(hands)


async def test_an_account_whose_provider_hangs_leaves_slots_for_the_others() -> None:
    worker, wire = Worker(), FakeTransport(before=asyncio.Event())
    await queued(worker, 2 * CONCURRENT)  # more than one look takes
    worker.clock.advance(1)
    limited(worker, 1000)  # any account of the rig has an API now
    await queued(worker, 1, "coupang-kr")
    hands = sender(worker, wire, *ALL)
    await hands.serve()
    await asyncio.sleep(0)
    assert len(hands._busy) == CONCURRENT_OF_ACCOUNT + 1
    await hands.serve()
    assert len(hands._busy) == CONCURRENT_OF_ACCOUNT + 1, "the next look finds no slot for it either"
    assert wire.before is not None
    wire.before.set()
    for _ in range(4):
        await served(hands)
    assert len(texts(wire)) == 2 * CONCURRENT + 1
    assert "coupang-kr-p-0" in texts(wire)[: CONCURRENT_OF_ACCOUNT + 1]


async def test_retries_of_an_account_whose_provider_is_away_leave_slots_for_those_of_others() -> None:
    worker = Worker()
    wire = FakeTransport(outcomes=[AWAY] * 1000)
    limited(worker, 1000)  # any account of the rig has an API now
    await queued(worker, 2 * CONCURRENT)  # more than one look takes
    hands = sender(worker, wire, *ALL)
    for _ in range(4):
        await served(hands)
    worker.clock.advance(0.9)  # before the first of them is tried again
    await queued(worker, 1, "coupang-kr")
    await served(hands)
    assert texts(wire)[-1:] == ["coupang-kr-p-0"]
    worker.clock.advance(10)  # all are retries now
    wire.before = asyncio.Event()
    tried = len(wire.sent)
    await hands.serve()
    assert len(hands._busy) == RETRIES_OF_ACCOUNT + 1
    wire.before.set()
    await served(hands)
    assert "coupang-kr-p-0" in texts(wire)[tried:]


async def test_a_forward_needs_no_token() -> None:
    worker, wire = Worker(), FakeTransport()
    limited(worker, 1, timedelta(days=1))
    await worker.take(worker.says("one", "m1"), worker.says("two", "m2", "ola"))
    old, young = worker.opened()
    await worker.take(worker.asks(Merge(by=AGENT, into=old.id), young.id))
    await served(sender(worker, wire, *ALL))
    await queued(worker, 1)
    await served(sender(worker, wire, *ALL))
    assert texts(wire) == ["allegro-pl-p-0"]


async def test_a_forward_does_not_wait_for_the_token_of_the_replies(store: Any) -> None:
    worker, wire = Worker(store), FakeTransport()
    limited(worker, 1, timedelta(days=1))
    await queued(worker, CONCURRENT + 1)
    hands = sender(worker, wire, *ALL)
    await served(hands)
    await worker.take(worker.says("one", "m1"), worker.says("two", "m2", "ola"))
    old, young = worker.opened()[-2:]
    await worker.take(worker.asks(Merge(by=AGENT, into=old.id), young.id))
    worker.clock.advance(1)
    await served(hands)
    assert [sent.key for sent in worker.broker.sent if sent.topic == "deskbus.commands.v1"] == [old.id.encode()]
    assert len(wire.sent) == 1


async def test_replies_that_are_not_sent_need_no_token_and_no_reply_waits_behind_them(store: Any) -> None:
    """After a rebuild, those without an outcome are reported as failed."""
    worker, wire = Worker(store), FakeTransport()
    limited(worker, 1, timedelta(days=1))
    await queued(worker, 2, person="lost")
    for ticket in worker.opened():
        await worker.tickets.change(ticket.id, lost)
    worker.clock.advance(1)
    await queued(worker, 3)
    hands = sender(worker, wire, *ALL)
    await served(hands)
    assert worker.types().count("message.failed") == 2
    assert texts(wire) == ["allegro-pl-p-0"]
    await worker.tickets.change(worker.opened()[-1].id, lost)
    await served(hands)
    assert worker.types().count("message.failed") == 3, "no token is left, and none is needed"


def lost(state: TicketState | None) -> Decision[TicketState]:
    assert state is not None
    return Decision(replace(state, pending=tuple(replace(each, lost=True) for each in state.pending)))
