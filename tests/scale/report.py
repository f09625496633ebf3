"""The tables of docs/scale.md. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from math import isfinite

from tests.scale.cell import day, window
from tests.scale.figures import SERVICES, Assumed
from tests.scale.pipeline import Lost
from tests.scale.plans import GOAL_MS, Found, World
from tests.scale.work import BUSY_HOUR, PROFILE, Plan, Stage

CELLS = (1, 2, 4, 8, 10, 16, 20)
INSTALLATIONS = (1_000, 10_000, 100_000, 500_000)
"""Tickets a day."""
TIMES = (1, 2, 5, 10)
ONE = 1_000_000
"""Tickets a day that growth is counted from."""


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown; the first column is left-aligned, the others to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)])


def share(value: float) -> str:
    return f"{value * 100:.0f} %" if isfinite(value) else "–"


def ms(value: float) -> str:
    return f"{value:,.0f}" if isfinite(value) else "never"


def counts(of: dict[str, int] | object) -> str:
    return "/".join(str(of[name]) for name in SERVICES)  # type: ignore[index]


def inputs(world: World) -> str:
    """Measured, missing, assumed."""
    costs, agent = world.costs, world.agent
    per = ", ".join(f"{name} {costs.cpu[name]:.2f}" for name in (*SERVICES, "kafka", "mongodb"))
    measured = [
        ("CPU per ticket opened and assigned, ms", per),
        ("records per ticket, all topics", f"{sum(costs.records.values()):.1f}"),
        ("document writes per ticket", f"{sum(costs.writes.values()):.2f}"),
        ("CPU of the store per write, with its reads and clears, ms", f"{costs.store_ms:.2f}"),
        (f"a decision including its claim, among {costs.claim_agents:,.0f} agents, µs", f"{costs.claim_us:.0f}"),
        ("deadlines that one process fires per second", f"{costs.breaches:.0f}"),
        ("reading an agent's document, µs of CPU (here)", f"{agent.read_us:.0f}"),
        ("… scanning it for reconciler and absence, µs (here)", f"{agent.reconcile_us:.1f}"),
        ("… its size in memory and as a document, bytes (here)", f"{agent.memory:,.0f}, {agent.document:,.0f}"),
        *((f"claims lost per claim won, {c.replicas} replicas of routing (here)", f"{c.lost:.2f}")
          for c in world.crowd if c.replicas > 1),
        *((f"… tickets left waiting by their own batch, {c.replicas} replicas", share(c.waiting))
          for c in world.crowd[-1:]),
    ]  # fmt: skip
    assumed = [(f"`{f.name}`", f"{getattr(world.assumed, f.name):,g}", f.metadata["why"]) for f in fields(Assumed)]
    measured += [
        (f"{count} replicas of each service: CPU per ticket, ms; cores used when idle", f"{cpu:.2f}; {rest:.2f}")
        for count, (cpu, rest) in costs.replicas.items()
    ]
    missing = "\n".join(f"- {line}" for line in costs.missing) or "- nothing"
    return "\n\n".join(
        [
            f"### Measured\n\nFrom docs/performance.json ({costs.source}), or measured in this process (here).",
            table(("what", "figure"), measured),
            f"Not in the record:\n\n{missing}",
            "### Assumed",
            table(("name", "value", "what"), assumed),
        ]
    )


def checks(world: World) -> str:
    """Where the model can be held against a measurement."""
    costs = world.costs
    total = sum(costs.cpu[name] for name in (*SERVICES, "kafka", "mongodb"))
    first = next(s for s in world.stages(_plain(), 1) if s.name == "ingest")
    rows = [
        ("tickets per second on two cores, from the sum of CPU alone", f"{2000 / total:.0f}", f"{costs.rate:.0f}"),
        ("ingest batch of one record, ms", f"{first.cycle(1) * 1000:.0f}", "44 at 10/s (performance.md)"),
        (
            "CPU per ticket at half the rate, relative to the full rate",
            "no prediction",
            f"{costs.half_cpu / total:.1f} times",
        ),
    ]
    return table(("check", "model", "measured"), rows)


def _plain() -> Plan:
    return Plan(12, dict.fromkeys(SERVICES, 2), dict.fromkeys(SERVICES, 1))


def load(world: World) -> str:
    """How many tickets per second, and what each asks of the services."""
    mean, assumed = world.mean(), world.assumed
    busy = mean * PROFILE[BUSY_HOUR]
    rates = [
        ("average", mean),
        ("busy hour", busy),
        ("busy hour of a sales day (the peak that plans are made for)", world.peak()),
        ("flash sale, ten minutes", busy * assumed.flash),
        ("wave after an outage, ten minutes", mean * PROFILE[15] + assumed.wave * assumed.tickets_a_day / 600),
    ]
    work = [
        (s.name, f"{s.records:.1f}", f"{s.records * s.cpu * 1000:.1f}", f"{s.records * s.store * 1000:.1f}")
        for s in world.stages(replace(_plain(), cells=20), 1)
    ]
    return "\n\n".join(
        [
            table(("tickets per second", f"{assumed.tickets_a_day:,.0f} a day"), [(w, f"{r:.0f}") for w, r in rates]),
            table(("per ticket over its lifetime", "records", "CPU, ms", "store, ms"), work),
        ]
    )


def growth(world: World, seconds: float) -> str:
    """One cell as the code stands, at so many times a million tickets a day."""
    found = [sized(world, ONE * times).smallest(1, seconds=seconds) for times in TIMES]
    names = [wall.what for wall in found[0].walls]
    used = {name: [next((w.used for w in f.walls if w.what == name), 0.0) for f in found] for name in names}
    kept = [w for f in found for w in f.walls if w.what not in names]
    for wall in kept:  # the name of the service that asks most may change with size
        used.setdefault(wall.what, [next((w.used for w in f.walls if w.what == wall.what), 0.0) for f in found])
    rows: list[Sequence[object]] = [
        ("tickets per second at the peak", *(f"{f.tickets:.0f}" for f in found)),
        ("replicas of ingest/routing/sla/notify", *(counts(f.plan.replicas) for f in found)),
        ("shards of each", *(counts(f.plan.shards) for f in found)),
        ("accepted to assigned, p50 ms", *(ms(f.p50_ms) for f in found)),
        ("… p99 ms", *(ms(f.p99_ms) for f in found)),
        *((f"{name}, of its capacity", *(share(f.shares[name]) for f in found)) for name in SERVICES),
        *((name, *(share(value) if value else "–" for value in values)) for name, values in used.items()),
    ]
    return table(("", *(f"x{times}" for times in TIMES)), rows)


def sized(world: World, tickets: float) -> World:
    """The same for another number of tickets a day."""
    return World(world.costs, replace(world.assumed, tickets_a_day=tickets), world.agent, world.crowd)


def installations(world: World) -> str:
    """What installations of ordinary sizes need: two replicas of each service carry most of them."""
    rows = []
    for tickets in INSTALLATIONS:
        one = sized(world, tickets)
        short, long = one.log_bytes()
        day_, copies = one.assumed.tickets_a_day, one.assumed.replication
        kafka = (short * one.assumed.days_inbound + long * one.assumed.days_events) * day_ * copies / 1e9
        rows.append(
            (f"{tickets:,}", f"{one.peak():.2g}", share(max(one.shares(_plain(), one.peak()).values())),
             f"{kafka:,.0f}", f"{one.document_bytes() * day_ * copies * 365 / 1e9:,.0f}")
        )  # fmt: skip
    head = ("tickets a day", "tickets per second at the peak", "busiest service, of its capacity",
            "Kafka disk, GB", "MongoDB disk per year, GB")  # fmt: skip
    return table(head, rows)


def choices(world: World, seconds: float) -> str:
    """One cell with other numbers of replicas and shards."""
    one = sized(world, ONE)
    rows = []
    for replicas in (1, 2, 3, 4, 6):
        for shards in (1, 2, 4):
            plan = Plan(12, dict.fromkeys(SERVICES, replicas), dict.fromkeys(SERVICES, shards))
            seen = one.look(plan, one.peak(), seconds)
            rows.append(
                (replicas, shards, ms(seen.p50_ms), ms(seen.p99_ms), *(share(seen.shares[n]) for n in SERVICES))
            )
    return table(("replicas of each", "shards of each", "p50 ms", "p99 ms", *SERVICES), rows)


def sizes(plain: World, mended: World, seconds: float) -> tuple[str, list[Found]]:
    """The smallest plan for the whole load, in so many cells."""
    found = [(str(n), plain.smallest(n, seconds=seconds)) for n in CELLS]
    after = [(f"{n}, mended", mended.smallest(n, seconds=seconds)) for n in (1, 2, 4)]
    rows = []
    for name, one in found + after:
        world = mended if "mended" in name else plain
        cost = f"{sum(world.month(one).values()):,.0f}" if isfinite(one.p99_ms) else "–"
        cores = one.plan.cells * one.plan.vcpus(world.assumed.replication)
        rows.append(
            (name, counts(one.plan.replicas), counts(one.plan.shards), one.plan.partitions, f"{cores:,.0f}",
             ms(one.p50_ms), ms(one.p99_ms), "yes" if one.holds else "no", cost)
        )  # fmt: skip
    head = ("cells", "replicas", "shards", "partitions", "cores", "p50 ms", "p99 ms",
            f"holds {GOAL_MS:.0f} ms", "USD per month")  # fmt: skip
    return table(head, rows), [one for _, one in found + after]


def through_the_day(world: World, found: Found) -> str:
    """A mean day of one cell with a flash sale, an outage's wave, a replica of routing and a shard of ingest lost."""
    assumed, mean, cells = world.assumed, world.mean(found.plan.cells), found.plan.cells
    busy = BUSY_HOUR * 3600 + 600

    def rate(now: float) -> float:
        tickets = mean * PROFILE[int(now / 3600) % 24]
        if busy <= now < busy + 600:
            tickets *= assumed.flash
        if 15 * 3600 + 600 <= now < 15 * 3600 + 1200:
            tickets += assumed.wave * assumed.tickets_a_day / cells / 600
        return tickets

    losses = [
        Lost("routing", "replica", 0, 19 * 3600 + 600, 19 * 3600 + 1200),
        Lost("ingest", "shard", 0, 13 * 3600 + 600, 13 * 3600 + 600 + assumed.failover_s),
    ]
    told = {
        BUSY_HOUR: "flash sale",
        15: "wave after an outage",
        19: "a replica of routing down for 10 minutes",
        13: f"a shard of ingest without a primary for {assumed.failover_s:.0f} s",
        3: "night",
    }
    hours = day(world.stages(found.plan, mean), world.flow, rate, losses=losses)
    rows = [
        (f"{h.hour:02}:00", told.get(h.hour, ""), f"{h.tickets:.1f}",
         *(share(h.used[n]) for n in SERVICES), f"{h.lag:.1f}")
        for h in hours
        if h.hour in {*told, 9, 21}
    ]  # fmt: skip
    return table(("hour", "what happens", "tickets/s", *SERVICES, "longest lag, s"), rows)


