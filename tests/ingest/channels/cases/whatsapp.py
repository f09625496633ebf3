"""WhatsApp over Meta's Cloud API."""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from services.ingest.channels.channel import Request
from tests.ingest.channels.cases import Case
from tests.ingest.channels.samples import wa_text, whatsapp

SECRET = "meta app secret"
STATUS: Mapping[str, Any] = {
    "id": "wamid.R1",
    "status": "delivered",
    "timestamp": "1795253460",
    "recipient_id": "66811111111",
}


def _sign(body: bytes, _: datetime) -> Request:
    return Request(body, {"x-hub-signature-256": f"sha256={hmac.digest(SECRET.encode(), body, hashlib.sha256).hex()}"})


def _of(kind: str, identifier: str, content: Mapping[str, Any]) -> bytes:
    return whatsapp({**wa_text("", identifier), "type": kind, kind: content})


CASE = Case(
    name="whatsapp",
    environ={
        "DESKBUS_SECRET_WA_TH": SECRET,
        "DESKBUS_TOKEN_WA_TH": "wa-token",
        "DESKBUS_VERIFY_WA_TH": "agreed-token",
    },
    sign=_sign,
    message=whatsapp(wa_text("สวัสดีค่ะ", "wamid.A1")),
    message_id="wamid.A1",
    text="สวัสดีค่ะ",
    another=whatsapp(wa_text("ของยังไม่มา", "wamid.A2", context={"id": "wamid.A1"})),
    silent=(
        whatsapp(statuses=[STATUS]),
        whatsapp(statuses=[{**STATUS, "status": "failed", "errors": [{"code": 131047, "title": "Re-engagement"}]}]),
        _of("reaction", "wamid.A3", {"message_id": "wamid.A1", "emoji": "👍"}),
        b'{"object":"whatsapp_business_account","entry":[]}',
    ),
    several={
        whatsapp(wa_text("a", "wamid.A4"), wa_text("b", "wamid.A5")): ("wamid.A4", "wamid.A5"),
        _of("image", "wamid.A6", {"id": "1037543291543636", "mime_type": "image/jpeg"}): ("wamid.A6",),
        _of("location", "wamid.A7", {"latitude": 13.7, "longitude": 100.5, "name": "Siam"}): ("wamid.A7",),
        _of("order", "wamid.A8", {"catalog_id": "1"}): ("wamid.A8",),
    },
    reply_id=(200, b'{"messaging_product":"whatsapp","messages":[{"id":"wamid.R1"}]}', "wamid.R1"),
    delivered=whatsapp(statuses=[STATUS]),
)
