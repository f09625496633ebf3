"""Shopee: chat of a shop, by push (code 10), answered by the sellerchat API."""

from __future__ import annotations

import hmac
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
    json_body,
    owner,
    require_hmac,
    require_text_alone,
)
from services.ingest.channels.reading import instant, line, obj, peek, read_answer, read_object, text_or_empty
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

NAME = "shopee"
CHANNEL = Channel.MARKETPLACE.value
NEEDS: tuple[str, ...] = ("external_id", "username", "signing", "refresh", "base_url", "public_url")
ONE_FILE_PER_MESSAGE = False
IDEMPOTENT = False
HEADERS: frozenset[str] = frozenset()
#: One push address serves all shops of an app; were a push for another shop refused, Shopee would stop all.
ACCOUNT_BY_SECRET = True
SUCCESS = Answer(200)
REFUSAL_STATUS = 401
CHALLENGES: Mapping[str, Challenge] = {}
WEBCHAT = 10
#: Errors that operators or time can mend; Shopee answers them with 200 as well.
_PASSING = ("auth", "token", "permission", "sign", "busy", "server", "limit", "timeout", "inner")


# --- The door. ---


def account_id(request: Request) -> str | None:
    """Return the shop that the push is for."""
    return line(request.cached(peek).get("shop_id"), 50)


def verify(request: Request, account: Account, secrets: Secrets, now: datetime) -> None:  # noqa: ARG001 - no instant
    """Verify `Authorization`: the hex HMAC of our URL and the body with the partner key. Raises Forged."""
    mac = authorization_mac(request)
    url = secrets.expand(account.public_url or "")
    whole = f"{url}?{request.raw_query}" if request.raw_query else url
    require_hmac(mac, account, secrets, whole.encode("utf-8", "replace") + b"|" + request.body)


def contact_key(request: Request) -> str | None:
    """Return the conversation's id."""
    return line(obj(obj(document_of(request).get("data")).get("content")).get("conversation_id"), 200)


# --- Messages. ---


def parse(record: InboundRecord, account: Account, accounts: Accounts, secrets: Secrets) -> Sequence[Inbound]:  # noqa: ARG001
    """Return the message of a webchat push; other pushes, and messages of our own, have none."""
    document = read_object(record.body)
    if not isinstance(document.get("code"), int):
        raise Unreadable("a push without a code")
    data = obj(document.get("data"))
    if document["code"] != WEBCHAT or data.get("type") != "message":
        return []
    shop = line(document.get("shop_id"), 50)
    ours = owner(shop or "", account, accounts, "shop")
    if isinstance(ours, Faulty):
        return [ours]
    content = obj(data.get("content"))
    if content.get("sub_account_id") or line(content.get("from_shop_id"), 50) == shop:
        return []
    return [_message(content, ours, record.received_at)]


def _message(content: Mapping[str, Any], account: Account, received_at: datetime) -> InboundMessage:
    identifier, conversation = line(content.get("message_id"), 200), line(content.get("conversation_id"), 200)
    buyer = line(content.get("from_id"), 200)
    if identifier is None or conversation is None or buyer is None:
        raise Unreadable("a message without message_id, conversation_id or from_id")
    said, source, own = obj(content.get("content")), obj(content.get("source_content")), account.market.market()
    region, kind = line(content.get("region"), 2), line(content.get("message_type"), 50) or "message"
    name = line(content.get("from_user_name"), 200)
    return InboundMessage(
        channel=CHANNEL,
        account=account.name,
        message_id=identifier,
        sender=Sender(
            (Identity(channel=CHANNEL, account=account.name, id=buyer, verified=True),), name=name, address=buyer
        ),
        conversation=conversation,
        sent_at=instant(content.get("created_timestamp"), received_at),
        text=_text(kind, said),
        parts=_parts(kind, said),
        in_reply_to=line(obj(content.get("quoted_msg")).get("message_id"), 200),
        order_ref=line(source.get("order_sn"), 200) or line(said.get("order_sn"), 200),
        listing=line(said.get("item_id"), 200) or line(source.get("item_id"), 200),
        shop=account.external_id,
        tags=("affiliate",) if content.get("business_type") == 11 else (),
        market=Market(
            marketplace=own.marketplace or NAME, country=region if region and region.isalpha() else own.country
        ),
    )


