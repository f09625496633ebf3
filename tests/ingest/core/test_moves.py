"""What each move writes down: the state that the owner keeps, and the event in full."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from contracts.commands import SetStatus
from contracts.ticket import Author, Status
from contracts.tickets import (
    CloseReason,
    MessageReceived,
    TicketClosed,
    TicketReopened,
    TicketStatusChanged,
    TicketTagged,
)
from services.ingest.core.lifecycle import IllegalMove, Move
from services.ingest.core.moves import REOPENS_LIMITED, SYSTEM, UNANSWERED_CAP, close, move, receive, withdraw_answer
from services.ingest.core.policy import TicketPolicy
from services.ingest.core.state import Answer, Draft, TicketState
from tests.ingest.core.timeline import AGENT, Story, minute

HOUR = timedelta(hours=1)


def draft(status: Status = Status.NEW, at: float = 10, *, ticket: dict[str, Any] | None = None, **kept: Any) -> Draft:
    """A ticket with one message of minute 0, in a status, at the minute of a decision."""
    story = Story()
    story.writes(0)
    assert story.state is not None
    changed = story.ticket.model_copy(update={"status": status, **(ticket or {})})
    return Draft(replace(story.state, ticket=changed, **kept), minute(at))


def changes(before: TicketState, after: TicketState) -> dict[str, Any]:
    """What a decision changed, the ticket's fields among it, apart from its version and when it changed."""
    assert before.ticket is not None
    assert after.ticket is not None
    fields = type(before.ticket).model_fields.keys() - {"version", "updated_at"}
    found = {n: v for n in fields if getattr(before.ticket, n) != (v := getattr(after.ticket, n))}
    kept = TicketState.__dataclass_fields__.keys() - {"ticket"}
    return found | {n: v for n in kept if getattr(before, n) != (v := getattr(after, n))}


def test_the_system_acts_as_itself() -> None:
    assert Author(kind="system") == SYSTEM


# --- Moves. ---


def test_a_move_that_changes_nothing_says_nothing() -> None:
    made = draft(Status.OPEN)
    before = made.state
    move(made, Move.CUSTOMER, AGENT, "customer_wrote")
    assert (made.state, made.events) == (before, [])


@pytest.mark.parametrize(
    ("old", "by", "new"),
    [
        (Status.NEW, Move.REPLY, Status.PENDING),
        (Status.PENDING, Move.CUSTOMER, Status.OPEN),
        (Status.OPEN, Move.SET_ON_HOLD, Status.ON_HOLD),
    ],
)
def test_a_move_between_open_statuses_changes_the_status_alone(old: Status, by: Move, new: Status) -> None:
    made = draft(old)
    before = made.state
    move(made, by, AGENT, "why")
    assert changes(before, made.state) == {"status": new}
    assert made.events == [TicketStatusChanged(ticket=made.ticket, old=old, new=new, actor=AGENT, reason="why")]


@pytest.mark.parametrize("window", [timedelta(days=3), None])
def test_solving_ends_the_wait_and_sets_when_it_closes(window: timedelta | None) -> None:
    answered = (Answer("r1", minute(1), minute(2), (minute(0),)),)
    made = draft(Status.OPEN, answered=answered)
    before = made.state
    move(made, Move.SET_SOLVED, AGENT, None, TicketPolicy(reopen_window=window) if window else None)
    assert changes(before, made.state) == {
        "status": Status.SOLVED, "solved_at": minute(10), "oldest_unanswered_at": None,
        "unanswered": (), "answered": (), "closes_at": minute(10) + (window or timedelta(days=14)),
    }  # fmt: skip
    solved = TicketStatusChanged(ticket=made.ticket, old=Status.OPEN, new=Status.SOLVED, actor=AGENT)
    assert made.events == [solved]


@pytest.mark.parametrize("message_id", [None, "m7"])
def test_leaving_solved_is_a_reopen_and_it_closes_no_more(message_id: str | None) -> None:
    made = draft(Status.SOLVED, ticket={"solved_at": minute(1), "reopen_count": 2}, closes_at=minute(99))
    before = made.state
    move(made, Move.SET_OPEN, AGENT, "command", message_id=message_id)
    assert changes(before, made.state) == {
        "status": Status.OPEN, "solved_at": None, "reopen_count": 3, "closes_at": None,
    }  # fmt: skip
    reopened = TicketReopened(ticket=made.ticket, old=Status.SOLVED, actor=AGENT, message_id=message_id)
    assert made.events == [reopened]


def test_a_move_to_closed_closes_by_command() -> None:
    made = draft(Status.SOLVED, closes_at=minute(99))
    before = made.state
    move(made, Move.SET_CLOSED, AGENT, "command")
    assert changes(before, made.state) == {
        "status": Status.CLOSED, "closed_at": minute(10), "oldest_unanswered_at": None,
        "closes_at": None, "unanswered": (),
    }  # fmt: skip
    assert made.events == [TicketClosed(ticket=made.ticket, old=Status.SOLVED, reason="command", actor=AGENT)]


