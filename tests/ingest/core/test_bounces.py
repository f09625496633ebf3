"""A reply that came back answered nothing: what it answered waits on, for whoever answers next."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.ticket import Status
from contracts.tickets import MessageSent
from services.ingest.core.messages import Delivery
from services.ingest.store import dump_ticket, load_ticket
from tests.ingest.core.timeline import BOT, Story, minute


def sent(story: Story, at: float, given: float | None = None) -> str:
    """Reply; returns the id of the message."""
    story.replies(at if given is None else given, at)
    return next(event.message.id for event in reversed(story.events) if isinstance(event, MessageSent))


@pytest.mark.parametrize("state", [Delivery.BOUNCED, Delivery.FAILED])
def test_what_a_bounced_reply_answered_waits_on_and_the_ticket_is_ours_again(state: Delivery) -> None:
    story = Story()
    story.writes(0)
    story.writes(1)
    reply = sent(story, 10)
    assert (story.ticket.status, story.ticket.oldest_unanswered_at) == (Status.PENDING, None)
    story.clear()
    story.reported(12, state, reply, permanent=True)
    assert story.words() == ["message.bounced", "ticket.status_changed"]
    assert [event.ticket.oldest_unanswered_at for event in story.events] == [minute(0)] * 2  # type: ignore[attr-defined]
    assert (story.ticket.status, story.ticket.first_reply_at, story.ticket.last_reply_at) == (Status.OPEN, None, None)
    assert story.state is not None
    assert story.state.unanswered == (minute(0), minute(1))
    story.reported(13, state, reply, permanent=True)
    assert len(story.events) == 2


def test_a_delay_takes_nothing_back() -> None:
    story = Story()
    story.writes(0)
    story.reported(12, Delivery.BOUNCED, sent(story, 10), permanent=False)
    assert (story.ticket.status, story.ticket.oldest_unanswered_at) == (Status.PENDING, None)
    assert story.ticket.first_reply_at == minute(10)


def test_what_a_later_reply_answers_too_waits_only_if_that_bounces_as_well() -> None:
    story = Story()
    story.writes(0)
    first, second = sent(story, 10), sent(story, 20)
    story.reported(30, Delivery.BOUNCED, first, permanent=True)
    assert (story.ticket.status, story.ticket.oldest_unanswered_at) == (Status.PENDING, None)
    assert story.ticket.first_reply_at == minute(20)
    story.reported(40, Delivery.BOUNCED, second, permanent=True)
    assert (story.ticket.status, story.ticket.oldest_unanswered_at) == (Status.OPEN, minute(0))
    assert story.ticket.first_reply_at is None


def test_solving_settles_what_a_reply_answered_although_it_bounces() -> None:
    story = Story()
    story.writes(0)
    story.replies(10, status=Status.SOLVED)
    reply = story.events[1].message.id  # type: ignore[attr-defined]
    story.reported(12, Delivery.BOUNCED, reply, permanent=True)
    assert (story.ticket.status, story.ticket.oldest_unanswered_at) == (Status.SOLVED, None)


def test_a_bots_message_that_bounces_changes_no_wait() -> None:
    story = Story()
    story.writes(0)
    story.replies(1, by=BOT)
    reply = story.events[1].message.id  # type: ignore[attr-defined]
    story.reported(12, Delivery.BOUNCED, reply, permanent=True)
    assert (story.ticket.status, story.ticket.oldest_unanswered_at) == (Status.NEW, minute(0))


@settings(max_examples=150)
@given(st.lists(st.sampled_from(["ask", "ask", "reply", "bounce"]), max_size=15), st.data())
def test_a_question_is_open_unless_a_reply_given_after_it_arrived(kinds: list[str], data: st.DataObject) -> None:
    story = Story()
    story.writes(0)
    asked, replies = [0.0], dict[str, tuple[float, float]]()
    for now, kind in enumerate(kinds, 1):
        if kind == "ask":
            story.writes(now)
            asked.append(now)
        elif kind == "reply":
            replies[sent(story, now + 0.5, now)] = now, now + 0.5
        elif replies:
            lost = data.draw(st.sampled_from(sorted(replies)))
            story.reported(now, Delivery.BOUNCED, lost, permanent=True)
            del replies[lost]
    waits = [minute(each) for each in asked if all(given < each for given, _ in replies.values())]
    assert story.state is not None
    assert list(story.state.unanswered) == waits
    assert story.ticket.oldest_unanswered_at == (waits[0] if waits else None)
    sends = [minute(out) for _, out in replies.values()]
    assert (story.ticket.first_reply_at, story.ticket.last_reply_at) == (
        min(sends, default=None), max(sends, default=None),
    )  # fmt: skip
    assert load_ticket(dump_ticket(story.state)) == story.state
