"""Zalo Official Account (OA): signature, messages of followers, reports of delivery, replies by the OA API.

The signature is a plain SHA-256 with the secret at the end, not an HMAC, over parts that the body repeats.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from contracts.contacts import Identity
from contracts.inbound import InboundRecord
from contracts.ticket import Attachment, Channel, Location
from kit.policy.secrets import Secrets
from services.ingest.accounts import Account, Accounts
from services.ingest.channels import originals
from services.ingest.channels.channel import (
    Answer,
    Challenge,
    Forged,
    OAuthFlow,
    Request,
    document_of,
    json_body,
    owner,
)
from services.ingest.channels.media import form
from services.ingest.channels.reading import (
    clean,
    degrees,
    each,
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
    Delivery,
    DeliveryStatus,
    Faulty,
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

CHANNEL = Channel.ZALO.value
NAME = CHANNEL
NEEDS: tuple[str, ...] = ("signing", "external_id", "username", "access", "refresh", "base_url")
ONE_FILE_PER_MESSAGE = True
HEADERS: frozenset[str] = frozenset()
ACCOUNT_BY_SECRET = True
SUCCESS = Answer(200)
"""Zalo repeats webhooks that are not answered with 200 within two seconds, and finally turns them off."""
REFUSAL_STATUS = 401
CHALLENGES: Mapping[str, Challenge] = {}
#: The OA API accepts no idempotency key.
IDEMPOTENT = False
_SENT = "user_send_"
_GROUP = "user_send_group_"
_STATES = {"user_received_message": Delivery.DELIVERED, "user_seen_message": Delivery.READ}
_MEDIA_TYPES = {"image": "image/jpeg", "gif": "image/gif", "video": "video/mp4", "audio": "audio/mp4",
                "file": "application/octet-stream"}  # fmt: skip
_TEXT_LIMIT = 2000
_PICTURES = {"image/jpeg", "image/png"}
_DOCUMENTS = {
    "application/pdf",
    "application/msword",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
}
#: Access token expired or not valid, quota used up, too many calls: operators can fix it, or it passes.
_PASSING = {-220, -216, -211, -32}


_LOGIN_HOSTS = {"https://openapi.zalo.me": "https://oauth.zaloapp.com"}
"""API -> where Zalo gives access tokens for it."""


def _refresh(account: Account, secrets: Secrets, refresh: str, now: datetime) -> HttpCall:  # noqa: ARG001 - OAuthFlow's
    """Return the call for a token, with the app's id and secret key. Each refresh token is good for one."""
    api = originals.api(account, secrets)
    form = {"app_id": originals.username(account, secrets), "grant_type": "refresh_token", "refresh_token": refresh}
    headers = {"content-type": "application/x-www-form-urlencoded", "secret_key": secrets.secret(account.access)}
    return HttpCall("POST", f"{_LOGIN_HOSTS.get(api, api)}/v4/oa/access_token", headers, urlencode(form).encode())


OAUTH = OAuthFlow(_refresh, originals.grant)


