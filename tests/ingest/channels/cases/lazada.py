"""Lazada's chat pushes (message type 2)."""

from __future__ import annotations

import hmac
import json
from datetime import datetime
from typing import Any

from services.ingest.channels.channel import Request
from tests.ingest.channels.cases import Case

SECRET = "hEl1oSecret0a1b2c3d4e5f"
TEXT = "สินค้าอยู่ไหน"
SESSION = "100003015_2_300162024226_1_103"


def push(number: int, content: dict[str, Any] | str | None = None, template: int = 1, **more: Any) -> bytes:
    """Return a message to the seller. Its content is JSON in a string."""
    data = {
        "from_account_type": 1,
        "process_msg": "standard",
        "to_account_id": "100003015",
        "content": content if isinstance(content, str) else json.dumps(content or {"txt": TEXT}, ensure_ascii=False),
        "session_id": SESSION,
        "message_id": f"23hR7YH0BtkiN000{number}",
        "type": 1,
        "template_id": template,
        "send_time": 1795253300437,
        "to_account_type": 2,
        "from_account_id": "300162024226",
        "site_id": "TH",
        "auto_reply": False,
        "status": 0,
        **more,
    }
    return document(data)


def document(data: Any, kind: int = 2, seller: str = "100003015") -> bytes:
    """Return a push."""
    whole = {"seller_id": seller, "message_type": kind, "data": data, "timestamp": 1795253301, "site": "lazada_th"}
    return json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode()


def sign(body: bytes, _: datetime) -> Request:
    """Return the signed request."""
    made = hmac.digest(SECRET.encode(), b"123456" + body, "sha256").hex()
    return Request(body, {"authorization": made, "content-type": "application/json"})


CASE = Case(
    name="lazada",
    environ={"DESKBUS_SECRET_LAZADA": SECRET, "DESKBUS_REFRESH_LAZADA": "50001500a9e0refresh"},
    sign=sign,
    message=push(11),
    message_id="23hR7YH0BtkiN00011",
    text="สินค้าอยู่ไหน",
    another=push(12, {"txt": "ฮัลโหล"}),
    silent=(
        push(13, from_account_type=2, to_account_type=1),
        document({"trade_order_id": "260422900198363", "order_status": "unpaid"}, kind=0),
    ),
    several={
        push(14, {"imgUrl": "https://sg-live.slatic.net/other/im/a.jpg", "width": 9, "height": 9}, 3): (
            "23hR7YH0BtkiN00014",
        ),
        push(15, {"itemId": "1234567"}, 10006): ("23hR7YH0BtkiN00015",),
        push(16, {"orderId": "260422900198363"}, 10007): ("23hR7YH0BtkiN00016",),
        push(17, {"x": 1}, 99999): ("23hR7YH0BtkiN00017",),
    },
    reply_id=(
        200,
        b'{"code":"0","err_code":"0","success":true,"data":{"message_id":"23hR7YH0BtkiN00099","template_id":1}}',
        "23hR7YH0BtkiN00099",
    ),
)
