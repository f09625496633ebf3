"""The report: one table with goals, for the terminal and for docs/performance.md. Nothing is measured here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Figures = Mapping[str, Any]
IN_MEMORY = "journal in memory: "


class Line(NamedTuple):
    """One row. `reached` is None if there is no goal."""

    what: str
    measured: str
    goal: str = ""
    reached: bool | None = None


def lines(r: Figures) -> list[Line]:
    """Return the rows of every part that was measured."""
    return [row for part, rows in ROWS.items() if part in r for row in rows(r[part])]


def _tickets(r: Figures) -> list[Line]:
    past, door, half = r["past_the_door"], r["through_the_door"], r["half_rate"]
    floor = f"{past['ratio']:.2f} (floor {past['floor_rate']:.0f}/s)"
    text = f"p50 {half['p50_ms']:.0f} ms, p99 {half['p99_ms']:.0f} ms at {half['offered']:.0f}/s"
    reached = half["p50_ms"] <= 40 and half["p99_ms"] <= 150
    seen = f"p50 {half['seen_p50_ms']:.0f} ms, p99 {half['seen_p99_ms']:.0f} ms"
    return [
        Line("tickets per second, records fed past the door", f"{past['rate']:.0f}", "500", past["rate"] >= 500),
        Line("  compared with the floor", floor, "0.5", past["ratio"] >= 0.5),
        Line("  CPU compared with the floor", f"{past['cpu_ratio']:.2f} times"),
        *_cpu(past["cpu"]),
        Line("tickets per second, through the HTTP door", f"{door['rate']:.0f}", "500", door["rate"] >= 500),
        *_cpu(door["cpu"]),
        Line("from accepted to assigned, at half that rate", text, "p50 40, p99 150 ms", reached),
        Line("  until a subscriber has it", seen),
    ]


def _cpu(cpu: Mapping[str, float]) -> list[Line]:
    total = cpu["sum"]
    return [
        Line("  CPU seconds per 1,000 tickets", f"{total:.2f}", "3.5", total <= 3.5),
        Line("    of these", _apart(cpu)),
        Line("    load generator, not included", f"{cpu.get('load', 0):.2f}"),
    ]


def _apart(cpu: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {cpu[name]:.2f}" for name in cpu if name not in {"sum", "load"})


def _door(r: Figures) -> list[Line]:
    return [
        Line("door, requests per second", f"{r['door_per_second']:.0f} (bare {r['bare_per_second']:.0f})"),
        Line("  compared with the bare ASGI app", f"{r['ratio']:.2f}", "0.7", r["ratio"] >= 0.7),
        Line("  CPU per request", f"{r['door_cpu_ms']:.2f} ms (bare {r['bare_cpu_ms']:.2f})"),
    ]


def _decision(r: Figures) -> list[Line]:
    who = f"routing decision, {r['agents']:,} agents, {r['skills']} skills"
    claim = f"p50 {r['with_claim_p50_us']:.0f} µs, p99 {r['with_claim_p99_us']:.0f} µs"
    return [
        Line(who, f"p50 {r['p50_us']:.0f} µs, p99 {r['p99_us']:.0f} µs", "p99 200 µs", r["p99_us"] <= 200),
        Line("  including the claim in the index", claim),
    ]


def _clocks(r: Figures) -> list[Line]:
    late = f"p50 {r['late_p50_ms']:.0f} ms, p99 {r['late_p99_ms']:.0f} ms"
    many = f"{r['per_second']:.0f} (of {r['burst']:,} at one instant)"
    what = f"delay of a deadline, {r['armed']:,} clocks armed"
    return [
        Line(what, late, "p99 250 ms", r["late_p99_ms"] <= 250),
        Line("  breaches per second", many, "2,000", r["per_second"] >= 2000),
        Line("  CPU seconds per 1,000 breaches", _apart(r["cpu"])),
        Line("  memory of sla", f"{r['sla_mb']:.0f} MB"),
    ]


def _in_memory(r: Figures) -> list[Line]:
    """Return the rows without goals: those are for runs with the journal on disk."""
    rows = [*_tickets(r["tickets"]), *_clocks(r["clocks"])]
    named = [row if row.what.startswith(" ") else row._replace(what=IN_MEMORY + row.what) for row in rows]
    return [row._replace(goal="", reached=None) for row in named]


def _replicas(r: Figures) -> list[Line]:
    rows = []
    for run in r["runs"]:
        count, sum_of = run["replicas"], run["cpu"]["sum"]
        each = "1 process of each service" if count == 1 else f"{count} processes of each service"
        rows.append(Line(f"tickets per second past the door, {each}", f"{run['rate']:.0f}"))
        rows.append(
            Line("  CPU seconds per 1,000 tickets", f"{sum_of:.2f}, {sum_of / _first(r):.2f} times the cost with one")
        )
        rows.append(Line("    of these", _apart(run["cpu"])))
        rows.append(Line("  CPU when idle", f"{run['at_rest_cores']:.2f} of a core"))
    return rows


def _first(r: Figures) -> float:
    return float(r["runs"][0]["cpu"]["sum"])


def _steady(r: Figures) -> list[Line]:
    one, two = r["runs"]
    rows = []
    for run in r["runs"]:
        each = "" if run["replicas"] == 1 else f", {run['replicas']} processes of each service"
        for row in run["rates"]:
            goal, reached = _steady_goal(row) if run["replicas"] == 1 else ("", None)
            what = f"from accepted to assigned, at {row['rate']}/s with agents solving{each}"
            rows.append(Line(what, f"p50 {row['p50_ms']:.0f} ms, p99 {row['p99_ms']:.0f} ms", goal, reached))
            rows.append(Line("  CPU ms per ticket, solving included", f"{row['cpu']['sum']:.1f}"))
    growing = one["growing"]
    text = f"p50 {growing['p50_ms']:.0f} ms, p99 {growing['p99_ms']:.0f} ms"
    rows.append(Line(f"  at {growing['rate']}/s without solving", text))
    times = [b["cpu"]["sum"] / a["cpu"]["sum"] for a, b in zip(one["rates"], two["rates"], strict=True)]
    rows.append(
        Line(
            "  CPU of two processes of each, compared with one",
            f"{max(times):.2f} times at most",
            "1.4 times",
            max(times) <= 1.4,
        )
    )
    return rows


def _steady_goal(row: Figures) -> tuple[str, bool | None]:
    """The goals of a rate; 50 a second has none of its own."""
    match row["rate"]:
        case 10:
            return "p50 15 ms", row["p50_ms"] <= 15
        case 100 | 200:
            return "p50 40, p99 150 ms", row["p50_ms"] <= 40 and row["p99_ms"] <= 150
    return "", None


def _stored(r: Figures) -> list[Line]:
    times = f"{r['after'] / r['before']:.0f} times"
    text = f"{r['ratio']:.2f} times ({r['before']:,} to {r['after']:,} stored)"
    before, after = r["cpu_before"], r["cpu_after"]
    sums = " and ".join(f"{cost:.2f}" for cost in r["sums_before"])
    return [
        Line(f"CPU per ticket with {times} as many stored tickets", text, "1.1 times", r["ratio"] <= 1.1),
        Line("  CPU seconds per 1,000 tickets", f"{after['sum']:.2f}; with few stored: {sums}"),
        Line("    of these, with few stored", _apart(before)),
        Line("    of these, with many stored", _apart(after)),
        *(
            Line(f"memory of {name}, {r['in_store']:,} tickets stored", f"{mb:.0f} MB", "200 MB", mb <= 200)
            for name, mb in r["memory"].items()
        ),
    ]


def _tracing(r: Figures) -> list[Line]:
    rows = []
    for mode, run in r["runs"].items():
        times = "" if mode == "off" else f", {run['cpu_ratio']:.2f} times off"
        rows.append(Line(f"CPU seconds of the services per 1,000 tickets, tracing {mode}", f"{run['cpu']:.2f}{times}"))
        against = "" if mode == "off" else f", {run['rate_ratio']:.2f} times off"
        rows.append(Line("  tickets per second, through the HTTP door", f"{run['rate']:.0f}{against}"))
    return rows


ROWS: dict[str, Callable[[Figures], list[Line]]] = {
    "tickets": _tickets,
    "in-memory": _in_memory,
    "replicas": _replicas,
    "stored": _stored,
    "steady": _steady,
    "door": _door,
    "decision": _decision,
    "clocks": _clocks,
    "tracing": _tracing,
}


def machines(result: Figures) -> list[str]:
    """Name the machine, once when all parts ran on the same, else each with its parts."""
    parts: dict[str, list[str]] = {}
    for part, figures in result.items():
        parts.setdefault(", ".join(f"{k}: {v}" for k, v in figures["taken"]["machine"].items()), []).append(part)
    return list(parts) if len(parts) == 1 else [f"{', '.join(names)}: {text}" for text, names in parts.items()]


def runs(result: Figures) -> list[tuple[str, ...]]:
    """Return for each part when and how long it ran, the machine's other load, and the sizes."""
    found: list[tuple[str, ...]] = []
    for part, figures in result.items():
        t = figures["taken"]
        sizes = ", ".join(f"{name} {size:,}" for name, size in t["sizes"].items())
        load = f"{t['load_before']:.1f} to {t['load_after']:.1f}"
        found.append((part, t["at"], f"{t['seconds']:.0f} s", f"{t['busy_percent']:.0f} %", load, sizes))
    return found


