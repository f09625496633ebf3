"""Allegro's messages, as GET /messaging/threads/{threadId}/messages lists them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from services.ingest.channels.channel import Request
from tests.ingest.channels.cases import Case

THREAD = "41bd2222-0a9c-4b6a-9d3a-1f3f3d8a7c55"


def message(identifier: str, text: str, **more: Any) -> dict[str, Any]:
    """Return a message."""
    return {
        "id": identifier,
        "status": "DELIVERED",
        "type": "MESSAGE_CENTER",
        "createdAt": "2026-11-21T09:29:00.000Z",
        "thread": {"id": THREAD},
        "author": {"login": "Kupujacy_77", "isInterlocutor": True},
        "text": text,
        "subject": "Pytanie o zamówienie",
        "relatesTo": {
            "offer": {"id": "15030554210"},
            "order": {"id": "29738e61-7f6a-11ec-bf8b-2d6f3c1f5a11"},
        },
        "hasAdditionalAttachments": False,
        "attachments": [],
        **more,
    }


def body(identifier: str, text: str, **more: Any) -> bytes:
    """Return a message as a record has it."""
    return json.dumps(message(identifier, text, **more), ensure_ascii=False).encode()


def sign(raw: bytes, _: datetime) -> Request:
    """Return the body: Allegro is polled."""
    return Request(raw)


ATTACHMENT = {
    "fileName": "paczka.jpg",
    "mimeType": "image/jpeg",
    "url": "https://api.allegro.pl/messaging/message-attachments/e5ea1b2c-3d4e-5f60-7182-93a4b5c6d7e8",
    "status": "SAFE",
}
CASE = Case(
    name="allegro",
    environ={"DESKBUS_SECRET_ALLEGRO": "QxsfTsbiA2xSecret", "DESKBUS_REFRESH_ALLEGRO": "eyJ-refresh-0"},
    sign=sign,
    message=body("m-1", "Gdzie jest moja paczka? Zażółć"),
    message_id="m-1",
    text="Gdzie jest moja paczka? Zażółć",
    another=body("m-2", "Halo?"),
    silent=(body("m-3", "Już jedzie", author={"login": "nimbus", "isInterlocutor": False}),),
    several={body("m-4", "", attachments=[ATTACHMENT]): ("m-4",)},
    unreadable=(b"", b"[]", b"{}", b"\xff\xfe", b'{"a":', body("m-5", "x", thread=None)),
    reply_id=(201, b'{"id":"m-9","status":"VERIFYING","text":"On its way"}', "m-9"),
)
