"""WhatsApp over Meta's Cloud API: signature, verification request, messages, statuses, replies.

A user may have no phone number, only a business-scoped `user_id`. If there is one, the contact's id is made from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from contracts.commands import Template
from contracts.contacts import Identity
from contracts.inbound import InboundRecord
from contracts.ticket import Attachment, Channel, Location
from kit.policy.secrets import Secrets
from services.ingest.accounts import Account, Accounts
from services.ingest.channels import media, meta_app, originals
from services.ingest.channels.channel import Request, document_of, json_body
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
    read_object,
    text_or_empty,
)
from services.ingest.core.messages import (
    Delivery,
    DeliveryStatus,
    Faulty,
    HttpCall,
    Inbound,
    InboundMessage,
    OutgoingReply,
    Part,
    Sender,
    SendOutcome,
    Unreadable,
    Unsendable,
    Upload,
)
from services.ingest.core.policy import ReplyWindow

CHANNEL = Channel.WHATSAPP.value
NAME = CHANNEL
NEEDS: tuple[str, ...] = ("signing", "external_id")
ONE_FILE_PER_MESSAGE = True
WINDOW = ReplyWindow(timedelta(hours=24), templates=True)
"""Meta's customer service window."""
HEADERS: frozenset[str] = frozenset()
ACCOUNT_BY_SECRET = True
SUCCESS = meta_app.SUCCESS
REFUSAL_STATUS = 401
CHALLENGES = meta_app.CHALLENGES
#: The Cloud API accepts no idempotency key.
IDEMPOTENT = False
_MEDIA = {"image", "video", "audio", "document", "sticker"}
_SILENT = {"reaction", "system", "ephemeral", "request_welcome"}
"""Types of messages that neither open nor continue a conversation."""
_STATES = {state.value: state for state in (Delivery.SENT, Delivery.DELIVERED, Delivery.READ, Delivery.FAILED)}
_TEXT_LIMIT = 4096