HEADS = ("part", "started", "took", "cores busy before", "load", "sizes")


def text(result: Figures) -> str:
    """The table for a terminal."""
    rows = lines(result)
    widths = max(len(row.what) for row in rows), max(len(row.measured) for row in rows)
    body = [f"{r.what:<{widths[0]}}  {r.measured:<{widths[1]}}  {r.goal:<20}{_mark(r.reached)}".rstrip() for r in rows]
    taken = [", ".join(f"{head} {value}" for head, value in zip(HEADS, run, strict=True)) for run in runs(result)]
    return "\n".join([*machines(result), *taken, "", *body])


def page(result: Figures) -> str:
    """The table for docs/performance.md."""
    body = [f"| {_cell(r.what)} | {r.measured} | {r.goal} | {_mark(r.reached)} |" for r in lines(result)]
    table = ["| what | measured | goal | reached |", "|---|---|---|---|", *body]
    taken = [f"| {' | '.join(run)} |" for run in (HEADS, ("---",) * len(HEADS), *runs(result))]
    return "\n".join([*(f"- {machine}" for machine in machines(result)), "", *table, "", *taken])


def _cell(what: str) -> str:
    return "… " + what.strip() if what.startswith(" ") else what


def _mark(reached: bool | None) -> str:
    return "" if reached is None else "yes" if reached else "no"
