"""A message that leaves: which try counts, how long the next one waits, what is told of the end."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest

from contracts.commands import Reply
from contracts.ticket import Status
from contracts.tickets import MessageFailed, MessageSent, TicketHandedOff, TicketStatusChanged
from services.ingest.core import sending
from services.ingest.core.messages import Delivery, SendFailure, Sent
from services.ingest.core.policy import TicketPolicy
from services.ingest.core.state import TicketState
from tests.ingest.core.timeline import AGENT, BOT, POLICY, Story, minute

AWAY = SendFailure("away", permanent=False)


def asked(*texts: str, policy: TicketPolicy = POLICY, status: Status | None = None) -> Story:
    """A ticket whose agent has answered at minute 1, with command c1, c2, …; nothing has left yet."""
    story = Story(policy=policy)
    story.writes(0)
    for number, text in enumerate(texts, start=1):
        story.asks(1, Reply(by=AGENT, text=text, status=status), f"c{number}")
    story.clear()
    story.inserts.clear()
    return story


def state_of(story: Story) -> TicketState:
    assert story.state is not None
    return story.state


# --- Which try counts. ---


def test_a_try_that_was_begun_is_the_one_that_runs() -> None:
    story = asked("a")
    before = state_of(story)
    assert story.begins(1)
    tried = sending.started(before, state_of(story))
    assert tried == state_of(story).pending[0]
    assert tried is not None
    assert sending.is_current(state_of(story), tried)


@pytest.mark.parametrize("texts", [("a",), ("a", "b")])
def test_a_message_that_was_given_up_leaves_no_try_although_another_one_follows(texts: tuple[str, ...]) -> None:
    story = asked(*texts, policy=TicketPolicy(send_attempts=1))
    story.begins(1)
    before = state_of(story)
    assert story.begins(2)
    assert sending.started(before, state_of(story)) is None
    (failed,) = story.events
    assert isinstance(failed, MessageFailed)
    assert failed.permanent is False  # nothing was refused
    assert failed.ticket.updated_at == minute(2)


def test_no_try_runs_on_a_ticket_that_has_nothing_to_send_or_is_gone() -> None:
    story = asked("a")
    story.begins(1)
    tried = state_of(story).pending[0]
    assert not sending.is_current(None, tried)
    assert not sending.is_current(replace(state_of(story), pending=()), tried)
    assert not sending.is_current(state_of(story), replace(tried, attempts=tried.attempts + 1))


def test_a_report_proves_the_message_that_it_names_and_no_other() -> None:
    story = asked("a", "b")
    first, second = (pending.message.id for pending in state_of(story).pending)
    report = Sent("wamid.9")
    assert sending.confirm(state_of(story), first, report, POLICY, minute(2)) is None  # never tried, so never sent
    story.begins(1)
    assert sending.confirm(state_of(story), second, report, POLICY, minute(2)) is None
    assert sending.confirm(replace(state_of(story), pending=()), first, report, POLICY, minute(2)) is None
    assert sending.confirm(state_of(story), first, report, POLICY, minute(2)) is not None


# --- How long the next try waits. ---


@pytest.mark.parametrize(("drawn", "share"), [("low", 0.5), ("high", 1.0)])
def test_half_of_a_wait_is_chance(drawn: str, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: low if drawn == "low" else high)
    policy = TicketPolicy(send_backoff=timedelta(seconds=2), send_backoff_max=timedelta(seconds=100))
    story = asked("a", policy=policy)
    waits = []
    for at in range(10, 60, 10):
        story.tries(at, AWAY)
        waits.append((state_of(story).pending[0].next_at - minute(at)).total_seconds())
    assert waits == [seconds * share for seconds in (2, 8, 32, 100, 100)]


def test_a_wait_may_be_shorter_than_a_second() -> None:
    story = asked("a", policy=TicketPolicy(send_backoff=timedelta(milliseconds=10)))
    story.tries(1, AWAY)
    assert state_of(story).pending[0].next_at - minute(1) <= timedelta(milliseconds=10)


def test_a_wait_stays_bounded_however_many_tries_there_were() -> None:
    story = asked("a", policy=TicketPolicy(send_backoff_max=timedelta(minutes=5)))
    story.begins(1)
    often = replace(state_of(story).pending[0], attempts=10_000, asked_at=minute(1))
    decision = sending.settle(replace(state_of(story), pending=(often,)), often, AWAY, story.policy, minute(2))
    assert decision is not None
    assert decision.state is not None
    assert decision.state.pending[0].next_at - minute(2) <= timedelta(minutes=5)


def test_what_waits_behind_a_message_that_is_tried_again_keeps_its_turn() -> None:
    story = asked("a", "b", "c")
    story.tries(1, AWAY)
    assert [pending.message.text for pending in state_of(story).pending] == ["a", "b", "c"]


@pytest.mark.parametrize(("seconds", "words"), [(3600, []), (3601, ["message.failed"])])
def test_a_try_is_made_at_the_last_instant_of_its_time_and_not_after_it(seconds: int, words: list[str]) -> None:
    story = asked("a", policy=TicketPolicy(send_attempts=1, send_for=timedelta(hours=1)))
    story.tries(1, SendFailure("slow down", permanent=False, retry_after=seconds))
    assert story.words() == words


# --- What is told of the end. ---


@pytest.mark.parametrize("proven", [False, True])
def test_a_message_that_left_is_taken_stored_and_told_with_its_command(proven: bool) -> None:
    story = asked("a")
    story.begins(1)
    tried = state_of(story).pending[0]
    if proven:  # by a report of the channel; the answer to the try was lost
        decision = sending.confirm(state_of(story), tried.message.id, Sent("wamid.7"), POLICY, minute(3))
    else:
        decision = sending.settle(state_of(story), tried, Sent("wamid.7"), POLICY, minute(3))
    assert decision is not None
    assert decision.state is not None
    told = decision.events[0]
    assert isinstance(told, MessageSent)
    assert (told.command_id, told.attempts) == ("c1", 1)
    assert (told.message.channel_message_id, told.message.sent_at) == ("wamid.7", minute(3))
    assert decision.state.taken[-1] == tried.message.id
    (stored,) = decision.inserts
    assert (stored.document["kind"], stored.document["message"]) == ("message", tried.message.id)


def test_a_reply_answers_what_came_at_the_very_instant_it_was_given() -> None:
    story = Story()
    story.writes(5)
    story.asks(5, Reply(by=AGENT, text="x"))
    story.tries(6)
    assert state_of(story).answered[-1].questions == (minute(5),)
    assert story.ticket.oldest_unanswered_at is None


@pytest.mark.parametrize("proven", [False, True])
def test_a_reply_that_solves_its_ticket_sets_the_end_of_its_window(proven: bool) -> None:
    policy = TicketPolicy(reopen_window=timedelta(hours=3))
    story = asked("a", policy=policy, status=Status.SOLVED)
    if proven:
        story.begins(2)
        story.reported(2, Delivery.DELIVERED, state_of(story).pending[0].message.id)
    else:
        story.tries(2)
    assert (story.ticket.status, state_of(story).closes_at) == (Status.SOLVED, minute(2) + timedelta(hours=3))
    (changed,) = [event for event in story.events if isinstance(event, TicketStatusChanged)]
    assert changed.reason == "replied"


def test_a_reply_moves_the_ticket_because_it_was_a_reply() -> None:
    story = asked("a")
    story.tries(2)
    (changed,) = [event for event in story.events if isinstance(event, TicketStatusChanged)]
    assert (changed.new, changed.reason) == (Status.PENDING, "replied")


def test_a_person_who_answers_takes_over_from_the_bot_and_the_reason_is_told() -> None:
    story = Story(bot=True)
    story.writes(0)
    story.asks(1, Reply(by=BOT, text="x"))
    story.tries(1)
    story.asks(2, Reply(by=AGENT, text="y"))
    story.clear()
    story.tries(2)
    (handed,) = [event for event in story.events if isinstance(event, TicketHandedOff)]
    assert (handed.ticket.handled_by_bot, handed.ticket.handed_off_at) == (False, minute(2))
    assert handed.reason


def test_a_message_that_failed_is_stored_as_failed_and_told_with_its_command() -> None:
    story = asked("a")
    story.tries(2, SendFailure("e" * 5000, permanent=True))
    (failed,) = story.events
    assert isinstance(failed, MessageFailed)
    assert (failed.command_id, failed.permanent) == ("c1", True)
    assert failed.error == "e" * 1900
    assert failed.ticket.updated_at == minute(2)
    (stored,) = story.inserts
    assert stored.document["kind"] == "failed"