def _user_and_ours(document: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return the ids of the user and of our OA. Events about our own messages have them the other way round."""
    sender, recipient = (line(obj(document.get(side)).get("id")) for side in ("sender", "recipient"))
    if (line(document.get("event_name")) or "").startswith(("oa_", *_STATES)):
        sender, recipient = recipient, sender
    return sender, line(document.get("oa_id")) or recipient


def account_id(request: Request) -> str | None:
    """Return the id of the OA."""
    return _user_and_ours(request.cached(peek))[1]


def verify(request: Request, account: Account, secrets: Secrets, now: datetime) -> None:  # noqa: ARG001 - see below
    """Verify `X-ZEvent-Signature`: `mac=` and the hex SHA-256 of app id, body, timestamp and the OA's secret.

    The timestamp is the event's, which Zalo repeats for hours, so it says nothing about the request's age.
    """
    try:
        signature = bytes.fromhex(request.headers.get("x-zevent-signature", "").removeprefix("mac="))
    except ValueError:
        signature = b""
    if not signature:
        raise Forged("missing")
    document = request.cached(peek)
    app, timestamp = line(document.get("app_id"), 40) or "", line(document.get("timestamp"), 40) or ""
    found = False
    for secret in secrets.secrets(account.signing):
        signed = app.encode() + request.body + timestamp.encode() + secret.encode()
        found |= hmac.compare_digest(hashlib.sha256(signed).digest(), signature)
    if not found:
        raise Forged("signature")


def contact_key(request: Request) -> str | None:
    """Return the user's id."""
    return _user_and_ours(document_of(request))[0]


def parse(record: InboundRecord, account: Account, accounts: Accounts, secrets: Secrets) -> list[Inbound]:  # noqa: ARG001
    """Return the message or statuses of an event. Other events, such as follow, and our own messages are silent."""
    document = read_object(record.body)
    event = line(document.get("event_name"))
    if event is None:
        raise Unreadable("no event_name: not an event of Zalo")
    at = _time(document, record.received_at)
    if event in _STATES:
        return list(each(_ids(document), lambda identifier: _status(identifier, document, account, at)))
    if not event.startswith(_SENT) or event.startswith(_GROUP):
        return []
    ours = owner(_user_and_ours(document)[1], account, accounts, "OA")
    if isinstance(ours, Faulty):
        return [ours]
    return list(each([document], lambda document: _message(document, ours, event.removeprefix(_SENT), at)))


def _time(document: Mapping[str, Any], fallback: datetime) -> datetime:
    milliseconds = line(document.get("timestamp"), 20) or ""
    if not (milliseconds.isascii() and milliseconds.isdigit()):
        return fallback
    return instant(int(milliseconds) / 1000, fallback)


def _ids(document: Mapping[str, Any]) -> Iterator[str]:
    message = obj(document.get("message"))
    several = message.get("msg_ids")
    for found in several if isinstance(several, list) else [message.get("msg_id")]:
        if identifier := line(found):
            yield identifier


def _status(identifier: str, document: Mapping[str, Any], account: Account, at: datetime) -> DeliveryStatus:
    return DeliveryStatus(
        channel=CHANNEL,
        account=account.name,
        channel_message_id=identifier,
        state=_STATES[str(line(document.get("event_name")))],
        at=at,
        recipient=_user_and_ours(document)[0],
    )


def _message(document: Mapping[str, Any], account: Account, kind: str, at: datetime) -> InboundMessage:
    message, user = obj(document.get("message")), _user_and_ours(document)[0]
    identifier = line(message.get("msg_id"))
    if identifier is None or user is None:
        raise Unreadable("a message without msg_id or sender")
    files = [file for file in objects(message.get("attachments")) if str(file.get("type")) in _MEDIA_TYPES]
    return InboundMessage(
        channel=CHANNEL,
        account=account.name,
        message_id=identifier,
        sender=Sender((Identity(channel=CHANNEL, account=account.name, id=user, verified=True),), address=user),
        conversation=user,
        sent_at=at,
        text=_text(message, kind),
        in_reply_to=line(message.get("quote_msg_id")),
        parts=tuple(part for file in files if (part := _part(file))),
        location=_location(message) if kind == "location" else None,
    )


def _text(message: Mapping[str, Any], kind: str) -> str:
    text, content = text_or_empty(message.get("text")), obj(first(message.get("attachments")).get("payload"))
    if kind in {"link", "business_card"}:
        told = (line(content.get(key), 2000) for key in ("title", "description", "url"))
        return clean("\n".join(dict.fromkeys(filter(None, (text, *told))))) or f"[{kind}]"
    if kind in {"text", "location", *_MEDIA_TYPES}:
        return text
    return text or clean(f"[{line(kind, 40)}]")


def _part(file: Mapping[str, Any]) -> Part | None:
    content, kind = obj(file.get("payload")), str(file.get("type"))
    url = line(content.get("url"), 2000)
    if url is None:
        return None
    size = line(content.get("size"), 16) or ""
    known = size.isascii() and size.isdigit() and int(size) < 1 << 53
    return Part(line(content.get("name")) or kind, _MEDIA_TYPES[kind], ref=url, size=int(size) if known else None)


def _location(message: Mapping[str, Any]) -> Location | None:
    place = obj(obj(first(message.get("attachments")).get("payload")).get("coordinates"))
    latitude, longitude = degrees(_number(place.get("latitude")), 90), degrees(_number(place.get("longitude")), 180)
    return None if latitude is None or longitude is None else Location(latitude=latitude, longitude=longitude)


def _number(value: object) -> object:
    """Return a number that Zalo writes as a text."""
    try:
        return float(value) if isinstance(value, str) and len(value) < 40 else value
    except ValueError:
        return None


def render(reply: OutgoingReply, account: Account, secrets: Secrets) -> HttpCall | Upload:
    """Return one customer service message: a text or a file. There is no idempotency key."""
    if not reply.to or not (reply.text.strip() or reply.files):
        raise Unsendable("a message needs a recipient and a text or a file")
    if len(reply.text) > _TEXT_LIMIT:
        raise Unsendable(f"Zalo takes at most {_TEXT_LIMIT} characters")
    if len(reply.files) + bool(reply.text.strip()) > 1:
        raise Unsendable("a message of Zalo carries a text or one file")
    api, login = originals.api(account, secrets), {"access_token": secrets.secret(originals.token_ref(account))}

    def message(content: Mapping[str, Any]) -> HttpCall:
        document = {"recipient": {"user_id": reply.to}, "message": content}
        headers = {"content-type": "application/json", **login}
        return HttpCall("POST", f"{api}/v3.0/oa/message/cs", headers, json_body(document))

    def picture(element: Mapping[str, str]) -> HttpCall:
        elements = [{"media_type": "image", **element}]
        payload = {"template_type": "media", "elements": elements}
        return message({"attachment": {"type": "template", "payload": payload}})

    if not reply.files:
        return message({"text": clean(reply.text)})
    file = reply.files[0]
    media_type = file.media_type.lower()
    if media_type in _PICTURES:
        if file.url is not None:
            return picture({"url": file.url})
        upload = _upload(file, media_type, f"{api}/v2.0/oa/upload/image", login)
        return Upload(upload, lambda _, body: _kept(body, "attachment_id", lambda i: picture({"attachment_id": i})))
    if media_type not in _DOCUMENTS or file.content is None:
        raise Unsendable("Zalo takes JPEG and PNG pictures, and uploaded PDF and Word documents")
    upload = _upload(file, media_type, f"{api}/v2.0/oa/upload/file", login)
    return Upload(
        upload,
        lambda _, body: _kept(
            body, "token", lambda token: message({"attachment": {"type": "file", "payload": {"token": token}}})
        ),
    )


def _upload(file: File, media_type: str, url: str, login: Mapping[str, str]) -> HttpCall:
    content_type, body = form({}, line(file.name, 200) or "file", media_type, file.content or b"")
    return HttpCall("POST", url, {"content-type": content_type, **login}, body)


def _kept(body: bytes, key: str, then: Any) -> HttpCall | SendFailure:
    """Return the message for an uploaded file, or why it was not taken. Nothing has been sent so far."""
    answer = peek(body)
    identifier = line(obj(answer.get("data")).get(key), 2000)
    if identifier is None:
        failure = _failure(answer)
        return SendFailure(f"upload: {failure.reason}", failure.permanent)
    call: HttpCall = then(identifier)
    return call


def outcome(status: int, headers: Mapping[str, str], body: bytes) -> SendOutcome:
    """Read the response, whose status is 200 even if `error` is not 0."""
    found, answer = read_answer(status, headers, body), peek(body)
    if not isinstance(found, Sent):
        return found
    return Sent(line(obj(answer.get("data")).get("message_id"))) if answer.get("error") == 0 else _failure(answer)


def _failure(answer: Mapping[str, Any]) -> SendFailure:
    code = answer.get("error")
    if not isinstance(code, int) or code == 0:
        return SendFailure("Zalo: an answer that cannot be read", permanent=False, unsure=True)
    reason = " ".join(filter(None, (str(line(code)), line(answer.get("message"), 300))))
    return SendFailure(f"Zalo: {reason}", permanent=code not in _PASSING)


def original(file: Attachment, account: Account, secrets: Secrets) -> HttpCall:  # noqa: ARG001 - no login
    """Return the request for a file by its URL, which needs no login."""
    return originals.by_url(file)


def message_ids(body: bytes) -> list[str]:
    """Return the id of the message of a `user_send_` event."""
    document = json.loads(body)
    name = document["event_name"]
    mine = name.startswith("user_send") and "_group" not in name
    return [str(document["message"]["msg_id"])] if mine else []
