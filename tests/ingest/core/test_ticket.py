"""A ticket's story: what is announced, and what the published ticket says then."""

from __future__ import annotations

from datetime import timedelta

import pytest

from contracts.commands import (
    AddNote,
    HandOff,
    Merge,
    Reply,
    SetFacts,
    SetPriority,
    SetStatus,
    SetTags,
    Split,
    Transfer,
)
from contracts.contacts import Identity
from contracts.ticket import Attachment, Author, CustomerFacts, Facts, Market, Priority, Status
from contracts.tickets import MessageSent, TicketFactsChanged
from kit.base.errors import TransientError
from services.ingest.core.messages import Sender
from services.ingest.core.moves import REOPENS_LIMITED
from services.ingest.core.policy import TicketPolicy
from tests.ingest.core.timeline import AGENT, BOT, Story, minute

DAY = 24 * 60.0


def test_a_question_an_answer_and_thanks() -> None:
    story = Story()
    story.writes(0)
    asked = story.ticket
    assert (asked.status, asked.oldest_unanswered_at) == (Status.NEW, minute(0))
    story.replies(5)
    answered = story.ticket
    assert (answered.status, answered.first_reply_at) == (Status.PENDING, minute(5))
    assert answered.oldest_unanswered_at is None
    story.writes(7)
    assert (story.ticket.status, story.ticket.oldest_unanswered_at) == (Status.OPEN, minute(7))
    story.replies(9, status=Status.SOLVED)
    assert (story.ticket.status, story.ticket.solved_at) == (Status.SOLVED, minute(9))
    assert (story.ticket.first_reply_at, story.ticket.last_reply_at) == (minute(5), minute(9))
    assert story.words() == [
        "ticket.opened", "message.sent", "ticket.status_changed", "ticket.status_changed", "message.received",
        "message.sent", "ticket.status_changed",
    ]  # fmt: skip
    assert [event.ticket.version for event in story.events] == list(range(1, 8))  # type: ignore[attr-defined]


def test_an_unanswered_message_stays_the_oldest_until_a_person_answers() -> None:
    story = Story()
    story.writes(0)
    story.writes(3)
    story.replies(4, by=BOT)
    assert story.ticket.oldest_unanswered_at == minute(0)
    assert story.ticket.first_reply_at is None
    story.replies(5)
    assert story.ticket.oldest_unanswered_at is None


def test_what_came_after_the_reply_was_given_is_not_answered_by_it() -> None:
    story = Story()
    story.writes(0)
    story.asks(1, Reply(by=AGENT, text="soon", status=Status.SOLVED))
    story.writes(2)
    story.tries(3)
    assert story.ticket.oldest_unanswered_at == minute(2)
    assert story.ticket.status == Status.OPEN


def test_a_machine_moves_nothing() -> None:
    story = Story()
    story.writes(0)
    story.replies(1)
    story.writes(2, automated_because="auto-submitted")
    assert (story.ticket.status, story.ticket.message_count) == (Status.PENDING, 3)
    assert story.ticket.last_customer_message_at == minute(0)
    assert story.ticket.oldest_unanswered_at is None
    story.asks(3, SetStatus(by=AGENT, status=Status.SOLVED))
    story.clear()
    story.writes(4, automated_because="auto-submitted")
    assert story.words() == ["message.received"]
    assert story.ticket.status == Status.SOLVED


def test_a_machine_moves_neither_where_answers_go_nor_what_they_answer() -> None:
    story = Story()
    story.writes(0, "m-person")
    thief = Sender((Identity(channel="whatsapp", id="u1"),), "Robot", "66899999999")
    story.writes(1, "m-robot", automated_because="auto-submitted", sender=thief)
    assert (story.ticket.contact.address, story.ticket.contact.name) == ("66811111111", "Somchai")
    story.replies(2)
    (sent,) = (event for event in story.events if isinstance(event, MessageSent))
    assert sent.message.in_reply_to == "m-person"


def test_what_only_a_machine_wrote_can_be_answered() -> None:
    story = Story()
    story.writes(0, "m-robot", automated_because="auto-submitted")
    story.replies(1)
    (sent,) = (event for event in story.events if isinstance(event, MessageSent))
    assert sent.message.in_reply_to == "m-robot"


def test_a_bot_answers_until_it_hands_over() -> None:
    story = Story(bot=True)
    story.writes(0)
    assert story.ticket.handled_by_bot
    story.replies(1, by=BOT)
    assert (story.ticket.status, story.ticket.first_reply_at) == (Status.NEW, None)
    story.asks(2, HandOff(by=BOT, reason="asked for a person", required_skills={"billing": 2}))
    assert (story.ticket.handled_by_bot, story.ticket.handed_off_at) == (False, minute(2))
    assert story.ticket.required_skills == {"billing": 2}
    story.asks(3, HandOff(by=BOT))
    assert story.words()[-1] == "command.rejected"


def test_a_person_who_answers_takes_over_from_the_bot() -> None:
    story = Story(bot=True)
    story.writes(0)
    story.replies(1)
    assert story.words() == ["ticket.opened", "ticket.handed_off", "message.sent", "ticket.status_changed"]


