"""Which plan is the smallest that holds the goals, what of it does not grow with replicas, and what it costs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil

from contracts.corpus import examples
from contracts.topics import TICKETS, TOPIC_OF
from services.routing.assignment.claims import ROUNDS
from tests.scale.cell import Window, window
from tests.scale.contention import Contention, contention
from tests.scale.figures import SERVICES, Assumed, Costs
from tests.scale.roster import AgentCost
from tests.scale.work import BUSY_HOUR, PROFILE, Flow, Plan, Stage, flow, stages

GOAL_MS = 250.0
"""p99 from accepted to assigned, on a cluster at its peak."""
PARTITIONS = (12, 24, 48, 96)
ROSTER_S, RECONCILE_S, RELOAD_S, OVERLAP_S = 1.0, 5.0, 60.0, 2.0
PAGE, MOST_TOUCHED = 1_000, 10_000
WIDEST = 4
"""More than that many times a plan is not made larger for the goal: something else is in the way."""
MENDED_LOST, MENDED_PAGE = 0.1, 100
LESS = 0.96
"""A plan that was made larger must bring p99 below this share, or it stays as it was."""


@dataclass(frozen=True)
class Wall:
    """Something that more replicas, shards or partitions do not widen: the share of it that is used."""

    what: str
    used: float


@dataclass(frozen=True)
class Found:
    """A plan at its peak."""

    plan: Plan
    tickets: float
    p50_ms: float
    p99_ms: float
    shares: Mapping[str, float]
    walls: Sequence[Wall]

    @property
    def holds(self) -> bool:
        return self.p99_ms <= GOAL_MS and all(wall.used < 1 for wall in self.walls)


class World:
    """Everything that is known, put together for any size of a cell."""

    def __init__(
        self, costs: Costs, assumed: Assumed, agent: AgentCost, crowd: Sequence[Contention], *, mended: bool = False
    ) -> None:
        """With `mended`, routing is taken as it could be: see "What breaks first" in docs/scale.md."""
        self.costs, self.assumed, self.agent, self.crowd, self.mended = costs, assumed, agent, crowd, mended
        self.flow: Flow = flow(costs, assumed)

    def mean(self, cells: float = 1) -> float:
        """Tickets a second of one cell, over the day."""
        return self.assumed.tickets_a_day / 86_400 / cells

    def peak(self, cells: float = 1) -> float:
        """Tickets a second in the busy hour of a sales day."""
        return self.mean(cells) * PROFILE[BUSY_HOUR] * self.assumed.sales_day

    def agents(self, cells: float = 1) -> float:
        return self.assumed.tickets_a_day / self.assumed.tickets_an_agent / cells

    def lost_claims(self, replicas: int) -> float:
        """Lost claims for each that is won, as the real assigner showed them; beyond that, on the same line."""
        known = {c.replicas: c.lost for c in self.crowd}
        if self.mended:
            return MENDED_LOST
        if replicas in known:
            return known[replicas]
        below = max((n for n in known if n < replicas), default=1)
        above = min((n for n in known if n > replicas), default=0)
        if not above:
            return known.get(below, 0.0) * (replicas - 1) / max(1, below - 1)
        part = (replicas - below) / (above - below)
        return known[below] + part * (known[above] - known[below])

    def stalls(self, plan: Plan, tickets: float) -> list[tuple[float, float]]:
        """What routing's one thread does besides batches, every so often and in one go."""
        people, cost, replicas = self.agents(plan.cells), self.agent, plan.replicas["routing"]
        touched = min(MOST_TOUCHED, people, 2 * tickets * (ROSTER_S + OVERLAP_S))
        touched *= (replicas - 1) / replicas  # of its own it reads the version only
        pages = max(1, ceil(people / PAGE))
        if self.mended:  # the same reading in small pages; the reconciler asks the tickets of its own partitions
            each = MENDED_PAGE * cost.read_us / 1e6
            return [(MENDED_PAGE / max(1.0, touched), each)]
        return [
            (RECONCILE_S, people * self.assumed.online * cost.reconcile_us / 1e6),
            (ROSTER_S, touched * cost.read_us / 1e6),
            (RELOAD_S / pages, min(PAGE, people) * cost.read_us / 1e6),
        ]

    def stages(self, plan: Plan, tickets: float) -> list[Stage]:
        lost = self.lost_claims(plan.replicas["routing"])
        stalls = self.stalls(plan, tickets)
        freed = 0.0 if self.mended else tickets
        return stages(plan, self.costs, self.assumed, tickets, lost_claims=lost, stalls=stalls, freed=freed)

    def shares(self, plan: Plan, tickets: float) -> dict[str, float]:
        return {s.name: tickets * s.records / max(s.capacity, 1e-9) for s in self.stages(plan, tickets)}

    def walls(self, plan: Plan, tickets: float) -> list[Wall]:
        """Everything that stands in each replica's or each shard's way, however many there are."""
        people, replicas = self.agents(plan.cells), plan.replicas["routing"]
        stalls = self.stalls(plan, tickets)
        asked = {s.name: s.looks * s.replicas / s.lanes for s in self.stages(plan, tickets)}
        most = max(SERVICES, key=asked.__getitem__)
        decision = self.costs.claim_us / 1e6 * people / self.costs.claim_agents
        touched = min(people, 2 * tickets * (ROSTER_S + OVERLAP_S))
        names = ("reconciler scanning all claims", "reading changed agents", "reading all agents once a minute")
        seconds = dict(zip(names, stalls, strict=False)) if not self.mended else {names[1]: stalls[0]}
        fired = tickets * self.assumed.fired / (self.costs.breaches * plan.replicas["sla"])
        return [
            Wall("colliding claims, of a batch's attempts", self.lost_claims(replicas) / (ROUNDS - 1)),
            *(Wall(f"{name}: CPU of each routing replica", each / every) for name, (every, each) in seconds.items()),
            Wall("changed agents, of what one query returns", touched / MOST_TOUCHED),
            Wall("decisions among all agents of a cell: CPU of each replica", decision * tickets / replicas),
            Wall(f"regular queries that reach every shard (most: {most})", asked[most]),
            Wall("timers that fire, of the capacity of sla", fired),
            Wall("replicas of the largest service, of the partitions", max(plan.replicas.values()) / plan.partitions),
        ]

    # -- the search ----------------------------------------------------------------------------------------------

    def smallest(self, cells: int, *, seconds: float = 20.0, tickets: float | None = None) -> Found:
        """Find the fewest cores with which every service keeps its headroom, then widen until the goal is held."""
        tickets = self.peak(cells) if tickets is None else tickets
        plan = Plan(max(PARTITIONS), dict.fromkeys(SERVICES, 2), dict.fromkeys(SERVICES, 1), cells)
        for name in SERVICES:
            plan = self._fit(plan, name, tickets)
        found = self.look(plan, tickets, seconds)
        for _ in range(WIDEST):
            if found.p99_ms <= GOAL_MS or max(found.shares.values()) >= 1:
                break
            better = min((self.look(wider, tickets, seconds / 2) for wider in _wider(plan)), key=lambda f: f.p99_ms)
            if better.p99_ms > found.p99_ms * LESS:
                break
            plan, found = better.plan, better
        fits = next((p for p in PARTITIONS if p >= max(plan.replicas.values())), max(PARTITIONS))
        return self.look(replace(plan, partitions=fits), tickets, seconds)

    def _fit(self, plan: Plan, name: str, tickets: float) -> Plan:
        options, widest, least = [], plan, float("inf")
        for shards in range(1, 33):
            for replicas in range(2, plan.partitions + 1):
                made = _with(plan, name, replicas, shards)
                used = self.shares(made, tickets)[name]
                if used <= self.assumed.headroom:
                    options.append(made)
                    break
                if used < least:
                    widest, least = made, used
        return min(options, key=lambda p: p.vcpus(self.assumed.replication)) if options else widest

    def look(self, plan: Plan, tickets: float, seconds: float = 20.0) -> Found:
        shares = self.shares(plan, tickets)
        if max(shares.values()) >= 1:  # it would never settle
            never = float("inf")
            return Found(plan, tickets, never, never, shares, self.walls(plan, tickets))
        seen = self.window(plan, tickets, seconds)
        return Found(plan, tickets, seen.p50 * 1000, seen.p99 * 1000, shares, self.walls(plan, tickets))

    def window(self, plan: Plan, tickets: float, seconds: float) -> Window:
        return window(self.stages(plan, tickets), self.flow, lambda _: tickets, tickets, seconds)

    # -- bytes and money -----------------------------------------------------------------------------------------

    @cached_property
    def later_sizes(self) -> dict[str, float]:
        """Bytes of an event after the first, by topic: the mean of the committed examples, without white space."""
        found: dict[str, list[int]] = {}
        for example in examples():
            size = len(json.dumps(json.loads(example.value), separators=(",", ":"), ensure_ascii=False).encode())
            found.setdefault(TOPIC_OF[example.type], []).append(size)
        return {topic: sum(sizes) / len(sizes) for topic, sizes in found.items()}

    def log_bytes(self) -> tuple[float, float]:
        """Bytes of one ticket in Kafka: with the short retention, and with the long one."""
        first = {name: size * self.costs.records[name] for name, size in self.costs.sizes.items()}
        of, later, assumed = self.flow, self.later_sizes, self.assumed
        inbound = self.costs.sizes.get("deskbus.inbound.v1", 0.0)
        commands = (assumed.replies + assumed.changes / 2) * later["deskbus.commands.v1"]
        short = inbound * (assumed.messages + assumed.reports) + commands
        events = sum(size for name, size in first.items() if name != "deskbus.inbound.v1")
        events += of.later["routing"] * later[TICKETS]
        events += assumed.later_assignments * later["deskbus.assignments.v1"]
        events += assumed.later_clocks * later["deskbus.sla.v1"]
        return short, events

    def document_bytes(self) -> float:
        """Bytes of one ticket's documents, with their indexes. They are never deleted."""
        size, factor = self.costs.sizes, self.assumed.document_factor
        ticket = size.get(TICKETS, 0.0)
        own = factor * (ticket + size.get("deskbus.assignments.v1", 0.0) + 2 * size.get("deskbus.sla.v1", 0.0))
        messages = (self.assumed.messages + self.assumed.replies) * ticket * 0.6
        rest = size.get("deskbus.contacts.v1", 0.0) + 300 + 800
        return (own + messages + rest) * (1 + self.assumed.index_share)

    def kafka_vcpus(self, tickets: float) -> float:
        """Cores of all brokers: what one broker was measured to take, by records, and followers as much each."""
        first = sum(self.costs.records.values())
        total = first + sum(self.flow.later.values())
        return tickets * self.costs.cpu["kafka"] / 1000 * total / first * self.assumed.replication

    def month(self, found: Found) -> dict[str, float]:
        """USD per month, a year after the start."""
        assumed, plan = self.assumed, found.plan
        hours, day = 730 * assumed.vcpu_hour, assumed.tickets_a_day
        short, long = self.log_bytes()
        kafka = (short * assumed.days_inbound + long * assumed.days_events) * day * assumed.replication / 1e9
        store = self.document_bytes() * day * 365 * assumed.replication / 1e9
        crossing = (short + long) * day * 30 * (assumed.replication - 1 + 2 / 3 * 3) / 1e9
        return {
            "services": plan.cells * sum(plan.replicas.values()) * hours,
            "MongoDB, cores": plan.cells * assumed.replication * sum(plan.shards.values()) * hours,
            "Kafka, cores": ceil(self.kafka_vcpus(self.peak()) / assumed.headroom) * hours,
            "Kafka, disk": kafka * assumed.gb_month,
            "MongoDB, disk after a year": store * assumed.gb_month,
            "between zones": crossing * assumed.gb_zone,
        }


def _with(plan: Plan, name: str, replicas: int, shards: int) -> Plan:
    return replace(plan, replicas={**plan.replicas, name: replicas}, shards={**plan.shards, name: shards})


def _wider(plan: Plan) -> list[Plan]:
    """A quarter more replicas, or shards, for one of the services on a ticket's way to its agent."""
    made = []
    for name in ("ingest", "routing"):
        replicas, shards = plan.replicas[name], plan.shards[name]
        if (more := replicas + max(1, replicas // 4)) <= plan.partitions:
            made.append(_with(plan, name, more, shards))
        made.append(_with(plan, name, replicas, shards + max(1, shards // 4)))
    return made


async def _crowd(sizes: Sequence[int]) -> list[Contention]:
    return [await contention(n, people=150, per_replica=40, seconds=1.5) for n in sizes]


def crowd(sizes: Sequence[int] = (1, 2, 4, 8)) -> list[Contention]:
    """How claims collide with that many replicas of the real assigner."""
    return asyncio.run(_crowd(sizes))
