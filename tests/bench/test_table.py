"""The rows of the table: what counts as reached, and that figures taken elsewhere say so."""

from typing import Any

import pytest

from tests.bench import stored, table, traced, whole
from tests.bench.tickets import Run

CPU = {"load": 9.0, "ingest": 1.0, "kafka": 1.5, "sum": 2.5}


def tickets(**changed: Any) -> dict[str, Any]:
    past = {"rate": 600.0, "floor_rate": 1000.0, "ratio": 0.6, "cpu": CPU, "floor_cpu": CPU, "cpu_ratio": 1.0}
    half = {"offered": 300.0, "p50_ms": 30.0, "p99_ms": 100.0, "seen_p50_ms": 31.0, "seen_p99_ms": 101.0}
    return {"past_the_door": past | changed, "through_the_door": {"rate": 510.0, "cpu": CPU}, "half_rate": half}


def clocks(**changed: Any) -> dict[str, Any]:
    late = {"armed": 105_000, "late_p50_ms": 60.0, "late_p99_ms": 240.0, "burst": 4_000, "per_second": 2_100.0}
    return late | {"sla_mb": 120.0, "cpu": {"sla": 0.5, "mongodb": 2.0}} | changed


def taken(machine: str = "one", **changed: Any) -> dict[str, Any]:
    given = {"machine": {"processor": machine}, "at": "2026-11-22T10:00+00:00", "seconds": 93.4, "busy_percent": 2.0}
    return {"taken": given | {"load_before": 0.1, "load_after": 1.9, "sizes": {"tickets": 2_000}} | changed}


def runs(*cpu: float) -> list[Run]:
    return [Run(1_000, 10.0, {"load": 50.0, "ingest": seconds, "mongodb": 1.0}) for seconds in cpu]


def steady(p50: float = 14.0, p99: float = 140.0, *, twice: float = 1.3) -> dict[str, Any]:
    def row(rate: int, sum_of: float) -> dict[str, Any]:
        return {"rate": rate, "p50_ms": p50, "p99_ms": p99, "cpu": CPU | {"sum": sum_of}}

    def run(replicas: int, sum_of: float) -> dict[str, Any]:
        growing = row(200, sum_of) | {"p50_ms": 900.0} if replicas == 1 else None
        return {"replicas": replicas, "rates": [row(rate, sum_of) for rate in (10, 50, 100, 200)], "growing": growing}

    return {"runs": [run(1, 2.0), run(2, 2.0 * twice)]}


@pytest.mark.parametrize(
    ("part", "figures", "missed"),
    [
        ("steady", steady(), set()),
        ("steady", steady(p50=16.0), {"from accepted to assigned, at 10/s with agents solving"}),
        ("steady", steady(p99=151.0), {f"from accepted to assigned, at {n}/s with agents solving" for n in (100, 200)}),
        ("steady", steady(twice=1.41), {"  CPU of two processes of each, compared with one"}),
        ("tickets", tickets(), set()),
        ("tickets", tickets(rate=499.9), {"tickets per second, records fed past the door"}),
        ("tickets", tickets(ratio=0.49), {"  compared with the floor"}),
        ("tickets", tickets(cpu=CPU | {"sum": 3.51}), {"  CPU seconds per 1,000 tickets"}),
        ("clocks", clocks(), set()),
        ("clocks", clocks(late_p99_ms=251.0), {"delay of a deadline, 105,000 clocks armed"}),
        ("clocks", clocks(per_second=1_999.0), {"  breaches per second"}),
    ],
)
def test_a_goal_is_missed_by_what_is_beyond_it_alone(part: str, figures: dict[str, Any], missed: set[str]) -> None:
    rows = table.lines({part: figures})
    assert {row.what for row in rows if row.reached is False} == missed
    assert any(row.reached for row in rows)


def test_what_runs_over_a_store_in_memory_is_named_so_and_reaches_no_goal() -> None:
    rows = table.lines({"in-memory": {"tickets": tickets(), "clocks": clocks()}})
    assert len(rows) == len(table.lines({"tickets": tickets(), "clocks": clocks()}))
    assert all(row.what.startswith((table.IN_MEMORY, "  ")) for row in rows)
    assert {(row.goal, row.reached) for row in rows} == {("", None)}


def test_replicas_are_compared_with_one_process_of_each_service() -> None:
    found = [{"replicas": n, "rate": 100.0, "cpu": CPU | {"sum": 2.5 * n}, "at_rest_cores": 0.1} for n in (1, 2, 4)]
    costs = [row.measured for row in table.lines({"replicas": {"runs": found}}) if "CPU seconds" in row.what]
    assert costs == [
        "2.50, 1.00 times the cost with one",
        "5.00, 2.00 times the cost with one",
        "10.00, 4.00 times the cost with one",
    ]


def test_cost_beside_many_is_compared_with_the_cheaper_of_before_and_after_without_the_load() -> None:
    found = stored.result(200, 20_000, runs(1.0, 2.0), runs(4.0)[0])
    assert found["ratio"] == 5.0 / 2.0
    rows = table.lines({"stored": found | {"in_store": 20_100, "memory": {"sla": 199.0, "notify": 201.0}}})
    assert rows[0].what == "CPU per ticket with 100 times as many stored tickets"
    assert {row.what: row.reached for row in rows if row.goal} == {
        rows[0].what: False,
        "memory of sla, 20,100 tickets stored": True,
        "memory of notify, 20,100 tickets stored": False,
    }


def test_a_rate_is_compared_with_the_floor_turn_by_turn() -> None:
    ours = [Run(100, seconds, {"ingest": 1.0}) for seconds in (1.0, 4.0, 2.0)]
    bare = [Run(100, seconds, {"ingest": 0.5}) for seconds in (0.5, 2.0, 0.2)]
    found = whole.compared(ours, bare)
    assert (found["rate"], found["ratio"], found["cpu_ratio"]) == (50.0, 0.5, 2.0)


def test_one_machine_is_named_once_and_another_one_with_its_parts() -> None:
    same = {"tickets": tickets() | taken(), "clocks": clocks() | taken()}
    assert table.machines(same) == ["processor: one"]
    other = same | {"clocks": clocks() | taken("two")}
    assert table.machines(other) == ["tickets: processor: one", "clocks: processor: two"]


def test_the_page_tells_when_each_part_ran_and_what_else_the_machine_did() -> None:
    page = table.page({"clocks": clocks() | taken()})
    assert "| clocks | 2026-11-22T10:00+00:00 | 93 s | 2 % | 0.1 to 1.9 | tickets 2,000 |" in page
    assert "| … breaches per second | 2100 (of 4,000 at one instant) | 2,000 | yes |" in page


def test_tracing_is_compared_with_off_in_the_same_turn() -> None:
    off, on = runs(1.0, 3.0), runs(2.0, 3.3)
    figures = {mode: traced.compared(off, each) for mode, each in (("off", off), ("all", on))}
    assert figures["all"]["cpu_ratio"] == pytest.approx((2.0 + 1.1) / 2)
    rows = table.lines({"tracing": {"runs": figures}})
    assert [row.measured for row in rows] == ["2.00", "100", "2.65, 1.55 times off", "100, 1.00 times off"]