def losses(world: World, found: Found) -> str:
    """Something is lost in the busy hour of a mean day: how far the work falls behind, and when it has caught up."""
    tickets = world.mean(found.plan.cells) * PROFILE[BUSY_HOUR]
    made, assumed = world.stages(found.plan, tickets), world.assumed
    shard = Lost("routing", "shard", 0, 20, 20 + assumed.failover_s)
    cases: list[tuple[str, list[Lost]]] = [
        ("nothing", []),
        ("a replica of ingest down for 60 s", [Lost("ingest", "replica", 0, 20, 80)]),
        ("a replica of routing down for 60 s", [Lost("routing", "replica", 0, 20, 80)]),
        (f"a shard of routing down for {assumed.failover_s:.0f} s", [shard]),
    ]
    rows = []
    for what, gone in cases:
        seen = window(made, world.flow, lambda _: tickets, tickets, 150, losses=gone,
                      session=assumed.session_s, rebalance=assumed.rebalance_s)  # fmt: skip
        stage = gone[0].stage if gone else "routing"
        calm = 3 * max(20, round(_usual(made, stage, tickets)))
        drained = seen.drained(stage, 20, calm) if gone else None
        caught = "–" if drained is None else f"{drained:.0f}"
        rows.append((what, ms(seen.p50 * 1000), ms(seen.p99 * 1000), seen.lag(stage), caught))
    return table(("failure", "p50 ms", "p99 ms", "most records behind", "caught up after, s"), rows)


