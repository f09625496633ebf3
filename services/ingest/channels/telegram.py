"""Telegram Bot API: secret token, updates, replies, files by file_id. Ids of messages are unique within a chat only.

Telegram names no bot in its updates, so the webhook's URL names the account.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

from contracts.contacts import Identity
from contracts.inbound import InboundRecord
from contracts.ticket import Attachment, Channel, Location
from kit.policy.secrets import Secrets
from services.ingest.accounts import Account, Accounts
from services.ingest.channels import originals
from services.ingest.channels.channel import Answer, Challenge, Request, document_of, json_body, require_token
from services.ingest.channels.media import form
from services.ingest.channels.reading import (
    clean,
    degrees,
    each,
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
    File,
    HttpCall,
    Inbound,
    InboundMessage,
    OutgoingReply,
    Part,
    Sender,
    SendFailure,
    SendOutcome,
    Sent,
    Unreadable,
    Unsendable,
    Upload,
)

CHANNEL = Channel.TELEGRAM.value
NAME = CHANNEL
NEEDS: tuple[str, ...] = ("signing",)
ONE_FILE_PER_MESSAGE = True
HEADERS: frozenset[str] = frozenset()
ACCOUNT_BY_SECRET = False
SUCCESS = Answer(200)
"""Telegram reads a body as a call of its API, so there is none."""
REFUSAL_STATUS = 401
CHALLENGES: Mapping[str, Challenge] = {}
#: The Bot API accepts no idempotency key.
IDEMPOTENT = False
_TEXT_LIMIT = 4096
#: Animations and live photos also have a `document` or `photo`, for older clients.
_MEDIA = ("animation", "live_photo", "photo", "video", "video_note", "audio", "voice", "document")
_MEDIA_TYPES = {
    "photo": "image/jpeg", "live_photo": "video/mp4", "animation": "video/mp4", "video": "video/mp4",
    "video_note": "video/mp4", "audio": "audio/mpeg", "voice": "audio/ogg",
}  # fmt: skip
_OTHERS = ("text", "venue", "location", "sticker", "contact", "poll", "dice", "story", "game", "checklist", "gift",
           "paid_media", "invoice", "successful_payment", "web_app_data")  # fmt: skip
"""Contents without a file. A venue also has a `location`."""
_SERVICE = ("new_chat_", "left_chat_", "delete_chat_", "group_chat_", "supergroup_chat_", "channel_chat_", "migrate_",
            "message_auto_delete_", "pinned_", "forum_topic_", "general_forum_topic_", "video_chat_", "chat_", "boost_",
            "write_access_", "users_shared", "proximity_", "connected_website", "passport_", "giveaway", "checklist_",
            "poll_option_", "suggested_post_", "direct_message_price_", "paid_message_price_", "refunded_payment",
            "managed_bot_", "gift_upgrade_", "unique_gift")  # fmt: skip
"""Beginnings of the fields of service messages: what happened to a chat, written by nobody."""


def account_id(request: Request) -> str | None:  # noqa: ARG001 - updates name no bot
    """Return None: an update does not say which bot it is for."""
    return None


def verify(request: Request, account: Account, secrets: Secrets, now: datetime) -> None:  # noqa: ARG001 - no timestamp
    """Verify `X-Telegram-Bot-Api-Secret-Token`, the secret token of setWebhook. Nothing is signed."""
    require_token(request.headers.get("x-telegram-bot-api-secret-token", ""), account, secrets)


def _message_of(update: Mapping[str, Any]) -> Mapping[str, Any]:
    return obj(update.get("message")) or obj(update.get("edited_message"))


def contact_key(request: Request) -> str | None:
    """Return the chat's id."""
    return line(obj(_message_of(document_of(request)).get("chat")).get("id"))


def parse(record: InboundRecord, account: Account, accounts: Accounts, secrets: Secrets) -> list[Inbound]:  # noqa: ARG001
    """Return the new or edited message. Other updates, such as channel posts and reactions, open no ticket."""
    update = read_object(record.body)
    if line(update.get("update_id")) is None:
        raise Unreadable("no update_id: not an update of Telegram")
    edited = "edited_message" in update
    messages = [message for message in [_message_of(update)] if message and not _is_silent(message, edited=edited)]
    return list(each(messages, lambda message: _message(message, account, record.received_at, edited=edited)))


