"""Liveness is about what a restart heals, readiness about whether work should come."""

import asyncio

import httpx
import pytest

from kit.base.errors import TransientError
from kit.base.health import Health
from kit.doors.operators import operators_door
from tests.fake_clock import FakeClock
from tests.kit.test_clock import START


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


@pytest.fixture
def health(clock: FakeClock) -> Health:
    health = Health(clock, heartbeat_limit=30, check_seconds=0.05)
    health.started = True
    return health


async def fine() -> None:
    pass


async def away() -> None:
    raise TransientError("MongoDB is away")


async def hangs() -> None:
    await asyncio.Event().wait()


def test_poll_loop_that_stands_still_is_a_fault_after_its_limit(health: Health, clock: FakeClock) -> None:
    clock.advance(1000)
    assert health.liveness() == []  # it never began: the broker may be away
    health.beat()
    clock.advance(30)
    assert health.liveness() == []
    clock.advance(1)
    assert health.liveness() == ["poll loop: no heartbeat for 31 s"]
    health.beat()
    assert health.liveness() == []


def test_part_that_died_is_a_fault(health: Health) -> None:
    health.probe("coordinator", lambda: "has ended")
    health.probe("sender", lambda: None)
    assert health.liveness() == ["coordinator: has ended"]


async def test_server_that_is_away_touches_readiness_and_never_liveness(health: Health) -> None:
    health.check("store", away)
    health.check("hung", hangs)
    health.check("fine", fine)
    assert await health.readiness() == ["store: MongoDB is away", "hung: no answer"]
    assert health.liveness() == []


async def test_not_ready_before_start_up_has_ended_and_partitions_came(health: Health) -> None:
    health.started, health.assigned = False, False
    assert len(await health.readiness()) == 2
    health.started, health.assigned = True, True
    assert await health.readiness() == []


async def test_operators_door_says_why(health: Health) -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(operators_door("routing", health)), base_url="http://ops"
    ) as client:
        assert [(await client.get(path)).status_code for path in ("/livez", "/readyz")] == [200, 200]
        health.check("store", away)
        health.probe("poll", lambda: "has ended")
        live, ready = await client.get("/livez"), await client.get("/readyz")
        assert (live.status_code, live.json()) == (503, ["poll: has ended"])
        assert (ready.status_code, ready.json()) == (503, ["store: MongoDB is away"])
        scraped = await client.get("/metrics")
        assert 'deskbus_heartbeat_age_seconds{service="routing"}' in scraped.text
        assert (await client.get("/v1/tickets")).status_code == 404


async def test_a_check_that_is_registered_while_others_answer_does_not_disturb_them(health: Health) -> None:
    """A service registers its checks while it starts, and is asked meanwhile."""

    async def registers() -> None:
        health.check("later", away)

    health.check("first", registers)
    assert await health.readiness() == []
    assert await health.readiness() == ["later: MongoDB is away"]
