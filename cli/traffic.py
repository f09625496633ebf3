"""Simulated customers: signed messages in the channels' real formats, to the accounts of deploy/config.

Pure: seeded, with the clock as a parameter; nothing is sent here. The secrets are generated and of no use elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from urllib.parse import urlencode

from cli.phrases import LANGUAGES

WHATSAPP_NUMBER_ID = "106540352242922"
LINE_DESTINATION = "U4e1b0a8c3f5d7e9b2a6c8d0f1e3b5a79"
SMS_NUMBER = "+442071838750"
SMS_URL = "https://desk.nimbus.example/v1/channels/sms/webhook"
MAIL_ADDRESSES = {"support-nimbus": "support@nimbus.example", "help-korale": "help@korale.example"}
EXAMPLES = Path(__file__).parents[1] / "deploy" / "config"
SIGNING = {"SECRET_COUPANG_KR", "SECRET_ALLEGRO_PL", "NOTIFY_LEAD_SECRET", "NOTIFY_ONCALL_SECRET"}
"""Secrets of Standard Webhooks, which have a form of their own."""
LANGUAGE_OF = {"wa-th": "th", "line-th": "th", "sms-gb": "en", "coupang-kr": "ko", "allegro-pl": "pl"}
SCOPES = (
    "tickets:read", "commands:write", "agents:read", "agents:write", "routing:read", "sla:read", "escalations:read",
    "escalations:ack",
)  # fmt: skip


class Hook(NamedTuple):
    """A provider's webhook request to ingest."""

    path: str
    headers: dict[str, str]
    body: bytes
    account: str
    message_id: str


class Mail(NamedTuple):
    """A mail with its envelope."""

    sender: str
    recipients: tuple[str, ...]
    data: bytes
    account: str
    message_id: str


Piece = Hook | Mail


def _generated(name: str) -> str:
    return hashlib.sha256(f"deskbus local {name}".encode()).hexdigest()


def webhook_secret(name: str) -> str:
    """Return a generated secret in the format of Standard Webhooks."""
    return "whsec_" + base64.b64encode(bytes.fromhex(_generated(name))).decode()


def secrets_environment() -> dict[str, str]:
    """The secrets that the example policies name, with made-up values: for local runs and tests."""
    text = "".join((EXAMPLES / file).read_text("utf-8") for file in ("ingest.yaml", "notify.yaml"))
    names = re.findall(r"\benv:DESKBUS_(\w+)", text)
    return {f"DESKBUS_{name}": webhook_secret(name) if name in SIGNING else _generated(name) for name in names}


def provider_urls(base: str) -> dict[str, str]:
    """The variables by which the example accounts find their providers, each with a path of its own below `base`."""
    text = (EXAMPLES / "ingest.yaml").read_text("utf-8")
    names = re.findall(r"(?m)^ +base_url: \$\{DESKBUS_(\w+)_URL:-", text)
    return {f"DESKBUS_{name}_URL": f"{base}/{name.lower()}" for name in names}


