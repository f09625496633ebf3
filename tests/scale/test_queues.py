"""The simulated queues against what queueing theory says of them, and what must hold whatever is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from tests.scale.cell import window
from tests.scale.figures import SERVICES
from tests.scale.pipeline import Clockwork, Lost, Seen, Service, poisson
from tests.scale.work import Flow, Stage

PLAIN = Stage("one", 1, 1, 1, 1, 1.0, cpu=0.0, store=0.0, batch_cpu=0.0, trips=0.0, publish=0.0, commit=0.0)
FLOW = Flow(dict.fromkeys(SERVICES, 1.0), {"ingest": 1.0, "routing": 1.0, "sla": 1.0, "notify": 3.0})


def run(stage: Stage, rate: float, seconds: float, *, seed: int = 7, losses: Sequence[Lost] = ()) -> Seen:
    clock, random = Clockwork(), Random(seed)
    service = Service(stage, clock, random)
    for lost in losses:
        service.lose(lost)
    poisson(clock, random, lambda _: rate, rate, seconds, lambda: service.take([clock.now]))
    for second in range(int(seconds)):
        clock.at(second, service.look)
    clock.run()
    return service.seen


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_one_record_at_a_time_waits_as_long_as_theory_says(load: float) -> None:
    """M/D/1: the mean time in the queue is load * service / 2 (1 - load)."""
    service = 0.01
    seen = run(replace(PLAIN, batch=1, batch_cpu=service), load / service, 400)
    expected = service + load * service / (2 * (1 - load))
    assert mean(seen.waits) == pytest.approx(expected, rel=0.05)


def test_a_shard_is_a_queue_of_its_own() -> None:
    """With a replica for nearly every record, what waits is a shard's one lane: M/D/1 again."""
    work, load = 0.01, 0.7
    stage = replace(PLAIN, batch=1, store=work, replicas=400, partitions=400)
    seen = run(stage, load / work, 300)
    assert mean(seen.waits) == pytest.approx(work + load * work / (2 * (1 - load)), rel=0.07)


def test_two_shards_do_twice_as_much() -> None:
    stage = replace(PLAIN, store=0.01, replicas=50, partitions=50)
    rate = 1.6 / 0.01  # more than one shard can do
    one, two = run(stage, rate, 20), run(replace(stage, shards=2), rate, 20)
    assert max(n for _, n in one.backlog) > 10 * max(n for _, n in two.backlog)


def test_what_a_stage_can_do_is_what_it_does_when_there_is_too_much() -> None:
    stage = replace(
        PLAIN, cpu=0.001, store=0.0005, batch_cpu=0.005, trips=0.02, publish=0.006, replicas=2, partitions=4
    )
    clock, random = Clockwork(), Random(1)
    service = Service(stage, clock, random)
    service.take([0.0] * 40_000)
    clock.run()
    assert service.seen.left / clock.now == pytest.approx(stage.capacity, rel=0.1)


def test_the_number_inside_is_the_rate_times_the_wait() -> None:
    """Little's law, which holds on every path that begins and ends empty."""
    stage = replace(PLAIN, cpu=0.001, store=0.002, batch_cpu=0.005, trips=0.01, replicas=2, partitions=4)
    seen = run(stage, 200, 60)
    assert seen.left == seen.arrived
    assert seen.inside == pytest.approx(sum(seen.waits), rel=1e-6)


@pytest.mark.parametrize("what", ["replica", "shard"])
def test_what_was_lost_leaves_a_backlog_that_drains(what: str) -> None:
    stage = replace(PLAIN, cpu=0.001, store=0.001, batch_cpu=0.005, trips=0.01, replicas=2, shards=2, partitions=4)
    calm = run(stage, 100, 80)
    seen = run(stage, 100, 80, losses=[Lost("one", what, 0, 20, 40)])
    behind = dict(seen.backlog)
    usual = max(n for _, n in calm.backlog)
    assert max(behind.values()) > 20 * usual
    assert max(n for at, n in behind.items() if at >= 70) <= 2 * usual
    assert seen.left == seen.arrived


def test_a_batch_in_the_hand_of_a_replica_that_died_is_handled_once_by_the_next_owner() -> None:
    stage = replace(PLAIN, batch_cpu=5.0, replicas=2, partitions=2)
    clock, random = Clockwork(), Random(1)
    service = Service(stage, clock, random, session=10.0, rebalance=2.0)
    service.lose(Lost("one", "replica", 0, 1.0, 1000.0))
    service.take([0.0] * 20)
    clock.run()
    late = [wait for wait in service.seen.waits if wait > 10.0]
    assert service.seen.left == 20
    assert 0 < len(late) < 20


def test_all_that_comes_in_leaves_every_service() -> None:
    stages = [
        replace(PLAIN, name=name, cpu=0.001, store=0.001, batch_cpu=0.002, trips=0.01, replicas=2, partitions=4)
        for name in SERVICES
    ]
    seen = window(stages, FLOW, lambda _: 40.0, 40.0, 20, losses=[Lost("routing", "replica", 1, 5, 12)], session=3)
    assert all(of.left == of.arrived > 0 for of in seen.seen.values())
    assert seen.seen["routing"].arrived == seen.seen["sla"].arrived
    assert 0 < seen.p50 <= seen.p99


def test_one_seed_is_one_run() -> None:
    stage = replace(PLAIN, cpu=0.001, store=0.002, batch_cpu=0.005, replicas=2, partitions=4, shards=2)
    assert run(stage, 100, 10).waits == run(stage, 100, 10).waits
    assert run(stage, 100, 10).waits != run(stage, 100, 10, seed=8).waits
