"""The generic webhook, for connectors: documented JSON, signed according to Standard Webhooks in both directions.

Incoming: `message` and `status` documents, described by the models here. Outgoing: a `reply` document, whose webhook-id
is our message id, so that receivers can drop duplicates.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from contracts.contacts import Identity
from contracts.inbound import InboundRecord
from contracts.ticket import Attachment, Channel, CustomerFacts, Location, Market, Priority
from contracts.values import Count, SkillLevels, to_instant
from kit.policy.secrets import Secrets, Unresolved
from services.ingest.accounts import Account, Accounts
from services.ingest.channels import originals
from services.ingest.channels.channel import (
    RECEIPT,
    Answer,
    Challenge,
    Forged,
    Request,
    document_of,
    hmac_is_one_of,
    is_fresh,
    json_body,
)
from services.ingest.channels.html import html_to_text
from services.ingest.channels.reading import MAX_FULL_TEXT, MAX_TEXT, clean, line, obj, peek, read_answer
from services.ingest.core.messages import (
    Delivery,
    DeliveryStatus,
    File,
    HttpCall,
    Inbound,
    InboundMessage,
    OutgoingReply,
    Part,
    Sender,
    SendOutcome,
    Unreadable,
    Unsendable,
)

CHANNEL = Channel.WEBHOOK.value
NAME = CHANNEL
NEEDS: tuple[str, ...] = ("signing",)
ONE_FILE_PER_MESSAGE = False
HEADERS: frozenset[str] = frozenset()
ACCOUNT_BY_SECRET = False
SUCCESS = Answer(202, RECEIPT)
REFUSAL_STATUS = 401
CHALLENGES: Mapping[str, Challenge] = {}
#: All attempts have the same id, and connectors must drop duplicates.
IDEMPOTENT = True


def _filled(text: str) -> str:
    cleaned = line(text)
    if cleaned is None:
        raise ValueError("must not be blank")
    return cleaned


def _instant(moment: datetime) -> datetime:
    try:
        return to_instant(moment)
    except OverflowError:
        raise ValueError("out of range") from None


Id = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_filled)]
Line = Annotated[str, Field(max_length=500), AfterValidator(lambda text: line(text) or "")]
Moment = Annotated[AwareDatetime, AfterValidator(_instant)]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Person(_Document):
    """Who writes. `id` is the sender's own id of the person, stable, and never a phone number alone."""

    id: Id
    name: Line | None = None
    email: Line | None = None
    phone: Line | None = None
    language: Line | None = Field(None, description="BCP 47.")


class FileDocument(_Document):
    """A file, by URL."""

    name: Line
    media_type: Line = "application/octet-stream"
    url: Annotated[str, Field(max_length=2000, pattern=r"^https?://[^\s]+$")]
    size: Count | None = None


class MessageDocument(_Document):
    """A customer's message."""

    type: Literal["message"] = "message"
    id: Id = Field(description="The sender's id of the message; a second one with the same id is dropped.")
    conversation: Id | None = Field(None, description="Id of the conversation; otherwise the person's id.")
    person: Person = Field(alias="from")
    text: Annotated[str, Field(max_length=MAX_FULL_TEXT)] = ""
    html: Annotated[str, Field(max_length=MAX_FULL_TEXT * 2)] | None = Field(None, description="Used if text is empty.")
    subject: Line | None = None
    language: Line | None = Field(None, description="BCP 47.")
    attachments: tuple[FileDocument, ...] = Field((), max_length=50)
    location: Location | None = None
    sent_at: Moment | None = None
    in_reply_to: Id | None = Field(None, description="Id of the message that this answers: theirs, or a reply of ours.")
    brand: Line | None = Field(
        None, description="The account's if left out. Conversations with two brands stay apart: give it every time."
    )
    market: Market | None = None
    order_ref: Line | None = None
    order_line: Line | None = None
    listing: Line | None = Field(None, description="The marketplace's id of the item on sale.")
    shop: Line | None = Field(None, description="The marketplace's id of our shop.")
    reply_by: Moment | None = Field(None, description="The marketplace's deadline for an answer.")
    tags: tuple[Line, ...] = Field((), max_length=50)
    customer: CustomerFacts | None = None
    priority: Priority | None = None
    required_skills: SkillLevels = Field(default_factory=dict, max_length=20)
    preferred_skills: SkillLevels = Field(default_factory=dict, max_length=20)
    bot: bool | None = Field(None, description="A bot answers this conversation; people when it hands over.")
    automated: bool = Field(default=False, description="Written by a machine: moves no clock, reopens nothing.")


