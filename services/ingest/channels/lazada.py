"""Lazada: chat of a seller, by push (message type 2), answered by the instant messaging API."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from contracts.contacts import Identity
from contracts.inbound import InboundRecord
from contracts.ticket import Attachment, Channel, Market
from kit.policy.secrets import Secrets
from services.ingest.accounts import Account, Accounts
from services.ingest.channels import originals
from services.ingest.channels.channel import (
    Answer,
    Challenge,
    Grant,
    OAuthFlow,
    Request,
    authorization_mac,
    document_of,
    owner,
    require_hmac,
    require_text_alone,
)
from services.ingest.channels.reading import clean, instant, line, obj, peek, read_answer, read_object, text_or_empty
from services.ingest.core.messages import (
    Faulty,
    HttpCall,
    Inbound,
    InboundMessage,
    OutgoingReply,
    Part,
    Sender,
    SendFailure,
    SendOutcome,
    Unreadable,
    Unsendable,
)

NAME = "lazada"
CHANNEL = Channel.MARKETPLACE.value
NEEDS: tuple[str, ...] = ("external_id", "username", "signing", "refresh", "base_url")
ONE_FILE_PER_MESSAGE = False
IDEMPOTENT = False
HEADERS: frozenset[str] = frozenset()
#: One push address serves all sellers of an app.
ACCOUNT_BY_SECRET = True
SUCCESS = Answer(200)
REFUSAL_STATUS = 401
CHALLENGES: Mapping[str, Challenge] = {}
CHAT = 2
BUYER = 1
#: Template of a message -> what it is, for those without a text.
_KINDS = {"3": "picture", "4": "emoji", "6": "video", "10006": "item", "10007": "order", "10008": "voucher"}
_SITE = re.compile(r"://api\.lazada\.[a-z.]+")
_PASSING = ("token", "limit", "busy", "system", "timeout", "service", "signature", "permission")


# --- The door. ---


def account_id(request: Request) -> str | None:
    """Return the seller that the push is for."""
    return line(request.cached(peek).get("seller_id"), 50)


def verify(request: Request, account: Account, secrets: Secrets, now: datetime) -> None:  # noqa: ARG001 - no instant
    """Verify `Authorization`: the hex HMAC of app key and body with the app secret. Raises Forged."""
    mac = authorization_mac(request)
    require_hmac(mac, account, secrets, originals.username(account, secrets).encode() + request.body)


def contact_key(request: Request) -> str | None:
    """Return the session's id."""
    return line(obj(document_of(request).get("data")).get("session_id"), 200)


# --- Messages. ---


def parse(record: InboundRecord, account: Account, accounts: Accounts, secrets: Secrets) -> Sequence[Inbound]:  # noqa: ARG001
    """Return the message of a chat push; other pushes, and messages of sellers, have none."""
    document = read_object(record.body)
    if not isinstance(document.get("message_type"), int):
        raise Unreadable("a push without a message_type")
    if document["message_type"] != CHAT:
        return []
    data, seller = obj(document.get("data")), line(document.get("seller_id"), 50)
    ours = owner(seller or "", account, accounts, "seller")
    if isinstance(ours, Faulty):
        return [ours]
    if line(data.get("from_account_type"), 5) != str(BUYER):
        return []
    return [_message(data, ours, record.received_at)]


def _message(data: Mapping[str, Any], account: Account, received_at: datetime) -> InboundMessage:
    identifier, session = line(data.get("message_id"), 200), line(data.get("session_id"), 200)
    buyer = line(data.get("from_account_id"), 200)
    if identifier is None or session is None or buyer is None:
        raise Unreadable("a message without message_id, session_id or from_account_id")
    said = data.get("content")
    content = obj(peek(said.encode("utf-8", "replace"), 1 << 20)) if isinstance(said, str) else obj(said)
    template, own = line(data.get("template_id"), 20) or "", account.market.market()
    site = line(data.get("site_id"), 2)
    picture = line(content.get("imgUrl"), 2000) or line(content.get("img_url"), 2000)
    parts = (Part("picture", "image/jpeg", ref=picture),) if picture and picture.startswith("https://") else ()
    return InboundMessage(
        channel=CHANNEL,
        account=account.name,
        message_id=identifier,
        sender=Sender(
            (Identity(channel=CHANNEL, account=account.name, id=buyer, verified=True),),
            name=line(data.get("from_user_name"), 200),
            address=session,
        ),
        conversation=session,
        sent_at=_milliseconds(data.get("send_time"), received_at),
        text=_text(template, said, content) or ("" if parts else "[picture]"),
        parts=parts,
        order_ref=line(content.get("orderId"), 200) or line(content.get("order_id"), 200),
        listing=line(content.get("itemId"), 200) or line(content.get("item_id"), 200),
        shop=account.external_id,
        market=Market(marketplace=own.marketplace or NAME, country=site if site and site.isalpha() else own.country),
    )


