"""LINE Messaging API: signature, events, replies with the token of a message while it is valid, push messages after."""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

from contracts.contacts import Identity
from contracts.inbound import InboundRecord
from contracts.ticket import Attachment, Channel, Location
from kit.policy.secrets import Secrets
from services.ingest.accounts import Account, Accounts
from services.ingest.channels import originals
from services.ingest.channels.channel import (
    RECEIPT,
    Answer,
    Challenge,
    Forged,
    Request,
    document_of,
    json_body,
    public_url,
    require_hmac,
)
from services.ingest.channels.reading import (
    PEEK_BYTES,
    clean,
    degrees,
    each,
    find_value,
    first,
    instant,
    line,
    obj,
    objects,
    peek,
    read_answer,
    read_object,
    text_or_empty,
)
from services.ingest.core.messages import (
    HttpCall,
    Inbound,
    InboundMessage,
    OutgoingReply,
    Part,
    ReplyToken,
    Sender,
    SendOutcome,
    Sent,
    Unreadable,
    Unsendable,
)

CHANNEL = Channel.LINE.value
NAME = CHANNEL
NEEDS: tuple[str, ...] = ("signing",)
ONE_FILE_PER_MESSAGE = False
HEADERS: frozenset[str] = frozenset()
ACCOUNT_BY_SECRET = True
SUCCESS = Answer(200, RECEIPT)
"""LINE redelivers webhooks that are not answered with 200."""
REFUSAL_STATUS = 401
CHALLENGES: Mapping[str, Challenge] = {}
#: By X-Line-Retry-Key, which LINE remembers for 24 hours (LINE, "Retry failed API requests").
IDEMPOTENT = True
_MEDIA_TYPES = {"image": "image/jpeg", "video": "video/mp4", "audio": "audio/mp4", "file": "application/octet-stream"}
_TEXT_LIMIT = 5000
#: LINE takes a token for a minute after the webhook; ours must leave time for the attempt.
_TOKEN_VALID = timedelta(seconds=40)
_MAX_MESSAGES = 5
_PICTURES = {"image/jpeg", "image/png"}
_CONTENT_HOSTS = {"api.line.me": "api-data.line.me"}
"""API host -> the host from which LINE serves message contents."""


def account_id(request: Request) -> str | None:
    """Return `destination`: the user id of the bot that the events are for."""
    if len(request.body) > PEEK_BYTES:
        return find_value(request.body, "destination")
    return line(request.cached(peek).get("destination"))


def verify(request: Request, account: Account, secrets: Secrets, now: datetime) -> None:  # noqa: ARG001 - no timestamp
    """Verify `X-Line-Signature`: base64 HMAC of the body with the channel secret. There is no signed timestamp."""
    try:
        signature = base64.b64decode(request.headers.get("x-line-signature", ""), validate=True)
    except (binascii.Error, ValueError):
        signature = b""
    if not signature:
        raise Forged("missing")
    require_hmac(signature, account, secrets, request.body)


def _conversation(event: Mapping[str, Any]) -> str | None:
    source = obj(event.get("source"))
    return line(source.get("groupId")) or line(source.get("roomId")) or line(source.get("userId"))


def contact_key(request: Request) -> str | None:
    """Return the group, room or user of the first event."""
    return _conversation(first(document_of(request).get("events")))


def parse(record: InboundRecord, account: Account, accounts: Accounts, secrets: Secrets) -> list[Inbound]:  # noqa: ARG001
    """Return messages and postbacks; other events, such as follow and join, open no ticket."""
    document = read_object(record.body)
    if not isinstance(document.get("events"), list):
        raise Unreadable("no events: not a webhook of LINE")
    return list(each(objects(document["events"]), lambda event: _message(event, account, record.received_at)))


def _message(event: Mapping[str, Any], account: Account, received_at: datetime) -> InboundMessage | None:
    if line(event.get("type")) not in {"message", "postback"}:
        return None
    message, source = obj(event.get("message")), obj(event.get("source"))
    # Both ids stay the same when an event is redelivered; quotes refer to the message's id.
    identifier = line(message.get("id")) or line(event.get("webhookEventId"))
    conversation = _conversation(event)
    if identifier is None or conversation is None:
        raise Unreadable("an event without id or source")
    user = line(source.get("userId")) or conversation  # in a group, LINE omits users who have not consented
    milliseconds = event.get("timestamp")
    seconds = milliseconds / 1000 if isinstance(milliseconds, int | float) and abs(milliseconds) < 1e16 else None
    kind = line(message.get("type")) if event.get("type") == "message" else "postback"
    return InboundMessage(
        channel=CHANNEL,
        account=account.name,
        message_id=identifier,
        sender=Sender(
            (Identity(channel=CHANNEL, account=account.name, id=user, verified=True),),
            address=conversation,  # replies to a message in a group go to the group
        ),
        conversation=conversation,
        sent_at=instant(seconds, received_at),
        reply_token=_reply_token(event, received_at),
        text=_text(event, message, kind),
        in_reply_to=line(message.get("quotedMessageId")),
        parts=_parts(message, kind),
        location=_location(message) if kind == "location" else None,
    )


