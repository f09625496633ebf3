"""What became of records is counted once, when it is stored, however often it is decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from prometheus_client import REGISTRY

from kit.protocol.delivery import ROUNDS
from kit.protocol.document import Decision, Document
from kit.protocol.handling import Incoming
from tests.kit.raw import Raw
from tests.kit.simulation.records import Poke, poke
from tests.kit.test_delivery import BUG, Pokes, Rig, counted, event, poked, record

__all__ = ["poked"]


class Announcing(Pokes):
    """Has something to say of each event."""

    def decide(self, state: dict[str, Any] | None, item: Incoming, now: datetime) -> Decision[dict[str, Any]]:
        return replace(super().decide(state, item, now), events=[Poke(kind="plain")])


def outcomes(group: str = "other") -> dict[str, float]:
    """The counts of what became of records."""
    name = "deskbus_events_total"
    return {
        outcome: REGISTRY.get_sample_value(name, {"group": group, "outcome": outcome}) or 0.0
        for outcome in ("handled", "skipped", "unknown", "ignored", "dead")
    }


def more(before: Mapping[str, float], group: str = "other") -> dict[str, float]:
    """What was counted since."""
    return {name: count - before[name] for name, count in outcomes(group).items() if count != before[name]}


EFFECTS = "deskbus_event_effect_seconds_count"


async def test_what_is_decided_anew_after_a_lost_guard_counts_once(poked: Rig) -> None:
    before, other = outcomes("test"), outcomes()
    effects, gaps, late = REGISTRY.get_sample_value(EFFECTS), counted("sequence_gaps"), counted("first_seen_late")
    poked.store.loses |= {"T": 2, "U": 2}
    unknown = Raw("in", 0, 9, poke(4, "ignored"))
    assert await poked.handle(event(1), event(3), unknown, event(7, "U"), record(10)) == set()
    assert more(before, "test") == {"handled": 2, "skipped": 1, "unknown": 1}
    assert more(other) == {"dead": 1}, "what is no event at all"
    assert REGISTRY.get_sample_value(EFFECTS) == (effects or 0) + 2
    assert (counted("sequence_gaps"), counted("first_seen_late")) == (gaps + 1, late + 1)


class Noting(Pokes):
    """Counts for itself, and notes what it is told of before it decides."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.steps: list[str] = []

    async def before_decide(self, docs: Sequence[Document[dict[str, Any]]]) -> None:
        self.steps += [f"know {doc.id}" for doc in docs]

    def decide(self, state: dict[str, Any] | None, item: Incoming, now: datetime) -> Decision[dict[str, Any]]:
        self.steps.append("decide")
        return super().decide(state, item, now)

    def count(self, item: Incoming, decision: Decision[dict[str, Any]]) -> None:
        assert decision.state is not None
        self.steps.append("count")


async def test_a_service_knows_documents_before_it_decides_and_counts_what_is_written(poked: Rig) -> None:
    handling = poked.delivery.handling = Noting(poked.documents)
    poked.store.loses["T"] = 1
    assert await poked.handle(event(2), event(3)) == set()
    assert handling.steps == ["know T", "decide", "decide"] * 2 + ["count", "count"]


async def test_what_was_not_written_is_not_counted(poked: Rig) -> None:
    before, gaps = outcomes("test"), counted("sequence_gaps")
    poked.store.loses["T"] = ROUNDS
    assert await poked.handle(event(3)) == {("in", 0, 3)}
    assert (more(before, "test"), counted("sequence_gaps")) == ({}, gaps)
    assert await poked.handle(event(3)) == set()
    assert (more(before, "test"), counted("sequence_gaps")) == ({"handled": 1}, gaps + 1)
    assert await poked.handle(event(3)) == set()
    assert more(before, "test") == {"handled": 1, "skipped": 1}, "it has come a second time"


@pytest.mark.parametrize("rest", [(), (BUG,)], ids=["whole", "one by one"])
async def test_each_part_of_a_record_counts_once_however_often_it_comes_for_another(rest: Sequence[Raw]) -> None:
    rig, before = Rig(), outcomes()
    for _ in range(3):
        assert await rig.handle(record(1, "T", "U:waits"), *rest) == {("in", 0, 1)}
    rig.store.loses["T"] = 1
    assert await rig.handle(record(1, "T", "U"), record(2, "T")) == set()
    assert more(before) == {"handled": 3, **({"dead": 3} if rest else {})}


async def test_an_effect_whose_announcement_waits_for_the_broker_is_counted_once(poked: Rig) -> None:
    before = outcomes("test")
    poked.delivery.handling = Announcing(poked.documents)
    poked.sender.deaf = True
    assert await poked.handle(event(2)) == {("in", 0, 2)}
    poked.sender.deaf = False
    assert await poked.handle(event(2)) == set()
    assert more(before, "test") == {"handled": 1}
