"""The report: one table with what is aimed at, as text for people and as a page for docs/. Nothing is measured here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Line(NamedTuple):
    """One row. `reached` None: a figure to know, without a goal."""

    what: str
    measured: str
    goal: str = ""
    reached: bool | None = None


def lines(r: Mapping[str, Any]) -> list[Line]:
    """Rows for everything that was measured in this run."""
    rows: list[Line] = []
    if past := r.get("past_the_door"):
        rows.append(
            Line("tickets a second, records fed past the door", f"{past['rate']:.0f}", "500", past["rate"] >= 500)
        )
        if "ratio" in past:
            rows.append(
                Line(
                    "  against the floor",
                    f"{past['ratio']:.2f} (floor {past['floor_rate']:.0f}/s)",
                    "0.5",
                    past["ratio"] >= 0.5,
                )
            )
            rows.append(Line("  CPU against the floor's", f"{past['cpu_ratio']:.2f} times"))
        rows += _cpu("  ", past["cpu"])
    if door := r.get("through_the_door"):
        rows.append(Line("tickets a second, through the HTTP door", f"{door['rate']:.0f}", "500", door["rate"] >= 500))
        rows += _cpu("  ", door["cpu"])
    if half := r.get("half_rate"):
        text = f"p50 {half['p50_ms']:.0f} ms, p99 {half['p99_ms']:.0f} ms at {half['offered']:.0f}/s"
        rows.append(
            Line(
                "accepted to assigned at half that rate",
                text,
                "p50 40, p99 150 ms",
                half["p50_ms"] <= 40 and half["p99_ms"] <= 150,
            )
        )
        rows.append(
            Line("  as a subscriber sees it", f"p50 {half['seen_p50_ms']:.0f} ms, p99 {half['seen_p99_ms']:.0f} ms")
        )
    if only := r.get("door"):
        rows.append(
            Line("door, requests a second", f"{only['door_per_second']:.0f} (bare {only['bare_per_second']:.0f})")
        )
        rows.append(Line("  against the bare ASGI app", f"{only['ratio']:.2f}", "0.7", only["ratio"] >= 0.7))
        rows.append(Line("  CPU a request", f"{only['door_cpu_ms']:.2f} ms (bare {only['bare_cpu_ms']:.2f})"))
    if one := r.get("decision"):
        who = f"routing's decision, {one['agents']:,} agents, {one['skills']} skills"
        rows.append(
            Line(who, f"p50 {one['p50_us']:.0f} µs, p99 {one['p99_us']:.0f} µs", "p99 200 µs", one["p99_us"] <= 200)
        )
        rows.append(
            Line(
                "  with its claim in the index",
                f"p50 {one['with_claim_p50_us']:.0f} µs, p99 {one['with_claim_p99_us']:.0f} µs",
            )
        )
    if late := r.get("timers"):
        text = f"p50 {late['late_p50_ms']:.0f} ms, p99 {late['late_p99_ms']:.0f} ms"
        rows.append(
            Line(
                f"lateness of a deadline, {late['armed']:,} clocks armed",
                text,
                "p99 250 ms",
                late["late_p99_ms"] <= 250,
            )
        )
        rows.append(
            Line(
                "  breaches a second",
                f"{late['per_second']:.0f} (of {late['burst']:,} at one instant)",
                "2,000",
                late["per_second"] >= 2000,
            )
        )
    if many := r.get("stored"):
        text = f"{many['ratio']:.2f} times ({many['before']:,} to {many['after']:,} stored)"
        rows.append(Line("CPU per ticket at 100 times the stored tickets", text, "1.1 times", many["ratio"] <= 1.1))
    for name, mb in r.get("memory", {}).items():
        rows.append(Line(f"memory of {name}", f"{mb:.0f} MB", "200 MB", mb <= 200))
    return rows


def _cpu(indent: str, cpu: Mapping[str, float]) -> list[Line]:
    apart = ", ".join(f"{name} {cpu[name]:.2f}" for name in cpu if name not in {"sum", "load"})
    total = cpu["sum"]
    return [
        Line(f"{indent}CPU seconds per 1,000 tickets", f"{total:.2f}", "3.5", total <= 3.5),
        Line(f"{indent}{indent}of these", apart),
        Line(f"{indent}{indent}load generator, apart", f"{cpu.get('load', 0):.2f}"),
    ]


def text(result: Mapping[str, Any]) -> str:
    """The table for a terminal."""
    rows = lines(result)
    widths = max(len(row.what) for row in rows), max(len(row.measured) for row in rows)
    head = [f"{name}: {value}" for name, value in result["machine"].items()]
    body = [f"{r.what:<{widths[0]}}  {r.measured:<{widths[1]}}  {r.goal:<20}{_mark(r.reached)}".rstrip() for r in rows]
    return "\n".join([", ".join(head), "", *body])


def page(result: Mapping[str, Any]) -> str:
    """The table for docs/performance.md."""
    head = [f"- {name}: {value}" for name, value in result["machine"].items()]
    body = [f"| {_cell(r.what)} | {r.measured} | {r.goal} | {_mark(r.reached)} |" for r in lines(result)]
    return "\n".join([*head, "", "| what | measured | goal | reached |", "|---|---|---|---|", *body])


def _cell(what: str) -> str:
    return "… " + what.strip() if what.startswith(" ") else what


def _mark(reached: bool | None) -> str:
    return "" if reached is None else "yes" if reached else "no"


def median(values: Sequence[float]) -> float:
    """The middle one."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