def _milliseconds(value: object, fallback: datetime) -> datetime:
    return instant(value / 1000, fallback) if isinstance(value, int) and abs(value) < 1 << 53 else fallback


def _text(template: str, said: object, content: Mapping[str, Any]) -> str:
    text = text_or_empty(content.get("txt"))
    if text or template == "3":
        return text
    if isinstance(said, str) and said and not content and template in {"", "1"}:
        return clean(said)  # a text that is no JSON
    about = line(content.get("itemId"), 200) or line(content.get("orderId"), 200)
    return f"[{_KINDS.get(template, 'message')}{f' {about}' if about else ''}]"


# --- Calls. ---


def _signed(path: str, parameters: Mapping[str, str], account: Account, secrets: Secrets, at: datetime) -> bytes:
    """Return the form of a call: the path and all parameters, sorted by name, are signed."""
    app, instant_ms = originals.username(account, secrets), str(int(at.timestamp() * 1000))
    form = {"app_key": app, "timestamp": instant_ms, "sign_method": "sha256", **parameters}
    whole = path + "".join(f"{name}{form[name]}" for name in sorted(form))
    key = secrets.secret(account.signing).encode()
    form["sign"] = hmac.digest(key, whole.encode("utf-8", "replace"), "sha256").hex().upper()
    return urlencode(form, errors="replace").encode()


_FORM = {"content-type": "application/x-www-form-urlencoded;charset=utf-8"}


def _refresh(account: Account, secrets: Secrets, refresh: str, now: datetime) -> HttpCall:
    """Return the call for a token. It is made at auth.lazada.com for all countries."""
    path, base = "/auth/token/refresh", _SITE.sub("://auth.lazada.com", originals.api(account, secrets))
    return HttpCall("POST", f"{base}{path}", _FORM, _signed(path, {"refresh_token": refresh}, account, secrets, now))


def _grant(status: int, body: bytes) -> Grant:
    if line(peek(body).get("code"), 100) not in {None, "0"}:
        raise ValueError(f"{line(peek(body).get('code'), 100)}: {line(peek(body).get('message'), 200) or ''}")
    return originals.grant(status, body)


OAUTH = OAuthFlow(_refresh, _grant)


def render(reply: OutgoingReply, account: Account, secrets: Secrets) -> HttpCall:
    """Return the call of SendMessage, with a text."""
    require_text_alone(reply, "Lazada")
    if not reply.conversation:
        raise Unsendable("the ticket has no session at Lazada")
    access = secrets.secret(originals.token_ref(account))
    parameters = {"access_token": access, "session_id": reply.conversation, "template_id": "1", "txt": reply.text}
    path = "/im/message/send"
    form = _signed(path, parameters, account, secrets, reply.tried_at)
    return HttpCall("POST", f"{originals.api(account, secrets)}{path}", _FORM, form)


def outcome(status: int, headers: Mapping[str, str], body: bytes) -> SendOutcome:
    """Return the outcome. Lazada answers errors with 200 and names them in the body."""
    said = peek(body)
    code = next((each for name in ("code", "err_code") if (each := line(said.get(name), 100)) not in {None, "0"}), None)
    if 200 <= status < 300 and code:
        reason = line(said.get("message"), 300) or line(said.get("err_message"), 300) or ""
        passing = any(word in f"{code} {reason}".lower() for word in _PASSING)
        return SendFailure(f"{code}: {reason}", permanent=not passing)
    if 200 <= status < 300 and not said.keys() & {"code", "err_code", "success", "data"}:
        return SendFailure("Lazada: an answer that cannot be read", permanent=False, unsure=True)
    return read_answer(status, headers, body, "data", "message_id")


def original(file: Attachment, account: Account, secrets: Secrets) -> HttpCall:  # noqa: ARG001 - the URL is public
    """Return the request for a file. Raises Unsendable without a URL."""
    return originals.by_url(file)


def message_ids(body: bytes) -> list[str] | None:
    """Return the message's id; none for other pushes and for messages of sellers."""
    document = peek(body, len(body))
    if document["message_type"] != 2 or str(document["data"]["from_account_type"]) != "1":
        return []
    return [str(document["data"]["message_id"])]
