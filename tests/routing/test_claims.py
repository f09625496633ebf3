"""No agent above capacity, whoever decides at once and whatever breaks in between: races, crashes, storms."""

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.ticket import Status
from kit.clock import FakeClock
from kit.errors import Passing
from kit.mongo import Guarded, WriteOutcome
from tests.kit.fake_store import FakeStore, Row
from tests.routing.scenario import Log, Replica, fake_clock, opened, profile, reopened, status, ticket


class Gate:
    """Holds back the next write to a collection, until it is opened."""

    def __init__(self) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()


class Stepping(FakeStore):
    """A store in which anything else may happen before every operation, and whose writes may fail or not answer.

    After every write it looks at the invariant: work in hand is within capacity, and every piece of it has its claim.
    """

    def __init__(self, dice: random.Random | None = None, faults: float = 0.0) -> None:
        super().__init__()
        self.dice, self.faults = dice or random.Random(0), faults
        self.gates: dict[str, Gate] = {}
        self.fetched: Counter[str] = Counter()

    async def _step(self) -> None:
        for _ in range(self.dice.randrange(4)):
            await asyncio.sleep(0)

    def count_fetches(self, collection: str) -> Callable[[], int]:
        """Return what tells how often a collection was read by ids from now on."""
        before = self.fetched[collection]
        return lambda: self.fetched[collection] - before

    async def fetch(self, collection: str, ids: Sequence[str]) -> list[Row]:
        await self._step()
        self.fetched[collection] += 1
        return await super().fetch(collection, ids)

    async def find(self, collection: str, query: Mapping[str, Any], **options: Any) -> list[Row]:
        await self._step()
        return await super().find(collection, query, **options)

    async def write(self, collection: str, writes: Sequence[Guarded]) -> WriteOutcome:
        await self._step()
        gate = self.gates.pop(collection, None)
        if gate is not None:
            gate.reached.set()
            await gate.open.wait()
        if self.dice.random() < self.faults:
            return WriteOutcome(unknown=True)
        outcome = await super().write(collection, writes)
        self.check()
        if self.dice.random() < self.faults:
            return WriteOutcome(unknown=True)
        await self._step()
        return outcome

    def gate(self, collection: str) -> Gate:
        self.gates[collection] = Gate()
        return self.gates[collection]

    def check(self) -> None:
        loads: dict[str, float] = {}
        for row in self.rows.get("tickets", {}).values():
            state = row["state"]
            if state is None or state["agent"] is None:
                continue
            holds = self.rows["agents"][state["agent"]]["state"]["holds"]
            mine = [hold for hold in holds if hold["ticket"] == row["_id"]]
            assert mine, f"{row['_id']} is with {state['agent']} without a claim"
            loads[state["agent"]] = loads.get(state["agent"], 0) + mine[0]["weight"]
        for agent_id, load in loads.items():
            capacity = self.rows["agents"][agent_id]["state"]["profile"]["capacity"]
            assert load <= capacity, f"{agent_id} has {load} of {capacity}"

    def loose(self) -> list[tuple[str, str]]:
        """Claims whose ticket is not that agent's."""
        tickets = self.rows.get("tickets", {})
        return [
            (agent_id, hold["ticket"])
            for agent_id, row in self.rows.get("agents", {}).items()
            for hold in row["state"]["holds"]
            if ((tickets.get(hold["ticket"]) or {}).get("state") or {}).get("agent") != agent_id
        ]


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


