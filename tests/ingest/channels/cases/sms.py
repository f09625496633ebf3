"""SMS over Twilio."""

import base64
import hashlib
import hmac
from datetime import datetime
from urllib.parse import parse_qsl

from services.ingest.channels.channel import Request
from tests.ingest.channels.cases import Case
from tests.ingest.channels.samples import SMS_FORM, form, request

SECRET = "twilio auth token"
URL = "https://desk.nimbus.example/v1/channels/sms/webhook?account=sms-gb"


def _sign(body: bytes, _: datetime) -> Request:
    fields = parse_qsl(body.decode("ascii", "replace"), keep_blank_values=True)
    text = URL + "".join(name + value for name, value in sorted(set(fields)))
    signature = base64.b64encode(hmac.digest(SECRET.encode(), text.encode(), hashlib.sha1)).decode()
    return request(body, {"x-twilio-signature": signature}, account="sms-gb")


def _message(identifier: str, **more: str) -> bytes:
    return form({**SMS_FORM, "MessageSid": identifier, **more})


def _status(state: str, **more: str) -> bytes:
    return form({"MessageSid": "SM9", "MessageStatus": state, "From": "+442071838750", "To": "+447700900123", **more})


CASE = Case(
    name="sms",
    environ={"DESKBUS_SECRET_SMS_GB": SECRET},
    sign=_sign,
    message=_message("SM1", Body="Where is my order #1182? It's £20 & late"),
    message_id="SM1",
    text="Where is my order #1182? It's £20 & late",
    another=_message("SM2", Body="Hello?"),
    silent=(_status("delivered"), _status("failed", ErrorCode="30003"), _status("queued")),
    several={_message("SM3", Body="", NumMedia="1", MediaUrl0="https://api.twilio.com/m/1"): ("SM3",)},
    unreadable=(b"", b"{}", b"Body=hello", b"MessageSid=SM4&Body=x"),
    reply_id=(201, b'{"sid":"SM9","status":"queued"}', "SM9"),
    delivered=_status("delivered"),
)
