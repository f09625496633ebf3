"""Claims that are given up: the room is there at once; the agent is written with the next claim, or a little later."""

import asyncio
from datetime import datetime
from typing import Any

import pytest

from contracts.ticket import Status
from contracts.tickets import TicketEvent
from services.routing import ticker
from tests.kit.fake_store import Contested, FakeStore
from tests.routing.scenario import Log, Replica, fake_clock, opened, profile, reopened, routing_settings, status, ticket
from tests.routing.stepping import Stepping

SOLVED = status(ticket("t1", 2, status=Status.SOLVED))
PENDING = status(ticket("t1", 2, status=Status.PENDING))


@pytest.fixture
def replica() -> Replica:
    return Replica(FakeStore(), fake_clock(), Log())


async def take(replica: Replica, *payloads: TicketEvent) -> None:
    """Handle events as services do, which write releases later."""
    assert await replica.delivery.handle(replica.records(*payloads)) == set()


async def version(replica: Replica, agent_id: str = "ann") -> int:
    return (await replica.doc(agent_id)).version


async def test_release_goes_with_the_next_claim_of_its_agent(replica: Replica) -> None:
    await replica.put(profile("ann", capacity=3))
    await take(replica, opened(ticket("t1")))
    before = await version(replica)
    await take(replica, SOLVED)
    assert (await version(replica), await replica.holders("ann")) == (before, {"ann": ["t1"]})
    await take(replica, opened(ticket("t2")))
    assert (await version(replica), await replica.holders("ann")) == (before + 1, {"ann": ["t2"]})
    await replica.assigner.claims.write_releases()
    assert await version(replica) == before + 1, "nothing is left to write"


async def test_freed_room_is_given_to_who_waits_before_it_is_written(replica: Replica) -> None:
    await replica.put(profile("ann", capacity=1))
    await take(replica, opened(ticket("t1")), opened(ticket("t2")))
    before = await version(replica)
    await take(replica, SOLVED)
    await replica.dispatcher.turn()
    assert (await replica.ticket("t2")).agent == "ann"
    assert (await version(replica), await replica.holders("ann")) == (before + 1, {"ann": ["t2"]})


async def test_freed_room_that_nobody_waits_for_is_written_where_others_could_not_see_any(replica: Replica) -> None:
    await replica.put(profile("ann", capacity=1))
    await replica.put(profile("bob", capacity=3))
    await take(replica, opened(ticket("t1")), opened(ticket("t2")))
    assert await replica.holders("ann", "bob") == {"ann": ["t1"], "bob": ["t2"]}
    await replica.dispatcher.turn()
    await take(replica, SOLVED, status(ticket("t2", 2, status=Status.SOLVED)))
    await replica.dispatcher.turn()
    assert await replica.holders("ann", "bob") == {"ann": [], "bob": ["t2"]}
    await replica.assigner.claims.write_releases()
    assert await replica.holders("bob") == {"bob": []}


async def test_release_that_opens_no_room_is_no_reason_to_look_who_waits(replica: Replica) -> None:
    await replica.put(profile("ann", capacity=3))
    await take(replica, opened(ticket("t1")))
    await replica.dispatcher.turn()
    await take(replica, SOLVED)
    assert not replica.assigner.claims.freed.is_set()


async def test_ticket_that_takes_less_of_its_agent_makes_room_at_once(replica: Replica) -> None:
    await replica.put(profile("ann", capacity=1))
    await take(replica, opened(ticket("t1")), opened(ticket("t2")))
    before = await version(replica)
    await take(replica, PENDING)
    await replica.dispatcher.turn()
    assert (await replica.ticket("t2")).agent == "ann"
    claims = (await replica.agent("ann")).claims
    assert {name: claim.weight for name, claim in claims.items()} == {"t1": 0.0, "t2": 1.0}
    assert await version(replica) == before + 1


async def test_claim_made_anew_stands_though_its_release_was_not_written_yet(replica: Replica) -> None:
    await replica.put(profile("ann", capacity=3))
    await take(replica, opened(ticket("t1")))
    await take(replica, SOLVED)
    await take(replica, reopened(ticket("t1", 3, status=Status.OPEN)))
    await replica.assigner.claims.write_releases()
    assert (await replica.ticket("t1")).agent == "ann"
    assert await replica.holders("ann") == {"ann": ["t1"]}


async def test_release_outlives_writes_that_are_lost_to_others() -> None:
    store, clock, log = Contested(), fake_clock(), Log()
    one, other = Replica(store, clock, log), Replica(store, clock, log)
    await one.put(profile("ann", capacity=3))
    await take(one, opened(ticket("t1")))
    await take(one, SOLVED)
    await other.put(profile("ann", capacity=4))
    store.loses["ann"] = 2
    await take(one, opened(ticket("t2")))
    assert await one.holders("ann") == {"ann": ["t2"]}
    assert (await one.agent("ann")).profile.capacity == 4


