"""A rolling upgrade, and the way back: two releases work side by side on the same topics and databases.

`make upgrade-check FROM=REVISION`. Replicas are replaced one at a time under load, in the order of docs/upgrade.md.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import tarfile
from collections.abc import AsyncIterator
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest

from cli.fleet import ROOT, Replica
from contracts.topics import TOPICS
from kit.base.clock import SystemClock
from tests.crash import stores, verdict
from tests.crash.people import Customers, Staff, mark
from tests.system.rig import System, system, until

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]
ORDER = ("notify", "sla", "routing", "ingest")
REPLICAS = 2
MESSAGES, RATE = 30, 6.0
"""Messages sent after each replacement, and how many a second."""


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the release that is upgraded."""
    revision = os.environ.get("DESKBUS_UPGRADE_FROM", "")
    if not revision:
        pytest.skip("needs DESKBUS_UPGRADE_FROM, a revision of this repository")
    folder = tmp_path_factory.mktemp("earlier")
    packages = ["contracts", "deploy", "kit", "services"]
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", revision, *packages], check=True, capture_output=True
    ).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder


@pytest.fixture
async def deskbus(environment: dict[str, str], topics: str, tmp_path: Path) -> AsyncIterator[System]:
    async with system(environment, tmp_path / "logs") as made:
        yield made


async def replace(replica: Replica, root: Path) -> None:
    assert await asyncio.to_thread(replica.stop) == 0, replica.log
    replica.root = root
    await asyncio.to_thread(replica.start)
    await asyncio.to_thread(replica.wait_ready)


async def roll(deskbus: System, customers: Customers, root: Path) -> None:
    """Replace all replicas, one at a time, with messages and commands in between."""
    for service in ORDER:
        for replica in deskbus.fleet.of(service):
            await replace(replica, root)
            goal = min(customers.sent + MESSAGES, customers.count)
            await until(partial(_sent, customers, goal), 120, f"{goal} messages are sent")


async def _sent(customers: Customers, goal: int) -> bool:
    return customers.sent >= goal


async def test_nothing_is_lost_in_a_rolling_upgrade_nor_on_the_way_back(deskbus: System, earlier: Path) -> None:
    for service in ORDER:
        for _ in range(REPLICAS):
            deskbus.fleet.add(service).root = earlier
    await asyncio.to_thread(deskbus.fleet.start)
    customers = Customers(deskbus.traffic, seed=1, count=2 * len(ORDER) * REPLICAS * MESSAGES, rate=RATE)
    async with deskbus.doors(patience=120) as doors:
        staff = Staff(deskbus, doors, seed=1)
        await staff.hire(2 * customers.count)
        working = asyncio.create_task(staff.work())
        writing = asyncio.create_task(customers.write(doors))
        await roll(deskbus, customers, ROOT)
        await roll(deskbus, customers, earlier)
        await writing
        staff.at_rest = True
        working.cancel()
        await until(partial(_quiet, deskbus, customers), 240, "all work is done", pause=2)
    mongo, prefix = deskbus.environment["DESKBUS_MONGO"], deskbus.environment["DESKBUS_MONGO_PREFIX"]
    lines = await deskbus.lines(*(topic.name for topic in TOPICS))
    kept = await asyncio.to_thread(stores.read, mongo, prefix)
    told = {headers["webhook-id"] for path in ("/lead", "/oncall") for headers, _ in deskbus.receiver.to(path)}
    report = verdict.report(lines, SystemClock().now())
    assert verdict.faults(customers.seed, customers.count, lines, kept, told, report) == {}
    assert report.counts["breaches"]
    assert report.counts["commands"] >= staff.commands > 0
    print(f"{customers.count} messages, {staff.commands} commands, {report.counts}", flush=True)


async def _quiet(deskbus: System, customers: Customers) -> bool:
    """Every message has its ticket, every ticket an agent and a clock, and no store has anything left to do."""
    report = await deskbus.audit()
    texts = " ".join(await deskbus.texts())
    if any(report.open.values()) or any(mark(customers.seed, n) not in texts for n in range(customers.count)):
        return False
    mongo, prefix = deskbus.environment["DESKBUS_MONGO"], deskbus.environment["DESKBUS_MONGO_PREFIX"]
    return not stores.unsettled(await asyncio.to_thread(stores.read, mongo, prefix))