@pytest.mark.parametrize("days", [0.1, 13.9, 14])
def test_a_message_within_the_window_reopens(days: float) -> None:
    story = Story()
    story.writes(0)
    story.asks(0, SetStatus(by=AGENT, status=Status.SOLVED))
    story.writes(days * DAY)
    assert story.ticket.status == Status.OPEN
    assert (story.ticket.reopen_count, story.ticket.solved_at) == (1, None)
    assert story.words()[-2:] == ["ticket.reopened", "message.received"]


def test_a_message_after_the_window_is_not_for_this_ticket() -> None:
    story = Story()
    story.writes(0)
    story.asks(0, SetStatus(by=AGENT, status=Status.SOLVED))
    with pytest.raises(TransientError):
        story.writes(14 * DAY + 0.001)


def test_reopens_are_limited_and_a_limited_ticket_says_so_by_its_tag() -> None:
    story = Story(policy=TicketPolicy(reopens=2))
    story.writes(0)
    for number in range(4):
        if story.ticket.status != Status.SOLVED:
            story.asks(number, SetStatus(by=AGENT, status=Status.SOLVED))
        story.writes(number + 0.5)
    assert (story.ticket.reopen_count, story.ticket.status) == (2, Status.SOLVED)
    assert REOPENS_LIMITED in story.ticket.tags
    assert story.ticket.message_count == 5
    story.writes(120)
    assert story.ticket.status == Status.OPEN


def test_a_solved_ticket_closes_when_its_window_is_over() -> None:
    story = Story()
    story.writes(0)
    story.asks(1, SetStatus(by=AGENT, status=Status.SOLVED))
    assert story.state is not None
    assert story.state.closes_at == minute(1) + timedelta(days=14)
    story.time_comes(1 + 14 * DAY - 0.001)
    assert story.ticket.status == Status.SOLVED
    story.time_comes(1 + 14 * DAY)
    assert (story.ticket.status, story.ticket.closed_at) == (Status.CLOSED, minute(1 + 14 * DAY))
    assert story.words()[-1] == "ticket.closed"
    assert story.state.closes_at is None


def test_a_reopened_ticket_is_not_closed_by_the_old_deadline() -> None:
    story = Story()
    story.writes(0)
    story.asks(1, SetStatus(by=AGENT, status=Status.SOLVED))
    story.writes(2)
    story.time_comes(30 * DAY)
    assert story.ticket.status == Status.OPEN


def test_commands_change_what_they_name_and_nothing_twice() -> None:
    story = Story()
    story.writes(0)
    story.clear()
    story.asks(1, SetPriority(by=AGENT, priority=Priority.HIGH))
    story.asks(1, SetPriority(by=AGENT, priority=Priority.HIGH))
    story.asks(2, SetTags(by=AGENT, add=("b", "a", "a"), remove=("vip-desk",)))
    story.asks(2, SetTags(by=AGENT, add=("b",)))
    story.asks(3, AddNote(by=AGENT, text="called him"), "n1")
    story.asks(3, AddNote(by=AGENT, text="called him"), "n1")
    story.asks(4, SetFacts(by=AGENT, order_ref="A-1", customer=CustomerFacts(tier="gold")))
    story.asks(4, SetFacts(by=AGENT, customer=CustomerFacts(orders=3)))
    assert story.words() == [
        "ticket.priority_changed", "ticket.tagged", "note.added",
        "ticket.facts_changed", "ticket.facts_changed",
    ]  # fmt: skip
    assert story.ticket.tags == ("a", "b")
    assert (story.ticket.customer.tier, story.ticket.customer.orders) == ("gold", 3)
    assert [i.document["kind"] for i in story.inserts] == ["message", "note"]


def test_facts_say_what_changed_and_what_it_was() -> None:
    story = Story()
    story.writes(0)
    story.asks(1, SetFacts(by=AGENT, order_ref="A-1", brand="nimbus", customer=CustomerFacts(tier="silver")), "f1")
    story.clear()
    brought = SetFacts(
        by=AGENT, order_ref="A-1", brand="korale", required_skills={"billing": 2},
        customer=CustomerFacts(tier="gold", orders=3),
    )  # fmt: skip
    story.asks(2, brought, "f2")
    (said,) = story.events
    assert isinstance(said, TicketFactsChanged)
    assert said.changed == ("brand", "required_skills", "customer.orders", "customer.tier")
    assert said.old == Facts(brand="nimbus", required_skills={}, customer=CustomerFacts(tier="silver"))
    assert (said.actor, said.command_id) == (AGENT, "f2")
    assert (said.ticket.brand, said.ticket.customer) == ("korale", CustomerFacts(tier="gold", orders=3))
    assert said.ticket.required_skills == {"billing": 2}


