"""What each command does, whole: the event, the ticket's new fields, what waits to be sent."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from contracts.commands import (
    Forward,
    HandOff,
    Merge,
    Reply,
    SetFacts,
    SetPriority,
    SetStatus,
    SetTags,
)
from contracts.ticket import (
    Attachment,
    Author,
    ContactRef,
    CustomerFacts,
    Direction,
    Facts,
    Market,
    Message,
    Priority,
    Status,
)
from contracts.tickets import (
    CommandRejected,
    MessageReceived,
    NoteAdded,
    TicketClosed,
    TicketFactsChanged,
    TicketHandedOff,
    TicketMerged,
    TicketPriorityChanged,
    TicketTagged,
)
from kit.base.errors import TransientError
from kit.base.ids import stable_id
from kit.protocol.document import Decision
from services.ingest.core.commands import (
    COMMAND_BYTES,
    FORWARDED_BYTES,
    SOURCE,
)
from services.ingest.core.moves import SYSTEM
from services.ingest.core.policy import TicketPolicy
from services.ingest.core.state import PARTICIPANTS_CAP, Pending, TicketState, message_document
from tests.ingest.core.asking import NEWS, NOTE, after, changed, given, refusal, stored
from tests.ingest.core.timeline import AGENT, BOT, Story, minute

# --- Notes, priority, tags, facts, the hand-off. ---


def test_a_note_is_stored_and_told_and_changes_nothing_else() -> None:
    before = stored()
    decision = given(before, NOTE)
    state, ticket = after(decision)
    note_id = stable_id("note", "T1", "/crm", "c1")
    note = NoteAdded(ticket=ticket, note_id=note_id, author=AGENT, text="called", command_id="c1")
    assert decision.events == [note]
    said = Message(id=note_id, direction=Direction.OUT, author=AGENT, text="called", sent_at=minute(2))
    (insert,) = decision.inserts
    assert (insert.collection, insert.document) == ("messages", message_document("T1", said, kind="note"))
    assert changed(before, ticket) == NEWS
    assert state == replace(before, ticket=ticket, commands=state.commands)


def test_a_priority_says_what_it_was_who_changed_it_and_why() -> None:
    before = stored()
    decision = given(before, SetPriority(by=AGENT, priority=Priority.HIGH, reason="vip"))
    _, ticket = after(decision)
    assert changed(before, ticket) == {**NEWS, "priority": Priority.HIGH}
    assert decision.events == [
        TicketPriorityChanged(ticket=ticket, old=Priority.NORMAL, new=Priority.HIGH, actor=AGENT, reason="vip")
    ]
    assert given(before, SetPriority(by=AGENT, priority=Priority.NORMAL)).events == []


@pytest.mark.parametrize(
    ("data", "added", "removed", "tags"),
    [
        ({"add": ("b", "a ", "old")}, ("a", "b"), (), ("a", "b", "old", "stays")),
        ({"remove": ("old", "none")}, (), ("old",), ("stays",)),
        ({"add": ("x",), "remove": ("x", "old")}, (), ("old",), ("stays",)),
        ({"replace": ("stays", " z", " ")}, ("z",), ("old",), ("stays", "z")),
        ({"replace": ()}, (), ("old", "stays"), ()),
    ],
    ids=["add", "remove", "add and remove", "replace", "replace by none"],
)
def test_tags_say_what_came_and_what_went(data: dict[str, Any], added: Any, removed: Any, tags: Any) -> None:
    before = stored(ticket={"tags": ("old", "stays")})
    decision = given(before, SetTags(by=AGENT, **data))
    _, ticket = after(decision)
    assert changed(before, ticket) == {**NEWS, "tags": tags}
    assert decision.events == [TicketTagged(ticket=ticket, added=added, removed=removed, actor=AGENT)]


@pytest.mark.parametrize("data", [{"add": ("old", " ")}, {"remove": ("none",)}, {"replace": ("stays", "old")}])
def test_tags_that_are_as_asked_already_say_nothing(data: dict[str, Any]) -> None:
    assert given(stored(ticket={"tags": ("old", "stays")}), SetTags(by=AGENT, **data)).events == []


def test_facts_change_what_differs_and_of_the_customer_fact_by_fact() -> None:
    before = stored(ticket={"customer": CustomerFacts(tier="silver", orders=3), "order_ref": "A1"})
    data = SetFacts(
        by=AGENT, order_ref="A1", language="th", market=Market(country="TH"),
        customer=CustomerFacts(tier="gold", orders=3),
    )  # fmt: skip
    decision = given(before, data)
    _, ticket = after(decision)
    assert changed(before, ticket) == {
        **NEWS, "customer": CustomerFacts(tier="gold", orders=3), "language": "th", "market": Market(country="TH"),
    }  # fmt: skip
    assert decision.events == [
        TicketFactsChanged(
            ticket=ticket,
            changed=("language", "market", "customer.tier"),
            old=Facts(language=None, market=Market(), customer=CustomerFacts(tier="silver")),
            actor=AGENT,
            command_id="c1",
        )
    ]


def test_a_caller_cannot_move_a_ticket_to_a_brand_that_it_does_not_reach() -> None:
    refused = given(stored(), SetFacts(by=AGENT, brand="korale"), brands="nimbus")
    assert refusal(refused) == ("forbidden", "the caller is limited to other brands")
    fine = given(stored(), SetFacts(by=AGENT, brand="korale"), brands="nimbus,korale", accounts="wa-th")
    assert after(fine)[1].brand == "korale"


def test_a_hand_off_says_what_the_bot_found_and_adds_the_skills_it_asks_for() -> None:
    before = stored(bot=True, ticket={"required_skills": {"billing": 1, "tax": 2}})
    decision = given(before, HandOff(by=BOT, reason="asked", summary="a refund", required_skills={"billing": 3}))
    _, ticket = after(decision)
    assert changed(before, ticket) == {
        **NEWS, "handled_by_bot": False, "handed_off_at": minute(2), "required_skills": {"billing": 3, "tax": 2},
    }  # fmt: skip
    assert decision.events == [TicketHandedOff(ticket=ticket, actor=BOT, reason="asked", summary="a refund")]
    assert after(given(before, HandOff(by=BOT)))[1].required_skills == {"billing": 1, "tax": 2}


# --- Replies. ---

FILE = Attachment(name="a.pdf", media_type="application/pdf", ref="f1")


@pytest.mark.parametrize(("by", "automated"), [(AGENT, False), (BOT, False), (SYSTEM, True)])
def test_a_reply_waits_to_be_sent_as_it_was_asked_for(by: Author, automated: bool) -> None:
    before = stored()
    data = Reply(by=by, text="Here", html="<p>Here</p>", attachments=(FILE,), status=Status.SOLVED)
    decision = given(before, data, looked={"files": frozenset({"f1"})})
    state, ticket = after(decision)
    message = Message(
        id=stable_id("reply", "T1", "/crm", "c1"), direction=Direction.OUT, author=by, text="Here",
        attachments=(FILE,), sent_at=minute(1), automated=automated, in_reply_to="m1",
    )  # fmt: skip
    waits = Pending(message, "c1", minute(2), minute(2), html="<p>Here</p>", status=Status.SOLVED)
    assert state == replace(before, commands=state.commands, pending=(waits,))
    assert (ticket, decision.events, decision.inserts) == (before.ticket, [], [])


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ({"ref": "f1"}, None),
        ({"url": "https://x/a"}, None),
        ({"url": "http://x/a"}, None),
        ({"ref": "f2"}, "forbidden"),
        ({"url": "ftp://x/a"}, "invalid"),
        ({"url": "file:///etc/passwd"}, "invalid"),
        ({}, "invalid"),
        ({"ref": "f1", "url": "https://x/a"}, "invalid"),
        ({"ref": "f1", "media_id": "m"}, "invalid"),
        ({"media_id": "m"}, "invalid"),
    ],
)
def test_a_file_is_named_by_a_ref_that_the_caller_may_use_or_by_an_http_url(
    file: dict[str, str], reason: str | None
) -> None:
    data = Reply(by=AGENT, text="x", attachments=(Attachment(name="a", media_type="text/plain", **file),))
    decision = given(stored(), data, looked={"files": frozenset({"f1"})})
    assert [event.reason for event in decision.events] == ([] if reason is None else [reason])  # type: ignore[attr-defined]
    assert len(after(decision)[0].pending) == (reason is None)
    if reason is not None:
        assert "the file 'a'" in str(refusal(decision)[1])


# --- Merges and what is forwarded. ---


def merged(state: TicketState, *messages: Message, other: dict[str, Any] | None = None) -> Decision[TicketState]:
    assert state.ticket is not None
    there = state.ticket.model_copy(update={"id": "T0", **(other or {})})
    return given(state, Merge(by=AGENT, into="T0"), looked={"other": there, "messages": messages})


def test_a_merge_lets_the_open_questions_go_on_says_where_and_closes() -> None:
    before = stored()
    answered = Story().arrival(-1, "m0").message()
    robots = Story().arrival(0, "m3", automated_because="x").message()
    first = Story().arrival(0, "m1").message()
    decision = merged(before, answered, robots, first)
    state, ticket = after(decision)
    assert state.pending == (
        Pending(first, "c1", minute(2), minute(2), into="T0", contact=ticket.contact),
    )  # fmt: skip
    told, closed = decision.events
    assert isinstance(told, TicketMerged)
    assert (told.into, told.actor, told.ticket.merged_into, told.ticket.status) == ("T0", AGENT, "T0", Status.NEW)
    assert closed == TicketClosed(ticket=ticket, old=Status.NEW, reason="merged", actor=AGENT)
    assert (state.unanswered, ticket.closed_at) == ((), minute(2))


def test_a_merge_waits_until_all_open_questions_are_stored() -> None:
    with pytest.raises(TransientError):
        merged(stored())
    with pytest.raises(TransientError):
        merged(stored(unanswered=(minute(0), minute(1))), Story().arrival(0, "m1").message())


def test_a_closed_ticket_is_not_merged_and_one_closed_is_not_merged_into() -> None:
    first = Story().arrival(0, "m1").message()
    closed = stored(ticket={"status": Status.CLOSED})
    assert refusal(merged(closed, first, other={"status": Status.OPEN})) == ("not_allowed", "the ticket is closed")
    refused = merged(stored(), first, other={"status": Status.CLOSED})
    assert refusal(refused) == ("invalid", "ticket T0 does not exist or is closed")
    refused = merged(stored(), first, other={"brand": "korale"})
    assert refusal(refused) == ("not_allowed", "a ticket can only be merged into one of the same account and brand")


@pytest.mark.parametrize(("over", "fine"), [(0, True), (1, False)])
def test_what_goes_on_fits_into_the_ticket_to_the_byte(over: int, fine: bool) -> None:
    first = Story().arrival(0, "m1").message().model_copy(update={"text": ""})
    size = FORWARDED_BYTES - len(first.model_dump_json()) + over
    text = "ก" * (size // 3) + "x" * (size % 3)
    decision = merged(stored(), first.model_copy(update={"text": text}))
    assert isinstance(decision.events[0], TicketMerged if fine else CommandRejected)
    if not fine:
        assert refusal(decision)[0] == "not_allowed"


QUESTION = Story().arrival(1, "m9").message()
STRANGER = ContactRef(id="C9")


def forwarded(
    state: TicketState, message: Message = QUESTION, number: str = "f1", **more: Any
) -> Decision[TicketState]:
    data = Forward(by=SYSTEM, message=message, from_ticket_id="T5", **more)
    return given(state, data, number=number, source=SOURCE)


def test_a_forwarded_question_is_taken_like_one_that_came_and_its_author_takes_part() -> None:
    before = stored()
    decision = forwarded(before, contact=STRANGER)
    state, ticket = after(decision)
    assert decision.events == [MessageReceived(ticket=ticket, message=QUESTION)]
    assert [insert.document for insert in decision.inserts] == [message_document("T1", QUESTION, kind="message")]
    assert state.taken == (*before.taken, QUESTION.id)
    assert state.participants == ("C1", "C9")
    assert state.unanswered == (minute(0), minute(1))
    assert changed(before, ticket) == {**NEWS, "message_count": 2, "last_customer_message_at": minute(1)}


def test_a_forwarded_question_without_an_author_adds_nobody_and_one_that_was_taken_changes_nothing() -> None:
    state, ticket = after(forwarded(stored()))
    assert state.participants == ("C1",)
    again = forwarded(state, number="f2")
    assert (again.events, again.inserts, after(again)[1]) == ([], [], ticket)


def test_a_question_forwarded_without_the_time_it_came_waits_since_it_was_sent() -> None:
    state, _ = after(forwarded(stored(), QUESTION.model_copy(update={"received_at": None, "sent_at": minute(1.5)})))
    assert state.unanswered == (minute(0), minute(1.5))


def test_only_the_latest_who_take_part_are_remembered() -> None:
    people = tuple(f"P{n}" for n in range(PARTICIPANTS_CAP))
    state, _ = after(forwarded(stored(participants=people), contact=STRANGER))
    assert state.participants == (*people[1:], "C9")


def test_a_question_that_reaches_a_closed_ticket_is_kept_and_wakes_nobody() -> None:
    before = stored(ticket={"status": Status.CLOSED})
    decision = forwarded(before, contact=STRANGER)
    state, ticket = after(decision)
    assert decision.events == [MessageReceived(ticket=ticket, message=QUESTION)]
    assert changed(before, ticket) == {**NEWS, "message_count": 2}
    assert len(decision.inserts) == 1
    assert (state.participants, state.unanswered) == (("C1",), (minute(0),))


def test_a_question_that_reaches_a_ticket_that_was_merged_goes_on_with_its_author() -> None:
    before = stored(ticket={"status": Status.CLOSED, "merged_into": "T0"})
    decision = forwarded(before, contact=STRANGER)
    state, ticket = after(decision)
    assert (ticket, decision.events, decision.inserts) == (before.ticket, [], [])
    assert state.pending == (Pending(QUESTION, "f1", minute(2), minute(2), into="T0", contact=STRANGER),)
    assert state.taken == (*before.taken, QUESTION.id)


def test_a_forward_may_be_larger_than_a_command_and_is_told_apart_by_its_id_alone() -> None:
    large = QUESTION.model_copy(update={"text": "x" * COMMAND_BYTES})
    state, _ = after(forwarded(stored(), large))
    assert state.unanswered == (minute(0), minute(1))
    assert forwarded(state, QUESTION.model_copy(update={"text": "as a later release writes it"})) == Decision()


@pytest.mark.parametrize(("reopens", "status"), [(1, Status.OPEN), (0, Status.SOLVED)])
def test_a_forwarded_question_reopens_a_solved_ticket_as_often_as_the_policy_allows(
    reopens: int, status: Status
) -> None:
    data = Forward(by=SYSTEM, message=QUESTION, from_ticket_id="T5")
    solved = stored(ticket={"status": Status.SOLVED})
    _, ticket = after(given(solved, data, policy=TicketPolicy(reopens=reopens), source=SOURCE))
    assert ticket.status == status


def test_a_ticket_that_is_solved_by_command_closes_when_the_window_of_the_policy_is_over() -> None:
    policy = TicketPolicy(reopen_window=timedelta(days=3))
    state, ticket = after(given(stored(), SetStatus(by=AGENT, status=Status.SOLVED), policy=policy))
    assert (state.closes_at, ticket.solved_at) == (minute(2) + timedelta(days=3), minute(2))
