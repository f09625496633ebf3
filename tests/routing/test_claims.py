"""No agent above capacity, whoever decides at once and whatever breaks in between: races and crashes."""

import asyncio
import contextlib
import random
from collections.abc import Sequence

import pytest

from contracts.ticket import Status
from tests.fake_clock import FakeClock
from tests.kit.fake_store import FakeStore
from tests.routing.scenario import Log, Replica, fake_clock, opened, profile, status, ticket, transfer
from tests.routing.stepping import Stepping


def two(store: FakeStore, clock: FakeClock, log: Log) -> tuple[Replica, Replica]:
    return Replica(store, clock, log), Replica(store, clock, log)


@pytest.fixture
def clock() -> FakeClock:
    return fake_clock()


@pytest.mark.parametrize("seed", range(8))
async def test_two_replicas_that_want_the_last_room_share_it_out(clock: FakeClock, seed: int) -> None:
    store, log = Stepping(random.Random(seed)), Log()
    one, other = two(store, clock, log)
    await one.put(profile("ann", capacity=2))
    await other.roster.load_all()
    await asyncio.gather(
        *(r.hear(*(opened(ticket(f"{name}{n}")) for n in range(3))) for r, name in ((one, "a"), (other, "b")))
    )
    held = (await one.holders("ann"))["ann"]
    assert len(held) == 2
    having = [t for t, row in store.rows["tickets"].items() if row["state"]["agent"] == "ann"]
    assert sorted(having) == held


@pytest.mark.parametrize("seed", range(8))
async def test_loser_does_not_give_up_the_claim_that_the_winner_uses(clock: FakeClock, seed: int) -> None:
    store, log = Stepping(random.Random(seed)), Log()
    one, other = two(store, clock, log)
    await one.put(profile("ann", capacity=1))
    await other.roster.load_all()
    await asyncio.gather(one.hear(opened(ticket())), other.hear(opened(ticket())))
    assert (await one.ticket("t1")).agent == "ann"
    assert await one.holders("ann") == {"ann": ["t1"]}
    assert log.said("t1") == ["queued", "assigned"]


async def test_claim_left_by_a_crash_is_used_when_the_ticket_comes_again(clock: FakeClock) -> None:
    store, log = Stepping(), Log()
    one, other = two(store, clock, log)
    await one.put(profile("ann", capacity=1))
    await crash_before_ticket_write(one, store)
    assert store.loose() == [("ann", "t1")]
    await other.roster.load_all()
    await other.hear(opened(ticket()))
    assert (await other.ticket("t1")).agent == "ann"
    assert log.last("t1").load_before == 0
    assert store.loose() == []


async def test_claim_left_by_a_crash_is_made_as_light_as_the_ticket_has_become(clock: FakeClock) -> None:
    store, log = Stepping(), Log()
    one, other = two(store, clock, log)
    await one.put(profile("ann", capacity=1))
    await crash_before_ticket_write(one, store)
    await other.roster.load_all()
    await other.hear(opened(ticket(status=Status.PENDING)))
    assert (await other.ticket("t1")).agent == "ann"
    assert store.heavy() == []


async def test_claim_left_by_a_crash_is_no_way_around_a_transfer(clock: FakeClock) -> None:
    store, log = Stepping(), Log()
    one, other = two(store, clock, log)
    await one.put(profile("ann", capacity=1))
    await one.put(profile("bob", capacity=0))
    await crash_before_ticket_write(one, store)
    await other.presence("ann", "away")
    await other.roster.load_all()
    await other.hear(opened(ticket()))
    await other.command("t1", transfer(agent_id="bob"))
    await other.presence("ann", "online")
    clock.advance(2)
    await other.turn()
    assert (await other.ticket("t1")).phase == "waiting"


async def test_claim_of_a_ticket_that_went_elsewhere_is_found_and_given_up(clock: FakeClock) -> None:
    store, log = Stepping(), Log()
    one, other = two(store, clock, log)
    await one.put(profile("ann", capacity=1))
    await crash_before_ticket_write(one, store)
    await other.put(profile("ann", capacity=1, skills={}))
    await other.hear(opened(ticket()))
    assert store.loose() == [("ann", "t1")]
    clock.advance(9)
    await other.reconciler.turn()
    assert store.loose() == [("ann", "t1")], "a claim may be young because its assigner is at work"
    clock.advance(2)
    await other.reconciler.turn()
    assert store.loose() == []


async def test_claim_that_its_assigner_has_seen_written_is_not_read_again_until_it_is_to_be_verified(
    clock: FakeClock,
) -> None:
    store, log = Stepping(), Log()
    one, other = two(store, clock, log)
    await one.put(profile("ann", capacity=1))
    await one.hear(opened(ticket()))
    await other.roster.load_all()
    read = store.count_fetches("tickets")
    clock.advance(11)
    await one.reconciler.turn()
    assert read() == 0
    await other.reconciler.turn()
    assert read() == 1, "whoever did not write it has to look"
    clock.advance(120)
    await one.reconciler.turn()
    assert read() == 2


