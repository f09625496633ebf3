"""Accounts, secrets and bodies in the providers' formats that the tests of ingest's channels and doors share."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from contracts.inbound import HttpRequest, InboundRecord
from kit.policy.file import load
from kit.policy.secrets import Secrets
from services.ingest.accounts import Account
from services.ingest.channels.channel import Request
from services.ingest.core.messages import OutgoingReply
from services.ingest.policy_file import AccountsFile

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
WHSEC = "whsec_" + base64.b64encode(b"coupang connector secret").decode()
ENVIRON = {
    "DESKBUS_SECRET_WA_TH": "meta app secret",
    "DESKBUS_TOKEN_WA_TH": "wa-token",
    "DESKBUS_VERIFY_WA_TH": "agreed-token",
    "DESKBUS_SECRET_LINE_TH": "line channel secret",
    "DESKBUS_TOKEN_LINE_TH": "line-token",
    "DESKBUS_SECRET_SMS_GB": "twilio auth token",
    "DESKBUS_SECRET_COUPANG_KR": WHSEC,
    "DESKBUS_SECRET_ALLEGRO_PL": "whsec_" + base64.b64encode(b"allegro connector secret").decode(),
    "DESKBUS_SECRET_MAIL_NIMBUS": "mail key of nimbus",
    "DESKBUS_SECRET_MAIL_KORALE": "mail key of korale",
}
SECRETS = Secrets(ENVIRON)
ACCOUNTS = load(Path(__file__).parents[3] / "deploy/config/ingest.yaml", AccountsFile)
SMS_URL = "https://desk.nimbus.example/v1/channels/sms/webhook"


def account(channel: str, name: str) -> Account:
    found = ACCOUNTS.named(channel, name)
    assert found is not None
    return found


WA, LINE, SMS = account("whatsapp", "wa-th"), account("line", "line-th"), account("sms", "sms-gb")
COUPANG, ALLEGRO = account("webhook", "coupang-kr"), account("webhook", "allegro-pl")
NIMBUS, KORALE = account("email", "support-nimbus"), account("email", "help-korale")


def encode(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()


def whatsapp(*messages: Mapping[str, Any], statuses: Any = (), number: str = "106540352242922", **value: Any) -> bytes:
    content = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "6620000000", "phone_number_id": number},
        "contacts": [{"profile": {"name": "สมหญิง ใจดี"}, "wa_id": "66811111111", "user_id": "TH.13491208655302741918"}],
        "messages": list(messages),
        "statuses": list(statuses),
        **value,
    }
    changes = [{"field": "messages", "value": {k: v for k, v in content.items() if v}}]
    return encode({"object": "whatsapp_business_account", "entry": [{"id": "102290129340398", "changes": changes}]})


def wa_text(text: str, identifier: str = "wamid.A1", **more: Any) -> dict[str, Any]:
    message = {"from": "66811111111", "from_user_id": "TH.13491208655302741918", "id": identifier}
    return {**message, "timestamp": "1795253400", "type": "text", "text": {"body": text}, **more}


def line_events(*events: Mapping[str, Any]) -> bytes:
    return encode({"destination": LINE.external_id, "events": list(events)})


def line_message(content: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "message",
        "mode": "active",
        "timestamp": 1795253400123,
        "source": {"type": "user", "userId": "U8189cf6745fc0d808977bdb0b9f22995"},
        "webhookEventId": "01FZ74A0TDDPYRVKNK77XKC3ZR",
        "deliveryContext": {"isRedelivery": False},
        "replyToken": "38ef843bde154d9b91c21320ffd17a0f",
        "message": {"id": "444573844083572737", "quoteToken": "q3Plxr", **content},
        **more,
    }


SMS_FORM = {
    "MessageSid": "SM0123456789abcdef0123456789abcdef",
    "AccountSid": "AC00000000000000000000000000000000",
    "From": "+447700900123",
    "To": "+442071838750",
    "Body": "Where is my order #1182? It's £20 & late",
    "NumMedia": "0",
    "SmsStatus": "received",
}


def sign_whatsapp(body: bytes) -> dict[str, str]:
    digest = hmac.new(b"meta app secret", body, hashlib.sha256).hexdigest()
    return {"x-hub-signature-256": f"sha256={digest}"}


def sign_line(body: bytes) -> dict[str, str]:
    digest = hmac.new(b"line channel secret", body, hashlib.sha256).digest()
    return {"x-line-signature": base64.b64encode(digest).decode()}


def sign_twilio(form: Mapping[str, str], url: str = SMS_URL) -> dict[str, str]:
    text = url + "".join(name + form[name] for name in sorted(form))
    digest = hmac.new(b"twilio auth token", text.encode(), hashlib.sha1).digest()
    return {"x-twilio-signature": base64.b64encode(digest).decode()}


def sign_generic(body: bytes, at: datetime = NOW, secret: str = WHSEC) -> dict[str, str]:
    timestamp = str(int(at.timestamp()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"msg_1.{timestamp}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": "msg_1", "webhook-timestamp": timestamp, "webhook-signature": signature}


def form(fields: Mapping[str, str]) -> bytes:
    return urlencode(fields).encode()


def request(body: bytes, headers: Mapping[str, str] | None = None, **query: str) -> Request:
    return Request(body, headers or {}, query, urlencode(query))


def record(own: Account, body: bytes, **query: str) -> InboundRecord:
    http = HttpRequest(method="SMTP", query=query) if query else None
    return InboundRecord(
        receipt="r1",
        channel=own.channel,
        account=own.name,
        key="k",
        received_at=NOW,
        body=body,
        size=len(body),
        http=http,
    )


def reply(text: str = "สวัสดีค่ะ", **more: Any) -> OutgoingReply:
    fields: dict[str, Any] = {
        "message_id": "m-1",
        "ticket_id": "0190163d-8694-739b-aea5-966c26f8ad91",
        "to": "66811111111",
    }
    return OutgoingReply(**{**fields, "text": text, "at": NOW, "tried_at": NOW, **more})


#: Latitude, longitude, and whether there is such a place on earth.
PLACES = [
    (90, 180, True),
    (-90, -180, True),
    (90.1, 0, False),
    (0, 180.1, False),
    (None, 0, False),
    (0, None, False),
    (100, 0, False),
]