class StatusDocument(_Document):
    """What became of a reply of ours."""

    type: Literal["status"]
    message_id: Id = Field(description="The id that the answer to our reply named, or our own.")
    state: Delivery
    permanent: bool = True
    reason: Line | None = None
    at: Moment | None = None


_MESSAGE: TypeAdapter[MessageDocument] = TypeAdapter(MessageDocument)
_STATUS: TypeAdapter[StatusDocument] = TypeAdapter(StatusDocument)


def account_id(request: Request) -> str | None:  # noqa: ARG001
    """Return None: the account is in the query, not in the body."""
    return None


def _keys(secrets: Sequence[str]) -> list[bytes]:
    """Return the bytes of `whsec_…` secrets, without invalid ones. Raises Unresolved if none is valid base64."""
    keys = []
    for secret in secrets:
        try:
            bare = secret.removeprefix("whsec_")
            keys.append(base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True))
        except (binascii.Error, ValueError):
            continue
    if not any(keys):
        raise Unresolved("the secret is not base64 (whsec_…)")
    return [key for key in keys if key]


def verify(request: Request, account: Account, secrets: Secrets, now: datetime) -> None:
    """Verify `webhook-signature`: a `v1,` HMAC of `{id}.{timestamp}.{body}` (Standard Webhooks), at most 300 s old."""
    identifier = request.headers.get("webhook-id", "")
    timestamp = request.headers.get("webhook-timestamp", "")
    signatures = []
    for signature in request.headers.get("webhook-signature", "").split(" ")[:10]:
        version, _, encoded = signature.partition(",")
        try:
            signatures.append(base64.b64decode(encoded, validate=True) if version == "v1" else b"")
        except (binascii.Error, ValueError):
            continue
    if not (identifier and timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12 and any(signatures)):
        raise Forged("missing")
    message = f"{identifier}.{timestamp}.".encode("utf-8", "surrogateescape") + request.body
    if not hmac_is_one_of(signatures, _keys(secrets.secrets(account.signing)), message):
        raise Forged("signature")
    if not is_fresh(int(timestamp), now):
        raise Forged("stale")


def contact_key(request: Request) -> str | None:
    """Return the person's id; for statuses, the message's id."""
    document = document_of(request)
    return line(obj(document.get("from")).get("id")) or line(document.get("message_id"))


def parse(record: InboundRecord, account: Account, accounts: Accounts, secrets: Secrets) -> list[Inbound]:  # noqa: ARG001
    """Return the message or status in the document. Raises Unreadable with its first three faults."""
    try:
        if b'"status"' in record.body and peek(record.body).get("type") == "status":
            return [_status(_STATUS.validate_json(record.body), account, record.received_at)]
        return [_message(_MESSAGE.validate_json(record.body), account, record.received_at)]
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)[:3]
        reason = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults)
        raise Unreadable(reason[:500]) from None


