"""Replies of a ticket: tried, sent, reported, given up; and what comes again changes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.commands import (
    Reply,
    SetStatus,
)
from contracts.ticket import Status
from contracts.tickets import CommandRejected
from kit.base.errors import TransientError
from services.ingest.core.arrivals import FULL_BYTES, TEXT_BYTES
from services.ingest.core.messages import Delivery, SendFailure
from services.ingest.core.policy import TicketPolicy
from services.ingest.core.ticket import decide
from services.ingest.store import dump_ticket, load_ticket
from tests.ingest.core.timeline import AGENT, BOT, POLICY, Story, minute

DAY = 24 * 60.0


def test_reports_tell_how_far_a_message_got_each_step_once_in_any_order() -> None:
    story = Story()
    story.writes(0)
    story.replies(1)
    ours = story.events[1].message.id  # type: ignore[attr-defined]
    story.clear()
    story.reported(3, Delivery.READ, ours)
    story.reported(2, Delivery.DELIVERED, ours)
    story.reported(2, Delivery.SENT, ours)
    story.reported(3, Delivery.READ, ours)
    assert [event.state for event in story.events] == ["read"]  # type: ignore[attr-defined]
    story.reported(4, Delivery.BOUNCED, ours, permanent=False, reason="mailbox full")
    story.reported(5, Delivery.FAILED, ours, reason="gone")
    story.reported(5, Delivery.FAILED, ours, reason="gone")
    assert story.words()[1:] == ["message.bounced", "message.bounced", "ticket.status_changed"]
    assert [event.permanent for event in story.events[1:3]] == [False, True]  # type: ignore[attr-defined]


def test_a_report_proves_that_a_message_was_sent_although_the_answer_to_our_try_was_lost() -> None:
    story = Story()
    story.writes(0)
    story.asks(1, Reply(by=AGENT, text="x"))
    assert story.begins(1)
    assert story.state is not None
    tried = story.state.pending[0]
    story.reported(2, Delivery.DELIVERED, tried.message.id)
    assert story.words()[1:] == ["message.sent", "ticket.status_changed", "message.delivered"]
    assert story.state.pending == ()
    assert not story.begins(30)


def test_a_reply_answers_what_had_come_when_it_was_given_not_when_it_was_taken() -> None:
    story = Story()
    story.writes(0)
    story.writes(10)
    story.asks(60, Reply(by=AGENT, text="x"), given=5)  # ingest was down in between
    story.tries(61)
    assert story.ticket.oldest_unanswered_at == minute(10)
    assert story.ticket.status is Status.OPEN


def test_a_reply_that_claims_to_come_from_the_future_answers_what_has_come() -> None:
    story = Story()
    story.writes(0)
    story.asks(5, Reply(by=AGENT, text="x"), given=500)
    story.writes(10)
    story.tries(40)
    assert story.ticket.oldest_unanswered_at == minute(10)


AWAY = SendFailure("away", permanent=False)
NO_ANSWER = SendFailure("no answer", permanent=False, unsure=True)


def test_a_reply_whose_tries_may_have_arrived_is_given_up_after_a_few_and_says_so() -> None:
    story = Story(policy=TicketPolicy(send_attempts=3))
    story.writes(0)
    story.asks(1, Reply(by=AGENT, text="x"))
    story.tries(1, NO_ANSWER)
    assert not story.begins(1)
    story.tries(2, NO_ANSWER)
    story.tries(3, NO_ANSWER)
    assert story.words() == ["ticket.opened", "message.failed"]
    failed = story.events[-1]
    told = (failed.attempts, failed.permanent, failed.error)  # type: ignore[attr-defined]
    assert told == (3, False, "no answer (3 of 3 tries may have arrived)")
    assert story.ticket.oldest_unanswered_at == minute(0)


def test_a_reply_that_surely_has_not_arrived_outlives_an_outage_of_hours() -> None:
    story = Story(policy=TicketPolicy(send_attempts=3, send_for=timedelta(hours=2)))
    story.writes(0)
    story.asks(0, Reply(by=AGENT, text="x"))
    for at in range(0, 110, 6):
        story.tries(at, AWAY)
    story.tries(114)
    assert story.words() == ["ticket.opened", "message.sent", "ticket.status_changed"]
    assert story.events[1].attempts == 20  # type: ignore[attr-defined]


def test_a_reply_that_surely_has_not_arrived_is_given_up_when_its_time_is_over() -> None:
    story = Story(policy=TicketPolicy(send_attempts=3, send_for=timedelta(hours=2)))
    story.writes(0)
    story.asks(0, Reply(by=AGENT, text="x"))
    for at in range(0, 121, 6):
        story.tries(at, AWAY)
    assert story.words() == ["ticket.opened", "message.failed"]
    failed = story.events[-1]
    assert (failed.attempts, failed.permanent, failed.error) == (21, False, "away")  # type: ignore[attr-defined]


def test_a_reply_that_waited_for_its_turn_too_long_has_its_few_tries_all_the_same() -> None:
    story = Story(policy=TicketPolicy(send_attempts=3, send_for=timedelta(hours=2)))
    story.writes(0)
    story.asks(0, Reply(by=AGENT, text="x"))
    for at in (600, 610):
        story.tries(at, AWAY)
    assert story.words() == ["ticket.opened"]
    story.tries(620, AWAY)
    assert story.words() == ["ticket.opened", "message.failed"]


def test_of_tries_only_those_that_may_have_arrived_count_as_copies() -> None:
    story = Story(policy=TicketPolicy(send_attempts=2))
    story.writes(0)
    story.asks(0, Reply(by=AGENT, text="x"))
    story.tries(0, NO_ANSWER)
    for at in range(6, 60, 6):
        story.tries(at, AWAY)
    assert story.words() == ["ticket.opened"]
    story.tries(60, NO_ANSWER)
    assert story.words() == ["ticket.opened", "message.failed"]
    assert story.events[-1].error == "no answer (2 of 11 tries may have arrived)"  # type: ignore[attr-defined]


def test_a_try_that_never_ends_counts_as_one_that_may_have_arrived() -> None:
    story = Story(policy=TicketPolicy(send_attempts=2))
    story.writes(0)
    story.asks(0, Reply(by=AGENT, text="x"))
    assert [story.begins(at) for at in (0, 2, 4)] == [True, True, True]
    assert story.words() == ["ticket.opened", "message.failed"]
    assert "2 of 2 tries may have arrived" in story.events[-1].error  # type: ignore[attr-defined]


def test_waits_grow_fourfold_up_to_five_minutes_and_half_of_each_is_left_to_chance() -> None:
    story = Story()
    story.writes(0)
    story.asks(0, Reply(by=AGENT, text="x"))
    at = 0.0
    for most in (2, 8, 32, 128, 300, 300):
        story.tries(at, AWAY)
        assert story.state is not None
        waits = (story.state.pending[0].next_at - minute(at)).total_seconds()
        assert most / 2 <= waits <= most
        at += 10


def test_a_permanent_refusal_ends_it_at_once_and_the_next_message_goes() -> None:
    story = Story()
    story.writes(0)
    story.asks(1, Reply(by=AGENT, text="a"))
    story.asks(1, Reply(by=AGENT, text="b"))
    story.tries(1, SendFailure("no such number", permanent=True))
    story.tries(1)
    assert story.words() == ["ticket.opened", "message.failed", "message.sent", "ticket.status_changed"]


def test_the_channel_says_when_to_come_again() -> None:
    story = Story()
    story.writes(0)
    story.asks(1, Reply(by=AGENT, text="a"))
    story.tries(1, SendFailure("slow down", permanent=False, retry_after=600))
    assert not story.begins(10.9)
    assert story.begins(11)


def test_two_processes_do_not_make_the_same_try_and_a_dead_one_is_followed_after_its_lease() -> None:
    story = Story()
    story.writes(0)
    story.asks(1, Reply(by=AGENT, text="a"))
    assert story.begins(1)
    assert not story.begins(1.9)
    assert story.begins(2)


def test_a_question_that_goes_on_to_another_ticket_is_never_given_up() -> None:
    story = Story(policy=TicketPolicy(send_attempts=2))
    story.writes(0)
    story.asks(1, Reply(by=AGENT, text="x"))
    assert story.state is not None
    story.state = replace(story.state, pending=(replace(story.state.pending[0], into="T0"),))
    for at in range(1, 30, 6):
        story.tries(at, SendFailure("unexpected error", permanent=True))
    assert story.words() == ["ticket.opened"]
    assert len(story.state.pending) == 1


def test_an_outcome_of_a_try_that_was_overtaken_does_not_count() -> None:
    from services.ingest.core.sending import settle

    story = Story()
    story.writes(0)
    story.asks(1, Reply(by=AGENT, text="a"))
    story.begins(1)
    assert story.state is not None
    old = story.state.pending[0]
    story.begins(3)
    assert settle(story.state, old, SendFailure("late", permanent=True), POLICY, minute(4)) is None


def test_long_texts_are_cut_in_events_and_kept_whole_beside_them() -> None:
    story = Story()
    text = "ข้อความ" * 200_000
    story.writes(0, text=text[:90_000], text_full=text)
    message = story.events[0].message  # type: ignore[attr-defined]
    assert len(message.text.encode()) <= TEXT_BYTES
    assert len(message.text_full.encode()) <= FULL_BYTES
    whole = str(story.inserts[0].document["whole"])
    assert text.startswith(whole)
    assert len(whole) > len(message.text_full)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("writes"), st.sampled_from(["m1", "m2", "m3"]), st.booleans()),
        st.tuples(st.just("asks"), st.sampled_from(["c1", "c2", "c3"]), st.sampled_from(list(Status))),
        st.tuples(st.just("replies"), st.sampled_from(["r1", "r2"]), st.sampled_from([AGENT, BOT])),
        st.tuples(st.just("tries"), st.booleans(), st.none()),
        st.tuples(st.just("time"), st.none(), st.none()),
    ),
    max_size=25,
)


@given(steps=STEPS)
def test_whatever_happens_what_comes_again_changes_nothing_and_the_ticket_stays_whole(
    steps: list[tuple[str, object, object]],
) -> None:
    story = Story()
    story.writes(0, "m0")
    for at, (what, first, second) in enumerate(steps, start=1):
        for again in (False, True):
            before = (story.state, len(story.events))
            try:
                _step(story, at, what, first, second, again=again)
            except TransientError:
                assert story.ticket.status == Status.CLOSED
            if again:
                assert (story.state, len(story.events)) == before
        _whole(story)


def _step(story: Story, at: float, what: str, first: object, second: object, *, again: bool) -> None:
    match what:
        case "writes":
            story.writes(at, str(first), automated_because="robot" if second else None)
        case "asks":
            story.asks(at, SetStatus(by=AGENT, status=second), str(first))
        case "replies":
            story.asks(at, Reply(by=second, text="x"), str(first))
        case "tries" if not again and story.state is not None and story.state.pending:
            story.tries(at * 10_000, None if first else SendFailure("no", permanent=True))
        case "time":
            story.time_comes(at + 20 * DAY)
            assert story.ticket.status != Status.SOLVED


def _whole(story: Story) -> None:
    state, ticket = story.state, story.ticket
    assert state is not None
    assert load_ticket(dump_ticket(state)) == state
    assert ticket.oldest_unanswered_at == (state.unanswered[0] if state.unanswered else None)
    assert (ticket.solved_at is not None) >= (ticket.status == Status.SOLVED)
    assert (ticket.closed_at is not None) == (ticket.status == Status.CLOSED)
    assert (state.closes_at is not None) == (ticket.status == Status.SOLVED)
    told = [event.ticket for event in story.events if not isinstance(event, CommandRejected)]  # type: ignore[attr-defined]
    assert [each.version for each in told] == list(range(1, len(told) + 1))
    assert told[-1] == ticket


@pytest.mark.parametrize("contact", ["C1", "C2"])
@pytest.mark.parametrize("robot", [None, "auto-submitted"])
def test_no_message_on_a_ticket_moves_where_its_replies_go(contact: str, robot: str | None) -> None:
    story = Story()
    story.writes(0)
    other = story.arrival(1, automated_because=robot)
    other.contact_id = contact
    other.inbound = replace(other.inbound, sender=replace(other.inbound.sender, address="other", name="Other"))
    decision = decide(story.state, other, POLICY, minute(1))
    assert decision.state is not None
    assert decision.state.ticket is not None
    assert decision.state.ticket.contact == story.ticket.contact
    assert decision.state.participants == (("C1", "C2") if contact == "C2" and robot is None else ("C1",))
