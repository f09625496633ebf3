"""What a ticket knows of the sale that it is about, and by when the marketplace expects an answer."""

from __future__ import annotations

from contracts.commands import SetFacts
from tests.ingest.core.timeline import AGENT, Story, minute

SALE = {"order_ref": "O1", "order_line": "L1", "listing": "I1", "shop": "S1"}


def sale(story: Story) -> dict[str, str | None]:
    return {name: getattr(story.ticket, name) for name in SALE}


def test_the_first_message_says_what_was_sold() -> None:
    story = Story()
    story.writes(0, **SALE, reply_by=minute(60))
    assert sale(story) == SALE
    assert story.ticket.reply_by == minute(60)


def test_a_later_message_adds_what_is_not_known_and_changes_nothing_else() -> None:
    story = Story()
    story.writes(0, order_ref="O1")
    story.writes(1, order_ref="O2", order_line="L1", listing="I1", shop="S1")
    assert sale(story) == SALE


def test_a_command_sets_what_the_channel_does_not_say() -> None:
    story = Story()
    story.writes(0)
    story.asks(1, SetFacts(by=AGENT, **SALE, reply_by=minute(30)))
    assert (sale(story), story.ticket.reply_by) == (SALE, minute(30))


def test_the_marketplace_waits_for_the_answer_to_the_oldest_unanswered_message() -> None:
    story = Story()
    story.writes(0, reply_by=minute(60))
    story.writes(10, reply_by=minute(70))
    assert story.ticket.reply_by == minute(60)
    story.replies(20)
    story.writes(30, reply_by=minute(90))
    assert story.ticket.reply_by == minute(90)
    story.replies(40)
    story.writes(50)
    assert story.ticket.reply_by is None, "a message that needs no answer in time has no deadline"
