"""Whoever sends letters back is told what became of them, also when they are refused or nobody reads them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from typer.testing import CliRunner, Result

from cli.__main__ import app
from cli.letters import Choice, find
from cli.replaying import outcome
from contracts.topics import SLA, TICKETS, dlq, retry
from kit.base.settings import ServiceSettings
from kit.protocol.deadletter import DeadLetters
from kit.protocol.delivery import Delivery
from kit.protocol.document import MISSING_CAP
from tests.clearing import ClearedAtOnce
from tests.conftest import Prefix
from tests.kit.simulation.records import poke
from tests.kit.test_delivery_stack import Rig, _handled, _known, until

__all__ = ["_known"]


class Sla(ServiceSettings):
    """A service of a known name: its dead letters and its group are looked for by it."""

    service = "sla"


class SlaRig(Rig):
    """Kit's delivery under that name."""

    def __init__(self, kafka: str, mongo: str, prefix: Prefix) -> None:
        super().__init__(kafka, mongo, prefix)
        self.settings = Sla(**self.settings.model_dump())
        self.kind = replace(self.kind, topic=SLA, home_topic=TICKETS)
        self.documents = ClearedAtOnce(self.kind, self.store, self.producer, self.clock, prefix=self.prefix)

    def delivery(self, attempts: int = 8, stop_window: int = 100) -> Delivery[dict[str, object]]:
        letters = DeadLetters(self.prefix + dlq("sla"), "sla", self.producer, stop_window=stop_window)
        return Delivery(self.documents, self.handling, letters, attempts=attempts)


@pytest.fixture
async def rig(kafka: str, mongo: str, prefix: Prefix, topics: str) -> AsyncIterator[Rig]:
    assert topics == prefix.topics
    rig = SlaRig(kafka, mongo, prefix)
    await rig.store.ensure_outbox_indexes("docs")
    await rig.producer.start()
    yield rig
    await rig.producer.stop()
    rig.store.close()


async def _replay(rig: Rig, *options: str) -> Result:
    given = ["dlq", "replay", "sla", "--all", "--kafka", rig.settings.kafka, "--prefix", rig.prefix, *options]
    return await asyncio.to_thread(CliRunner().invoke, app, given)


async def test_a_replay_says_what_was_taken_up_and_what_the_floor_has_passed(rig: Rig) -> None:
    last = MISSING_CAP + 4
    await rig.put(poke(1), poke(2, "poison"), poke(last), poke(1, "poison", subject="U"), topic=TICKETS)
    async with rig.replica(topics=(TICKETS, retry("sla"))) as consumer:
        await until(lambda: _handled(consumer))
        rig.handling.mended = True
        told = await _replay(rig)
        assert told.exit_code == 1, "not all of them were taken"
        assert "3 sent to deskbus.sla.retry.v1" in told.output
        assert "2 handled" in told.output
        (line,) = [line for line in told.output.splitlines() if "refused" in line]
        assert "was refused (its event was given up), as letter" in line
        assert "floor: T no longer knows which events of /deskbus/ingest up to" in line
        assert line.endswith("this is 2")
        assert (await rig.state("T"))["sequences"] == [1, last]
        assert (await rig.state("U"))["sequences"] == [1]

        again = await _replay(rig)
        assert "1 sent to deskbus.sla.retry.v1, 3 skipped: replayed before" in again.output
        assert again.output.count("refused") == 1


async def test_a_replay_that_goes_well_ends_with_that(rig: Rig) -> None:
    await rig.put(poke(1, "poison"), poke(2), topic=TICKETS)
    async with rig.replica(topics=(TICKETS, retry("sla"))) as consumer:
        await until(lambda: _handled(consumer))
        rig.handling.mended = True
        told = await _replay(rig)
    assert (told.exit_code, told.output.splitlines()[-1]) == (0, "1 handled")
    assert (await rig.state("T"))["sequences"] == [2, 1]


async def test_a_replay_that_nobody_takes_up_says_so_and_ends(rig: Rig) -> None:
    await rig.put(poke(1, "poison"), topic=TICKETS)
    async with rig.replica(topics=(TICKETS, retry("sla"))) as consumer:
        await until(lambda: _handled(consumer))
    told = await _replay(rig, "--wait", "1")
    assert told.exit_code == 0
    assert "1 pending: is sla running?" in told.output
    quiet = await _replay(rig, "--again", "--wait", "0")
    assert quiet.output.splitlines() == ["1 sent to deskbus.sla.retry.v1"]
    (letter,) = (await find(rig.settings.kafka, "sla", Choice(), prefix=rig.prefix)).letters
    waits = await outcome(rig.settings.kafka, "sla", [letter.place], seconds=0, prefix=rig.prefix)
    assert (waits.handled, waits.back, waits.pending) == ((), (), (letter.place,))