class LocalToken(NamedTuple):
    """A bearer token with every scope, and the value of DESKBUS_TOKENS that makes services accept it."""

    bearer: str
    setting: str

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers of a request."""
        return {"authorization": f"Bearer {self.bearer}"}


def tokens(name: str = "local", scopes: Sequence[str] = SCOPES) -> LocalToken:
    """Return a generated token. It is the same in every run, so it is for local runs only."""
    bearer = _generated(f"token {name}")
    return LocalToken(bearer, f"{name}:{hashlib.sha256(bearer.encode()).hexdigest()}:{','.join(scopes)}")


class Traffic:
    """Makes messages. Ids are unique, also between seeds. A message without a sender is from a new customer."""

    def __init__(
        self, seed: int | str, now: Callable[[], datetime], environment: Mapping[str, str] | None = None
    ) -> None:
        self._random = Random(f"deskbus {seed}")
        self._now = now
        self._environment = secrets_environment() if environment is None else environment
        self._run = f"{self._random.getrandbits(40):010x}"
        self._count = 0

    # -- ids and texts -----------------------------------------------------------------------------------------------

    def _secret(self, name: str) -> bytes:
        return self._environment[f"DESKBUS_{name}"].encode()

    def _id(self, prefix: str = "") -> str:
        self._count += 1
        return f"{prefix}{self._run}{self._count:06x}"

    def number(self, country: str = "66") -> str:
        """Return a phone number without the plus."""
        return f"{country}8{self._random.randrange(10**7, 10**8)}"

    def person(self) -> str:
        """Return a customer's id at a shop or on LINE."""
        return f"U{self._random.getrandbits(128):032x}"

    def name(self, language: str) -> str:
        """Return a customer's name."""
        return self._random.choice(LANGUAGES[language].names)

    def ask(self, language: str) -> tuple[str, str]:
        """Return a subject and a message."""
        return self._random.choice(LANGUAGES[language].questions)

    # -- WhatsApp ----------------------------------------------------------------------------------------------------

    def whatsapp(self, text: str | None = None, *, sender: str | None = None, reply_to: str | None = None) -> Hook:
        """Return a text message."""
        content: dict[str, Any] = {"type": "text", "text": {"body": text or self.ask("th")[1]}}
        if reply_to:
            content["context"] = {"from": "15550783881", "id": reply_to}
        return self._whatsapp_message(content, sender)

    def whatsapp_image(self, caption: str = "", *, sender: str | None = None) -> Hook:
        """Return an image, which the provider stores."""
        image = {"caption": caption, "mime_type": "image/jpeg", "sha256": _generated("image"), "id": self._id("9")}
        return self._whatsapp_message({"type": "image", "image": image}, sender)

    def whatsapp_location(self, *, sender: str | None = None) -> Hook:
        """Return a location."""
        place = {"latitude": 13.7563, "longitude": 100.5018, "name": "คอนโด", "address": "กรุงเทพมหานคร"}
        return self._whatsapp_message({"type": "location", "location": place}, sender)

    def whatsapp_status(self, message_id: str, state: str = "delivered", *, recipient: str | None = None) -> Hook:
        """Return a status report about a message of ours."""
        stamp = str(int(self._now().timestamp()))
        status = {"id": message_id, "status": state, "timestamp": stamp, "recipient_id": recipient or self.number()}
        return self._whatsapp({"statuses": [status]}, f"{message_id}.{state}")

    def _whatsapp_message(self, content: dict[str, Any], sender: str | None) -> Hook:
        number, identifier = sender or self.number(), self._id("wamid.")
        stamp = str(int(self._now().timestamp()))
        return self._whatsapp(
            {
                "contacts": [{"profile": {"name": self.name("th")}, "wa_id": number}],
                "messages": [{"from": number, "id": identifier, "timestamp": stamp, **content}],
            },
            identifier,
        )

    def _whatsapp(self, value: dict[str, Any], identifier: str) -> Hook:
        metadata = {"display_phone_number": "15550783881", "phone_number_id": WHATSAPP_NUMBER_ID}
        change = {"value": {"messaging_product": "whatsapp", "metadata": metadata, **value}, "field": "messages"}
        document = {"object": "whatsapp_business_account", "entry": [{"id": "102290129340398", "changes": [change]}]}
        body = _json(document)
        signature = hmac.new(self._secret("SECRET_WA_TH"), body, "sha256").hexdigest()
        headers = {"content-type": "application/json", "x-hub-signature-256": f"sha256={signature}"}
        return Hook("/v1/channels/whatsapp/webhook", headers, body, "wa-th", identifier)

    # -- LINE --------------------------------------------------------------------------------------------------------

    def line(self, text: str | None = None, *, sender: str | None = None) -> Hook:
        """Return a text message."""
        return self._line({"type": "text", "text": text or self.ask("th")[1], "quoteToken": "q"}, sender)

    def line_image(self, *, sender: str | None = None) -> Hook:
        """Return an image, which the provider stores."""
        return self._line({"type": "image", "contentProvider": {"type": "line"}, "quoteToken": "q"}, sender)

    def _line(self, message: dict[str, Any], sender: str | None) -> Hook:
        identifier = self._id("5")
        event = {
            "type": "message",
            "message": {"id": identifier, **message},
            "webhookEventId": self._id("01"),
            "deliveryContext": {"isRedelivery": False},
            "timestamp": int(self._now().timestamp() * 1000),
            "source": {"type": "user", "userId": sender or self.person()},
            "replyToken": self._id("r"),
            "mode": "active",
        }
        body = _json({"destination": LINE_DESTINATION, "events": [event]})
        signature = base64.b64encode(hmac.digest(self._secret("SECRET_LINE_TH"), body, "sha256")).decode()
        headers = {"content-type": "application/json; charset=utf-8", "x-line-signature": signature}
        return Hook("/v1/channels/line/webhook", headers, body, "line-th", identifier)

    # -- SMS ---------------------------------------------------------------------------------------------------------

    def sms(self, text: str | None = None, *, sender: str | None = None, media: Sequence[str] = ()) -> Hook:
        """Return a message, with media by URL."""
        sid = "SM" + hashlib.md5(self._id("sms").encode(), usedforsecurity=False).hexdigest()
        fields = {
            "ToCountry": "GB",
            "SmsMessageSid": sid,
            "NumMedia": str(len(media)),
            "SmsSid": sid,
            "SmsStatus": "received",
            "FromCountry": "GB",
            "To": SMS_NUMBER,
            "NumSegments": "1",
            "MessageSid": sid,
            "AccountSid": "AC00000000000000000000000000000000",
            "From": sender or "+" + self.number("4477"),
            "ApiVersion": "2010-04-01",
            "Body": text if text is not None else self.ask("en")[1],
            **{f"MediaUrl{n}": url for n, url in enumerate(media)},
            **{f"MediaContentType{n}": "image/jpeg" for n in range(len(media))},
        }
        url = self._environment.get("DESKBUS_PUBLIC_URL", SMS_URL.removesuffix("/v1/channels/sms/webhook"))
        signed = url.rstrip("/") + "/v1/channels/sms/webhook" + "".join(k + v for k, v in sorted(fields.items()))
        signature = base64.b64encode(hmac.digest(self._secret("SECRET_SMS_GB"), signed.encode(), "sha1")).decode()
        headers = {"content-type": "application/x-www-form-urlencoded", "x-twilio-signature": signature}
        return Hook("/v1/channels/sms/webhook", headers, urlencode(fields).encode(), "sms-gb", sid)

    # -- generic webhook ---------------------------------------------------------------------------------------------

    def webhook(
        self, account: str = "coupang-kr", text: str | None = None, *, sender: str | None = None, **fields: Any
    ) -> Hook:
        """Return a message of a connector of a shop or marketplace; `fields` are further fields of the document."""
        language, identifier = LANGUAGE_OF.get(account, "en"), self._id("msg_")
        subject, words = self.ask(language)
        document = {
            "type": "message",
            "id": identifier,
            "from": {"id": sender or self.person(), "name": self.name(language), "language": language},
            "subject": subject,
            "text": text or words,
            "sent_at": self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            **fields,
        }
        return self.signed_webhook(account, _json(document), identifier)

    def signed_webhook(self, account: str, body: bytes, identifier: str | None = None) -> Hook:
        """Return any body with a valid signature, such as one that the parser cannot read."""
        identifier, stamp = identifier or self._id("msg_"), int(self._now().timestamp())
        secret = self._environment[f"DESKBUS_SECRET_{account.upper().replace('-', '_')}"]
        headers = {"content-type": "application/json", **standard_webhook(identifier, stamp, body, secret)}
        return Hook(f"/v1/channels/webhook/webhook?account={account}", headers, body, account, identifier)

    # -- mail --------------------------------------------------------------------------------------------------------

    def mail(
        self,
        text: str | None = None,
        *,
        account: str = "support-nimbus",
        language: str = "en",
        sender: str | None = None,
        to: str | None = None,
        subject: str | None = None,
        html_only: bool = False,
        attachments: Mapping[str, bytes] | None = None,
        in_reply_to: str | None = None,
        references: Sequence[str] = (),
    ) -> Mail:
        """Return a mail: UTF-8 text, or HTML only, with attachments; with `in_reply_to`, a reply."""
        asked, words = self.ask(language)
        sender = sender or f"{self._id('c')}@mail.example"
        to = to or MAIL_ADDRESSES[account]
        message = EmailMessage()
        message["From"] = f'"{self.name(language)}" <{sender}>'
        message["To"] = to
        message["Subject"] = ("Re: " if in_reply_to else "") + (subject or asked)
        message["Date"] = format_datetime(self._now())
        message["Content-Language"] = language
        message["Message-ID"] = identifier = f"<{self._id()}@mail.example>"
        if in_reply_to:
            message["In-Reply-To"] = in_reply_to
            message["References"] = " ".join((*references, in_reply_to))
        if html_only:
            message.set_content(f"<html><body><p>{text or words}</p><br>--<br>Sent from my phone</body></html>", "html")
        else:
            message.set_content(text or words)
        for name, content in (attachments or {}).items():
            message.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
        data = message.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        return Mail(sender, (to,), data, account, identifier)

    # -- any channel -------------------------------------------------------------------------------------------------

    def any(self) -> Piece:
        """Return a message of a new customer on a random channel, in the account's language."""
        return self._random.choice(self._makers())()

    def stream(self, count: int) -> Iterator[Piece]:
        """Yield messages of new customers, taking turns between the channels."""
        makers = self._makers()
        for number in range(count):
            yield makers[number % len(makers)]()

    def _makers(self) -> list[Callable[[], Piece]]:
        return [
            self.whatsapp,
            self.line,
            self.sms,
            lambda: self.webhook("coupang-kr"),
            lambda: self.webhook("allegro-pl"),
            lambda: self.mail(language=self._random.choice(("en", "pl", "th"))),
            lambda: self.mail(account="help-korale", language="ko", html_only=True),
        ]


def standard_webhook(identifier: str, stamp: int, body: bytes, secret: str) -> dict[str, str]:
    """Return the three headers of Standard Webhooks."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{identifier}.{stamp}.".encode() + body, "sha256")
    signature = "v1," + base64.b64encode(digest).decode()
    return {"webhook-id": identifier, "webhook-timestamp": str(stamp), "webhook-signature": signature}


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
