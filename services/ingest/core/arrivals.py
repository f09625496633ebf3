"""Convert a channel's message to the ticket's message: ids, size limits, the published form. No business rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from contracts.ticket import Attachment, Author, AuthorKind, ContactRef, Direction, Message
from kit.base.ids import stable_id
from services.ingest.core.messages import DeliveryStatus, InboundMessage, Part
from services.ingest.core.policy import AccountDefaults
from services.ingest.core.threading import conversation_anchor, mail_anchors, placement_anchor

#: Maximum bytes of `text` in an event. Longer text is stored in the message's document.
TEXT_BYTES = 100_000
#: Maximum bytes of `text_full` in an event.
FULL_BYTES = 200_000
#: Maximum bytes of text stored in a message's document; MongoDB limits documents to 16 MiB.
WHOLE_BYTES = 4_000_000
SUBJECT_CHARACTERS = 300
ATTACHMENTS = 100


@dataclass(slots=True)
class Arrival:
    """A customer's message that is being assigned to a ticket. The worker fills in the thread and the contact."""

    inbound: InboundMessage
    received_at: datetime
    defaults: AccountDefaults = field(default_factory=AccountDefaults)
    ticket_id: str = ""
    contact_id: str = ""
    nth_contact: int = 1
    linked_to: str | None = None
    thread: str | None = None
    #: The sender may join the ticket: the address was signed, the sender takes part in it, or the ticket is new.
    admitted: bool = False
    #: The ticket already took this message, and TAKEN says so: the id is no longer in the ticket's document.
    taken: bool = False
    #: The message opens the successor of a ticket that is not stored yet, so it must be handled again later.
    too_early: bool = False
    #: Our id of the message: the same each time the channel's message is read.
    id: str = field(init=False)
    #: Claims to look up, in this order. A chat has one: its conversation.
    anchors: tuple[str, ...] = field(init=False)
    #: Anchor of the claim that records which ticket a mail was assigned to; None for chats.
    placement: str | None = field(init=False)

    def __post_init__(self) -> None:
        """Compute ids and anchors once, since they are used often.

        Message-IDs are not unique: two senders may use the same one, and a broken web form may use one for every mail.
        The id of a mail therefore includes sender and Date, which are equal in all copies of one mail.
        """
        inbound, mail = self.inbound, self.inbound.mail
        named = inbound.message_id if mail is None else f"{inbound.message_id} {inbound.sender.key} {mail.dated or ''}"
        self.id = message_id(inbound.channel, inbound.account, named)
        conversation = conversation_anchor(inbound, self.defaults.brand)
        self.anchors = (conversation,) if inbound.mail is None else mail_anchors(inbound)
        self.placement = None if inbound.mail is None else placement_anchor(self.id)

    @property
    def claims(self) -> tuple[str, ...]:
        """Claims to read before the message is assigned to a ticket."""
        return self.anchors if self.placement is None else (*self.anchors, self.placement)

    def contact(self) -> ContactRef:
        """Return the contact as described by this message."""
        sender = self.inbound.sender
        identity = sender.identities[0].id
        return ContactRef(
            id=self.contact_id,
            name=sender.name,
            address=sender.address,
            identity=identity if identity != sender.address else None,
            language=sender.language,
        )

    def message(self) -> Message:
        """Return the message as events carry it."""
        inbound = self.inbound
        text, text_full = truncate(inbound.text, TEXT_BYTES), inbound.text_full
        if text != inbound.text and text_full is None:
            text_full = inbound.text
        return Message(
            id=self.id,
            direction=Direction.IN,
            author=Author(kind=AuthorKind.CONTACT.value, id=self.contact_id, name=inbound.sender.name),
            text=text,
            text_full=None if text_full is None else truncate(text_full, FULL_BYTES),
            html=inbound.html,
            attachments=attachments(self.id, inbound.parts),
            attachments_left_out=(len(inbound.parts[ATTACHMENTS:]) + inbound.parts_left_out) or None,
            location=inbound.location,
            sent_at=inbound.sent_at,
            received_at=self.received_at,
            automated=inbound.automated,
            in_reply_to=inbound.in_reply_to,
            channel_message_id=inbound.message_id,
            authentication=inbound.mail.authentication if inbound.mail else None,
        )

    def whole(self) -> str | None:
        """Return the text up to `WHOLE_BYTES` if the published message is truncated, else None."""
        text = self.inbound.text_full or self.inbound.text
        limit = FULL_BYTES if self.inbound.text_full else TEXT_BYTES
        return truncate(text, WHOLE_BYTES) if len(text.encode("utf-8", "replace")) > limit else None


@dataclass(slots=True)
class StatusReport:
    """A delivery status of a message that we sent. The worker fills in `message_id`."""

    status: DeliveryStatus
    received_at: datetime
    message_id: str | None = None


def message_id(channel: str, account: str, channel_message_id: str) -> str:
    """Return our id for a message of a channel."""
    return stable_id("message", channel, account, channel_message_id)


def blob_id(message: str, index: int) -> str:
    """Return the blob id of a message's file."""
    return f"{message}.{index}"


def without_content(message: str, parts: Sequence[Part]) -> tuple[Part, ...]:
    """Replace the content of files by references to their blobs, to free memory once they are stored.

    Files beyond `ATTACHMENTS` are counted, but not stored.
    """
    return tuple(
        part
        if part.content is None
        else replace(part, content=None, ref=blob_id(message, index), size=len(part.content))
        for index, part in enumerate(parts)
    )


def attachments(message: str, parts: Sequence[Part]) -> tuple[Attachment, ...]:
    """Return up to `ATTACHMENTS` files as events carry them: by reference."""
    return tuple(
        Attachment(
            name=part.name or f"file {index + 1}",
            media_type=part.media_type,
            size=part.size if part.content is None else len(part.content),
            ref=blob_id(message, index),
            media_id=None if _is_url(provider_ref) else provider_ref,
            url=provider_ref if _is_url(provider_ref) else None,
            inline=part.inline,
        )
        for index, part in enumerate(parts[:ATTACHMENTS])
        for provider_ref in (None if part.content is not None or part.ref == blob_id(message, index) else part.ref,)
    )


def _is_url(ref: str | None) -> bool:
    return ref is not None and ref.startswith(("https://", "http://"))


def truncate(text: str, limit: int) -> str:
    """Truncate a text to `limit` bytes of UTF-8 without splitting a character."""
    if len(text) * 4 <= limit:
        return text
    encoded = text.encode("utf-8", "replace")
    return text if len(encoded) <= limit else encoded[:limit].decode("utf-8", "ignore")


def subject_of(inbound: InboundMessage) -> str | None:
    """Return the subject line, or the first non-empty line of the text where there is none; None for neither."""
    for line in (inbound.subject or "", *inbound.text.splitlines()):
        if words := " ".join(line.split()):
            return words[:SUBJECT_CHARACTERS]
    return None
