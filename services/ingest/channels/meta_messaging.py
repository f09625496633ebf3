"""Conversations on Meta's Messenger Platform, which Messenger and Instagram have in common: events and replies.

Rule: the two channels differ by their `Platform` only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from contracts.contacts import Identity
from contracts.inbound import InboundRecord
from contracts.ticket import Attachment
from kit.policy.secrets import Secrets
from services.ingest.accounts import Account, Accounts
from services.ingest.channels import media, meta_shares, originals
from services.ingest.channels.channel import Request, document_of, json_body, owner, public_url
from services.ingest.channels.reading import (
    PEEK_BYTES,
    clean,
    each,
    first,
    instant,
    line,
    obj,
    objects,
    peek,
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
    Sender,
    Unreadable,
    Unsendable,
)
from services.ingest.core.policy import ReplyWindow

WINDOW = ReplyWindow(timedelta(hours=24), people=timedelta(days=7))
"""Meta's standard messaging window, and that of the tag HUMAN_AGENT, which only people may use."""
#: The tag is used this much before the window closes: Meta counts from when the message was sent, we from its arrival.
_MARGIN = timedelta(minutes=5)
_KINDS = {"image", "video", "audio"}


@dataclass(frozen=True, slots=True)
class Platform:
    """How a channel differs from the other."""

    channel: str
    #: `object` of its webhooks.
    object: str
    #: Its name in sentences.
    name: str
    #: Whether a file's bytes can be sent with a message; otherwise it needs a URL.
    takes_bytes: bool


def account_id(request: Request) -> str | None:
    """Return the id of the first entry's page or Instagram account.

    None for a large body: it belongs to the account whose secret signed it, and `parse` looks at each entry's id.
    """
    if len(request.body) > PEEK_BYTES:
        return None
    return line(first(request.cached(peek).get("entry")).get("id"))


def contact_key(request: Request) -> str | None:
    """Return the customer of the first event."""
    entry = first(document_of(request).get("entry"))
    event = first(entry.get("messaging"))
    people = (line(obj(event.get(each)).get("id")) for each in ("sender", "recipient"))
    return next((person for person in people if person and person != line(entry.get("id"))), None)


def parse(record: InboundRecord, account: Account, accounts: Accounts, platform: Platform) -> list[Inbound]:
    """Return the messages and statuses of all entries. Events of `standby` are for other apps, and not read."""
    document = read_object(record.body)
    if not isinstance(document.get("entry"), list) or document.get("object") != platform.object:
        raise Unreadable(f"not a webhook of {platform.name}: its object is not {platform.object}")
    found: list[Inbound] = []
    for entry in objects(document["entry"]):
        ours = owner(line(entry.get("id")), account, accounts, platform.object)
        if isinstance(ours, Faulty):
            found.append(ours)
        else:
            found += each(_events(entry), partial(_read, account=ours, received_at=record.received_at))
    return found


