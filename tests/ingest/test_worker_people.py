"""Whose message it is: one person, whichever of their identities a message names, and however many replicas look."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.contacts import Identity
from contracts.topics import CONTACTS, TICKETS
from kit.protocol.ports import Outgoing
from services.ingest.core.arrivals import Arrival
from services.ingest.store import THREADS
from tests.ingest.core.timeline import Story
from tests.ingest.worker_rig import Broker, Worker
from tests.kit.fake_store import Contested


def arrival(number: str, *identities: str) -> Arrival:
    arrival = Story().arrival(0, number)
    sender = replace(
        arrival.inbound.sender, identities=tuple(Identity(channel="whatsapp", id=each) for each in identities)
    )
    return Arrival(replace(arrival.inbound, sender=sender), arrival.received_at, ticket_id=f"T{number}")


async def met(worker: Worker, *arrivals: Arrival) -> list[str]:
    rows = await worker.store.fetch(THREADS, sorted(worker.people.claims(arrivals)))
    await worker.people.load(arrivals)
    await worker.people.identify(arrivals, {row["_id"]: row for row in rows})
    await worker.people.learn([(arrival, None) for arrival in arrivals])
    await worker.people.publish()
    return [arrival.contact_id for arrival in arrivals]


@pytest.mark.parametrize(
    "sightings",
    [
        [("user", "number"), ("number",), ("user",)],
        [("number",), ("user", "number"), ("user",)],
        [("user",), ("number", "user"), ("number",)],
    ],
)
async def test_all_identities_that_were_seen_together_are_one_person(sightings: list[tuple[str, ...]]) -> None:
    worker = Worker()
    found = [(await met(worker, arrival(str(n), *ids)))[0] for n, ids in enumerate(sightings)]
    assert len(set(found)) == 1
    in_one_batch = await met(Worker(), *(arrival(str(n), *ids) for n, ids in enumerate(sightings[:2])))
    assert len(in_one_batch) == 2


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_number_that_went_on_to_somebody_else_makes_nobody_that_person(*, at_once: bool) -> None:
    worker = Worker()
    sightings = [("anna", "number"), ("ola", "number"), ("ola", "number"), ("anna", "number"), ("ola",)]
    arrivals = [arrival(str(n), *ids) for n, ids in enumerate(sightings)]
    if at_once:
        found = await met(worker, *arrivals)
    else:
        found = [(await met(worker, each))[0] for each in arrivals]
    anna, ola = found[:2]
    assert anna != ola
    assert found == [anna, ola, ola, anna, ola]


@given(order=st.permutations([0, 1, 2, 3]))
async def test_contacts_are_announced_in_sequence_whatever_the_order(order: list[int]) -> None:
    worker = Worker()
    rows = [worker.says("hi", f"m{n}", "jan", language=language) for n, language in enumerate(("", "pl", "en", "en"))]
    for n in order:
        await worker.take(rows[n])
    events = worker.events(CONTACTS)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert events[-1].data.contact.identities[0].id == "jan"


async def test_two_replicas_that_meet_one_person_at_once_announce_one_contact() -> None:
    one = Worker()
    two = Worker(one.store, one.clock)
    await asyncio.gather(one.take(one.says("a", "m1")), two.take(two.says("b", "m2")))
    events = one.events(CONTACTS) + two.events(CONTACTS)
    assert len({event.id for event in events}) == 1


async def test_three_orders_of_one_person_are_three_first_contacts_and_a_second_about_one_is_the_second() -> None:
    worker = Worker()
    for n, order in enumerate(("1", "2", "3", "1")):
        await worker.take(worker.says("Where?", f"m{n}", order_ref=order, conversation=f"chat-{n}"))
    assert [ticket.nth_contact for ticket in worker.opened()] == [1, 1, 1, 2]


class BothAtOnce(Broker):
    """Confirms nothing until records of both topics are on their way."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = set[str]()
        self.both = asyncio.Event()

    async def send_runs(self, runs: Sequence[Sequence[Outgoing]]) -> list[int]:
        self.asked |= {run[0].topic for run in runs if run}
        if self.asked >= {CONTACTS, TICKETS}:
            self.both.set()
        await self.both.wait()
        return await super().send_runs(runs)


async def test_contacts_and_tickets_of_a_batch_are_published_side_by_side() -> None:
    worker = Worker(broker=BothAtOnce())
    async with asyncio.timeout(5):
        assert await worker.take(worker.says("Gdzie jest paczka?", "m1")) == set()
    assert [event.type for event in worker.events(CONTACTS)] == ["deskbus.contact.updated.v1"]
    assert worker.types() == ["ticket.opened"]


async def test_a_message_that_comes_again_publishes_what_its_contact_still_has_to_say() -> None:
    worker = Worker()
    asked = worker.says("Gdzie jest paczka?", "m1")
    worker.broker.away = True
    assert await worker.take(asked) == {asked.offset}
    (ticket,) = worker.store.rows["tickets"].values()
    ticket["outbox"] = []  # another replica has published it, and ended before the contact's turn
    worker.broker.away = False
    assert await worker.take(asked) == set()
    assert [event.type for event in worker.events(CONTACTS)] == ["deskbus.contact.updated.v1"]


async def test_a_message_waits_while_others_keep_changing_its_contact() -> None:
    other, store = Worker(), Contested()
    await other.take(other.says("Gdzie jest paczka?", "m1"))
    (contact,) = other.store.rows["contacts"]
    store.loses[contact] = 1000
    worker = Worker(store)
    asked = worker.says("Gdzie jest paczka?", "m1")
    assert await worker.take(asked) == {asked.offset}
    assert worker.types() == []
    store.loses.clear()
    assert await worker.take(asked) == set()
    assert worker.types() == ["ticket.opened"]
