"""Services die in turn while customers write: afterwards nothing is lost, doubled or given to two people."""

from __future__ import annotations

import asyncio

import pytest

from cli.fleet import SERVICES
from contracts import topics
from tests.system.rig import System, pieces, until

pytestmark = pytest.mark.timeout(400)
MESSAGES = 500


async def test_with_each_service_killed_in_turn_nothing_is_lost(deskbus: System) -> None:
    deskbus.start()
    await deskbus.agents(capacity=200)
    todo = pieces(deskbus, MESSAGES)
    quick = [deskbus.traffic.webhook("allegro-pl", text=f"szybko {n}", tags=["quick"]) for n in range(10)]
    share = len(todo) // len(SERVICES)
    async with deskbus.doors(patience=120) as doors:
        await doors.send_all(quick)
        for turn, service in enumerate(SERVICES):
            replica = deskbus.one(service)
            sending = asyncio.create_task(doors.send_all(todo[turn * share : (turn + 1) * share]))
            await _some_of(deskbus, turn * share + share // 3)
            replica.kill()
            replica.start()
            await asyncio.to_thread(replica.wait_ready)
            await sending
        await doors.send_all(todo[len(SERVICES) * share :])
    report = await deskbus.settled(MESSAGES + len(quick), 180)

    async def breached() -> bool:
        return len(await deskbus.events(topics.SLA, "deskbus.sla.breached.v1")) >= len(quick)

    await until(breached, 60, "every quick ticket is breached")
    report = await deskbus.audit()
    assert report.clean, report.faults
    assert report.counts["breaches"] == len(quick)
    assert report.counts["dead letters"] == 0
    assert report.counts["assigned"] == report.counts["tickets"]


async def _some_of(deskbus: System, messages: int) -> None:
    """Wait until the door has taken so many, so that the kill comes while work is in hand."""

    async def taken() -> bool:
        return len(await deskbus.lines(topics.INBOUND)) >= messages

    await until(taken, 60, f"{messages} messages are taken")
