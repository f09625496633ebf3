"""The figures that the simulation rests on: costs as `make bench` recorded them, and what is assumed, each by name.

Nothing is computed here beyond reading. A cost that the record does not have is said to be missing, with what is taken
in its place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RECORD = Path(__file__).parents[2] / "docs" / "performance.json"
SERVICES = ("ingest", "routing", "sla", "notify")


def _is(default: float, why: str) -> Any:
    return field(default=default, metadata={"why": why})


@dataclass(frozen=True)
class Assumed:
    """What nobody has measured here. Change a value with `python -m tests.scale NAME=VALUE`."""

    tickets_a_day: float = _is(10_000_000, "tickets per day that the plans are made for")
    messages: float = _is(2.5, "customer messages per ticket, including the first")
    replies: float = _is(1.5, "agent replies per ticket")
    reports: float = _is(1.0, "delivery reports per ticket")
    changes: float = _is(2.0, "status changes per ticket: solved, closed")
    later_assignments: float = _is(0.4, "assignment events after the first: transfers, reassignments")
    later_clocks: float = _is(4.5, "clock events after the start: paused, resumed, met, warned")
    fired: float = _is(0.5, "deadlines and warnings that fire per ticket")
    later_share: float = _is(0.6, "cost of a later event for a service, relative to the ticket's first")
    tickets_an_agent: float = _is(100, "tickets that an agent solves per day")
    online: float = _is(0.4, "share of agents online in the busy hour")
    sales_day: float = _is(2.0, "load of a sales day, relative to an average day")
    flash: float = _is(3.0, "load of a flash sale of ten minutes, relative to the busy hour of an average day")
    wave: float = _is(0.02, "share of a day's tickets that an outage causes within ten minutes")
    batch_cpu_ms: float = _is(5.0, "CPU of a service per batch, regardless of its size")
    trip_ms: float = _is(1.0, "round trip to the store within a zone")
    sync_ms: float = _is(5.0, "wait for majority and journal per write, besides its CPU")
    publish_ms: float = _is(6.0, "acknowledgement by all Kafka replicas")
    commit_ms: float = _is(3.0, "commit of offsets")
    query_ms: float = _is(0.7, "CPU of the store for a query that finds nothing (0.5-0.9 in performance.md)")
    lanes: float = _is(1, "statements that a shard executes at once (secantusd-rs: one)")
    session_s: float = _is(10, "until the partitions of a silent replica are reassigned: session_timeout_ms")
    rebalance_s: float = _is(2, "pause of a consumer group when its members change")
    failover_s: float = _is(12, "until a shard that lost its primary accepts writes again")
    replication: float = _is(3, "copies of a record, and members per shard")
    days_inbound: float = _is(14, "retention of inbound and commands (contracts/topics.py)")
    days_events: float = _is(30, "retention of events (contracts/topics.py)")
    index_share: float = _is(0.35, "size of indexes, relative to their documents")
    document_factor: float = _is(1.5, "size of a ticket's document in a service, relative to its longest event")
    vcpu_hour: float = _is(0.05, "price per vCPU-hour with 4 GB, USD")
    gb_month: float = _is(0.10, "price per GB-month of SSD, USD")
    gb_zone: float = _is(0.02, "price per GB between zones, both directions, USD")
    headroom: float = _is(0.6, "share of a core that a plan may use at its peak")


@dataclass(frozen=True)
class Costs:
    """Measured: milliseconds of CPU for a ticket that is opened and assigned; records, writes and bytes of one."""

    cpu: Mapping[str, float]
    records: Mapping[str, float]
    sizes: Mapping[str, float]
    writes: Mapping[str, float]
    claim_us: float
    claim_agents: float
    breaches: float
    rate: float
    half_cpu: float
    replicas: Mapping[int, tuple[float, float]]
    """Replicas of each service -> CPU milliseconds of a ticket, and cores that all of it uses at rest."""
    source: str
    missing: tuple[str, ...]

    def service_writes(self, service: str) -> float:
        return sum(count for name, count in self.writes.items() if name.partition(".")[0] == service)

    @property
    def store_ms(self) -> float:
        """CPU of the store for a write, with the reads and clears that go with it."""
        return self.cpu["mongodb"] / sum(self.writes.values())


#: Path in the record -> what is taken where it is not there. The first ones are needed.
WANTED = {
    "past_the_door.cpu": "required",
    "written.writes per ticket": "required",
    "written.records per ticket": "required",
    "written.bytes of a record": "disk is not computed",
    "decision.with_claim_p50_us": "decisions are assumed to be free",
    "timers.per_second": "timers are assumed to be free",
    "half_rate.cpu": "the cost of small batches is not checked",
    "stored.ratio": "cost is assumed not to depend on how much is stored",
    "batches": "sizes of batches; `batch_cpu_ms` is assumed",
    "replicas.runs": "a second replica is taken to cost what its share of the work costs, beside claims that collide; "
    "what services use at rest is left out, beside their queries",
}
NEEDED = 3
#: Where a figure may stand: by itself, or in the part of the bench that measured it.
PLACES = ("{}", "tickets.{}", "clocks.{}")


def look(record: Mapping[str, Any], path: str) -> Any:
    """Return what stands at a dotted path, wherever the bench has put it; None if it is not there."""
    for place in PLACES:
        found: Any = record
        for name in place.format(path.removeprefix("timers.") if place == "clocks.{}" else path).split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        if found is not None:
            return found
    return None


def read(path: Path = RECORD) -> Costs:
    """Read the record; raises KeyError when what everything rests on is not in it."""
    record = json.loads(path.read_text("utf-8"))
    missing = [name for name in WANTED if look(record, name) is None]
    if lost := [name for name in list(WANTED)[:NEEDED] if name in missing]:
        raise KeyError(f"{path.name} has no {', '.join(lost)}: run `python -m tests.bench --record`")
    machine = look(record, "machine") or look(record, "taken.machine") or {}
    named = [str(machine[name]) for name in ("cores", "processor", "MongoDB server", "store") if name in machine]
    half = look(record, "half_rate.cpu") or {}
    runs = look(record, "replicas.runs") or []
    return Costs(
        cpu=look(record, "past_the_door.cpu"),
        records=look(record, "written.records per ticket"),
        sizes=look(record, "written.bytes of a record") or {},
        writes=look(record, "written.writes per ticket"),
        claim_us=look(record, "decision.with_claim_p50_us") or 0.0,
        claim_agents=look(record, "decision.agents") or 1.0,
        breaches=look(record, "timers.per_second") or float("inf"),
        rate=look(record, "past_the_door.rate") or 0.0,
        half_cpu=half.get("sum", 0.0),
        replicas={int(run["replicas"]): (run["cpu"]["sum"], run["at_rest_cores"]) for run in runs},
        source=", ".join(named) or "the machine is not named",
        missing=tuple(f"{name}: {WANTED[name]}" for name in missing),
    )
