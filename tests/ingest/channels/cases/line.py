"""LINE's Messaging API."""

import base64
import hashlib
import hmac
from datetime import datetime
from typing import Any

from services.ingest.channels.channel import Request
from tests.ingest.channels.cases import Case
from tests.ingest.channels.samples import line_events, line_message

SECRET = "line channel secret"


def _sign(body: bytes, _: datetime) -> Request:
    signature = base64.b64encode(hmac.digest(SECRET.encode(), body, hashlib.sha256)).decode()
    return Request(body, {"x-line-signature": signature})


def _message(identifier: str, **content: Any) -> dict[str, Any]:
    return line_message({"id": identifier, **content})


CASE = Case(
    name="line",
    environ={"DESKBUS_SECRET_LINE_TH": SECRET, "DESKBUS_TOKEN_LINE_TH": "line-token"},
    sign=_sign,
    message=line_events(_message("444573844083572737", type="text", text="สวัสดี")),
    message_id="444573844083572737",
    text="สวัสดี",
    another=line_events(_message("444573844083572738", type="text", text="อยู่ไหม")),
    silent=(
        line_events(),
        line_events({"type": "follow", "webhookEventId": "01FZ", "source": {"type": "user", "userId": "U1"}}),
        line_events({"type": "unsend", "unsend": {"messageId": "444573844083572737"}, "source": {"userId": "U1"}}),
    ),
    several={
        line_events(_message("1", type="text", text="a"), _message("2", type="sticker", keywords=["hi"])): ("1", "2"),
        line_events(_message("3", type="image", contentProvider={"type": "line"})): ("3",),
        line_events(_message("4", type="location", latitude=35.6, longitude=139.7, title="x")): ("4",),
        line_events(
            {
                "type": "postback",
                "webhookEventId": "01FZ74A0TDDPYRVKNK77XKC3ZS",
                "source": {"type": "user", "userId": "U1"},
                "postback": {"data": "action=track"},
            }
        ): ("01FZ74A0TDDPYRVKNK77XKC3ZS",),
    },
    reply_id=(200, b'{"sentMessages":[{"id":"461230966842064897","quoteToken":"x"}]}', "461230966842064897"),
)
