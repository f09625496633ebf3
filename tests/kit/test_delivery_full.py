"""What an outbox has no room for: one decision alone is a dead letter, several together wait for the broker."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from contracts.dlq import DeadLetter
from kit.protocol.document import OUTBOX_CAP, Decision
from kit.protocol.handling import Incoming
from kit.protocol.record import place
from tests.kit.simulation.records import Poke
from tests.kit.test_delivery import Notes, Rig, record


class Talkative(Notes):
    """Raises as many events as the record says, in one decision."""

    def decide(self, state: dict[str, Any] | None, item: Incoming, now: datetime) -> Decision[dict[str, Any]]:
        return replace(super().decide(state, item, now), events=[Poke(kind="plain")] * int(item.value or 1))


async def test_more_events_of_one_decision_than_an_outbox_takes_are_a_dead_letter_and_block_nothing() -> None:
    rig = Rig()
    rig.delivery.handling = Talkative()
    much = f"T:{OUTBOX_CAP + 1}"
    assert await rig.handle(record(1, f"T:{OUTBOX_CAP}"), record(2, much), record(3, "U")) == set()
    assert [await rig.offsets(name) for name in "TU"] == [[1], [3]]
    (letter,) = [DeadLetter.from_kafka(e.key, e.value, e.headers) for e in rig.sender.sent if e.topic == "dlq"]
    assert (letter.offset, letter.error) == (2, "TooLarge: one decision has 1001 events, at most 1000 are allowed")


async def test_decisions_that_fill_the_outbox_together_wait_for_the_broker_and_are_no_dead_letters() -> None:
    rig = Rig()
    rig.delivery.handling = Talkative()
    first, second = record(1, f"T:{OUTBOX_CAP}"), record(2, "T:1")
    assert await rig.handle(first, second) == {place(second)}
    assert await rig.handle(second) == set()
    assert (await rig.offsets("T"), rig.letters()) == ([1, 2], 0)
