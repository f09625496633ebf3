"""Instagram: webhooks of a professional account."""

from __future__ import annotations

from typing import Any

from tests.ingest.channels.cases import Case
from tests.ingest.channels.cases import messenger as m

ACCOUNT, PERSON = "17841405822304914", "1084692735106329"
STORY = "https://lookaside.fbsbx.com/ig_messaging_cdn/?asset_id=17947&signature=AbC"


def event(**content: Any) -> dict[str, Any]:
    """Return an event of a person."""
    return m.event(ACCOUNT, PERSON, **content)


def message(mid: str, **content: Any) -> dict[str, Any]:
    """Return the event of a message."""
    return event(message={"mid": mid, **content})


def webhook(*events: Any, **entry: Any) -> bytes:
    """Return a webhook with events."""
    return m.webhook(*events, page=ACCOUNT, kind="instagram", **entry)


MENTION = {"type": "story_mention", "payload": {"url": STORY}}
CASE = Case(
    name="instagram",
    environ={
        "DESKBUS_SECRET_META": m.SECRET,
        "DESKBUS_TOKEN_INSTAGRAM": "EAAGm0PX4ZCpsBB",
        "DESKBUS_VERIFY_META": "agreed-with-meta",
    },
    sign=m.sign,
    message=webhook(message("aWdfZAG1fA1", text="Is the blue one back in stock?")),
    message_id="aWdfZAG1fA1",
    text="Is the blue one back in stock?",
    another=webhook(message("aWdfZAG1fA2", text="Size M", reply_to={"mid": "aWdfZAG1fA1"})),
    silent=(
        webhook(event(read={"mid": "aWdfOur1"})),
        webhook(message("aWdfZAG1fA1", is_deleted=True)),
        webhook(event(reaction={"mid": "aWdfOur1", "action": "react", "reaction": "love"})),
        webhook(m.event(PERSON, ACCOUNT, message={"mid": "aWdfOur1", "text": "Yes", "is_echo": True})),
        webhook(changes=[{"field": "comments", "value": {"id": "1", "text": "nice"}}]),
        b'{"object":"instagram","entry":[]}',
    ),
    several={
        webhook(message("aWd1", attachments=[MENTION])): ("aWd1",),
        webhook(message("aWd2", text="Wow", reply_to={"story": {"url": STORY, "id": "1794"}})): ("aWd2",),
        webhook(message("aWd3", is_unsupported=True)): ("aWd3",),
        webhook(message("aWd4", text="a"), message("aWd5", text="b")): ("aWd4", "aWd5"),
    },
    reply_id=(200, b'{"recipient_id":"1084692735106329","message_id":"aWdfOur1"}', "aWdfOur1"),
)
