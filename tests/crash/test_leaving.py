"""SIGTERM at random moments under load: every process leaves with code 0 in its grace, and nothing is lost by it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from cli.fleet import SERVICES, Replica
from tests.crash.faults import until_open
from tests.crash.people import Customers
from tests.system.rig import System, system

GRACE = 20.0
"""`grace_seconds` of the settings."""


async def _leave(replica: Replica, random: Random, times: int) -> list[str]:
    """End and start a service again and again; returns what was not right."""
    wrong = []
    for _ in range(times):
        await until_open(replica)  # before its doors are open the signal's default action ends it
        await asyncio.sleep(random.uniform(0, 3))
        begin = time.monotonic()
        code = await asyncio.to_thread(replica.stop)
        seconds = time.monotonic() - begin
        if code != 0 or seconds > GRACE + 2:
            wrong.append(f"{replica.name} left with code {code} after {seconds:.1f} s")
        replica.start()
    return wrong


async def _campaign(deskbus: System, seed: int, signals: int) -> None:
    print(f"seed {seed}")
    deskbus.start()
    await deskbus.agents(capacity=10_000)
    leaving = [
        asyncio.create_task(_leave(deskbus.one(service), Random(f"{seed} {service}"), signals // len(SERVICES)))
        for service in SERVICES
    ]
    customers = Customers(deskbus.traffic, seed, 100_000, rate=15)
    async with deskbus.doors(patience=900, at_once=256) as doors:  # its one door is away half of the time
        pieces, sending = customers.pieces(), set()
        while not all(task.done() for task in leaving):
            sending.add(asyncio.create_task(doors.send(next(pieces))))
            await asyncio.sleep(1 / customers.rate)
        await asyncio.gather(*sending)
    wrong = [fault for task in leaving for fault in task.result()]
    assert not wrong, f"seed {seed}: {wrong}"
    report = await deskbus.settled(len(sending), 240)
    assert report.clean, report.faults
    assert report.counts["dead letters"] == 0


@pytest.fixture
async def deskbus(environment: dict[str, str], topics: str, tmp_path: Path) -> AsyncIterator[System]:
    async with system(environment, tmp_path / "logs") as made:
        yield made


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_twelve_signals_end_twelve_processes_in_good_order(deskbus: System) -> None:
    await _campaign(deskbus, secrets.randbelow(1_000_000), 12)


@pytest.mark.crash
@pytest.mark.timeout(3600)
async def test_a_hundred_signals_end_a_hundred_processes_in_good_order(deskbus: System) -> None:
    await _campaign(deskbus, secrets.randbelow(1_000_000), 100)