def test_facts_that_are_known_already_say_nothing() -> None:
    story = Story()
    story.writes(0)
    facts = SetFacts(by=AGENT, order_ref="A-1", market=Market(country="TH"), customer=CustomerFacts(tier="gold"))
    story.asks(1, facts, "f1")
    story.clear()
    story.asks(2, facts, "f2")
    story.asks(2, SetFacts(by=AGENT), "f3")
    story.asks(2, SetFacts(by=AGENT, customer=CustomerFacts()), "f4")
    assert story.words() == []


def test_a_note_moves_no_clock_and_counts_as_no_message() -> None:
    story = Story()
    story.writes(0)
    before = story.ticket
    story.asks(1, AddNote(by=AGENT, text="x"))
    same = {"version": before.version, "updated_at": before.updated_at}
    assert story.ticket.model_copy(update=same) == before


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (SetStatus(by=AGENT, status=Status.NEW), "not_allowed"),
        (SetStatus(by=AGENT, status=Status.OPEN), "not_allowed"),
        (Reply(by=AGENT, text="x"), "not_allowed"),
        (SetTags(by=AGENT, add=("x",)), "not_allowed"),
        (SetPriority(by=AGENT, priority=Priority.LOW), "not_allowed"),
        (SetFacts(by=AGENT, brand="x"), "not_allowed"),
        (SetStatus(by=Author(kind="contact", id="C1"), status=Status.CLOSED), "not_allowed"),
        (Split(by=AGENT, message_ids=("m",)), "unknown_command"),
        (Merge(by=AGENT, into="T0"), "invalid"),
    ],
)
def test_a_closed_ticket_refuses(data: SetStatus, reason: str) -> None:
    story = Story()
    story.writes(0)
    story.asks(1, SetStatus(by=AGENT, status=Status.SOLVED))
    story.asks(2, SetStatus(by=AGENT, status=Status.CLOSED))
    before = story.ticket
    story.asks(3, data, "c9")
    (rejected,) = story.events[3:]
    assert (rejected.type, rejected.reason) == ("deskbus.command.rejected.v1", reason)  # type: ignore[attr-defined]
    assert story.ticket == before
    story.asks(3, data, "c9")
    assert len(story.events) == 4


def test_what_would_make_the_ticket_too_large_for_its_events_is_refused_and_changes_nothing() -> None:
    story = Story()
    story.writes(0)
    before = story.ticket
    story.asks(1, SetFacts(by=AGENT, brand="x" * 100_000))
    story.asks(1, SetTags(by=AGENT, add=tuple(f"tag-{n}" * 10 for n in range(2000))))
    assert [event.reason for event in story.events[1:]] == ["invalid", "invalid"]  # type: ignore[attr-defined]
    assert story.ticket == before


@pytest.mark.parametrize(
    ("text", "html", "fit"),
    [("x" * 200_000, None, 2), ("x" * 150_000, "x" * 150_000, 1), ("x" * 250_000, None, 2), ("x", None, 100)],
    ids=["bytes", "bytes of both forms", "bytes to the last", "number"],
)
def test_replies_wait_within_bounds_of_bytes_and_of_number(text: str, html: str | None, fit: int) -> None:
    story = Story()
    story.writes(0)
    for _ in range(fit):
        story.asks(1, Reply(by=AGENT, text=text, html=html))
    assert story.words() == ["ticket.opened"]
    story.asks(1, Reply(by=AGENT, text=text, html=html))
    assert story.words() == ["ticket.opened", "command.rejected"]
    assert story.state is not None
    assert len(story.state.pending) == fit


@pytest.mark.parametrize(("files", "fit"), [(9, 10), (100, 0)])
def test_each_file_that_leaves_by_itself_counts_as_a_message_that_waits(files: int, fit: int) -> None:
    story = Story(policy=TicketPolicy(one_file_per_message=True))
    story.writes(0)
    reply = Reply(
        by=AGENT, text="x", attachments=(Attachment(name="a", media_type="text/plain", url="https://x"),) * files
    )
    for _ in range(fit + 1):
        story.asks(1, reply)
    assert story.words() == ["ticket.opened", "command.rejected"]
    assert story.state is not None
    assert len(story.state.pending) == fit * (files + 1)


@pytest.mark.parametrize("how", ["command", "merge"])
def test_a_closed_ticket_owes_nothing_and_waits_for_nothing(how: str) -> None:
    story = Story()
    first = story.writes(0)
    if how == "command":
        story.asks(1, SetStatus(by=AGENT, status=Status.SOLVED))
        story.asks(2, SetStatus(by=AGENT, status=Status.CLOSED))
    else:
        other = story.ticket.model_copy(update={"id": "T0"})
        story.asks(1, Merge(by=AGENT, into="T0"), other=other, messages=(first.message(),))
    assert story.state is not None
    assert story.ticket.status == Status.CLOSED
    assert (story.state.unanswered, story.state.closes_at, story.ticket.oldest_unanswered_at) == ((), None, None)


def test_a_transfer_is_not_ours_and_leaves_no_trace() -> None:
    story = Story()
    story.writes(0)
    before = story.state
    story.asks(1, Transfer(by=AGENT, queue="vip"))
    assert story.state is before