async def test_assigner_who_slept_too_long_loses_to_the_fence(clock: FakeClock) -> None:
    store, log = Stepping(), Log()
    one, other = two(store, clock, log)
    await one.put(profile("ann", capacity=1))
    await other.put(profile("bob", capacity=1, presence="offline"))
    gate = store.gate("tickets")
    slow = asyncio.create_task(one.hear(opened(ticket())))
    await gate.reached.wait()
    clock.advance(20)
    await other.roster.load_all()
    await other.reconciler.turn()
    assert store.loose() == []
    await other.hear(opened(ticket("t2")))
    gate.open.set()
    await slow
    assert await one.holders("ann") == {"ann": ["t2"]}
    assert (await one.ticket("t1")).phase == "waiting"


async def test_presence_that_changes_during_a_claim_makes_it_lose(clock: FakeClock) -> None:
    store, log = Stepping(), Log()
    one, other = two(store, clock, log)
    await one.put(profile("ann", capacity=1))
    await other.roster.load_all()
    await other.presence("ann", "offline")
    await one.hear(opened(ticket()))
    assert (await one.ticket("t1")).phase == "waiting"
    assert store.loose() == []


async def test_work_that_reaches_an_agent_as_they_leave_is_taken_away_again(clock: FakeClock) -> None:
    store, log = Stepping(), Log()
    one, other = two(store, clock, log)
    await one.put(profile("ann", capacity=1))
    await other.roster.load_all()
    gate = store.gate("tickets")
    deciding = asyncio.create_task(one.hear(opened(ticket())))
    await gate.reached.wait()
    await other.roster.load_all()
    await other.presence("ann", "offline")
    await other.absence.turn()
    gate.open.set()
    await deciding
    assert (await one.ticket("t1")).agent == "ann"
    await other.roster.load_all()
    await other.absence.sweep()
    assert (await one.ticket("t1")).agent is None
    await other.assigner.claims.write_releases()
    assert await one.holders("ann") == {"ann": []}


async def test_crash_between_a_solve_and_its_release_is_healed(clock: FakeClock) -> None:
    store, log = Stepping(), Log()
    one, other = two(store, clock, log)
    await one.put(profile("ann", capacity=1))
    await one.hear(opened(ticket()))
    gate = store.gate("agents")
    solving = asyncio.create_task(one.hear(status(ticket("t1", 2, status=Status.SOLVED))))
    await gate.reached.wait()
    solving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await solving
    clock.advance(11)
    await other.roster.load_all()
    await other.reconciler.turn()
    assert store.loose() == []


async def test_claims_that_came_to_nothing_leave_no_trace_in_memory(clock: FakeClock) -> None:
    store, log = Stepping(), Log()
    one = Replica(store, clock, log)
    await one.put(profile("ann", capacity=1))
    records = one.records(opened(ticket()))
    gate = store.gate("agents")
    deciding = asyncio.create_task(one.delivery.handle(records))
    await gate.reached.wait()
    store.away = True
    gate.open.set()
    assert len(await deciding) == 1
    store.away = False
    await one.hear(opened(ticket("t2")))
    assert await one.holders("ann") == {"ann": ["t2"]}


async def crash_before_ticket_write(replica: Replica, store: Stepping) -> None:
    gate = store.gate("tickets")
    task = asyncio.create_task(replica.hear(opened(ticket())))
    await gate.reached.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_who_loses_a_claim_learns_at_once_what_else_was_taken() -> None:
    store, clock, log = FakeStore(), fake_clock(), Log()
    first, second = Replica(store, clock, log), Replica(store, clock, log)
    for number in range(12):
        await first.put(profile(f"a{number:02}"))
    await second.roster.load_all()
    clock.advance(60)
    await first.hear(*(opened(ticket(f"t{n}")) for n in range(6)))
    rounds = 0
    make = second.assigner.claims.make

    async def counting(agent_ids: Sequence[str]) -> set[str]:
        nonlocal rounds
        rounds += 1
        return await make(agent_ids)

    second.assigner.claims.make = counting  # type: ignore[method-assign]
    clock.advance(0.1)
    await second.hear(*(opened(ticket(f"u{n}")) for n in range(4)))
    assert rounds == 2, "one claim that was lost, one that was made knowing better"
    docs = await second.tickets.load([f"u{n}" for n in range(4)])
    takers = {doc.state.agent for doc in docs.values() if doc.state is not None}
    assert takers <= {f"a{number:02}" for number in range(6, 12)}
    assert len(takers) == 4


async def test_replicas_that_own_other_partitions_begin_with_other_agents() -> None:
    store, clock, log = FakeStore(), fake_clock(), Log()
    first, second = Replica(store, clock, log), Replica(store, clock, log)
    for number in range(12):
        await first.put(profile(f"a{number:02}", capacity=1))
    await second.put(profile("a00", capacity=2))  # it knows the partitions since then
    for one, own in ((first, (0, 1)), (second, (2, 3))):
        await one.roster.load_all()
        one.agents.owned = lambda own=own: own
    await first.hear(*(opened(ticket(f"t{n}")) for n in range(4)))
    await second.hear(*(opened(ticket(f"u{n}")) for n in range(4)))
    docs = await first.tickets.load([f"{name}{n}" for name in "tu" for n in range(4)])
    homes = {i: first.agents.home_partition(doc.state.agent or "") for i, doc in docs.items() if doc.state is not None}
    assert {homes[f"t{n}"] for n in range(4)} <= {0, 1}
    assert {homes[f"u{n}"] for n in range(4)} <= {2, 3}