def _events(entry: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the events. A delivery receipt that names several messages becomes one event for each."""
    for event in objects(entry.get("messaging")):
        mids = obj(event.get("delivery")).get("mids")
        if isinstance(mids, list) and mids:
            yield from ({**event, "delivery": {**event["delivery"], "mid": mid}} for mid in mids)
        else:
            yield event


def _read(event: Mapping[str, Any], account: Account, received_at: datetime) -> InboundMessage | DeliveryStatus | None:
    """Return the message or status; None for events that are neither: reactions, referrals, opt-ins, echoes."""
    sender = line(obj(event.get("sender")).get("id"))
    at = _time(event.get("timestamp"), received_at)
    message, postback = obj(event.get("message")), obj(event.get("postback"))
    edit = obj(event.get("message_edit"))
    for state, name in ((Delivery.READ, "read"), (Delivery.DELIVERED, "delivery")):
        if isinstance(event.get(name), dict):
            return _status(event[name], state, sender, account, at)
    if not (message or postback or edit) or message.get("is_echo") is True or sender == account.external_id:
        return None
    if message.get("is_deleted") is True:
        return None
    identifier = line(message.get("mid")) or line(postback.get("mid"))
    if edit:
        identifier = f"{line(edit.get('mid'))}:edit:{line(edit.get('num_edit'))}" if line(edit.get("mid")) else None
    if identifier is None and postback and sender:
        identifier = f"postback:{sender}:{line(event.get('timestamp'))}"  # without an id before v8.0
    if identifier is None or sender is None:
        raise Unreadable("a message without id or sender")
    shared = meta_shares.read(message)
    text = _text(message, postback, edit)
    notes = (*shared.notes, *meta_shares.referral(message or postback))
    if not (text or notes or shared.parts or shared.location):
        notes = ("[unsupported]",)  # the agent must see that there was a message
    return InboundMessage(
        channel=account.carries,
        account=account.name,
        message_id=identifier,
        sender=Sender(
            (Identity(channel=account.carries, account=account.name, id=sender, verified=True),), address=sender
        ),
        conversation=sender,
        sent_at=at,
        text=clean("\n".join(filter(None, (text, *notes)))),
        in_reply_to=line(edit.get("mid")) or line(obj(message.get("reply_to")).get("mid")),
        parts=shared.parts,
        location=shared.location,
    )


def _text(message: Mapping[str, Any], postback: Mapping[str, Any], edit: Mapping[str, Any]) -> str:
    if edit:
        return clean(f"[edited] {text_or_empty(edit.get('text'))}")
    return (
        text_or_empty(message.get("text"))
        or text_or_empty(postback.get("title"))
        or text_or_empty(postback.get("payload"))
    )


def _time(milliseconds: object, fallback: datetime) -> datetime:
    known = isinstance(milliseconds, int | float) and abs(milliseconds) < 1e16
    return instant(milliseconds / 1000 if known else None, fallback)  # type: ignore[operator]


def _status(
    receipt: Mapping[str, Any], state: Delivery, customer: str | None, account: Account, at: datetime
) -> DeliveryStatus | None:
    """Return the status of the message that a receipt names, or of all messages until its watermark."""
    mid = line(receipt.get("mid"))
    if mid is None and (customer is None or "watermark" not in receipt):
        return None
    return DeliveryStatus(
        channel=account.carries,
        account=account.name,
        channel_message_id=mid or "",
        state=state,
        at=_time(receipt.get("watermark"), at),
        recipient=customer,
        conversation=None if mid else customer,
    )


def render(reply: OutgoingReply, account: Account, secrets: Secrets, platform: Platform) -> HttpCall:
    """Return one message: a text or a file. There is no idempotency key."""
    if not reply.to or not (reply.text.strip() or reply.files):
        raise Unsendable("a message needs a recipient and a text or a file")
    if len(reply.files) + bool(reply.text.strip()) > 1:
        raise Unsendable(f"a message of {platform.name} carries a text or one file")
    url = f"{originals.api(account, secrets)}/me/messages"
    login = originals.bearer(account, secrets)
    document: dict[str, Any] = {"recipient": {"id": reply.to}, **_type(reply)}
    if not reply.files:
        document["message"] = {"text": clean(reply.text)}
        return HttpCall("POST", url, {"content-type": "application/json", **login}, json_body(document))
    file = reply.files[0]
    kind = file.media_type.lower().partition("/")[0]
    kind = kind if kind in _KINDS else "file"
    if file.url is None and platform.takes_bytes:
        return _with_bytes(file, kind, document, url, login)
    payload = {"url": public_url(file, platform.name), "is_reusable": False}
    document["message"] = {"attachment": {"type": kind, "payload": payload}}
    return HttpCall("POST", url, {"content-type": "application/json", **login}, json_body(document))


def _with_bytes(file: File, kind: str, document: Mapping[str, Any], url: str, login: Mapping[str, str]) -> HttpCall:
    fields = {name: value if isinstance(value, str) else json.dumps(value) for name, value in document.items()}
    fields["message"] = json.dumps({"attachment": {"type": kind, "payload": {"is_reusable": False}}})
    name, media_type = line(file.name, 200) or "file", line(file.media_type.lower(), 100) or "application/octet-stream"
    content_type, body = media.form(fields, name, media_type, file.content or b"", "filedata")
    return HttpCall("POST", url, {"content-type": content_type, **login}, body)


def _type(reply: OutgoingReply) -> dict[str, str]:
    late = reply.customer_wrote_at is not None and reply.tried_at > reply.customer_wrote_at + WINDOW.anyone - _MARGIN
    if late and reply.by_person:
        return {"messaging_type": "MESSAGE_TAG", "tag": "HUMAN_AGENT"}
    return {"messaging_type": "RESPONSE"}


def original(file: Attachment) -> HttpCall:
    """Return the request for a file. URLs come from messages, so only those on Meta's hosts are fetched."""
    return originals.by_url(file, hosts=meta_shares.HOSTS)


def message_ids(body: bytes) -> list[str]:
    """Return the ids of messages, edits and postbacks of all entries, whatever account they are for.

    The audit checks `parse` against it, so it shares no code with it.
    """
    found = []
    for entry in json.loads(body)["entry"]:
        for event in entry.get("messaging", ()):
            message, edit, postback = (event.get(each) for each in ("message", "message_edit", "postback"))
            own = event["sender"]["id"] == entry.get("id")
            if message and not own and not (message.get("is_echo") or message.get("is_deleted")):
                found.append(str(message["mid"]))
            if edit and not own:
                found.append(f"{edit['mid']}:edit:{edit.get('num_edit')}")
            if postback and not own:
                found.append(str(postback.get("mid") or f"postback:{event['sender']['id']}:{event.get('timestamp')}"))
    return found