def _message(document: MessageDocument, account: Account, received_at: datetime) -> InboundMessage:
    person = document.person
    full = clean(document.text, MAX_FULL_TEXT)
    as_html = not full.strip() and document.html is not None
    if as_html:
        full = html_to_text(document.html or "", MAX_FULL_TEXT)
    return InboundMessage(
        channel=CHANNEL,
        account=account.name,
        message_id=document.id,
        sender=Sender(
            (Identity(channel=CHANNEL, account=account.name, id=person.id, verified=True),),
            name=person.name or None,
            address=person.id,
            email=person.email or None,
            phone=person.phone or None,
            language=person.language or None,
        ),
        conversation=document.conversation or person.id,
        sent_at=document.sent_at or received_at,
        text=full[:MAX_TEXT],
        text_full=full if len(full) > MAX_TEXT else None,
        html=as_html,
        subject=document.subject or None,
        language=document.language or None,
        in_reply_to=document.in_reply_to,
        parts=tuple(Part(f.name or "file", f.media_type, ref=f.url, size=f.size) for f in document.attachments),
        location=document.location,
        automated_because="the sender says so" if document.automated else None,
        brand=document.brand or None,
        market=document.market,
        order_ref=document.order_ref or None,
        order_line=document.order_line or None,
        listing=document.listing or None,
        shop=document.shop or None,
        reply_by=document.reply_by,
        tags=tuple(filter(None, document.tags)),
        customer=document.customer,
        priority=document.priority,
        required_skills=document.required_skills,
        preferred_skills=document.preferred_skills,
        bot=document.bot,
    )


def _status(document: StatusDocument, account: Account, received_at: datetime) -> DeliveryStatus:
    return DeliveryStatus(
        channel=CHANNEL,
        account=account.name,
        channel_message_id=document.message_id,
        state=document.state,
        at=document.at or received_at,
        permanent=document.permanent and document.state in {Delivery.FAILED, Delivery.BOUNCED},
        reason=document.reason or None,
        our_message_id=document.message_id,
    )


def sign(identifier: str, at: datetime, body: bytes, secret: str) -> dict[str, str]:
    """Return the headers of Standard Webhooks for a body."""
    timestamp = str(int(at.timestamp()))
    digest = hmac.new(_keys([secret])[0], f"{identifier}.{timestamp}.".encode() + body, "sha256").digest()
    signature = "v1," + base64.b64encode(digest).decode()
    return {"webhook-id": identifier, "webhook-timestamp": timestamp, "webhook-signature": signature}


def _file(file: File) -> dict[str, str]:
    """Return a file by URL, or with its `content` in base64 if it has none."""
    where = {"url": file.url} if file.url else {"content": base64.b64encode(file.content or b"").decode()}
    return {"name": file.name, "media_type": file.media_type, **where}


def render(reply: OutgoingReply, account: Account, secrets: Secrets) -> HttpCall:
    """Return the request that posts a signed `reply` document."""
    if not reply.to or not (reply.text.strip() or reply.files):
        raise Unsendable("a message needs a recipient and a text or a file")
    if account.base_url is None:
        raise Unsendable(f"{account.name} has no base_url to send replies to")
    document = {
        "type": "reply",
        "id": reply.message_id,
        "account": account.name,
        "ticket_id": reply.ticket_id,
        "conversation": reply.conversation,
        "to": {"id": reply.to, "name": reply.to_name},
        "author": reply.author_name,
        "text": clean(reply.text, MAX_FULL_TEXT),
        "html": reply.html,
        "attachments": [_file(file) for file in reply.files],
        "in_reply_to": reply.in_reply_to,
        "order_ref": reply.order_ref,
        "automated": reply.automated,
        "sent_at": reply.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    body = json_body({name: value for name, value in document.items() if value not in (None, [])})
    identifier = line(reply.message_id) or "reply"
    headers = sign(identifier, reply.tried_at, body, secrets.secret(account.signing))
    return HttpCall("POST", secrets.expand(account.base_url), {"content-type": "application/json", **headers}, body)


def outcome(status: int, headers: Mapping[str, str], body: bytes) -> SendOutcome:
    """Read the response, which may contain the connector's id of the message: `{"id": …}`."""
    return read_answer(status, headers, body, "id")


def original(file: Attachment, account: Account, secrets: Secrets) -> HttpCall:  # noqa: ARG001 - the URL is all
    """Return the request for the URL that the connector provided."""
    return originals.by_url(file)


def message_ids(body: bytes) -> list[str]:
    """Return the `id` of a message document."""
    document = json.loads(body)
    return [] if document.get("type") == "status" else [str(document["id"])]