def _is_silent(message: Mapping[str, Any], *, edited: bool) -> bool:
    if obj(message.get("from")).get("is_bot") is True or message.get("is_automatic_forward") is True:
        return True
    if edited and "location" in message:  # a live location moved, possibly every few seconds
        return True
    if edited and line(message.get("edit_date")) is None:  # not by its author: somebody reacted to it, for example
        return True
    if message.get("text") == "/start":  # the button that opens a chat with a bot
        return True
    return _kind(message) is None and any(name.startswith(_SERVICE) for name in message)


def _kind(message: Mapping[str, Any]) -> str | None:
    return next((kind for kind in (*_MEDIA, *_OTHERS) if kind in message), None)


def _message(
    message: Mapping[str, Any], account: Account, received_at: datetime, *, edited: bool
) -> InboundMessage | None:
    number, chat = line(message.get("message_id")), line(obj(message.get("chat")).get("id"))
    person = obj(message.get("from"))
    user = line(person.get("id"))
    if number is None or chat is None or user is None:
        raise Unreadable("a message without id, chat or sender")
    identifier = f"{chat}:{number}"
    answered = line(obj(message.get("reply_to_message")).get("message_id"))
    kind = _kind(message)
    text = _text(message, kind)
    name = " ".join(filter(None, (line(person.get("first_name")), line(person.get("last_name")))))
    return InboundMessage(
        channel=CHANNEL,
        account=account.name,
        message_id=f"{identifier}:{line(message.get('edit_date'))}" if edited else identifier,
        sender=Sender(
            (Identity(channel=CHANNEL, account=account.name, id=user, verified=True),),
            name=name or line(person.get("username")),
            address=chat,  # replies to a message in a group go to the group
            language=line(person.get("language_code"), 35),
        ),
        conversation=chat,
        sent_at=instant(message.get("edit_date") if edited else message.get("date"), received_at),
        text=clean(f"[edited] {text}") if edited else text,
        in_reply_to=identifier if edited else f"{chat}:{answered}" if answered else None,
        parts=() if edited else _parts(message, kind),
        location=_location(message),
    )


def _text(message: Mapping[str, Any], kind: str | None) -> str:
    content = message.get(kind) if kind else None
    if kind == "text":
        return text_or_empty(content)
    if kind in _MEDIA:
        return text_or_empty(message.get("caption"))
    if kind == "venue":
        return "\n".join(filter(None, (text_or_empty(obj(content).get(key)) for key in ("title", "address"))))
    if kind == "location":
        return ""
    if kind == "contact":
        names = [line(obj(content).get(key)) for key in ("first_name", "last_name", "phone_number")]
        return clean(" ".join(filter(None, names))) or "[contact]"
    shown = line(obj(content).get({"poll": "question", "sticker": "emoji", "dice": "emoji"}.get(kind or "", "")), 300)
    return clean(f"[{kind or 'unknown'}: {shown}]" if shown else f"[{kind or 'unknown'}]")


def _parts(message: Mapping[str, Any], kind: str | None) -> tuple[Part, ...]:
    if kind not in _MEDIA:
        return ()
    sizes = list(objects(message.get(kind)))  # of a photo, the largest last
    file = sizes[-1] if sizes else obj(message.get(kind))
    identifier = line(file.get("file_id"))
    if identifier is None:
        return ()
    media_type = line(file.get("mime_type"), 100) or _MEDIA_TYPES.get(kind, "application/octet-stream")
    size = file.get("file_size")
    known = isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 1 << 53
    return (Part(line(file.get("file_name")) or kind, media_type, ref=identifier, size=size if known else None),)


def _location(message: Mapping[str, Any]) -> Location | None:
    venue = obj(message.get("venue"))
    place = obj(message.get("location")) or obj(venue.get("location"))
    latitude, longitude = degrees(place.get("latitude"), 90), degrees(place.get("longitude"), 180)
    if latitude is None or longitude is None:
        return None
    return Location(
        latitude=latitude, longitude=longitude, name=line(venue.get("title")), address=line(venue.get("address"))
    )


def _api(account: Account, secrets: Secrets, folder: str = "") -> str:
    return f"{originals.api(account, secrets)}{folder}/bot{quote(secrets.secret(account.access), safe=':')}"


