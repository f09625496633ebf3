"""What an event brings about: events that name it as their cause, and are published before it counts as handled."""

from __future__ import annotations

from contracts.envelope import Event
from tests.kit.raw import Raw
from tests.kit.simulation.records import poke
from tests.kit.test_counting import Announcing
from tests.kit.test_delivery import Rig, event, poked

__all__ = ["poked"]


def published(rig: Rig) -> list[Event]:
    return [Event.parse(each.value or b"") for each in rig.sender.sent if each.topic == "out"]


async def test_an_event_names_what_caused_it(poked: Rig) -> None:
    poked.delivery.handling = Announcing(poked.documents)
    asked = Event.parse(poke(2))
    assert await poked.handle(event(2)) == set()
    (said,) = published(poked)
    assert (said.causationid, said.correlationid) == (asked.id, asked.correlationid)


async def test_an_event_that_comes_again_publishes_what_was_left_of_it(poked: Rig) -> None:
    poked.delivery.handling = Announcing(poked.documents)
    poked.sender.deaf = True
    assert await poked.handle(event(2)) == {("in", 0, 2)}
    poked.sender.deaf = False
    assert await poked.handle(event(2)) == set()
    assert [said.sequence for said in published(poked)] == [1]


async def test_a_first_event_with_unreadable_data_leaves_a_hole_for_its_replay(poked: Rig) -> None:
    assert await poked.handle(Raw("in", 0, 1, poke(1, "garbled", subject="U")), event(2, "U")) == set()
    assert poked.letters() == 1
    assert await poked.handle(event(1, "U")) == set()
    assert await poked.offsets("U") == [2, 1]
