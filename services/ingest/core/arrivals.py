"""From what a channel says to what a ticket keeps: ids, the published message, cutting. No decision is here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from contracts.ticket import Attachment, Author, AuthorKind, ContactRef, Direction, Message
from kit.base.ids import stable_id
from services.ingest.core.messages import DeliveryStatus, InboundMessage, Part
from services.ingest.core.policy import AccountDefaults
from services.ingest.core.threading import conversation_anchor, mail_anchors, placed_anchor

#: Bytes of text that an event may carry; the whole stays with the message's document.
TEXT_BYTES = 100_000
FULL_BYTES = 200_000
#: Bytes of text that are kept at all: a document holds at most 16 MiB.
WHOLE_BYTES = 4_000_000
SUBJECT_CHARACTERS = 300
ATTACHMENTS = 100


@dataclass(slots=True)
class Arrival:
    """A customer's message on its way to a ticket; the worker fills in what it finds out about thread and contact."""

    inbound: InboundMessage
    received_at: datetime
    defaults: AccountDefaults = field(default_factory=AccountDefaults)
    ticket_id: str = ""
    contact_id: str = ""
    nth_contact: int = 1
    linked_to: str | None = None
    thread: str | None = None
    #: That it may join its ticket is known: by a signed address, by who takes part, or because the ticket is new.
    admitted: bool = False
    #: Its ticket took it so long ago that it no longer remembers it.
    taken: bool = False
    #: It opens the ticket after one that is not stored yet, and has to come again.
    too_early: bool = False
    #: The message's id: the same whenever and wherever the channel's message is read again.
    id: str = field(init=False)
    #: Claims to look for, in order; the first is a chat's conversation.
    anchors: tuple[str, ...] = field(init=False)
    #: Claim of the ticket that a mail goes to; a chat has none.
    place: str | None = field(init=False)

    def __post_init__(self) -> None:
        """Hash once what is asked for often.

        A Message-ID is whatever its sender's mailer wrote: two senders may use one, or a shop's form the same one for
        ever, by fault or by design, and no mail may be lost for it. Copies of one mail have its Date too.
        """
        inbound, mail = self.inbound, self.inbound.mail
        named = inbound.message_id if mail is None else f"{inbound.message_id} {inbound.sender.key} {mail.dated or ''}"
        self.id = message_id(inbound.channel, inbound.account, named)
        talk = conversation_anchor(inbound, self.defaults.brand)
        self.anchors = (talk,) if inbound.mail is None else mail_anchors(inbound)
        self.place = None if inbound.mail is None else placed_anchor(self.id)

    @property
    def claims(self) -> tuple[str, ...]:
        """Claims to read before the message is placed."""
        return self.anchors if self.place is None else (*self.anchors, self.place)

    def contact(self) -> ContactRef:
        """The person, as this message knows them."""
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
        """The message as it is published."""
        inbound = self.inbound
        text, text_full = cut(inbound.text, TEXT_BYTES), inbound.text_full
        if text != inbound.text and text_full is None:
            text_full = inbound.text
        return Message(
            id=self.id,
            direction=Direction.IN,
            author=Author(kind=AuthorKind.CONTACT.value, id=self.contact_id, name=inbound.sender.name),
            text=text,
            text_full=None if text_full is None else cut(text_full, FULL_BYTES),
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
        """The text as it came, when the published message does not hold all of it."""
        text = self.inbound.text_full or self.inbound.text
        limit = FULL_BYTES if self.inbound.text_full else TEXT_BYTES
        return cut(text, WHOLE_BYTES) if len(text.encode("utf-8", "replace")) > limit else None


@dataclass(slots=True)
class StatusReport:
    """What a channel says about a message of ours; the worker finds out which one it is."""

    status: DeliveryStatus
    received_at: datetime
    message_id: str | None = None


def message_id(channel: str, account: str, channel_message_id: str) -> str:
    """Return our id of a message that a channel names."""
    return stable_id("message", channel, account, channel_message_id)


def blob_id(message: str, index: int) -> str:
    """Return where the bytes of a message's file are kept."""
    return f"{message}.{index}"


def kept(message: str, parts: Sequence[Part]) -> tuple[Part, ...]:
    """Return the files as they are once their bytes are stored: nobody has to hold the bytes any longer.

    Of those beyond `ATTACHMENTS` no bytes are stored: they are only counted.
    """
    return tuple(
        part
        if part.content is None
        else replace(part, content=None, ref=blob_id(message, index), size=len(part.content))
        for index, part in enumerate(parts)
    )


def attachments(message: str, parts: Sequence[Part]) -> tuple[Attachment, ...]:
    """Return the files as they are published: by reference, and no more than `ATTACHMENTS`."""
    return tuple(
        Attachment(
            name=part.name or f"file {index + 1}",
            media_type=part.media_type,
            size=part.size if part.content is None else len(part.content),
            ref=blob_id(message, index),
            media_id=None if _is_url(elsewhere) else elsewhere,
            url=elsewhere if _is_url(elsewhere) else None,
            inline=part.inline,
        )
        for index, part in enumerate(parts[:ATTACHMENTS])
        for elsewhere in (None if part.content is not None or part.ref == blob_id(message, index) else part.ref,)
    )


def _is_url(ref: str | None) -> bool:
    return ref is not None and ref.startswith(("https://", "http://"))


def cut(text: str, limit: int) -> str:
    """Cut a text to so many bytes of UTF-8, at a character."""
    if len(text) * 4 <= limit:
        return text
    encoded = text.encode("utf-8", "replace")
    return text if len(encoded) <= limit else encoded[:limit].decode("utf-8", "ignore")


def subject_of(inbound: InboundMessage) -> str | None:
    """Return the subject line, or the beginning of the text where the channel has none."""
    for line in (inbound.subject or "", *inbound.text.splitlines()):
        if words := " ".join(line.split()):
            return words[:SUBJECT_CHARACTERS]
    return None
