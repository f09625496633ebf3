"""Reply tokens: the first attempt at the next reply has the token while it is valid, and no other attempt."""

from __future__ import annotations

from datetime import timedelta

import pytest

from contracts.commands import Reply
from services.ingest.core.messages import ReplyToken, SendFailure
from services.ingest.store import dump_ticket, load_ticket
from tests.ingest.core.timeline import AGENT, Story, minute

TOKEN = ReplyToken("t1", minute(0) + timedelta(seconds=40))
AWAY = SendFailure("no", permanent=False)


def begun(story: Story, at: float) -> str | None:
    assert story.begins(at)
    assert story.state is not None
    return story.state.pending[0].reply_token


@pytest.mark.parametrize(("at", "token"), [(0.5, "t1"), (40 / 60, "t1"), (0.7, None)])
def test_the_first_attempt_has_the_token_while_it_is_valid(at: float, token: str | None) -> None:
    story = Story()
    story.writes(0, reply_token=TOKEN)
    assert story.state is not None
    assert load_ticket(dump_ticket(story.state)) == story.state
    story.asks(at, Reply(by=AGENT, text="x"))
    assert begun(story, at) == token


def test_a_token_is_used_once() -> None:
    story = Story()
    story.writes(0, reply_token=TOKEN)
    story.asks(0.1, Reply(by=AGENT, text="x"))
    story.tries(0.1, AWAY)
    assert begun(story, 0.5) is None
    other = Story()
    other.writes(0, reply_token=TOKEN)
    for at in (0.1, 0.2):
        other.asks(at, Reply(by=AGENT, text="x"))
    other.tries(0.1)
    assert begun(other, 0.2) is None


def test_the_last_message_has_the_token() -> None:
    story = Story()
    story.writes(0, reply_token=TOKEN)
    story.writes(0.1, reply_token=ReplyToken("t2", TOKEN.until))
    story.writes(0.2)
    story.asks(0.3, Reply(by=AGENT, text="x"))
    assert begun(story, 0.3) == "t2"
