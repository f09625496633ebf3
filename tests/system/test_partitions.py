"""An installation that moved to more partitions goes on where it was: numbers, timers and conversations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pymongo import MongoClient
from typer.testing import CliRunner, Result

from cli.__main__ import app
from cli.audit import Audit
from cli.collector import Report
from cli.reading import read
from cli.stores import KINDS
from cli.topics import delete_topics
from contracts import topics as catalogue
from contracts.tickets import MessageSent
from kit.protocol.record import partition_of
from tests.system.rig import PARTITIONS, System, pieces, system, until

pytestmark = pytest.mark.timeout(300)

MORE = 7
POLICY = """
on_change: keep
policies:
  - name: soon
    match: {tags: soon}
    targets: {first_reply: 25s}
  - name: default
    targets: {first_reply: 1h, next_reply: 1h, resolution: 8h}
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "sla.yaml"
    file.write_text(POLICY, encoding="utf-8")
    return file


@pytest.fixture
async def after(environment: dict[str, str], tmp_path: Path, policy: Path) -> AsyncIterator[System]:
    """The same databases under another prefix of topics, which do not exist yet."""
    new = environment | {"DESKBUS_TOPIC_PREFIX": f"n{environment['DESKBUS_TOPIC_PREFIX']}"}
    async with system(new, tmp_path / "logs-after", sla=policy) as made:
        yield made
    await delete_topics(made.kafka, made.prefix)


@pytest.fixture
async def before(environment: dict[str, str], topics: str, tmp_path: Path, policy: Path) -> AsyncIterator[System]:
    assert topics == environment["DESKBUS_TOPIC_PREFIX"]
    async with system(environment, tmp_path / "logs", sla=policy) as made:
        yield made


async def move(before: System, after: System, *options: str) -> Result:
    given = ["partitions", str(MORE), "--to-prefix", after.prefix, *options]
    return await asyncio.to_thread(CliRunner(env=before.environment).invoke, app, given)


async def audited(*installations: System) -> Report:
    whole = Audit()
    for each in installations:
        async for record in read(each.kafka, [topic.name for topic in catalogue.TOPICS], prefix=each.prefix):
            whole.feed(record)
    return whole.report()


def partitions(made: System) -> dict[str, int]:
    """Return the partition of every document, having compared it with its key's."""
    found: dict[str, int] = {}
    with MongoClient[dict[str, object]](made.environment["DESKBUS_MONGO"]) as client:
        for service, kinds in KINDS.items():
            for kind in kinds:
                database = client[f"{made.environment['DESKBUS_MONGO_PREFIX']}_{service}"]
                for row in database[kind.collection].find({}, ["partition"]):
                    key, stored = str(row["_id"]), row["partition"]
                    assert stored == partition_of(kind.home_key(key).encode(), MORE), (service, key)
                    assert isinstance(stored, int)
                    found[f"{service}.{kind.collection}/{key}"] = stored
    return found


async def test_services_go_on_in_more_partitions_where_they_were(before: System, after: System) -> None:
    before.start()
    await before.agents()

    async def drained() -> bool:
        return "has not handled" not in (await move(before, after)).output

    async with before.doors() as doors:
        await doors.send_all(pieces(before, 20))
        await before.settled(20)
        await until(drained, 60, "the services have handled everything", pause=1)
        # Last, since its deadline is to pass after the move.
        await doors.send(before.traffic.webhook("allegro-pl", text="Halo?", tags=["soon"]))
    await before.settled(21)

    refused = await move(before, after, "--apply")
    assert refused.exit_code == 1
    assert "deskbus.sla has 1 running consumers: stop the service" in refused.output

    await until(drained, 60, "the services have handled everything", pause=0.5)
    await asyncio.to_thread(before.fleet.stop)
    dry = await move(before, after)
    assert dry.exit_code == 0, dry.output
    assert "nothing was changed" in dry.output
    with pytest.raises(AssertionError):
        partitions(before)

    done = await move(before, after, "--apply")
    assert done.exit_code == 0, done.output
    assert f"{len(catalogue.TOPICS)} topics created, 12 records of compacted topics copied" in done.output
    again = await move(before, after, "--apply")
    assert again.exit_code == 0, again.output
    assert "0 topics created, 0 records of compacted topics copied" in again.output
    assert "sla.clocks: 0 of 21 documents moved" in again.output
    assert max(partitions(before).values()) >= PARTITIONS, "some documents are where no partition was"

    old = await before.ticket_ids(catalogue.TICKETS)
    after.start()
    author = {"kind": "agent", "id": "a1", "name": "Agent 1"}
    async with after.doors() as doors:
        for ticket in sorted(old)[:5]:
            await doors.post_command(ticket, "reply", {"text": "Done", "by": author})
        await doors.send_all(after.traffic.stream(10))

    async def settled() -> bool:
        report = await audited(before, after)
        sent = await after.events(catalogue.TICKETS, MessageSent.type)
        told = after.receiver.to("/lead")
        return report.counts["tickets"] >= 31 and not any(report.open.values()) and len(sent) >= 5 and bool(told)

    await until(settled, 90, "old tickets are answered, new ones assigned, and the deadline is announced", pause=1)
    report = await audited(before, after)
    assert report.clean, report.faults
    first = [event for event in await after.events(catalogue.TICKETS) if event.subject in old]
    assert all(event.sequence > 1 for event in first), "old tickets go on with their numbers"
    refused = await move(before, after, "--apply")
    assert refused.exit_code == 1
    assert "has been at work already" in refused.output