def _text(kind: str, said: Mapping[str, Any]) -> str:
    text = text_or_empty(said.get("text"))
    if text or kind in {"text", "faq_liveagent", "image", "video"}:
        return text
    about = line(said.get("item_id"), 200) or line(said.get("order_sn"), 200)
    return f"[{kind}{f' {about}' if about else ''}]"


def _parts(kind: str, said: Mapping[str, Any]) -> tuple[Part, ...]:
    """Return the picture or video. Some videos have a name instead of a URL: those are named and cannot be fetched."""
    if kind not in {"image", "video"}:
        return ()
    url = line(said.get("url" if kind == "image" else "video_url"), 2000)
    media_type = "image/jpeg" if kind == "image" else "video/mp4"
    return (Part(kind, media_type, ref=url if url and url.startswith("https://") else None),)


# --- Calls. ---


def _signed(path: str, account: Account, secrets: Secrets, at: datetime, access: str | None = None) -> str:
    """Return the URL of a call: partner, path, instant, and in a shop's name token and shop, are signed."""
    seconds, partner = int(at.timestamp()), originals.username(account, secrets)
    whole = f"{partner}{path}{seconds}"
    query: dict[str, object] = {"partner_id": partner, "timestamp": seconds}
    if access is not None:
        whole += f"{access}{account.external_id}"
        query |= {"access_token": access, "shop_id": account.external_id}
    query["sign"] = hmac.digest(secrets.secret(account.signing).encode(), whole.encode(), "sha256").hex()
    return f"{originals.api(account, secrets)}{path}?{urlencode(query)}"


def _number(text: str | None) -> int:
    """Return an id as Shopee wants it. Raises Unsendable."""
    if text is None or not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Unsendable("the id is not a number")
    return int(text)


def _refresh(account: Account, secrets: Secrets, refresh: str, now: datetime) -> HttpCall:
    url = _signed("/api/v2/auth/access_token/get", account, secrets, now)
    try:
        ids = {"partner_id": _number(originals.username(account, secrets)), "shop_id": _number(account.external_id)}
    except Unsendable as fault:
        raise ValueError(f"username or external_id: {fault}") from None
    return HttpCall("POST", url, {"content-type": "application/json"}, json_body({"refresh_token": refresh, **ids}))


def _grant(status: int, body: bytes) -> Grant:
    said = peek(body)
    access, seconds = line(said.get("access_token"), 1000), said.get("expire_in")
    if status != 200 or access is None or said.get("error"):
        raise ValueError(f"HTTP {status}: {line(said.get('error'), 100) or ''} {line(said.get('message'), 200) or ''}")
    valid = float(seconds) if isinstance(seconds, int | float) else 4 * 3600.0
    return Grant(access, valid, line(said.get("refresh_token"), 1000))


OAUTH = OAuthFlow(_refresh, _grant)


def render(reply: OutgoingReply, account: Account, secrets: Secrets) -> HttpCall:
    """Return the call of send_message."""
    require_text_alone(reply, "Shopee")
    access = secrets.secret(originals.token_ref(account))
    url = _signed("/api/v2/sellerchat/send_message", account, secrets, reply.tried_at, access)
    document = {"to_id": _number(reply.to), "message_type": "text", "content": {"text": reply.text}}
    return HttpCall("POST", url, {"content-type": "application/json"}, json_body(document))


def outcome(status: int, headers: Mapping[str, str], body: bytes) -> SendOutcome:
    """Return the outcome. Shopee answers errors with 200 and names them in the body."""
    said = peek(body)
    error = line(said.get("error"), 100)
    if 200 <= status < 300 and error:
        passing = any(word in error.lower() for word in _PASSING)
        return SendFailure(f"{error}: {line(said.get('message'), 300) or ''}", permanent=not passing)
    if 200 <= status < 300 and not said.keys() & {"error", "response"}:
        return SendFailure("Shopee: an answer that cannot be read", permanent=False, unsure=True)
    return read_answer(status, headers, body, "response", "message_id")


def original(file: Attachment, account: Account, secrets: Secrets) -> HttpCall:  # noqa: ARG001 - the URL is public
    """Return the request for a file. Raises Unsendable without a URL."""
    return originals.by_url(file)


def message_ids(body: bytes) -> list[str] | None:
    """Return the message's id; none for other pushes and for messages of the shop."""
    document = peek(body, len(body))
    if document["code"] != 10 or document["data"].get("type") != "message":
        return []
    content = document["data"]["content"]
    ours = content.get("sub_account_id") or str(content.get("from_shop_id")) == str(document["shop_id"])
    return [] if ours else [str(content["message_id"])]
