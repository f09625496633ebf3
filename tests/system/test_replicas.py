"""Two replicas of every service share the work; what one leaves behind, timers too, the other takes over."""

from __future__ import annotations

import time

import pytest

from cli.fleet import SERVICES
from contracts import topics
from tests.system.rig import System, pieces, until

pytestmark = pytest.mark.timeout(300)


async def test_a_killed_replicas_partitions_and_timers_move_to_the_other(deskbus: System) -> None:
    deskbus.start(replicas=2)
    await deskbus.agents()
    async with deskbus.doors(patience=60) as doors:
        await doors.send_all(pieces(deskbus, 40))
        report = await deskbus.settled(40)
        assert report.clean, report.faults
        shares = [await _owned(deskbus, service) for service in SERVICES]
        assert all(len(share) == 2 and min(share) > 0 for share in shares), shares

        quick = [deskbus.traffic.webhook("allegro-pl", text=f"szybko {n}", tags=["quick"]) for n in range(12)]
        await doors.send_all(quick)
        await deskbus.settled(52)
        for service in SERVICES:
            deskbus.one(service).kill()
        killed = time.monotonic()
        deskbus.fleet.replicas = [r for r in deskbus.fleet.replicas if r.alive]

        async def all_breached() -> bool:
            return len(await deskbus.events(topics.SLA, "deskbus.sla.breached.v1")) == len(quick)

        await until(all_breached, 30, "the survivors fire every timer")
        moved = time.monotonic() - killed
    async with deskbus.doors(patience=60) as doors:
        await doors.send_all(pieces(deskbus, 20))
    report = await deskbus.settled(72)
    assert report.clean, report.faults
    assert moved < 15 + 2, "the session time-out is the bound; the quick tickets are due after two seconds"


async def _owned(deskbus: System, service: str) -> list[int]:
    """How many partitions each replica says it has."""
    counts = []
    for replica in deskbus.fleet.of(service):
        text = (await deskbus.http.get(f"{replica.ops_url}/metrics")).text
        line = next(x for x in text.splitlines() if x.startswith("deskbus_partitions_assigned"))
        counts.append(int(float(line.rpartition(" ")[2])))
    return counts