def _values(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for entry in objects(document.get("entry")):
        for change in objects(entry.get("changes")):
            yield obj(change.get("value"))


def account_id(request: Request) -> str | None:
    """Return the phone_number_id of the first change."""
    if len(request.body) > PEEK_BYTES:
        return find_value(request.body, "phone_number_id")
    value: Mapping[str, Any] = next(_values(request.cached(peek)), {})
    return line(obj(value.get("metadata")).get("phone_number_id"))


verify = meta_app.verify
challenge = meta_app.challenge


def contact_key(request: Request) -> str | None:
    """Return the first sender; for statuses, the recipient."""
    for value in _values(document_of(request)):
        message, status = first(value.get("messages")), first(value.get("statuses"))
        contact = first(value.get("contacts"))
        key = (
            message.get("group_id")
            or message.get("from_user_id")
            or contact.get("user_id")
            or message.get("from")
            or status.get("recipient_user_id")
            or status.get("recipient_id")
        )
        if key := line(key):
            return key
    return None


def parse(record: InboundRecord, account: Account, accounts: Accounts, secrets: Secrets) -> list[Inbound]:  # noqa: ARG001
    """Return the messages and statuses of all changes."""
    document = read_object(record.body)
    if not isinstance(document.get("entry"), list):
        raise Unreadable("no entry: not a webhook of the Cloud API")
    found: list[Inbound] = []
    for value in _values(document):
        owner = _owner(value, account, accounts)
        if isinstance(owner, Faulty):
            found.append(owner)
            continue
        contacts = list(objects(value.get("contacts")))
        messages = (m for m in objects(value.get("messages")) if line(m.get("type")) not in _SILENT)
        found += each(messages, partial(_message, contacts=contacts, account=owner, received_at=record.received_at))
        statuses = objects(value.get("statuses"))
        found += each(statuses, partial(_status, account=owner, received_at=record.received_at))
    return found


def _owner(value: Mapping[str, Any], account: Account, accounts: Accounts) -> Account | Faulty:
    """Return the account of a change, or a foreign Faulty.

    One body may contain changes of several numbers, but only of accounts with the same secret. An app may also have
    numbers that are not configured here; changes about those are foreign.
    """
    named = line(obj(value.get("metadata")).get("phone_number_id"))
    if named is None or named == account.external_id:
        return account
    other = accounts.external(CHANNEL, named)
    if other is None or set(other.signing).isdisjoint(account.signing):
        return Faulty(f"phone_number_id {named} is no account of this app", foreign=True)
    return other


def _message(
    message: Mapping[str, Any], contacts: list[Mapping[str, Any]], account: Account, received_at: datetime
) -> InboundMessage:
    identifier = line(message.get("id"))
    if identifier is None:
        raise Unreadable("a message without id")
    sender = _sender(message, contacts, account)
    kind = line(message.get("type"))
    context = obj(message.get("context"))
    return InboundMessage(
        channel=CHANNEL,
        account=account.name,
        message_id=identifier,
        sender=sender,
        conversation=line(message.get("group_id")) or sender.identities[0].id,
        sent_at=instant(message.get("timestamp"), received_at),
        text=_text(message, kind),
        in_reply_to=line(context.get("id")),
        parts=_parts(message, kind),
        location=_location(message) if kind == "location" else None,
    )


def _sender(message: Mapping[str, Any], contacts: list[Mapping[str, Any]], account: Account) -> Sender:
    number, user = line(message.get("from")), line(message.get("from_user_id"))
    for contact in contacts:
        wa_id, user_id = line(contact.get("wa_id")), line(contact.get("user_id"))
        if (user and user_id == user) or (number and wa_id == number) or len(contacts) == 1:
            number, user = number or wa_id, user or user_id
            break
    else:
        contact = {}
    ids = [identifier for identifier in (user, number) if identifier]
    if not ids:
        raise Unreadable("a message without sender")
    identities = tuple(Identity(channel=CHANNEL, account=account.name, id=each, verified=True) for each in ids)
    profile = obj(contact.get("profile"))
    name = line(profile.get("name")) or line(profile.get("username"))
    phone = f"+{number}" if number and number.isdigit() else None
    return Sender(identities, name=name, address=number or user, phone=phone)


def _text(message: Mapping[str, Any], kind: str | None) -> str:
    content = obj(message.get(kind)) if kind else {}
    if kind == "interactive":
        reply = obj(content.get(str(content.get("type"))))
        return text_or_empty(reply.get("title")) or text_or_empty(reply.get("body"))
    if kind == "contacts":
        people = objects(message.get("contacts"))
        return clean("\n".join(text_or_empty(obj(person.get("name")).get("formatted_name")) for person in people))
    if kind == "location":
        return "\n".join(filter(None, (text_or_empty(content.get("name")), text_or_empty(content.get("address")))))
    if kind == "text" or kind in _MEDIA or kind == "button":
        return (
            text_or_empty(content.get("body"))
            or text_or_empty(content.get("caption"))
            or text_or_empty(content.get("text"))
        )
    return f"[{line(kind, 40) or 'unknown'}]"  # the agent must see that there was a message


def _parts(message: Mapping[str, Any], kind: str | None) -> tuple[Part, ...]:
    content = obj(message.get(kind)) if kind in _MEDIA else {}
    identifier = line(content.get("id"))
    if identifier is None:
        return ()
    media_type = line(content.get("mime_type"), 100) or "application/octet-stream"
    return (Part(line(content.get("filename")) or str(kind), media_type, ref=identifier),)


def _location(message: Mapping[str, Any]) -> Location | None:
    place = obj(message.get("location"))
    latitude, longitude = degrees(place.get("latitude"), 90), degrees(place.get("longitude"), 180)
    if latitude is None or longitude is None:
        return None
    return Location(
        latitude=latitude, longitude=longitude, name=line(place.get("name")), address=line(place.get("address"))
    )


def _status(status: Mapping[str, Any], account: Account, received_at: datetime) -> DeliveryStatus | None:
    identifier, state = line(status.get("id")), _STATES.get(str(status.get("status")))
    if identifier is None or state is None:
        return None
    fault = first(status.get("errors"))
    detail = line(obj(fault.get("error_data")).get("details")) or line(fault.get("title"))
    reason = " ".join(filter(None, (line(fault.get("code")), detail))) or None
    return DeliveryStatus(
        channel=CHANNEL,
        account=account.name,
        channel_message_id=identifier,
        state=state,
        at=instant(status.get("timestamp"), received_at),
        permanent=state is Delivery.FAILED,
        reason=reason,
        recipient=line(status.get("recipient_id")),
        our_message_id=line(status.get("biz_opaque_callback_data")),
    )


def render(reply: OutgoingReply, account: Account, secrets: Secrets) -> HttpCall | Upload:
    """Return one message: a text or a file. There is no idempotency key; statuses contain our message id."""
    if not reply.to or not (reply.text.strip() or reply.files):
        raise Unsendable("a message needs a recipient and a text or a file")
    if len(reply.text) > _TEXT_LIMIT and reply.template is None:
        raise Unsendable(f"WhatsApp takes at most {_TEXT_LIMIT} characters")
    if account.base_url is None:
        raise Unsendable(f"{account.name} has no base_url")
    if len(reply.files) + bool(reply.text.strip()) > 1:
        raise Unsendable("a message of WhatsApp carries a text or one file")
    number = reply.to.removeprefix("+")
    api = f"{secrets.expand(account.base_url).rstrip('/')}/{account.external_id}"
    login = originals.bearer(account, secrets)

    def message(kind: str, content: Mapping[str, Any]) -> HttpCall:
        document = {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            ("to" if number.isdigit() else "recipient"): number,
            "type": kind,
            kind: content,
            "biz_opaque_callback_data": reply.message_id[:512],
        }
        headers = {"content-type": "application/json", **login}
        return HttpCall("POST", f"{api}/messages", headers, json_body(document))

    if reply.template is not None:
        return message("template", _template(reply.template))
    if not reply.files:
        return message("text", {"preview_url": False, "body": clean(reply.text)})
    return media.render(reply.files[0], f"{api}/media", login, message)


def _template(template: Template) -> dict[str, Any]:
    content: dict[str, Any] = {"name": template.name, "language": {"code": template.language}}
    if template.parameters:
        values = [{"type": "text", "text": clean(value)} for value in template.parameters]
        content["components"] = [{"type": "body", "parameters": values}]
    return content


def outcome(status: int, headers: Mapping[str, str], body: bytes) -> SendOutcome:
    """Read the response: `messages[0].id` is the message's id."""
    return meta_app.outcome(status, headers, body, "messages", 0, "id")


def original(file: Attachment, account: Account, secrets: Secrets) -> HttpCall | Upload:
    """Return the requests for a file by its media id, or by its URL if it has none."""
    return media.original(file, account, secrets)


def message_ids(body: bytes) -> list[str]:
    """Return the ids of the messages of all changes, whatever number they are about."""
    changes = [change["value"] for entry in json.loads(body)["entry"] for change in entry["changes"]]
    messages = [message for value in changes for message in value.get("messages", ())]
    # Not `_SILENT`: the audit would not notice a type that is there by mistake.
    no_messages = {"reaction", "system", "ephemeral", "request_welcome"}
    return [str(message["id"]) for message in messages if message.get("type") not in no_messages]
