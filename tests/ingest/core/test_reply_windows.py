"""Channels that take replies for a limited time: what is refused before sending, and what is said about a failure."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from contracts.commands import Reply, Template
from contracts.ticket import Attachment, Author
from contracts.tickets import CommandRejected, MessageFailed
from services.ingest.core import sending
from services.ingest.core.messages import SendFailure
from services.ingest.core.policy import ReplyWindow, TicketPolicy
from services.ingest.store import dump_ticket, load_ticket
from tests.ingest.core.timeline import AGENT, BOT, POLICY, Story, minute

DAY = 24 * 60
DAY_FOR_ALL = TicketPolicy(window=ReplyWindow(timedelta(days=1)))
WEEK_FOR_PEOPLE = TicketPolicy(window=ReplyWindow(timedelta(days=1), people=timedelta(days=7)))
NO_ANSWER = SendFailure("no answer", permanent=False, unsure=True)


def failed(story: Story) -> list[MessageFailed]:
    return [event for event in story.events if isinstance(event, MessageFailed)]


@pytest.mark.parametrize(
    ("policy", "by", "last"),
    [
        (DAY_FOR_ALL, AGENT, DAY),
        (DAY_FOR_ALL, BOT, DAY),
        (WEEK_FOR_PEOPLE, AGENT, 7 * DAY),
        (WEEK_FOR_PEOPLE, BOT, DAY),
    ],
)
def test_a_reply_leaves_until_the_window_closes_and_is_refused_after_it(
    policy: TicketPolicy, by: Author, last: int
) -> None:
    story = Story(policy=policy)
    story.writes(0)
    story.asks(last, Reply(by=by, text="in time"), "c1")
    story.tries(last)
    assert failed(story) == []
    story.asks(last, Reply(by=by, text="late"), "c2")
    story.begins(last + 1)
    (refused,) = failed(story)
    assert (refused.message.text, refused.command_id, refused.attempts) == ("late", "c2", 0)
    assert (refused.permanent, refused.reason, refused.may_have_arrived) == (True, "window_closed", False)


def test_the_refusal_says_for_how_long_replies_are_taken() -> None:
    said = []
    for policy, by in ((DAY_FOR_ALL, AGENT), (WEEK_FOR_PEOPLE, AGENT), (WEEK_FOR_PEOPLE, BOT)):
        story = Story(policy=policy)
        story.writes(0)
        story.asks(8 * DAY, Reply(by=by, text="late"))
        story.begins(8 * DAY)
        said.append(failed(story)[0].error)
    assert said == [
        "the channel takes replies for 24 hours after the customer's last message",
        "the channel takes replies of people for 7 days after the customer's last message",
        "the channel takes replies of bots for 24 hours after the customer's last message",
    ]


def test_each_message_of_the_customer_opens_the_window_again() -> None:
    story = Story(policy=DAY_FOR_ALL)
    story.writes(0)
    story.writes(DAY - 10)
    story.asks(DAY + 10, Reply(by=AGENT, text="x"))
    story.tries(DAY + 10)
    assert failed(story) == []


def test_a_reply_that_waits_until_the_window_has_closed_is_not_tried_again() -> None:
    story = Story(policy=replace(DAY_FOR_ALL, send_for=timedelta(days=3)))
    story.writes(0)
    story.asks(DAY - 1, Reply(by=AGENT, text="x"))
    story.tries(DAY - 1, NO_ANSWER)
    assert story.begins(DAY + 60)
    (refused,) = failed(story)
    assert (refused.reason, refused.attempts, refused.may_have_arrived) == ("window_closed", 1, True)


def test_without_a_window_a_reply_leaves_at_any_time() -> None:
    story = Story()
    story.writes(0)
    story.asks(30 * DAY, Reply(by=AGENT, text="x"))
    story.tries(30 * DAY)
    assert failed(story) == []


TEMPLATES = TicketPolicy(window=ReplyWindow(timedelta(days=1), templates=True))
PARCEL = Template(name="parcel_update", language="th", parameters=("Somchai",))


def test_a_template_leaves_at_any_time() -> None:
    story = Story(policy=TEMPLATES)
    story.writes(0)
    story.asks(9 * DAY, Reply(by=AGENT, text="It is here, Somchai", template=PARCEL))
    assert story.state is not None
    assert [each.template for each in story.state.pending] == [PARCEL]
    assert load_ticket(dump_ticket(story.state)) == story.state
    story.tries(9 * DAY)
    assert story.words()[-2:] == ["message.sent", "ticket.status_changed"]


def test_what_is_no_template_is_told_that_templates_are_taken() -> None:
    story = Story(policy=TEMPLATES)
    story.writes(0)
    story.asks(2 * DAY, Reply(by=AGENT, text="x"))
    story.begins(2 * DAY)
    assert failed(story)[0].error.endswith(", then templates only")


@pytest.mark.parametrize(
    ("policy", "more", "reason"),
    [
        (POLICY, {}, "not_allowed"),
        (DAY_FOR_ALL, {}, "not_allowed"),
        (TEMPLATES, {"html": "<p>x</p>"}, "invalid"),
        (TEMPLATES, {"attachments": (Attachment(name="a", media_type="a/b", url="https://a.example"),)}, "invalid"),
    ],
)
def test_a_template_is_rejected_where_it_cannot_be_sent(
    policy: TicketPolicy, more: dict[str, Any], reason: str
) -> None:
    story = Story(policy=policy)
    story.writes(0)
    story.asks(1, Reply(by=AGENT, text="x", template=PARCEL, **more))
    (rejected,) = [event for event in story.events if isinstance(event, CommandRejected)]
    assert rejected.reason == reason
    assert story.state is not None
    assert story.state.pending == ()


@pytest.mark.parametrize(
    "more",
    [
        {"template": PARCEL.model_copy(update={"parameters": ("x" * 300_000,)})},
        {"attachments": (Attachment(name="a" * 120, media_type="a/b", url="https://a.example"),) * 1_500},
    ],
)
def test_all_that_waits_to_be_sent_counts_towards_what_a_ticket_holds(more: dict[str, Any]) -> None:
    story = Story(policy=TEMPLATES)
    story.writes(0)
    for number in range(2):
        story.asks(1, Reply(by=AGENT, text="x", **more), f"c{number}")
    (rejected,) = [event for event in story.events if isinstance(event, CommandRejected)]
    assert (rejected.command_id, rejected.detail) == ("c1", "too many replies are waiting to be sent")


@pytest.mark.parametrize(
    ("outcomes", "reason", "may_have_arrived"),
    [
        ([SendFailure("no", permanent=True)], "refused", False),
        ([SendFailure("away", permanent=False)] * 2, "exhausted", False),
        ([NO_ANSWER] * 2, "exhausted", True),
        ([NO_ANSWER, SendFailure("no", permanent=True)], "refused", True),
        ([replace(NO_ANSWER, repeatable=True), SendFailure("away", permanent=False)], "exhausted", True),
        ([replace(NO_ANSWER, repeatable=True)] * 2, "exhausted", True),
    ],
)
def test_a_failure_says_whether_the_message_may_have_arrived(
    outcomes: list[SendFailure], reason: str, may_have_arrived: bool
) -> None:
    story = Story(policy=replace(POLICY, send_attempts=2, send_for=timedelta(0)))
    story.writes(0)
    story.asks(1, Reply(by=AGENT, text="x"))
    for number, outcome in enumerate(outcomes):
        assert failed(story) == []
        story.tries(10 + number * 10, outcome)
    (told,) = failed(story)
    assert (told.reason, told.may_have_arrived) == (reason, may_have_arrived)


def test_an_attempt_whose_process_died_may_have_arrived() -> None:
    story = Story(policy=replace(POLICY, send_attempts=1))
    story.writes(0)
    story.asks(1, Reply(by=AGENT, text="x"))
    story.begins(1)
    decision = story.state and sending.begin(story.state, story.policy, minute(10))
    assert decision
    (told,) = decision.events
    assert isinstance(told, MessageFailed)
    assert told.may_have_arrived