class Storm:
    """Two replicas, five tickets, three agents, and everything that may happen to them in any order."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.store, self.clock, self.log = Stepping(self.dice, faults=0.08), fake_clock(), Log()
        self.replicas = [self.fresh(), self.fresh()]
        self.maker = self.fresh()
        self.busy = 0

    def fresh(self) -> Replica:
        return Replica(self.store, self.clock, self.log)

    def any(self) -> Replica:
        if self.dice.random() < 0.1:
            self.replicas[self.dice.randrange(2)] = self.fresh()  # a process starts without memory
        return self.dice.choice(self.replicas)

    async def blow(self) -> None:
        for name, capacity in (("ann", 1), ("bob", 2), ("cat", 1)):
            await self.until(lambda n=name, c=capacity: self.any().put(profile(n, capacity=c)))
        lives = [asyncio.create_task(self.life(f"t{n}")) for n in range(5)]
        doors = asyncio.create_task(self.doors())
        while not all(life.done() for life in lives):
            self.clock.advance(self.dice.choice([0, 1, 4, 12]))
            await self.try_it(self.background(self.any()))
        await asyncio.gather(*lives)
        doors.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await doors
        await self.quiet()

    async def life(self, ticket_id: str) -> None:
        """A ticket's events, handled again and again until they are, sometimes by two at once."""
        pictures = [opened(ticket(ticket_id)), status(ticket(ticket_id, 2, status=Status.SOLVED))]
        pictures += [
            reopened(ticket(ticket_id, 3, status=Status.OPEN)),
            status(ticket(ticket_id, 4, status=Status.OPEN)),
        ]
        for payload in pictures:
            for _ in range(self.dice.randrange(6)):
                await asyncio.sleep(0)
            records = self.maker.records(payload)
            handled = False
            while not handled:
                tasks = [
                    asyncio.create_task(self.any().delivery.handle(records)) for _ in range(self.dice.choice([1, 1, 2]))
                ]
                if self.dice.random() < 0.15:
                    for _ in range(self.dice.randrange(12)):
                        await asyncio.sleep(0)
                    tasks[0].cancel()
                for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                    if isinstance(outcome, AssertionError):
                        raise outcome
                    handled = handled or outcome == set()

    async def doors(self) -> None:
        while True:
            name, presence = self.dice.choice(["ann", "bob", "cat"]), self.dice.choice(["online", "online", "offline"])
            await self.try_it(self.any().presence(name, presence))
            for _ in range(20):
                await asyncio.sleep(0)

    async def background(self, replica: Replica) -> None:
        await replica.turn()
        await replica.absence.sweep()
        await replica.reconciler.turn()
        for documents in (replica.tickets, replica.agents):
            await documents.sweep(replica.clock.now() - replica.clock.now())

    async def try_it(self, work: Any) -> None:
        with contextlib.suppress(Passing):
            await work

    async def until(self, work: Any) -> None:
        done = False
        while not done:
            with contextlib.suppress(Passing):
                await work()
                done = True

    async def quiet(self) -> None:
        self.store.faults = 0
        for name in ("ann", "bob", "cat"):
            await self.until(lambda n=name: self.replicas[0].presence(n, "online"))
        for _ in range(12):
            self.clock.advance(30)
            for replica in self.replicas:
                await self.background(replica)


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_storm_breaks_nothing_and_leaves_nothing_behind(seed: int) -> None:
    storm = Storm(seed)
    asyncio.run(storm.blow())
    rows = storm.store.rows["tickets"]
    assert len(rows) == 5
    assert storm.store.loose() == []
    with_somebody = [row for row in rows.values() if row["state"]["agent"] is not None]
    assert len(with_somebody) == 4, "four units of room, five open tickets: exactly one waits"
    for row in rows.values():
        assert not row["outbox"]
        numbers = sorted({e.sequence for e in storm.log.events if e.subject == row["_id"]})
        assert numbers == list(range(1, row["emitted"] + 1))
        said = storm.log.said(row["_id"])
        pairs = list(itertools.pairwise(said))
        assert ("assigned", "assigned") not in pairs, "never two agents"


async def test_who_loses_a_claim_learns_at_once_what_else_was_taken() -> None:
    store, clock, log = FakeStore(), fake_clock(), Log()
    first, second = Replica(store, clock, log), Replica(store, clock, log)
    for number in range(12):
        await first.put(profile(f"a{number:02}"))
    await second.roster.load_all()
    clock.advance(60)
    await first.hear(*(opened(ticket(f"t{n}")) for n in range(6)))
    rounds = 0
    make = second.desk.claims.make

    async def counting(agent_ids: Sequence[str]) -> set[str]:
        nonlocal rounds
        rounds += 1
        return await make(agent_ids)

    second.desk.claims.make = counting  # type: ignore[method-assign]
    clock.advance(0.1)
    await second.hear(*(opened(ticket(f"u{n}")) for n in range(4)))
    assert rounds == 2, "one claim that was lost, one that was made knowing better"
    docs = await second.tickets.load([f"u{n}" for n in range(4)])
    takers = {doc.state.agent for doc in docs.values() if doc.state is not None}
    assert takers <= {f"a{number:02}" for number in range(6, 12)}
    assert len(takers) == 4
