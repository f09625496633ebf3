"""What a ticket asks of each service over its life, and a service with replicas and shards as servers with times.

Computed from `figures`; the queues themselves are in `pipeline.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.notify.settings import NotifySettings
from services.routing.assignment.claims import ROUNDS
from services.routing.settings import RoutingSettings
from services.sla.settings import SlaSettings
from tests.scale.figures import SERVICES, Assumed, Costs

#: Tickets by hour of the day, against the mean hour: a morning and an evening of one region.
PROFILE = (.35, .25, .2, .18, .2, .3, .5, .8, 1.2, 1.6, 1.8, 1.75,
           1.5, 1.4, 1.45, 1.5, 1.45, 1.4, 1.5, 1.7, 1.55, 1.1, .8, .52)  # fmt: skip
BUSY_HOUR = max(range(24), key=PROFILE.__getitem__)

#: Ways to the store within a batch, and how many of them are writes that wait for a majority; read off the code.
TRIPS: Mapping[str, tuple[int, int]] = {"ingest": (5, 4), "routing": (3, 2), "sla": (2, 1), "notify": (2, 1)}
#: Queries a second of one collection's sweeper: for what is its own, and for what is late.
SWEEPS = 2 / 2.5
BATCH = 500


@dataclass(frozen=True)
class Plan:
    """How a cell is built: a whole Deskbus with its own topics and databases."""

    partitions: int
    replicas: Mapping[str, int]
    shards: Mapping[str, int]
    cells: int = 1

    def vcpus(self, replication: float) -> float:
        """Cores of one cell, beside Kafka's."""
        return sum(self.replicas.values()) + replication * sum(self.shards.values())


@dataclass(frozen=True)
class Flow:
    """Of one ticket: records that each service consumes, the first ones apart from the later ones."""

    first: Mapping[str, float]
    later: Mapping[str, float]

    @property
    def total(self) -> dict[str, float]:
        return {service: self.first[service] + self.later[service] for service in SERVICES}


def flow(costs: Costs, assumed: Assumed) -> Flow:
    """Follow a ticket's records through the topics."""
    records = {name.split(".")[1]: count for name, count in costs.records.items()}
    opening = {
        "ingest": records["inbound"],
        "routing": records["tickets"],
        "sla": records["tickets"],
        "notify": records["tickets"] + records["assignments"] + records["sla"],
    }
    asked = assumed.replies + assumed.changes / 2  # a person solves by a command; closing is time's work
    events = (assumed.messages - 1) + assumed.replies + assumed.reports + assumed.changes
    later = {
        "ingest": (assumed.messages - 1) + assumed.reports + asked,
        "routing": events,
        "sla": events,
        "notify": events + assumed.later_assignments + assumed.later_clocks,
    }
    return Flow(opening, later)


@dataclass(frozen=True)
class Stage:
    """A service of one cell. Times in seconds; `cpu` and `store` are for a record, the rest for a batch."""

    name: str
    replicas: int
    shards: int
    lanes: int
    partitions: int
    records: float
    cpu: float
    store: float
    batch_cpu: float
    trips: float
    publish: float
    commit: float
    looks: float = 0.0
    stalls: Sequence[tuple[float, float]] = field(default=())
    """Every so many seconds a replica does something else for so many seconds."""
    batch: int = BATCH

    @property
    def free(self) -> float:
        """Share of a shard that queries of timers and sweepers leave: each of them goes to every shard."""
        return max(0.0, 1 - self.looks * self.replicas / self.lanes)

    def cycle(self, records: int) -> float:
        """Seconds that a batch takes when nobody else is there."""
        shards = self.shards * self.free or 1e-9
        work = max(records * self.store / shards, self.store / (self.free or 1e-9))
        return self.batch_cpu + records * self.cpu + work + self.trips + self.publish + self.commit

    @property
    def capacity(self) -> float:
        """Records a second that it can do at most."""
        workers = min(self.replicas, self.partitions)
        stalled = sum(length / period for period, length in self.stalls)
        by_replicas = workers * max(0.0, 1 - stalled) * self.batch / self.cycle(self.batch)
        by_store = self.shards * self.lanes * self.free / self.store if self.store else float("inf")
        return min(by_replicas, by_store)


def looks(service: str, assumed: Assumed, freed: float) -> float:
    """CPU seconds a second that one replica's regular queries cost each shard of its service.

    `freed`: how often a second room is freed on an agent, which makes every replica look through who waits.
    """
    looked = 4 * min(freed, _often(RoutingSettings, "look_ms"))
    every = {
        "ingest": 1 + 1 + 2 * SWEEPS,
        "routing": _often(RoutingSettings, "timer_ms") + 2 * SWEEPS + 1.2 + looked,
        "sla": _often(SlaSettings, "tick_ms") + SWEEPS,
        "notify": _often(NotifySettings, "timer_ms") + _often(NotifySettings, "send_ms") + SWEEPS,
    }
    return every[service] * assumed.query_ms / 1000


def _often(settings: type, name: str) -> float:
    return 1000 / float(settings.model_fields[name].default)  # type: ignore[attr-defined]


def stages(
    plan: Plan, costs: Costs, assumed: Assumed, tickets: float, *,
    lost_claims: float = 0.0, stalls: Sequence[tuple[float, float]] = (),
    freed: float = 0.0,
) -> list[Stage]:  # fmt: skip
    """Build the four services for a cell that gets `tickets` a second."""
    made, of = [], flow(costs, assumed)
    for name in SERVICES:
        first, later = of.first[name], of.later[name]
        weight = (first + later * assumed.later_share) / (first + later)  # of the mean record, against a first one
        writes = costs.service_writes(name) / first * weight
        trips, waits = TRIPS[name]
        rounds = 0.0
        if name == "routing":
            rounds = min(lost_claims, ROUNDS - 1)
            writes += lost_claims / (first + later)
        made.append(
            Stage(
                name,
                plan.replicas[name],
                plan.shards[name],
                int(assumed.lanes),
                plan.partitions,
                first + later,
                costs.cpu[name] / first * weight / 1000,
                writes * costs.store_ms / 1000,
                assumed.batch_cpu_ms / 1000,
                ((trips + 2 * rounds) * assumed.trip_ms + (waits + rounds) * assumed.sync_ms) / 1000,
                assumed.publish_ms / 1000,
                assumed.commit_ms / 1000,
                looks(name, assumed, freed),
                stalls if name == "routing" else (),
            )
        )
    return made