def _usual(made: Sequence[Stage], name: str, tickets: float) -> float:
    stage = next(s for s in made if s.name == name)
    return tickets * stage.records * stage.cycle(1)


def disk(world: World, found: Found) -> str:
    """Bytes and money."""
    assumed, day_ = world.assumed, world.assumed.tickets_a_day
    short, long = world.log_bytes()
    kept = (short * assumed.days_inbound + long * assumed.days_events) * day_ * assumed.replication
    stored = world.document_bytes() * day_ * assumed.replication
    rows = [
        ("Kafka: bytes per ticket over its lifetime", f"{short + long:,.0f}"),
        ("… written per day, before replication, GB", f"{(short + long) * day_ / 1e9:,.0f}"),
        ("… on disk within retention, all copies, TB", f"{kept / 1e12:,.1f}"),
        ("MongoDB: bytes per ticket in all four databases, with indexes", f"{world.document_bytes():,.0f}"),
        ("… growth per day, all copies, GB", f"{stored / 1e9:,.0f}"),
        ("… after a year, TB (nothing is deleted)", f"{stored * 365 / 1e12:,.0f}"),
    ]
    money = world.month(found)
    total = sum(money.values())
    bill = [*((name, f"{usd:,.0f}") for name, usd in money.items()), ("total", f"{total:,.0f}"),
            ("… per 1,000 tickets, USD", f"{total / (day_ * 30 / 1000):.4f}")]  # fmt: skip
    title = f"{found.plan.cells} cell(s), prices as assumed"
    return "\n\n".join([table(("disk", "figure"), rows), table((f"USD per month: {title}", "figure"), bill)])