async def test_release_outlives_a_store_that_is_away() -> None:
    store = FakeStore()
    replica = Replica(store, fake_clock(), Log())
    await replica.put(profile("ann", capacity=3))
    await take(replica, opened(ticket("t1")))
    await take(replica, SOLVED)
    store.lose_answers = 1
    with pytest.raises(Exception, match="outcome of a write is unknown"):
        await replica.assigner.claims.write_releases()
    await replica.assigner.claims.write_releases()
    assert (await replica.holders("ann"), replica.roster.owing()) == ({"ann": []}, [])


async def test_release_that_another_replica_made_needless_is_forgotten() -> None:
    store, clock, log = FakeStore(), fake_clock(), Log()
    one, other = Replica(store, clock, log), Replica(store, clock, log)
    await one.put(profile("ann", capacity=3))
    await take(one, opened(ticket("t1")))
    await take(one, SOLVED)
    clock.advance(11)
    await other.roster.load_all()
    await other.reconciler.turn()
    assert await other.holders("ann") == {"ann": []}
    await one.roster.refresh()
    assert one.roster.owing() == []


async def test_others_hear_of_a_release_that_was_written_late() -> None:
    store, clock, log = FakeStore(), fake_clock(), Log()
    one, other = Replica(store, clock, log), Replica(store, clock, log)
    await one.put(profile("ann", capacity=3))
    await take(one, opened(ticket("t1")))
    await take(one, SOLVED)
    clock.advance(30)
    await one.put(profile("bob", capacity=3))
    await other.roster.load_all()
    await one.assigner.claims.write_releases()
    await ticker.follow_agents(other.assigner, other.absence.told)
    assert other.roster.holders("t1") == set()


async def test_claim_that_is_under_way_does_not_take_a_release_with_it_that_came_later() -> None:
    store = Stepping()
    replica = Replica(store, fake_clock(), Log())
    await replica.put(profile("ann", capacity=3))
    await take(replica, opened(ticket("t1")))
    gate = store.gate("agents")
    claiming = asyncio.create_task(take(replica, opened(ticket("t2"))))
    await gate.reached.wait()
    await take(replica, SOLVED)
    gate.open.set()
    await claiming
    assert await replica.holders("ann") == {"ann": ["t1", "t2"]}
    assert replica.roster.owing() == ["ann"]
    await replica.assigner.claims.write_releases()
    assert await replica.holders("ann") == {"ann": ["t2"]}


async def test_ticket_that_lost_all_its_tries_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    replica = Replica(FakeStore(), fake_clock(), Log())
    await replica.put(profile("ann", capacity=3))
    await replica.dispatcher.turn()

    async def lost(*_: Any) -> set[str]:
        replica.roster.undo(["ann"])
        return set()

    with monkeypatch.context() as others:
        others.setattr(replica.assigner.claims, "make", lost)
        await take(replica, opened(ticket("t1")))
    await replica.dispatcher.turn()
    assert (await replica.ticket("t1")).agent == "ann"


async def test_release_is_given_away_at_once_when_others_have_taken_the_rest_of_the_room() -> None:
    store, clock, log = FakeStore(), fake_clock(), Log()
    one, other = Replica(store, clock, log), Replica(store, clock, log)
    await one.put(profile("ann", capacity=3))
    await take(one, opened(ticket("t1")))
    await one.dispatcher.turn()
    await take(one, SOLVED)
    assert not one.assigner.claims.freed.is_set(), "there was room anyway"
    await take(other, opened(ticket("t2")), opened(ticket("t3")), opened(ticket("t4")))
    assert await other.holders("ann") == {"ann": ["t1", "t2", "t3"]}
    await ticker.follow_agents(one.assigner, one.absence.told)
    await one.dispatcher.turn()
    assert (await one.ticket("t4")).agent == "ann"
    assert await one.holders("ann") == {"ann": ["t2", "t3", "t4"]}


class Own:
    """Positions of a consumer whose partitions change."""

    def __init__(self, *partitions: int) -> None:
        self.partitions = list(partitions)

    def owned(self, topic: str) -> list[int]:
        return self.partitions

    async def handled_until(self, topics: Any, partitions: Any) -> dict[int, datetime]:
        raise NotImplementedError


async def test_release_that_ended_with_its_process_is_found_by_the_next_owner_who_had_assigned_the_ticket() -> None:
    store, clock, log, mine = FakeStore(), fake_clock(), Log(), Own()
    gone, heir = Replica(store, clock, log), Replica(store, clock, log)
    heir.reconciler = ticker.Reconciler(heir.assigner, mine, clock, routing_settings())
    await take(gone, opened(ticket("t1")))
    await heir.put(profile("ann", capacity=3))
    await heir.dispatcher.turn()
    await gone.roster.load_all()
    await take(gone, SOLVED)
    clock.advance(5)
    await heir.reconciler.turn()
    assert await heir.holders("ann") == {"ann": ["t1"]}
    mine.partitions = [0, 1, 2, 3]
    clock.advance(routing_settings().claim_seconds)
    await heir.reconciler.turn()
    assert await heir.holders("ann") == {"ann": []}
