"""Zalo: events of an Official Account."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

from services.ingest.channels.channel import Request
from tests.ingest.channels.cases import Case

SECRET = "3oqPaRzBTN6PGmTz1Bbi"
OA, USER = "388613280878808645", "246845883529197922"


def mac(body: bytes, secret: str = SECRET) -> str:
    try:
        document = json.loads(body)
        app, timestamp = document["app_id"], document["timestamp"]
    except (ValueError, TypeError, KeyError):
        app = timestamp = ""
    return hashlib.sha256(f"{app}".encode() + body + f"{timestamp}{secret}".encode()).hexdigest()


def sign(body: bytes, now: datetime) -> Request:
    return Request(body, {"content-type": "application/json", "x-zevent-signature": f"mac={mac(body)}"})


def event(name: str = "user_send_text", number: str = "96d3cdf3af150460909", **more: Any) -> bytes:
    document = {
        "app_id": "360846524940903967",
        "sender": {"id": USER},
        "user_id_by_app": "552177279717587730",
        "recipient": {"id": OA},
        "event_name": name,
        "timestamp": "1795253400123",
        **more,
    }
    document["message"] = {"msg_id": number, **document.get("message", {})}
    return json.dumps(document, ensure_ascii=False).encode()


def attached(kind: str, **payload: Any) -> bytes:
    return event(f"user_send_{kind}", message={"attachments": [{"type": kind, "payload": payload}]})


def seen(*numbers: str) -> bytes:
    sides: dict[str, Any] = {"sender": {"id": OA}, "recipient": {"id": USER}}
    return event("user_seen_message", **sides, message={"msg_ids": list(numbers)})


COORDINATES = {"latitude": "10.764247", "longitude": "106.656431"}

CASE = Case(
    name="zalo",
    environ={
        "DESKBUS_SECRET_ZALO_VN": SECRET,
        "DESKBUS_SECRET_ZALO_APP": "WgLrb5t3K8aPp",
        "DESKBUS_REFRESH_ZALO_VN": "first-refresh",
    },
    sign=sign,
    message=event(message={"text": "Đơn hàng 1182 của tôi ở đâu?"}),
    message_id="96d3cdf3af150460909",
    text="Đơn hàng 1182 của tôi ở đâu?",
    another=event(number="96d3cdf3af150460910", message={"text": "Tôi vẫn chờ"}, timestamp="1795253460000"),
    silent=(
        json.dumps(
            {"app_id": "360846524940903967", "oa_id": OA, "follower": {"id": USER}, "event_name": "follow",
             "source": "oa_profile", "timestamp": "1795253400123"}
        ).encode(),
        event("oa_send_text", sender={"id": OA}, recipient={"id": USER}, message={"text": "Chào bạn"}),
        event("user_received_message", sender={"id": OA}, recipient={"id": USER}),
        seen("m1", "m2"),
        event("user_send_group_text", message={"text": "hi"}),
    ),
    several={
        attached("image", thumbnail="https://z.example/t.jpg", url="https://z.example/i.jpg"): ("96d3cdf3af150460909",),
        attached("file", url="https://zdn.example/a.pdf", size="2138", name="a.pdf", checksum="x", type="pdf"): (
            "96d3cdf3af150460909",
        ),
        attached("location", coordinates=COORDINATES): ("96d3cdf3af150460909",),
        attached("sticker", id="21979", url="https://zdn.example/s.png"): ("96d3cdf3af150460909",),
    },
    reply_id=(
        200,
        b'{"data":{"message_id":"c6792f94f71be346ba09","user_id":"246845883529197922"},"error":0,"message":"Success"}',
        "c6792f94f71be346ba09",
    ),
    delivered=event(
        "user_received_message", "c6792f94f71be346ba09", sender={"id": OA}, recipient={"id": USER}
    ),
)  # fmt: skip
