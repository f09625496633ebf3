"""The worker's rules: which ticket, once, whatever comes again or at the same time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.commands import Merge, Reply, SetStatus
from contracts.ticket import Status
from contracts.topics import CONTACTS
from kit.base.errors import TransientError
from kit.protocol.ports import Guarded, WriteOutcome
from services.ingest import blobs, metrics
from services.ingest.core.ticket import fire
from services.ingest.store import THREADS
from tests.ingest.worker_rig import AGENT, START, Worker
from tests.kit.fake_store import FakeStore, Row
from tests.kit.raw import Raw

HOUR = 3600.0
DAY = 24 * HOUR


async def test_a_first_message_opens_a_ticket_with_what_the_account_says() -> None:
    worker = Worker()
    assert await worker.take(worker.says("Gdzie jest paczka?", "m1", order_ref="A-1")) == set()
    (event,) = worker.events()
    ticket = event.data.ticket
    assert event.type == "deskbus.ticket.opened.v1"
    assert (event.subject, event.sequence, event.correlationid) == (ticket.id, 1, event.causationid)
    assert (ticket.status, ticket.brand, ticket.market.marketplace, ticket.language) == (
        Status.NEW, "nimbus", "allegro", "pl",
    )  # fmt: skip
    assert (ticket.subject, ticket.order_ref, ticket.message_count) == ("Gdzie jest paczka?", "A-1", 1)
    assert ticket.created_at == ticket.oldest_unanswered_at == START
    assert event.data.message.text == "Gdzie jest paczka?"
    (contact,) = worker.events(CONTACTS)
    assert contact.data.contact.id == ticket.contact.id


async def test_a_burst_of_one_contact_is_one_ticket() -> None:
    worker = Worker()
    await worker.take(*(worker.says(f"{n}", f"m{n}") for n in range(5)))
    assert worker.types() == ["ticket.opened"] + ["message.received"] * 4
    assert len({event.subject for event in worker.events()}) == 1
    assert worker.ticket().message_count == 5


async def test_the_same_message_is_taken_once_in_a_batch_and_across_batches() -> None:
    worker = Worker()
    row = worker.says("hello", "m1")
    await worker.take(row, row)
    await worker.take(row)
    assert worker.types() == ["ticket.opened"]


async def test_two_accounts_are_two_conversations() -> None:
    worker = Worker()
    await worker.take(worker.says("a", "m1"), worker.says("b", "m1", account="coupang-kr"))
    assert len(worker.opened()) == 2


async def test_after_the_quiet_time_a_new_linked_ticket_begins() -> None:
    worker = Worker()
    await worker.take(worker.says("one", "m1"))
    await worker.take(worker.says("still here", "m2", after=12 * HOUR))
    await worker.take(worker.says("new matter", "m3", after=24 * HOUR + 1))
    first, second = worker.opened()
    assert worker.types() == ["ticket.opened", "message.received", "ticket.opened"]
    assert second.linked_to == first.id
    assert (first.nth_contact, second.nth_contact) == (1, 1), "nothing says that both are about the same"


async def test_a_backlog_of_days_in_one_batch_is_told_apart_like_when_it_came_live() -> None:
    worker = Worker()
    rows = [worker.says(f"{n}", f"m{n}", after=n * DAY) for n in range(4)]
    left = [await worker.take(*rows) for _ in range(4)]
    assert [len(offsets) for offsets in left] == [3, 2, 1, 0], "no ticket follows one that is not stored"
    assert worker.types() == ["ticket.opened"] * 4
    tickets = worker.opened()
    assert [t.linked_to for t in tickets] == [None, *(t.id for t in tickets[:-1])]
    await worker.take(*rows)
    assert len(worker.opened()) == 4


async def test_a_message_that_was_there_already_is_counted_by_its_channel() -> None:
    worker, count = Worker(), metrics.DUPLICATES.labels("webhook")._value
    before = count.get()
    await worker.take(worker.says("hello", "m1"), worker.says("more", "m2"))
    assert count.get() == before
    await worker.take(worker.says("hello", "m1"), worker.says("hello", "m1"), worker.says("news", "m3"))
    assert count.get() == before + 2


async def test_what_arrives_is_counted_by_where_it_comes_from_and_a_new_ticket_once() -> None:
    worker = Worker()
    counts = [metrics.ARRIVALS.labels("webhook", "allegro", "nimbus")._value, metrics.OPENED.labels("webhook")._value]
    before = [count.get() for count in counts]
    await worker.take(worker.says("hello", "m1"), worker.says("more", "m2"))
    await worker.take(worker.says("hello", "m1"))
    assert [count.get() for count in counts] == [before[0] + 2, before[1] + 1]


async def test_an_old_message_that_comes_again_does_not_join_the_new_ticket() -> None:
    worker = Worker()
    first = worker.says("one", "m1")
    await worker.take(first)
    await worker.take(worker.says("two", "m2", after=2 * DAY))
    await worker.take(first)
    assert worker.types() == ["ticket.opened", "ticket.opened"]


async def test_two_replicas_make_one_ticket_of_one_conversation() -> None:
    one = Worker()
    two = Worker(one.store, one.clock)
    await asyncio.gather(one.take(one.says("a", "m1")), two.take(two.says("b", "m2")))
    await asyncio.gather(one.take(one.says("c", "m3", after=2 * DAY)), two.take(two.says("d", "m4", after=2 * DAY + 5)))
    assert len(one.opened()) + len(two.opened()) == 2
    assert len({event.subject for event in one.events() + two.events()}) == 2
    ids = [event.id for event in one.events() + two.events()]
    assert len(ids) == len(set(ids)) == 4


class DyingStore(FakeStore):
    """Goes away at the nth write or insert."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left: int | None = left

    def _step(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left <= 0:
                raise TransientError("gone")

    async def write(self, collection: str, writes: Sequence[Guarded]) -> WriteOutcome:
        self._step()
        return await super().write(collection, writes)

    async def insert(self, collection: str, documents: Sequence[Mapping[str, Any]]) -> set[str]:
        self._step()
        return await super().insert(collection, documents)


@pytest.mark.parametrize("step", range(1, 12))
async def test_a_crash_at_any_write_loses_and_doubles_nothing(step: int) -> None:
    store = DyingStore(step)
    worker = Worker(store)
    rows = [worker.says("a", "m1"), worker.says("b", "m2"), worker.mails("c", "<1@x>"), worker.says("d", "m3", "ola")]
    await worker.take(*rows)
    store.left = None
    again = Worker(worker.store, worker.clock)
    assert await again.take(*rows) == set()
    events = {event.id: event for event in worker.events() + again.events()}
    assert sorted(e.type.split(".")[1] + "." + e.type.split(".")[2] for e in events.values()) == [
        "message.received", "ticket.opened", "ticket.opened", "ticket.opened",
    ]  # fmt: skip
    assert len({e.subject for e in events.values()}) == 3


async def test_a_message_to_a_closed_ticket_opens_a_linked_one_also_in_the_same_batch() -> None:
    worker = Worker()
    await worker.take(worker.says("one", "m1"))
    ticket = worker.ticket().id
    rows = [
        worker.asks(SetStatus(by=AGENT, status=Status.SOLVED), ticket, "c1"),
        worker.asks(SetStatus(by=AGENT, status=Status.CLOSED), ticket, "c2"),
        worker.says("again", "m2", after=60),
    ]
    left = await worker.take(*rows)
    assert left == {rows[2].offset}
    assert await worker.take(rows[2]) == set()
    assert worker.types() == ["ticket.opened", "ticket.status_changed", "ticket.closed", "ticket.opened"]
    assert worker.ticket().linked_to == ticket


async def test_what_cannot_be_parsed_is_a_dead_letter_with_its_reason_and_the_rest_goes_on() -> None:
    worker = Worker()
    await worker.take(worker.raw(b"{nonsense"), worker.raw(b"{}", account="nobody"), worker.says("a", "m1"))
    assert worker.types() == ["ticket.opened"]
    reasons = [dict(letter.headers)["deskbus_dlq_error"].decode() for letter in worker.dead()]
    assert "webhook" in reasons[0]
    assert reasons[1] == "unknown account nobody on webhook"


async def test_a_dead_letter_that_is_replayed_is_taken() -> None:
    worker = Worker()
    row = replace(worker.says("a", "m1"), topic="deskbus.ingest.retry.v1")
    await worker.take(row)
    assert worker.types() == ["ticket.opened"]


async def test_a_body_left_by_claim_check_is_fetched() -> None:
    worker = Worker()
    row = worker.says("large", "m1")
    await blobs.put(worker.store, "blob1", row.value or b"")
    claimed = worker.raw(b"", claim="blob1")
    missing = worker.raw(b"", claim="blob2")
    await worker.take(claimed, missing)
    assert worker.types() == ["ticket.opened"]
    assert len(worker.dead()) == 1


async def test_a_command_to_an_unknown_ticket_is_refused_once_and_is_no_dead_letter() -> None:
    worker = Worker()
    row = worker.asks(SetStatus(by=AGENT, status=Status.OPEN), "nowhere")
    await worker.take(row)
    await worker.take(row)
    (event,) = worker.events()
    assert (event.type, event.data.reason) == ("deskbus.command.rejected.v1", "unknown_ticket")
    assert worker.dead() == []


async def test_what_one_person_writes_to_two_brands_are_two_conversations() -> None:
    worker = Worker()
    asked = (("m1", None), ("m2", "korale"), ("m3", "nimbus"), ("m4", "korale"))  # the account's own is nimbus
    await worker.take(*(worker.says(number, number, brand=brand) for number, brand in asked[:3]))
    await worker.take(worker.says("m4", "m4", brand="korale", after=60))
    nimbus, korale = worker.opened()
    assert (nimbus.brand, korale.brand) == ("nimbus", "korale")
    found = [event.subject for event in worker.events() if event.type == "deskbus.message.received.v1"]
    assert found == [nimbus.id, korale.id]


async def test_a_reply_waits_in_the_ticket_and_wakes_the_sender() -> None:
    worker = Worker()
    await worker.take(worker.says("a", "m1"))
    await worker.take(worker.asks(Reply(by=AGENT, text="On its way"), worker.ticket().id))
    state = (await worker.tickets.load([worker.ticket().id]))[worker.ticket().id].state
    assert state is not None
    assert [p.message.text for p in state.pending] == ["On its way"]
    assert worker.woken == 1
    assert worker.types() == ["ticket.opened"]


async def test_merging_lets_the_open_questions_and_all_later_messages_go_to_the_older_ticket() -> None:
    worker = Worker()
    await worker.take(worker.says("one", "m1", "jan"))
    await worker.take(worker.says("two", "m2", "ola"))
    old, young = worker.opened()
    await worker.take(worker.asks(Merge(by=AGENT, into=old.id), young.id))
    assert worker.types()[2:] == ["ticket.merged", "ticket.closed"]
    state = (await worker.tickets.load([young.id]))[young.id].state
    assert state is not None
    assert [(p.into, p.message.text) for p in state.pending] == [(old.id, "two")]
    await worker.take(worker.says("three", "m3", "ola", after=60))
    assert worker.events()[-1].subject == old.id
    assert worker.types()[-1] == "message.received"


async def test_a_ticket_with_more_open_questions_than_are_counted_is_merged() -> None:
    worker = Worker()
    await worker.take(worker.says("one", "m1", "jan"))
    await worker.take(*(worker.says("and?", f"o{number}", "ola", after=number) for number in range(510)))
    old, young = worker.opened()
    assert await worker.take(worker.asks(Merge(by=AGENT, into=old.id), young.id)) == set()
    assert worker.types()[-2:] == ["ticket.merged", "ticket.closed"]


async def test_the_older_ticket_cannot_be_merged_into_the_younger() -> None:
    worker = Worker()
    await worker.take(worker.says("one", "m1", "jan"), worker.says("two", "m2", "ola"))
    old, young = worker.opened()
    await worker.take(worker.asks(Merge(by=AGENT, into=young.id), old.id))
    assert worker.events()[-1].data.reason == "invalid"


async def test_time_closes_a_solved_ticket() -> None:
    worker = Worker()
    await worker.take(worker.says("one", "m1"))
    await worker.take(worker.asks(SetStatus(by=AGENT, status=Status.SOLVED), worker.ticket().id))
    doc = (await worker.tickets.load([worker.ticket().id]))[worker.ticket().id]
    assert doc.state is not None
    due = worker.tickets.kind.due(doc.state)
    assert due == START + timedelta(days=7)
    assert fire(doc.state, due - timedelta(milliseconds=1)) is None
    await worker.tickets.change(doc.id, lambda state: fire(state, due) if state else None)
    assert worker.types()[-1] == "ticket.closed"
    assert worker.ticket().status == Status.CLOSED


@given(st.data())
async def test_any_order_of_batches_and_repeats_gives_one_ticket_per_person_and_each_message_once(
    data: st.DataObject,
) -> None:
    worker = Worker()
    rows = [worker.says(f"{person}{n}", f"{person}{n}", person) for person in ("jan", "ola") for n in range(3)]
    order = data.draw(st.lists(st.sampled_from(rows), min_size=1, max_size=15))
    size = data.draw(st.integers(1, 6))
    for start in range(0, len(order), size):
        assert await worker.take(*order[start : start + size]) == set()
    texts = [event.data.message.text for event in worker.events()]
    assert sorted(texts) == sorted({_text(row.value) for row in order})
    assert len(worker.opened()) == len({text[:3] for text in texts})


def _text(value: bytes | None) -> str:
    text: str = json.loads(value or b"")["text"]
    return text


class Overtaken(FakeStore):
    """While somebody is about to do this to the claims, another replica handles everything."""

    def __init__(self, operation: str) -> None:
        super().__init__()
        self.operation, self.others = operation, list[Raw]()

    async def _overtake(self, operation: str) -> None:
        if operation == self.operation and self.others:
            for _ in range(10):  # what is asked at the same time is answered before
                await asyncio.sleep(0)
            rows, self.others = self.others, []
            for row in rows:
                assert await Worker(self).take(row) == set()

    async def fetch(self, collection: str, ids: Sequence[str]) -> list[Row]:
        if collection == THREADS:
            await self._overtake("fetch")
        return await super().fetch(collection, ids)

    async def write(self, collection: str, writes: Sequence[Guarded]) -> WriteOutcome:
        if collection == THREADS:
            await self._overtake("write")
        return await super().write(collection, writes)


@pytest.mark.parametrize("operation", ["fetch", "write"])
async def test_a_message_stays_where_a_faster_replica_has_put_it_also_when_the_thread_has_gone_on(
    operation: str,
) -> None:
    store = Overtaken(operation)
    slow = Worker(store)
    first, second = slow.says("one", "m1"), slow.says("new matter", "m2", after=13 * HOUR)
    store.others = [first, second]
    assert await slow.take(first) == set()
    tickets = [row["state"] for row in store.rows["tickets"].values()]
    assert sorted(len(state["taken"]) for state in tickets) == [1, 1]


async def test_a_trace_of_another_form_does_not_get_into_events() -> None:
    worker = Worker()
    right = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    body = json.dumps({"id": "m1", "from": {"id": "jan"}, "text": "one"}).encode()
    await worker.take(worker.raw(body, traceparent=right))
    await worker.take(worker.raw(body.replace(b"m1", b"m2"), traceparent="x" * 90))
    assert [event.traceparent for event in worker.events()] == [right, None]
