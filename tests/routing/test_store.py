"""Documents of routing on both servers: what is written comes back, and queries find what they are meant to find."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from contracts.assignments import AssignmentDecision, Candidate
from contracts.ticket import Status
from kit.mongo import MongoStore
from kit.protocol.document import Cause, Decision, Document
from services.routing.core import agents
from services.routing.core.agents import AgentState
from services.routing.core.state import Overflowed, Target, TicketState
from services.routing.dispatcher import LEAST
from services.routing.store.kinds import ensure_indexes
from tests.kit.both_stores import BOTH, Store, one_of
from tests.kit.fake_store import FakeStore
from tests.routing.scenario import Log, Replica, at, fake_clock, opened, profile, ticket, urgent


@pytest.fixture(params=BOTH)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with one_of(request, "routing") as made:
        if isinstance(made, MongoStore):
            await ensure_indexes(made)
        yield made


@pytest.fixture
def replica(store: Store) -> Replica:
    return Replica(store, fake_clock(), Log())


async def test_ticket_comes_back_as_it_was_written(replica: Replica) -> None:
    state = TicketState(
        id="t1", facts=ticket(tags=("a", "b"), tier="gold", country="TH").facts(), status=Status.ON_HOLD,
        phase="assigned", ticket_version=7, required=(("lang.th", 2), ("$x", 1)), preferred=(("vip", 3),), queue="thai",
        rule_required=(("a", 1),), rule_preferred=(("b", 2),), pinned=True,
        overflow=(Overflowed("any", at(8)), Overflowed("all", at(9), own=True)), waiting_since=at(7), urgency=3,
        queued_at=at(1), entered_at=at(2), next_look=at(3), looks=4, unroutable="no_queue",
        agent="ann", agent_name="Ann", assigned_at=at(5), previous="bob", share=0.5, aside="solved",
        target=Target("cat", at(6), "Cat", "c9", announced=True), avoid=("x",), left=("y", "z"),
        decision=AssignmentDecision(candidates=(Candidate(agent_id="ann", chosen=True),), looked_at=3),
        commands=("c1",), cause=Cause("e", "c", None),
    )  # fmt: skip
    assert all(getattr(state, name) != getattr(plain(), name) for name in TicketState.__slots__ if name != "id")
    await replica.tickets.change("t1", lambda _: Decision(state))
    assert await replica.ticket("t1") == state


def plain() -> TicketState:
    return TicketState(id="t1", facts=ticket().facts(), status=Status.NEW)


async def test_agent_comes_back_as_they_were_written(replica: Replica) -> None:
    state = AgentState(
        profile("ann", skills={"lang.th": 5, "$x": 1}, languages=("th",), brands=("nimbus",), queues=("thai",),
                email="ann@nimbus.example", channel_weights={"web.chat": 0.5}, presence_since=at(1), version=3),
        last_assigned_at=at(2), removed_at=at(3), announced_at=at(4), touched_at=at(5),
    )  # fmt: skip
    state = replace(agents.claim(state, "t.1", 4, 0.5, at(6)), touched_at=at(7))
    await replica.agents.change("ann", lambda _: Decision(state))
    assert await replica.agent("ann") == state


async def test_roster_sees_what_others_changed(store: Store) -> None:
    clock, log = fake_clock(), Log()
    one, other = Replica(store, clock, log), Replica(store, clock, log)
    await one.put(profile("ann"))
    assert await other.roster.refresh() is True
    assert await other.roster.refresh() is False
    clock.advance(60)
    await one.presence("ann", "offline")
    assert await other.roster.refresh() is False
    assert not other.roster.available("ann")
    clock.advance(60)
    await one.presence("ann", "online")
    assert await other.roster.refresh() is True
    await one.hear(opened(ticket()))
    assert await other.roster.refresh() is False
    assert other.roster.holders("t1") == {"ann"}
    await one.put(profile("ann", capacity=9))
    assert await other.roster.refresh() is True


async def test_waiting_tickets_are_served_by_urgency_and_age_whatever_their_number(replica: Replica) -> None:
    clock = replica.clock
    for n in range(4):
        await replica.hear(opened(ticket(f"n{n}")), opened(urgent(f"u{n}")))
        clock.advance(1)  # type: ignore[attr-defined]
    await replica.put(profile("ann", capacity=6))
    await replica.turn()
    assert await replica.holders("ann") == {"ann": ["n0", "n1", "u0", "u1", "u2", "u3"]}


async def test_due_looks_are_found_by_the_partition_of_the_ticket(replica: Replica) -> None:
    await replica.hear(opened(ticket()))
    due = (await replica.ticket("t1")).next_look
    assert due is not None
    home = replica.tickets.home_partition("t1")
    assert home is not None
    rows = await replica.store.due("tickets", [home], due, 10)
    assert [row["_id"] for row in rows] == ["t1"]
    assert await replica.store.due("tickets", [home], due - timedelta(milliseconds=1), 10) == []
    assert await replica.store.due("tickets", [(home + 1) % 4], due, 10) == []


async def test_a_long_queue_is_served_in_order_whatever_was_read_before(replica: Replica) -> None:
    clock, names = replica.clock, [f"t{n:03}" for n in range(150)]
    for name in names:
        await replica.hear(opened(ticket(name)))
        clock.advance(1)  # type: ignore[attr-defined]
    for capacity in (10, 70, 71, 140):
        await replica.put(profile("ann", capacity=capacity))
        await replica.turn()
        assert await replica.holders("ann") == {"ann": names[:capacity]}


async def test_room_for_one_reads_a_few_of_those_who_wait_longest(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    await replica.turn()
    for number in range(40):
        await replica.hear(opened(ticket(f"t{number:02}")))
        replica.clock.advance(1)  # type: ignore[attr-defined]
    read: list[str] = []
    find = replica.tickets.find

    async def noted(*given: Any, **options: Any) -> list[Document[TicketState]]:
        found = await find(*given, **options)
        read.extend(doc.id for doc in found)
        return found

    monkeypatch.setattr(replica.tickets, "find", noted)
    await replica.put(profile("ann", capacity=1))
    await replica.turn()
    assert await replica.holders("ann") == {"ann": ["t00"]}
    assert read == [f"t{number:02}" for number in range(LEAST)]


async def test_a_queue_that_nobody_serves_now_does_not_stand_in_the_way(replica: Replica) -> None:
    clock = replica.clock
    thai = [f"thai{n:03}" for n in range(130)]
    for name in thai:
        await replica.hear(opened(ticket(name, language="th")))
        clock.advance(0.5)  # type: ignore[attr-defined]
    await replica.hear(opened(ticket("t1")), opened(ticket("t2")))
    await replica.put(profile("ann", capacity=200))
    await replica.turn()
    assert await replica.holders("ann") == {"ann": ["t1", "t2"]}
    await replica.put(profile("bua", capacity=200, skills={"lang-th": 3}))
    await replica.turn()
    assert await replica.holders("bua") == {"bua": thai}


async def test_agents_and_tickets_that_do_not_load_stop_no_other() -> None:
    store, clock, log = FakeStore(), fake_clock(), Log()
    one = Replica(store, clock, log, claim_seconds=1)
    await one.put(profile("ann", capacity=3))
    await one.hear(opened(ticket("t1")), opened(ticket("t2", required_skills={"juggling": 2})))
    await one.put(profile("bea", capacity=3))
    store.rows["agents"]["bea"]["state"] = store.rows["tickets"]["t1"]["state"] = {"written": "by a newer replica"}
    other = Replica(store, clock, log, claim_seconds=1)
    await other.roster.load_all()
    await other.hear(opened(ticket("t3")))
    for _ in range(40):
        clock.advance(5)
        await other.turn()
        await other.reconciler.turn()
    assert (await other.ticket("t3")).agent == "ann"
    assert log.said("t2") == ["queued", "unroutable"]
    assert await other.holders("ann") == {"ann": ["t1", "t3"]}, "whose t1 is nobody knows here"
    await other.presence("ann", "offline")
    await other.absence.sweep()
    assert (await other.ticket("t3")).agent is None
