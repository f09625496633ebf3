"""Queues, event by event: partitions, replicas that take batches, shards that work on statements one after the other.

Knows no ticket and no cost: it is given stages with times. Seeded; the same seed gives the same run.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from tests.scale.work import Stage


@dataclass(frozen=True)
class Lost:
    """A replica or a shard that is gone for a while."""

    stage: str
    what: str
    number: int
    begin: float
    end: float


@dataclass
class Seen:
    """What one stage was seen to do. `waits` are from a record's arrival to its events being confirmed."""

    arrived: int = 0
    left: int = 0
    waits: list[float] = field(default_factory=list)
    total: list[float] = field(default_factory=list)
    """From the door to there, of records that carry when they were accepted."""
    busy: float = 0.0
    stored: float = 0.0
    inside: float = 0.0
    """Records in the stage, integrated over time: what Little's law speaks of."""
    backlog: list[tuple[float, int]] = field(default_factory=list)


class Clockwork:
    """The heap of what happens next."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, when: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (when, next(self._order), do))

    def run(self) -> None:
        while self._heap:
            self.now, _, do = heapq.heappop(self._heap)
            do()


@dataclass
class Replica:
    """One process: busy with a batch, or not; away until some time."""

    partitions: list[int]
    busy: bool = False
    away: float = 0.0
    life: int = 0


Record = tuple[float, float]
"""When it came to this stage, and when the door accepted it (negative: nobody asks)."""


class Service:
    """One stage at work."""

    def __init__(
        self, stage: Stage, clock: Clockwork, random: Random,
        emit: Callable[[Sequence[Record]], None] = lambda _: None, *, session: float = 10.0, rebalance: float = 2.0,
    ) -> None:  # fmt: skip
        self.stage, self.clock, self.random, self.emit = stage, clock, random, emit
        self.session, self.rebalance = session, rebalance
        self.seen = Seen()
        self.queues: list[deque[Record]] = [deque() for _ in range(stage.partitions)]
        self.replicas = [Replica([]) for _ in range(stage.replicas)]
        self.lanes = [[0.0] * stage.lanes for _ in range(stage.shards)]
        self._gone: set[int] = set()
        self._changed, self._inside = 0.0, 0
        self._give()

    # -- who owns what -------------------------------------------------------------------------------------------

    def _give(self) -> None:
        there = [n for n in range(len(self.replicas)) if n not in self._gone]
        for replica in self.replicas:
            replica.partitions = []
        for p in range(len(self.queues)):
            if there:
                self.replicas[there[p % len(there)]].partitions.append(p)
        self._owner = {p: n for n, r in enumerate(self.replicas) for p in r.partitions}

    def lose(self, lost: Lost) -> None:
        """Plan the loss of a replica, or of a shard, and its return."""
        if lost.what == "shard":
            self.clock.at(lost.begin, lambda: self._shard_gone(lost.number, lost.end))
            return
        self.clock.at(lost.begin, lambda: self._dies(self.replicas[lost.number], lost.end))
        self.clock.at(min(lost.begin + self.session, lost.end), lambda: self._moves(self._gone | {lost.number}))
        self.clock.at(lost.end, lambda: self._moves(self._gone - {lost.number}))

    def _dies(self, replica: Replica, until: float) -> None:
        replica.away, replica.busy, replica.life = until, False, replica.life + 1

    def _shard_gone(self, number: int, until: float) -> None:
        self.lanes[number] = [max(free, until) for free in self.lanes[number]]

    def _moves(self, gone: set[int]) -> None:
        self._gone = gone
        self._give()
        back = self.clock.now + self.rebalance
        for n, replica in enumerate(self.replicas):
            replica.away = max(replica.away, back)
            self.clock.at(replica.away, lambda n=n: self._begin(n))  # type: ignore[misc]

    # -- batches -------------------------------------------------------------------------------------------------

    def take(self, accepted: Iterable[float]) -> None:
        """Records come in now, each to a partition by chance: keys are hashed."""
        now, wake = self.clock.now, set()
        for at in accepted:
            p = self.random.randrange(len(self.queues))
            self.queues[p].append((now, at))
            self.seen.arrived += 1
            self._count(1)
            wake.add(self._owner.get(p, -1))
        for n in wake - {-1}:
            self._begin(n)

    def _count(self, more: int) -> None:
        self.seen.inside += self._inside * (self.clock.now - self._changed)
        self._changed, self._inside = self.clock.now, self._inside + more

    def _begin(self, n: int) -> None:
        replica, now = self.replicas[n], self.clock.now
        if replica.busy or replica.away > now:
            return
        batch: list[Record] = []
        for p in replica.partitions:
            queue = self.queues[p]
            while queue and len(batch) < self.stage.batch:
                batch.append(queue.popleft())
        if not batch:
            return
        if len(batch) == self.stage.batch:  # another one stands first next time
            replica.partitions.append(replica.partitions.pop(0))
        replica.busy = True
        cpu = self.stage.batch_cpu + len(batch) * self.stage.cpu
        self.seen.busy += cpu
        life, home = replica.life, replica.partitions[0]

        def said() -> None:
            if replica.life == life:
                self._said(n, batch)
            else:  # it died with the batch in hand, which comes again to the next owner
                self.queues[home].extendleft(reversed(batch))
                self._begin(self._owner.get(home, n))

        self.clock.at(self._stalled(now) + cpu, lambda: self._store(batch, said))

    def _stalled(self, now: float) -> float:
        for period, length in self.stage.stalls:
            if (phase := now % period) < length:
                now += length - phase
        return now

    def _store(self, batch: list[Record], said: Callable[[], None]) -> None:
        done = self.clock.now
        if self.stage.store:
            free = max(1e-6, self.stage.free)
            for shard, records in self._spread(len(batch)):
                lanes = self.lanes[shard]
                lane = min(range(len(lanes)), key=lanes.__getitem__)
                work = records * self.stage.store / free
                lanes[lane] = max(self.clock.now, lanes[lane]) + work
                self.seen.stored += work
                done = max(done, lanes[lane])
        self.clock.at(done + self.stage.trips + self.stage.publish, said)

    def _spread(self, records: int) -> list[tuple[int, float]]:
        shards = len(self.lanes)
        if records >= 4 * shards:
            return [(s, records / shards) for s in range(shards)]
        counts: dict[int, float] = {}
        for _ in range(records):
            s = self.random.randrange(shards)
            counts[s] = counts.get(s, 0) + 1
        return list(counts.items())

    def _said(self, n: int, batch: list[Record]) -> None:
        now = self.clock.now
        self._count(-len(batch))
        self.seen.left += len(batch)
        for came, accepted in batch:
            self.seen.waits.append(now - came)
            if accepted >= 0:
                self.seen.total.append(now - accepted)
        self.emit(batch)
        replica = self.replicas[n]
        life = replica.life

        def again() -> None:
            if replica.life == life:
                replica.busy = False
                self._begin(n)

        self.clock.at(now + self.stage.commit, again)

    def look(self) -> None:
        """Note how many records wait."""
        self.seen.backlog.append((self.clock.now, self._inside))


def poisson(clock: Clockwork, random: Random, rate: Callable[[float], float], most: float, until: float,
            arrive: Callable[[], None]) -> None:  # fmt: skip
    """Let something arrive by chance until some time, at a rate that may change and is never above `most`."""

    def come() -> None:
        if random.random() * most < rate(clock.now):
            arrive()
        following()

    def following() -> None:
        when = clock.now + random.expovariate(most)
        if when < until:
            clock.at(when, come)

    following()


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share lies; nothing was seen: not a number."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