def test_closing_settles_all_and_says_from_where_and_why() -> None:
    answered = (Answer("r1", minute(1), minute(2), (minute(0),)),)
    made = draft(Status.OPEN, closes_at=minute(99), answered=answered)
    before = made.state
    close(made, CloseReason.MERGED, AGENT, Move.MERGE)
    assert changes(before, made.state) == {
        "status": Status.CLOSED, "closed_at": minute(10), "oldest_unanswered_at": None,
        "closes_at": None, "unanswered": (), "answered": (),
    }  # fmt: skip
    assert made.events == [TicketClosed(ticket=made.ticket, old=Status.OPEN, reason="merged", actor=AGENT)]


def test_what_the_table_has_not_is_refused_and_changes_nothing() -> None:
    made = draft(Status.OPEN)
    before = made.state
    with pytest.raises(IllegalMove):
        move(made, Move.SET_CLOSED, AGENT, None)
    with pytest.raises(IllegalMove):
        close(made, CloseReason.QUIET, AGENT, Move.QUIET)
    assert (made.state, made.events) == (before, [])


# --- A message of the customer. ---


@pytest.mark.parametrize(
    ("at", "last", "waits"),
    [
        (9, 9, (0, 9)),
        (-1, 0, (-1, 0)),  # it came earlier and is taken later
    ],
)
def test_a_message_waits_in_the_order_of_coming(at: float, last: float, waits: tuple[float, ...]) -> None:
    made = draft()
    before, message = made.state, Story().arrival(at, "m2").message()
    receive(made, message, minute(at), TicketPolicy(), {"order_ref": "A1"})
    expected: dict[str, Any] = {
        "message_count": 2, "order_ref": "A1", "unanswered": tuple(minute(each) for each in waits),
    }  # fmt: skip
    if last:
        expected["last_customer_message_at"] = minute(last)
    if waits[0]:
        expected["oldest_unanswered_at"] = minute(waits[0])
    assert changes(before, made.state) == expected
    assert made.events == [MessageReceived(ticket=made.ticket, message=message)]


def test_the_first_message_of_a_person_after_a_machines_is_the_last_one() -> None:
    made = draft(ticket={"last_customer_message_at": None, "oldest_unanswered_at": None}, unanswered=())
    receive(made, Story().arrival(9, "m2").message(), minute(9), TicketPolicy(), {})
    assert (made.ticket.last_customer_message_at, made.ticket.oldest_unanswered_at) == (minute(9), minute(9))


def test_a_machines_message_is_counted_and_nothing_else() -> None:
    made = draft(Status.SOLVED)
    before, message = made.state, Story().arrival(9, "m2", automated_because="x").message()
    receive(made, message, minute(9), TicketPolicy(), {})
    assert changes(before, made.state) == {"message_count": 2}
    assert made.events == [MessageReceived(ticket=made.ticket, message=message)]


def test_only_the_oldest_waits_are_remembered() -> None:
    waits = tuple(minute(n) for n in range(UNANSWERED_CAP))
    made = draft(unanswered=waits)
    receive(made, Story().arrival(900, "m2").message(), minute(900), TicketPolicy(), {})
    assert made.state.unanswered == waits


def test_a_message_moves_a_ticket_that_waited_on_the_customer() -> None:
    made = draft(Status.PENDING)
    message = Story().arrival(9, "m2").message()
    receive(made, message, minute(9), TicketPolicy(), {})
    moved, received = made.events
    assert isinstance(moved, TicketStatusChanged)
    assert (moved.old, moved.new, moved.actor, moved.reason) == (
        Status.PENDING, Status.OPEN, message.author, "customer_wrote",
    )  # fmt: skip
    assert received == MessageReceived(ticket=made.ticket, message=message)


POLICY = TicketPolicy(reopens=2, reopen_period=HOUR)


@pytest.mark.parametrize(
    ("reopened", "kept"),
    [
        ((), (100,)),
        ((50,), (50, 100)),
        ((40.1, 50), None),
        ((39, 40.1, 50), None),
        ((40, 50), (50, 100)),
        ((40.1, 50, 60), None),
    ],
    ids=["never", "once", "twice", "thrice, once an hour ago", "twice, the first just an hour ago", "thrice lately"],
)
def test_a_solved_ticket_is_reopened_unless_it_was_too_often_within_the_period(
    reopened: tuple[float, ...], kept: tuple[float, ...] | None
) -> None:
    instants = tuple(minute(each) for each in reopened)
    made = draft(Status.SOLVED, at=100, reopened=instants, ticket={"reopen_count": 7})
    message = Story().arrival(100, "m2").message()
    receive(made, message, minute(100), POLICY, {})
    if kept is None:
        assert made.state.reopened == instants
        assert (made.ticket.status, made.ticket.reopen_count) == (Status.SOLVED, 7)
        received, tagged = made.events
        assert isinstance(received, MessageReceived)
        assert tagged == TicketTagged(ticket=made.ticket, added=(REOPENS_LIMITED,), actor=SYSTEM)
        assert made.ticket.tags == (REOPENS_LIMITED, "vip-desk")
    else:
        assert made.state.reopened == tuple(minute(each) for each in kept)
        assert (made.ticket.status, made.ticket.reopen_count) == (Status.OPEN, 8)
        first, received = made.events
        assert isinstance(first, TicketReopened)
        assert (first.actor, first.message_id) == (message.author, message.id)
        assert isinstance(received, MessageReceived)


