"""Local stand-ins for providers' APIs, webhook receivers and a mail server. They verify and keep what they receive."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import default
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from aiosmtpd.smtp import SMTP, Envelope, Session
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cli.traffic import provider_urls, standard_webhook

SIGNED = {
    "coupang": "DESKBUS_SECRET_COUPANG_KR",
    "allegro": "DESKBUS_SECRET_ALLEGRO_PL",
    "lead": "DESKBUS_NOTIFY_LEAD_SECRET",
    "oncall": "DESKBUS_NOTIFY_ONCALL_SECRET",
}


@dataclass(frozen=True)
class Received:
    """A message or notification: the receiver, the content, and the key that a duplicate would share."""

    receiver: str
    key: str
    document: Mapping[str, Any]


@dataclass
class Inbox:
    """What the receivers accepted and refused."""

    secrets: Mapping[str, str]
    accepted: list[Received] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def of(self, receiver: str) -> list[Received]:
        """Return what one receiver accepted."""
        return [each for each in self.accepted if each.receiver == receiver]

    def accept(self, receiver: str, key: str, document: Mapping[str, Any]) -> str:
        """Keep a document; return an id for it."""
        self.accepted.append(Received(receiver, key, document))
        self.arrived.set()
        return f"{receiver}-{len(self.accepted)}"

    def refuse(self, receiver: str, why: str) -> Response:
        """Record a refusal; return its response."""
        self.refused.append(f"{receiver}: {why}")
        return JSONResponse({"error": why}, 401)


def environment(http: int, smtp: int) -> dict[str, str]:
    """Return the variables that point the services to the receivers on these ports."""
    base = f"http://127.0.0.1:{http}"
    return {
        **provider_urls(base),
        "DESKBUS_COUPANG_URL": f"{base}/signed/coupang",
        "DESKBUS_ALLEGRO_URL": f"{base}/signed/allegro",
        "DESKBUS_NOTIFY_LEAD_URL": f"{base}/signed/lead",
        "DESKBUS_NOTIFY_ONCALL_URL": f"{base}/signed/oncall",
        "DESKBUS_NOTIFY_SLACK_API": f"{base}/slack",
        "DESKBUS_INGEST_ALLOW_HOSTS": f"127.0.0.1:{http}",
        "DESKBUS_NOTIFY_ALLOW_HOSTS": f"127.0.0.1:{http}",
        "DESKBUS_NOTIFY_SMTP_HOST": "127.0.0.1",
        "DESKBUS_NOTIFY_SMTP_PORT": str(smtp),
        "DESKBUS_NOTIFY_SMTP_TLS": "none",
        "DESKBUS_INGEST_RELAY_HOST": "127.0.0.1",
        "DESKBUS_INGEST_RELAY_PORT": str(smtp),
    }


def application(inbox: Inbox) -> Starlette:
    """Build the providers' APIs and the webhook receivers."""

    def bearer(request: Request, name: str) -> bool:
        return request.headers.get("authorization") == f"Bearer {inbox.secrets[name]}"

    async def whatsapp(request: Request) -> Response:
        if not bearer(request, "DESKBUS_TOKEN_WA_TH"):
            return inbox.refuse("whatsapp", "token")
        document = await request.json()
        identifier = inbox.accept("whatsapp", document.get("biz_opaque_callback_data", ""), document)
        return JSONResponse({"messages": [{"id": f"wamid.{identifier}"}]})

    async def line(request: Request) -> Response:
        if not bearer(request, "DESKBUS_TOKEN_LINE_TH"):
            return inbox.refuse("line", "token")
        document = await request.json()
        key = request.headers.get("x-line-retry-key") or document.get("replyToken", "")
        identifier = inbox.accept("line", key, document)
        return JSONResponse({"sentMessages": [{"id": identifier}]})

    async def twilio(request: Request) -> Response:
        login = f"{request.path_params['sid']}:{inbox.secrets['DESKBUS_SECRET_SMS_GB']}"
        if request.headers.get("authorization") != f"Basic {base64.b64encode(login.encode()).decode()}":
            return inbox.refuse("twilio", "login")
        form = dict(parse_qsl((await request.body()).decode()))
        return JSONResponse({"sid": inbox.accept("twilio", "", form)}, 201)

    async def signed(request: Request) -> Response:
        name, body, headers = request.path_params["name"], await request.body(), request.headers
        identifier, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "0")
        right = standard_webhook(identifier, int(stamp), body, inbox.secrets[SIGNED[name]])["webhook-signature"]
        if not any(hmac.compare_digest(right, each) for each in headers.get("webhook-signature", "").split(" ")):
            return inbox.refuse(name, "signature")
        return JSONResponse({"id": inbox.accept(name, identifier, json.loads(body))})

    async def slack(request: Request) -> Response:
        if not bearer(request, "DESKBUS_NOTIFY_SLACK_TOKEN"):
            return JSONResponse({"ok": False, "error": "invalid_auth"})
        return JSONResponse({"ok": True, "ts": inbox.accept("slack", "", await request.json())})

    def post(path: str, endpoint: Any) -> Route:
        return Route(path, endpoint, methods=["POST"])

    return Starlette(
        routes=[
            post("/whatsapp/{number}/messages", whatsapp),
            post("/line/v2/bot/message/push", line),
            post("/line/v2/bot/message/reply", line),
            post("/twilio/2010-04-01/Accounts/{sid}/Messages.json", twilio),
            post("/signed/{name}", signed),
            post("/slack/chat.postMessage", slack),
        ]
    )


class _Mailbox:
    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        mail = message_from_bytes(content, policy=default)
        body = mail.get_body(("plain",))
        document = {
            "to": list(envelope.rcpt_tos),
            "subject": str(mail["subject"]),
            "text": body.get_content() if body else "",
            "in_reply_to": str(mail["in-reply-to"] or ""),
        }
        self._inbox.accept("mail", str(mail["message-id"] or ""), document)
        return "250 taken"


class _Server(uvicorn.Server):
    """A server that leaves signals to the demo."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def receiving(inbox: Inbox, http: int, smtp: int) -> AsyncIterator[None]:
    """Receive on these ports while the block runs."""
    config = uvicorn.Config(
        application(inbox), host="127.0.0.1", port=http, log_config=None, access_log=False, lifespan="off"
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve())
    loop = asyncio.get_running_loop()
    mail = await loop.create_server(lambda: SMTP(_Mailbox(inbox), enable_SMTPUTF8=True, loop=loop), "127.0.0.1", smtp)
    try:
        yield
    finally:
        server.should_exit = True
        mail.close()
        await asyncio.wait([serving], timeout=5)
