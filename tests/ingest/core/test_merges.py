"""Merging: what survives, what is refused, and what a ticket that was merged away still does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from contracts.commands import AddNote, Forward, Merge, Reply, SetFacts, SetPriority, SetStatus, SetTags
from contracts.envelope import Command
from contracts.payload import Payload
from contracts.ticket import Priority, Status
from kit.protocol.document import Decision
from services.ingest.core.commands import SOURCE, CommandContext
from services.ingest.core.moves import SYSTEM
from services.ingest.core.state import TicketState
from services.ingest.core.ticket import decide
from tests.ingest.core.timeline import AGENT, POLICY, Story, minute


def story_of_a_merge(into: str = "T0", **other: Any) -> Story:
    """T1 has one unanswered message and is to be merged; `other` is what is different about the other ticket."""
    story = Story()
    first = story.writes(0)
    there = story.ticket.model_copy(update={"id": into, **other})
    story.asks(1, Merge(by=AGENT, into=into), "merge", other=there, messages=(first.message(),))
    return story


def test_the_younger_ticket_is_closed_and_points_to_the_older_one() -> None:
    story = story_of_a_merge()
    assert story.words() == ["ticket.opened", "ticket.merged", "ticket.closed"]
    assert (story.ticket.merged_into, story.ticket.status) == ("T0", Status.CLOSED)


@pytest.mark.parametrize(
    ("into", "other", "reason"),
    [
        ("T1", {}, "invalid"),  # itself: it would forward to itself for ever
        ("T2", {}, "invalid"),
        ("T0", {"status": Status.CLOSED}, "invalid"),
        ("T0", {"brand": "korale"}, "not_allowed"),
        ("T0", {"brand": None}, "not_allowed"),
        ("T0", {"account": "wa-pl"}, "not_allowed"),
        ("T0", {"channel": "line"}, "not_allowed"),
    ],
    ids=["itself", "younger", "closed", "another brand", "no brand", "another account", "another channel"],
)
def test_a_merge_that_cannot_be_is_refused_and_changes_nothing(into: str, other: dict[str, Any], reason: str) -> None:
    story = story_of_a_merge(into, **other)
    assert story.words() == ["ticket.opened", "command.rejected"]
    assert story.events[-1].reason == reason  # type: ignore[attr-defined]
    assert (story.ticket.merged_into, story.ticket.status) == (None, Status.NEW)
    assert story.state is not None
    assert story.state.pending == ()


def test_what_goes_on_to_the_other_ticket_has_to_fit_into_the_own_one() -> None:
    story = Story()
    messages = tuple(story.writes(number, text="ก" * 30_000).message() for number in range(50))
    there = story.ticket.model_copy(update={"id": "T0"})
    story.asks(60, Merge(by=AGENT, into="T0"), other=there, messages=messages)
    assert story.words()[-1] == "command.rejected"
    assert story.events[-1].reason == "not_allowed"  # type: ignore[attr-defined]
    story.replies(61)
    story.asks(62, Merge(by=AGENT, into="T0"), other=there)
    assert story.ticket.merged_into == "T0"


@pytest.mark.parametrize(
    "data",
    [
        Reply(by=AGENT, text="x"),
        AddNote(by=AGENT, text="x"),
        SetStatus(by=AGENT, status=Status.CLOSED),
        SetPriority(by=AGENT, priority=Priority.HIGH),
        SetTags(by=AGENT, add=("x",)),
        SetFacts(by=AGENT, order_ref="o"),
        Merge(by=AGENT, into="T00"),
    ],
    ids=lambda data: data.type,
)
def test_a_ticket_that_was_merged_away_refuses_and_says_where_to_ask(data: Any) -> None:
    story = story_of_a_merge()
    before = story.ticket
    story.asks(2, data, other=before.model_copy(update={"id": "T00", "status": Status.OPEN}))
    assert story.words()[-1] == "command.rejected"
    assert story.events[-1].reason == "not_allowed"  # type: ignore[attr-defined]
    assert "T0" in story.events[-1].detail  # type: ignore[attr-defined]
    assert story.ticket == before


def forwarded(story: Story, source: str) -> Decision[TicketState]:
    data = Forward(by=SYSTEM, message=story.arrival(1, "m9").message(), from_ticket_id="T5")
    command = Command.of(data, id="f1", source=source, subject="T1", time=minute(2))
    return decide(story.state, CommandContext(command), POLICY, minute(2))


def said(events: Sequence[Payload]) -> list[str]:
    return [event.type for event in events]


def test_only_ingest_forwards() -> None:
    story = Story()
    story.writes(0)
    for source in ("/crm", "/deskbus/routing", f"{SOURCE}/", "/deskbus/door/commands"):
        foreign = forwarded(story, source)
        assert said(foreign.events) == ["deskbus.command.rejected.v1"]
        assert not foreign.inserts
    ours = forwarded(story, SOURCE)
    assert said(ours.events) == ["deskbus.message.received.v1"]
    assert len(ours.inserts) == 1


def test_a_ticket_that_was_merged_away_passes_on_what_is_forwarded_to_it() -> None:
    story = story_of_a_merge()
    passed = forwarded(story, SOURCE)
    assert said(passed.events) == []
    assert passed.state is not None
    assert [pending.into for pending in passed.state.pending][-1:] == ["T0"]