def test_a_ticket_that_says_already_that_it_loops_does_not_say_so_again() -> None:
    made = draft(Status.SOLVED, at=100, reopened=(minute(90), minute(95)), ticket={"tags": (REOPENS_LIMITED,)})
    receive(made, Story().arrival(100, "m2").message(), minute(100), POLICY, {})
    assert [type(event) for event in made.events] == [MessageReceived]


# --- An answer that came back. ---


def answer(name: str, given: float, *questions: float) -> Answer:
    return Answer(name, minute(given), minute(given + 1), tuple(minute(each) for each in questions))


@pytest.mark.parametrize(
    ("answered", "lost", "waits", "left", "replies"),
    [
        ([answer("r1", 5, 0, 2)], "r1", (0, 2), [], (None, None)),
        ([answer("r1", 5, 0), answer("r2", 9, 7)], "r1", (), [answer("r2", 9, 0, 7)], (10, 10)),
        ([answer("r1", 5, 0), answer("r2", 9, 7)], "r2", (7,), [answer("r1", 5, 0)], (6, 6)),
        (
            [answer("r1", 5, 0), answer("r2", 7, 6), answer("r3", 9, 8)], "r2", (),
            [answer("r1", 5, 0), answer("r3", 9, 6, 8)], (6, 10),
        ),
        (
            [answer("r1", 5, 0), answer("r2", 7, 6), answer("r3", 9, 8)], "r3", (8,),
            [answer("r1", 5, 0), answer("r2", 7, 6)], (6, 8),
        ),
        ([answer("r1", 5, 4), answer("r2", 4)], "r1", (), [answer("r2", 4, 4)], (5, 5)),
    ],
    ids=["the only one", "a later one answers it", "the last one", "one in between", "the last of three",
         "given at that instant"],
)  # fmt: skip
def test_what_a_lost_reply_answered_waits_again_unless_a_later_one_answers_it(
    answered: list[Answer], lost: str, waits: tuple[float, ...], left: list[Answer], replies: tuple[Any, Any]
) -> None:
    last = max(each.sent_at for each in answered)
    made = draft(
        Status.PENDING, answered=tuple(answered), unanswered=(),
        ticket={"first_reply_at": answered[0].sent_at, "last_reply_at": last, "oldest_unanswered_at": None},
    )  # fmt: skip
    changed = withdraw_answer(made, lost)
    assert made.state.answered == tuple(left)
    assert made.state.unanswered == tuple(minute(each) for each in waits)
    first, latest = (None if each is None else minute(each) for each in replies)
    oldest: datetime | None = minute(waits[0]) if waits else None
    assert changed == {"first_reply_at": first, "last_reply_at": latest, "oldest_unanswered_at": oldest}
    assert made.events == []


def test_what_waits_again_is_put_in_its_place_and_the_oldest_are_kept() -> None:
    waits = tuple(minute(n) for n in range(3, UNANSWERED_CAP + 3))
    made = draft(Status.OPEN, answered=(answer("r1", 2, 0, 1),), unanswered=waits)
    assert withdraw_answer(made, "r1")["oldest_unanswered_at"] == minute(0)
    assert made.state.unanswered == (minute(0), minute(1), *waits[:-2])


def test_replies_that_are_no_longer_remembered_stay_the_first_and_the_last_ones() -> None:
    made = draft(
        Status.PENDING, answered=(answer("r2", 5, 4),), unanswered=(),
        ticket={"first_reply_at": minute(1), "last_reply_at": minute(6)},
    )  # fmt: skip
    changed = withdraw_answer(made, "r2")
    assert (changed["first_reply_at"], changed["last_reply_at"]) == (minute(1), minute(1))


def test_a_reply_that_answered_nothing_known_takes_nothing_back() -> None:
    made = draft(Status.PENDING, answered=(answer("r1", 5, 0),))
    before = made.state
    assert withdraw_answer(made, "r9") == {}
    assert made.state is before


def test_a_command_that_gives_no_reason_is_the_reason() -> None:
    story = Story()
    story.writes(0)
    story.asks(1, SetStatus(by=AGENT, status=Status.OPEN))
    story.asks(2, SetStatus(by=AGENT, status=Status.PENDING, reason="waits for a photo"))
    reasons = [event.reason for event in story.events if isinstance(event, TicketStatusChanged)]
    assert reasons == ["command", "waits for a photo"]
