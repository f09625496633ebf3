"""What is read, what follows from it, and where it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.bench.record import show
from tests.scale import __main__ as command
from tests.scale.contention import Contention, contention
from tests.scale.figures import RECORD, SERVICES, Assumed, Costs, read
from tests.scale.plans import World
from tests.scale.roster import AgentCost
from tests.scale.work import Plan, flow

AGENT = AgentCost(read_us=50, reconcile_us=20, gauges_us=3, memory=4000, document=800)
CROWD = [Contention(1, 10, 0.0, 0.0), Contention(2, 10, 0.9, 0.0), Contention(4, 10, 2.8, 0.0)]


@pytest.fixture
def costs() -> Costs:
    return read()


def world(costs: Costs, tickets: float = 1_000_000, **changes: Any) -> World:
    return World(costs, replace(Assumed(), tickets_a_day=tickets, **changes), AGENT, CROWD)


def kept(path: Path, record: Mapping[str, Any]) -> Path:
    file = path / "performance.json"
    file.write_text(json.dumps(record), encoding="utf-8")
    return file


def test_what_the_record_lacks_is_named(tmp_path: Path) -> None:
    record = json.loads(RECORD.read_text("utf-8"))
    for name in ("timers", "clocks"):
        record.pop(name, None)
    missing = read(kept(tmp_path, record)).missing
    assert any(line.startswith("timers.per_second: ") for line in missing)
    assert not any(line.startswith("past_the_door") for line in missing)


def test_figures_are_found_also_where_each_part_of_the_bench_keeps_its_own(tmp_path: Path) -> None:
    record = {
        "tickets": {
            "past_the_door": {"rate": 100.0, "cpu": dict.fromkeys((*SERVICES, "kafka", "mongodb"), 1.0)},
            "written": {"writes per ticket": {"sla.clocks": 4.0}, "records per ticket": {"deskbus.sla.v1": 2.0}},
        },
        "clocks": {"per_second": 321.0},
        "replicas": {"runs": [{"replicas": 2, "cpu": {"sum": 7.0}, "at_rest_cores": 0.2}]},
    }
    costs = read(kept(tmp_path, record))
    assert costs.breaches == 321.0
    assert costs.store_ms == 0.25
    assert costs.replicas == {2: (7.0, 0.2)}
    assert any(line.startswith("written.bytes of a record: ") for line in costs.missing)


def test_without_the_costs_of_a_ticket_nothing_is_said(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match=r"past_the_door\.cpu"):
        read(kept(tmp_path, {"machine": {}}))


def test_a_ticket_is_followed_through_all_topics(costs: Costs) -> None:
    assumed = Assumed(messages=3, replies=2, reports=1, changes=2, later_assignments=0, later_clocks=4)
    of = flow(costs, assumed)
    assert of.later["ingest"] == 2 + 1 + 2 + 1  # messages, a report, replies and one command to solve
    assert of.later["routing"] == of.later["sla"] == 2 + 2 + 1 + 2
    assert of.later["notify"] == of.later["sla"] + 4


def test_more_tickets_never_need_less(costs: Costs) -> None:
    sizes = (500_000, 2_000_000, 10_000_000)
    small, middle, large = (world(costs, n).smallest(1, seconds=2).plan.vcpus(3) for n in sizes)
    assert small <= middle < large


def test_a_plan_keeps_its_headroom(costs: Costs) -> None:
    found = world(costs).smallest(1, seconds=2)
    assert max(found.shares.values()) <= Assumed().headroom


def test_queries_that_go_to_every_shard_are_not_thinned_by_shards(costs: Costs) -> None:
    def used(shards: int, replicas: int) -> float:
        plan = Plan(48, dict.fromkeys(SERVICES, replicas), dict.fromkeys(SERVICES, shards))
        return next(wall.used for wall in world(costs).walls(plan, 40) if "every shard" in wall.what)

    assert used(8, 4) == used(1, 4)
    assert used(1, 8) == pytest.approx(2 * used(1, 4))


def test_claims_that_collide_are_read_off_the_line_that_was_seen(costs: Costs) -> None:
    seen = world(costs)
    assert seen.lost_claims(1) == 0
    assert seen.lost_claims(3) == pytest.approx((0.9 + 2.8) / 2)
    assert seen.lost_claims(7) == pytest.approx(2.8 * 6 / 3)


async def test_replicas_that_share_agents_claim_the_same_ones() -> None:
    alone = await contention(1, people=12, per_replica=40, seconds=0.4)
    both = await contention(2, people=12, per_replica=40, seconds=0.4)
    assert alone.tickets > 0
    assert alone.lost == 0
    assert both.lost > 0


def test_assumptions_are_changed_by_name() -> None:
    assert command.assumptions(["headroom=0.5"]).headroom == 0.5
    with pytest.raises(ValueError, match="no assumption"):
        command.assumptions(["hedroom=0.5"])


def test_the_tables_are_written_between_their_marks(tmp_path: Path) -> None:
    page = tmp_path / "scale.md"
    page.write_text(f"before\n{command.MARKS[0]}\nold\n{command.MARKS[1]}\nafter\n", encoding="utf-8")
    show(page, "new", command.MARKS)
    assert page.read_text("utf-8") == f"before\n{command.MARKS[0]}\nnew\n{command.MARKS[1]}\nafter\n"