def page(plain: World, mended: World, *, seconds: float = 20.0, say: Callable[[str], None] = lambda _: None) -> str:
    """Everything, as Markdown. `say` is told what is being worked at."""
    say("growth of one cell")
    grown = growth(plain, seconds)
    say("cells")
    smallest, found = sizes(plain, mended, seconds)
    holding = [f for f in found[: len(CELLS)] if f.holds]
    chosen = min(holding, key=lambda f: f.plan.cells * f.plan.vcpus(plain.assumed.replication)) if holding else found[0]
    one = next((f for f in found[len(CELLS) :] if f.holds), None)
    say("choices, days and losses")
    parts = [
        inputs(plain),
        f"### Checks\n\n{checks(plain)}",
        f"### Load\n\n{load(plain)}",
        f"### Ordinary sizes, with two replicas of each service\n\nDisk counts all copies.\n\n{installations(plain)}",
        f"### Growth of one cell, with the current code\n\nx1 is {ONE:,} tickets a day.\n\n{grown}",
        f"### Options for one cell of {ONE:,} tickets a day, at its peak\n\n{choices(plain, seconds / 2)}",
        f"### Smallest plans for {plain.assumed.tickets_a_day:,.0f} tickets a day, by number of cells\n\n{smallest}",
        f"### A day of one of {chosen.plan.cells} cells\n\n{through_the_day(plain, chosen)}",
        f"### Failures in the busy hour of one of {chosen.plan.cells} cells\n\n{losses(plain, chosen)}",
        f"### Disk and cost\n\n{disk(plain, chosen)}",
    ]
    if one is not None:
        parts.append(f"With items 1 to 3 mended:\n\n{disk(mended, one).partition(chr(10) * 2)[2]}")
    return "\n\n".join(parts)
