"""Messenger: webhooks of a page."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime
from typing import Any

from services.ingest.channels.channel import Request, json_body
from tests.ingest.channels.cases import Case

PAGE, PERSON, AT = "682498302938465", "7305847196234810", 1795253400123
SECRET = "0f3c9a7d5e1b4826"
PICTURE = "https://scontent.xx.fbcdn.net/v/t1.15752-9/394859_n.jpg?_nc_cat=1&oe=65"


def sign(body: bytes, now: datetime) -> Request:
    """Return the request as Meta signs it."""
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return Request(body, {"x-hub-signature-256": f"sha256={digest}", "content-type": "application/json"})


def webhook(*events: Any, page: str = PAGE, kind: str = "page", **entry: Any) -> bytes:
    """Return a webhook with events."""
    document = {"object": kind, "entry": [{"id": page, "time": AT + 200, "messaging": list(events), **entry}]}
    return json_body(document)


def event(page: str = PAGE, person: str = PERSON, /, **content: Any) -> dict[str, Any]:
    """Return an event of a person."""
    return {"sender": {"id": person}, "recipient": {"id": page}, "timestamp": AT, **content}


def text(words: str, mid: str, **more: Any) -> dict[str, Any]:
    """Return the event of a text."""
    return event(message={"mid": mid, "text": words, **more})


def files(mid: str, *attachments: Any, **more: Any) -> dict[str, Any]:
    """Return the event of a message with attachments."""
    return event(message={"mid": mid, "attachments": list(attachments), **more})


READ = event(read={"watermark": AT + 9000})
CASE = Case(
    name="messenger",
    environ={
        "DESKBUS_SECRET_META": SECRET,
        "DESKBUS_TOKEN_MESSENGER_TH": "EAAGm0PX4ZCpsBA",
        "DESKBUS_VERIFY_META": "agreed-with-meta",
    },
    sign=sign,
    message=webhook(text("ของยังไม่มาเลยค่ะ", "m_AbC1")),
    message_id="m_AbC1",
    text="ของยังไม่มาเลยค่ะ",
    another=webhook(text("มีใครอยู่ไหม", "m_AbC2", reply_to={"mid": "m_AbC1"})),
    silent=(
        webhook(READ),
        webhook(event(delivery={"mids": ["m_Our1"], "watermark": AT})),
        webhook(event(reaction={"reaction": "love", "emoji": "❤️", "action": "react", "mid": "m_Our1"})),
        webhook(
            event(PERSON, PAGE, message={"mid": "m_Our2", "text": "Hi", "is_echo": True, "app_id": 1517776481860111})
        ),
        webhook(event(referral={"ref": "promo", "source": "SHORTLINK", "type": "OPEN_THREAD"})),
        webhook(event(optin={"type": "notification_messages", "payload": "x"})),
        b'{"object":"page","entry":[{"id":"%s","time":1,"standby":[{"sender":{"id":"1"},"message":{"mid":"m_S"}}]}]}'
        % PAGE.encode(),
        b'{"object":"page","entry":[]}',
    ),
    several={
        webhook(text("a", "m_1"), text("b", "m_2")): ("m_1", "m_2"),
        webhook(files("m_3", {"type": "image", "payload": {"url": PICTURE}})): ("m_3",),
        webhook(files("m_4", {"type": "sticker", "payload": {"url": PICTURE, "sticker_id": 369239263222822}})): (
            "m_4",
        ),
        webhook(event(postback={"mid": "m_5", "title": "Get started", "payload": "START"})): ("m_5",),
        webhook(event(message_edit={"mid": "m_1", "text": "a!", "num_edit": 2})): ("m_1:edit:2",),
    },
    reply_id=(200, b'{"recipient_id":"7305847196234810","message_id":"m_Our1"}', "m_Our1"),
    delivered=webhook(event(delivery={"mids": ["m_Our1"], "watermark": AT + 5000})),
)