def render(reply: OutgoingReply, account: Account, secrets: Secrets) -> HttpCall:
    """Return one message: a text or a file. There is no idempotency key. In a group, it answers the message."""
    if not reply.to or not (reply.text.strip() or reply.files):
        raise Unsendable("a message needs a recipient and a text or a file")
    if len(reply.text) > _TEXT_LIMIT:
        raise Unsendable(f"Telegram takes at most {_TEXT_LIMIT} characters")
    if len(reply.files) + bool(reply.text.strip()) > 1:
        raise Unsendable("a message of Telegram carries a text or one file")
    api, fields = _api(account, secrets), {"chat_id": reply.to}
    if reply.files:
        return _file(reply.files[0], api, fields)
    document: dict[str, Any] = {**fields, "text": clean(reply.text)}
    chat, _, number = (reply.in_reply_to or "").partition(":")
    number = number.partition(":")[0]
    if chat == reply.to and chat.startswith("-") and number.isascii() and number.isdigit():  # a group
        document["reply_parameters"] = {"message_id": int(number[:18]), "allow_sending_without_reply": True}
    return HttpCall("POST", f"{api}/sendMessage", {"content-type": "application/json"}, json_body(document))


def _file(file: File, api: str, fields: dict[str, str]) -> HttpCall:
    """Return the message for a file. Telegram fetches a document by URL only if it is a GIF, a PDF or a ZIP."""
    media_type = line(file.media_type.lower(), 100) or "application/octet-stream"
    if file.url is not None:
        kind = "photo" if media_type in {"image/jpeg", "image/png"} else "document"
        document = {**fields, kind: file.url}
        method = f"send{kind.capitalize()}"
        return HttpCall("POST", f"{api}/{method}", {"content-type": "application/json"}, json_body(document))
    name = line(file.name, 200) or "file"
    content_type, body = form(fields, name, media_type, file.content or b"", field="document")
    return HttpCall("POST", f"{api}/sendDocument", {"content-type": content_type}, body)


def outcome(status: int, headers: Mapping[str, str], body: bytes) -> SendOutcome:
    """Read the response: chat and number of the message.

    403 means that the customer has blocked the bot, 404 that there is no bot with this token: operators can fix that.
    """
    found, answer = read_answer(status, headers, body), peek(body)
    if isinstance(found, Sent):
        result = obj(answer.get("result"))
        chat, number = line(obj(result.get("chat")).get("id")), line(result.get("message_id"))
        return Sent(f"{chat}:{number}" if chat and number else None)
    wait = obj(answer.get("parameters")).get("retry_after")
    if status == 429 and isinstance(wait, int) and wait > 0:
        return replace(found, retry_after=float(min(wait, 3600)))
    return replace(found, permanent=status == 403) if status in {403, 404} else found


def original(file: Attachment, account: Account, secrets: Secrets) -> HttpCall | Upload:
    """Return two requests: getFile returns the path of the file, valid for an hour. Its URL contains the token."""
    if file.media_id is None:
        return originals.by_url(file)
    files = _api(account, secrets, "/file")

    def then(status: int, body: bytes) -> HttpCall | SendFailure:
        path = line(obj(peek(body).get("result")).get("file_path"), 1000)
        if status != 200 or path is None:
            return SendFailure(f"HTTP {status}: the answer has no file path", permanent=status == 400)
        return HttpCall("GET", f"{files}/{quote(path, safe='/')}", {}, b"")

    url = f"{_api(account, secrets)}/getFile?file_id={quote(file.media_id, safe='')}"
    return Upload(HttpCall("GET", url, {}, b""), then)


def message_ids(body: bytes) -> list[str] | None:
    """Return the id of the message; None for a content that may be a service message."""
    update = json.loads(body)
    message = update.get("message") or update.get("edited_message")
    if message is None or message["from"]["is_bot"] or message.get("text") == "/start":
        return []
    identifier = f"{message['chat']['id']}:{message['message_id']}"
    if "edited_message" in update:
        shown = "location" not in message and "edit_date" in message
        return [f"{identifier}:{message['edit_date']}"] if shown else []
    usual = {"text", "photo", "document", "video", "voice", "audio", "sticker", "location", "contact", "animation"}
    return [identifier] if usual & message.keys() else None
