"""Storms: whatever happens, in whatever order, nobody is above capacity and nothing is left behind."""

import asyncio
import contextlib
import itertools
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.ticket import Status
from kit.base.errors import TransientError
from tests.routing.scenario import Log, Replica, fake_clock, opened, profile, reopened, status, ticket
from tests.routing.stepping import Stepping


class Storm:
    """Two replicas, five tickets, three agents, and everything that may happen to them in any order."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.store, self.clock, self.log = Stepping(self.dice, faults=0.08), fake_clock(), Log()
        self.replicas = [self.fresh(), self.fresh()]
        self.maker = self.fresh()

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
        pictures = [opened(ticket(ticket_id)), status(ticket(ticket_id, 2, status=Status.PENDING))]
        pictures += [
            status(ticket(ticket_id, 3, status=Status.OPEN)),
            status(ticket(ticket_id, 4, status=Status.SOLVED)),
            reopened(ticket(ticket_id, 5, status=Status.OPEN)),
            status(ticket(ticket_id, 6, status=Status.PENDING)),
            status(ticket(ticket_id, 7, status=Status.OPEN)),
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
        with contextlib.suppress(TransientError):
            await work

    async def until(self, work: Any) -> None:
        done = False
        while not done:
            with contextlib.suppress(TransientError):
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
    assert storm.store.heavy() == []
    with_somebody = [row for row in rows.values() if row["state"]["agent"] is not None]
    assert len(with_somebody) == 4, "four units of room, five open tickets: exactly one waits"
    for row in rows.values():
        assert not row["outbox"]
        numbers = sorted({e.sequence for e in storm.log.events if e.subject == row["_id"]})
        assert numbers == list(range(1, row["emitted"] + 1))
        said = storm.log.said(row["_id"])
        pairs = list(itertools.pairwise(said))
        assert ("assigned", "assigned") not in pairs, "never two agents"
