"""Shopee's webchat pushes (code 10), as its push mechanism describes them."""

from __future__ import annotations

import hmac
import json
from datetime import datetime
from typing import Any

from services.ingest.channels.channel import Request
from tests.ingest.channels.cases import Case

KEY = "5a6b7c8d9e0f1a2b3c4d5e6f"
URL = "https://desk.korale.example/v1/channels/shopee/webhook"
SHOP = 947042923


def push(number: int, content: dict[str, Any] | None = None, kind: str = "text", **more: Any) -> bytes:
    """Return a message to the shop."""
    said = {
        "message_id": f"23027489484931239{number}",
        "shop_id": 165103149,
        "request_id": "35f9478b-7482-46eb-a268-8f828fedb673",
        "from_id": 165105353,
        "from_user_name": "vn_cstoreponorogo",
        "to_id": 947151379,
        "to_user_name": "nimbus.id",
        "message_type": kind,
        "content": {"text": "Baik kak .. 🤗"} if content is None else content,
        "conversation_id": "709122092476686867",
        "created_timestamp": 1795253300,
        "region": "ID",
        "is_in_chatbot_session": False,
        "source_content": {"order_sn": "220818EGS328B9"},
        "quoted_msg": {"message_id": ""},
        "sub_account_id": 0,
        "sub_account_name": 0,
        "business_type": 0,
        "to_shop_id": SHOP,
        "from_shop_id": 165103149,
        "status": "normal",
        **more,
    }
    return document({"type": "message", "region": "ID", "content": said})


def document(data: Any, code: int = 10, shop: int = SHOP) -> bytes:
    """Return a push."""
    whole = {"msg_id": "", "data": data, "shop_id": shop, "code": code, "timestamp": 1795253301}
    return json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode()


def signature(body: bytes, url: str = URL) -> str:
    """Return the value of Authorization."""
    return hmac.digest(KEY.encode(), url.encode() + b"|" + body, "sha256").hex()


def sign(body: bytes, _: datetime) -> Request:
    """Return the signed request. Its URL has the account."""
    return Request(
        body,
        {"authorization": signature(body, f"{URL}?account=shopee-id"), "content-type": "application/json"},
        {"account": "shopee-id"},
        "account=shopee-id",
    )


PICTURE = {"url": "https://cf.shopee.co.id/file/09591ecdc9f1dc7bd5", "thumb_url": "b9591_tn", "file_server_id": 0}
CASE = Case(
    name="shopee",
    environ={"DESKBUS_SECRET_SHOPEE": KEY, "DESKBUS_REFRESH_SHOPEE": "6c4e7a5f4d4b5a6e"},
    sign=sign,
    message=push(53),
    message_id="2302748948493123953",
    text="Baik kak .. 🤗",
    another=push(54, {"text": "Halo?"}),
    silent=(
        push(55, from_shop_id=SHOP, to_shop_id=165103149),
        push(56, sub_account_id=4711),
        document(
            {"type": "notification", "region": "ID", "content": {"conversation_id": "7", "type": "mark_as_replied"}}
        ),
        document({"ordersn": "220818EGS328B9", "status": "SHIPPED"}, code=3),
        document({}, code=0, shop=0),
    ),
    several={
        push(60, PICTURE, "image"): ("2302748948493123960",),
        push(61, {"shop_id": SHOP, "item_id": 9112503530}, "item"): ("2302748948493123961",),
        push(62, {"video_url": "cf03c9e1fe2c0992cdb51c3cb6eab2bd", "duration_seconds": 15}, "video"): (
            "2302748948493123962",
        ),
        push(63, {"sticker_id": "7"}, "sticker"): ("2302748948493123963",),
    },
    reply_id=(
        200,
        b'{"request_id":"r","error":"","message":"","response":{"message_id":"2302748948493123999"}}',
        "2302748948493123999",
    ),
)