def _reply_token(event: Mapping[str, Any], received_at: datetime) -> ReplyToken | None:
    """Return the event's reply token. One of a redelivered event may be used already, or too old."""
    token = line(event.get("replyToken"))
    if token is None or obj(event.get("deliveryContext")).get("isRedelivery") is True:
        return None
    return ReplyToken(token, received_at + _TOKEN_VALID)


def _text(event: Mapping[str, Any], message: Mapping[str, Any], kind: str | None) -> str:
    if kind == "text":
        return text_or_empty(message.get("text"))
    if kind == "postback":
        postback = obj(event.get("postback"))
        return text_or_empty(obj(postback.get("params")).get("displayText")) or text_or_empty(postback.get("data"))
    if kind == "location":
        return "\n".join(filter(None, (text_or_empty(message.get("title")), text_or_empty(message.get("address")))))
    if kind == "sticker":
        keywords = message.get("keywords")
        shown = ", ".join(filter(None, map(line, keywords[:5]))) if isinstance(keywords, list) else ""
        return text_or_empty(message.get("text")) or clean(f"[sticker: {shown}]" if shown else "[sticker]")
    return "" if kind in _MEDIA_TYPES else f"[{line(kind, 40) or 'unknown'}]"


def _parts(message: Mapping[str, Any], kind: str | None) -> tuple[Part, ...]:
    identifier = line(message.get("id"))
    if identifier is None or kind is None or kind not in _MEDIA_TYPES:
        return ()
    provider = obj(message.get("contentProvider"))
    size = message.get("fileSize")
    return (
        Part(
            line(message.get("fileName")) or kind,
            _MEDIA_TYPES[kind],
            ref=line(provider.get("originalContentUrl"), 2000) or identifier,
            size=size if isinstance(size, int) and 0 <= size < 1 << 53 else None,
        ),
    )


def _location(message: Mapping[str, Any]) -> Location | None:
    latitude, longitude = degrees(message.get("latitude"), 90), degrees(message.get("longitude"), 180)
    if latitude is None or longitude is None:
        return None
    return Location(
        latitude=latitude, longitude=longitude, name=line(message.get("title")), address=line(message.get("address"))
    )


def render(reply: OutgoingReply, account: Account, secrets: Secrets) -> HttpCall:
    """Return up to five messages, which LINE accepts or refuses as a whole: a reply by token, which is free, or a push.

    The retry key deduplicates pushes; replies have none.

    Files must be pictures with a URL: LINE requires a preview picture for videos and the duration of audio.
    """
    if not reply.to or not (reply.text.strip() or reply.files):
        raise Unsendable("a message needs a recipient and a text or a picture")
    if len(reply.text) > _TEXT_LIMIT:
        raise Unsendable(f"LINE takes at most {_TEXT_LIMIT} characters")
    if account.base_url is None:
        raise Unsendable(f"{account.name} has no base_url")
    api = f"{secrets.expand(account.base_url).rstrip('/')}/v2/bot/message"
    headers = {"content-type": "application/json", **originals.bearer(account, secrets)}
    if reply.reply_token is not None:
        body = json_body({"replyToken": reply.reply_token, "messages": _messages(reply)})
        return HttpCall("POST", f"{api}/reply", headers, body, once=True)
    return HttpCall(
        "POST",
        f"{api}/push",
        {
            **headers,
            "x-line-retry-key": str(uuid.uuid5(uuid.NAMESPACE_OID, reply.message_id)),
        },
        json_body({"to": reply.to, "messages": _messages(reply)}),
    )


def _messages(reply: OutgoingReply) -> list[dict[str, Any]]:
    messages = [{"type": "text", "text": clean(reply.text)}] if reply.text.strip() else []
    for file in reply.files:
        if file.media_type.lower() not in _PICTURES:
            raise Unsendable(f"LINE takes JPEG and PNG pictures only, and {line(file.name, 100) or 'a file'} is none")
        url = public_url(file, "LINE")
        messages.append({"type": "image", "originalContentUrl": url, "previewImageUrl": url})
    if len(messages) > _MAX_MESSAGES:
        raise Unsendable(f"LINE takes at most {_MAX_MESSAGES} messages at once, the text and each picture being one")
    return messages


def outcome(status: int, headers: Mapping[str, str], body: bytes) -> SendOutcome:
    """Read the response. 409 means that the retry key was accepted before, so the message is sent."""
    if status == 409:
        return Sent(line(first(peek(body).get("sentMessages")).get("id")))
    return read_answer(status, headers, body, "sentMessages", 0, "id")


def original(file: Attachment, account: Account, secrets: Secrets) -> HttpCall:
    """Return the request for a message's content (LINE, "Get content"), or for the URL of an external file."""
    if file.media_id is None:
        return originals.by_url(file)
    parts = urlsplit(originals.api(account, secrets))
    api = parts._replace(netloc=_CONTENT_HOSTS.get(parts.netloc, parts.netloc)).geturl()
    url = f"{api}/v2/bot/message/{quote(file.media_id, safe='')}/content"
    return HttpCall("GET", url, originals.bearer(account, secrets), b"")


def message_ids(body: bytes) -> list[str]:
    """Return the ids of messages and postbacks."""
    events = (event for event in json.loads(body)["events"] if event.get("type") in {"message", "postback"})
    return [str(event.get("message", {}).get("id") or event["webhookEventId"]) for event in events]
