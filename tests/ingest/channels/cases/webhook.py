"""The generic webhook of connectors."""

import base64
from datetime import datetime

from services.ingest.channels import generic
from services.ingest.channels.channel import Request
from tests.ingest.channels.cases import Case
from tests.ingest.channels.samples import encode, request

SECRET = "whsec_" + base64.b64encode(b"coupang connector secret").decode()


def _said(identifier: str, text: str, **more: object) -> bytes:
    return encode(
        {"type": "message", "id": identifier, "from": {"id": "buyer-9", "name": "김민지"}, "text": text, **more}
    )


def _sign(body: bytes, at: datetime) -> Request:
    return request(body, generic.sign("msg-1", at, body, SECRET), account="coupang-kr")


CASE = Case(
    name="webhook",
    environ={"DESKBUS_SECRET_COUPANG_KR": SECRET},
    sign=_sign,
    message=_said("msg-1", "주문이 아직 안 왔어요", order_ref="A-4711", tags=["delivery"]),
    message_id="msg-1",
    text="주문이 아직 안 왔어요",
    another=_said("msg-2", "언제 오나요?"),
    silent=(encode({"type": "status", "message_id": "nobody-s", "state": "read", "at": "2026-11-21T09:00:00Z"}),),
    several={
        _said("msg-3", "", html="<p>Hallo</p>"): ("msg-3",),
        _said("msg-4", "", attachments=[{"name": "a.jpg", "url": "https://files.example/a.jpg", "size": 7}]): (
            "msg-4",
        ),
        _said("msg-5", "여기", location={"latitude": 37.5, "longitude": 127}): ("msg-5",),
    },
    timed=True,
    reply_id=(200, b'{"id": "reply-1"}', "reply-1"),
    delivered=encode({"type": "status", "message_id": "reply-1", "state": "delivered"}),
)
