"""What channels make of raw bytes, and what they are asked to send: values only. No rule of tickets is here, no IO.

Rule: a parser fills in what its channel says and nothing else. `None` (or an empty tuple) means that the channel did
not say; defaults of the account (brand, market, language, bot) are the core's to apply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Self

from contracts.contacts import Identity
from contracts.ticket import Authentication, CustomerFacts, Location, Market, Priority


def identity_key(identity: Identity) -> str:
    """A string that is equal for equal identities: for ids that are hashes (`stable_id`), claims and look-ups."""
    return f"{identity.channel}:{identity.account or ''}:{identity.id}"


@dataclass(frozen=True, slots=True)
class Sender:
    """The person on the other side.

    `identities` is never empty. The first is the one to key the contact by; the others are the same person according
    to this message (WhatsApp: user id, then number), so a contact that is already known by any of them is this one,
    unless it has another user id: numbers go on to other people.
    A phone number is never an identity by itself, except on SMS, which knows nothing else. `account` is None where
    the id means the same to everyone (mail addresses, phone numbers).
    """

    identities: tuple[Identity, ...]
    name: str | None = None
    #: Where a reply goes: mail address, phone number, user id. `OutgoingReply.to` takes it back as it is.
    address: str | None = None
    email: str | None = None
    phone: str | None = None
    language: str | None = None

    @property
    def key(self) -> str:
        """Of the first identity."""
        return identity_key(self.identities[0])


@dataclass(frozen=True, slots=True)
class Part:
    """A file that came along. Either `content` is here (mail), or the provider keeps it under `ref` (chat).

    The core's shell stores `content` as a blob of its own and makes a contracts `Attachment` with that blob's id.
    """

    name: str
    media_type: str
    content: bytes | None = None
    #: The provider's media id, or a URL.
    ref: str | None = None
    size: int | None = None
    inline: bool = False


@dataclass(frozen=True, slots=True)
class Mail:
    """What only mail has. All ids are whole, with angle brackets; `references` are in the order of the header."""

    message_id: str
    #: True: the mail had none, `message_id` was made from a hash of its bytes, and nobody will ever quote it.
    made_up: bool
    in_reply_to: tuple[str, ...]
    references: tuple[str, ...]
    sender: str
    reply_to: str | None
    #: Envelope sender or Return-Path; "" is the null sender `<>`, None is not known.
    return_path: str | None
    #: Envelope recipients, Delivered-To, X-Original-To, To, Cc; lower case, each once, in that order.
    recipients: tuple[str, ...]
    #: Ticket id out of a plus-address whose signature is right: step 1 of threading. May be trusted.
    ticket_by_address: str | None = None
    #: Ticket id out of the subject: step 4 of threading, only for a proven sender who takes part in that ticket.
    ticket_by_subject: str | None = None
    #: The sender asks for no automatic reply (X-Auto-Response-Suppress). Does not mean that he is a machine.
    no_auto_reply: bool = False
    #: Whether the sender is who From says; None: nobody was asked.
    authentication: Authentication | None = None
    #: When it was written, as its own header has it: copies of one mail have the same.
    dated: datetime | None = None

    @property
    def ancestors(self) -> tuple[str, ...]:
        """Ids to look up, likeliest first: In-Reply-To, then References newest first (step 2), each once.

        The last one is the oldest ancestor. Claim all of them for the ticket as well: two answers to a mail that we
        never saw belong together (step 3).
        """
        return tuple(dict.fromkeys((*self.in_reply_to, *reversed(self.references))))


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """A customer's message. One record of the inbound topic may hold several (a batch of a provider).

    - Dedupe on (`channel`, `account`, `message_id`), for mail also on the sender.
    - Chat-like: `conversation` is the thread's key within (`channel`, `account`), `mail` is None.
    - Mail: `conversation` is None; thread by `mail`, in the order of its fields' comments.
    - `text` is what to show and search; `text_full` is set only where something was cut off.
    - `automated_because` set: record it with automated=True; it reopens nothing and moves no clock.
    - `account` may differ from the record's: a provider may batch several of our accounts into one body.
    """

    channel: str
    account: str
    message_id: str
    sender: Sender
    sent_at: datetime
    text: str = ""
    text_full: str | None = None
    html: bool = False
    subject: str | None = None
    language: str | None = None
    conversation: str | None = None
    #: The channel's id of the message that this one answers: one of theirs, or one that we sent.
    in_reply_to: str | None = None
    parts: tuple[Part, ...] = ()
    #: Further parts of a mail that has more than are read.
    parts_left_out: int = 0
    location: Location | None = None
    mail: Mail | None = None
    automated_because: str | None = None
    brand: str | None = None
    market: Market | None = None
    order_ref: str | None = None
    tags: tuple[str, ...] = ()
    customer: CustomerFacts | None = None
    priority: Priority | None = None
    required_skills: Mapping[str, int] = field(default_factory=dict)
    preferred_skills: Mapping[str, int] = field(default_factory=dict)
    #: Whether a bot answers this conversation; None: as the account says.
    bot: bool | None = None

    @property
    def automated(self) -> bool:
        """Written by a machine (RFC 3834)."""
        return self.automated_because is not None


class Delivery(StrEnum):
    """What became of a message that we sent, as the channel tells it."""

    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    #: The channel gave it up, for good.
    FAILED = "failed"
    #: A delivery report of mail; see `DeliveryStatus.permanent`.
    BOUNCED = "bounced"


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """A fact about a message that we sent; find it by (`channel`, `account`, `channel_message_id`).

    `our_message_id` is there when the channel gave back the id that we had put into the message. Statuses come late,
    twice and in any order: read implies delivered implies sent.

    `channel_message_id` is "" where a report names no mail; then `ticket` is set, out of the signed address that it was
    sent to, and it is about the last message that was sent there.

    A delivery report about a mail comes together with an InboundMessage that is `automated` (same record, after this
    one), so that the text of the report is kept on the ticket too.
    """

    channel: str
    account: str
    channel_message_id: str
    state: Delivery
    at: datetime
    permanent: bool = False
    reason: str | None = None
    recipient: str | None = None
    our_message_id: str | None = None
    ticket: str | None = None


@dataclass(frozen=True, slots=True)
class Faulty:
    """An element of a batch that cannot be taken; the others of its body are none the worse for it."""

    reason: str
    #: It is about an account that we do not have: nobody's fault, and nothing that a mended parser would read.
    foreign: bool = False
    #: What our own code raised on it, where it is not refused.
    bug: Exception | None = field(default=None, compare=False)

    @classmethod
    def failed(cls, bug: Exception) -> Self:
        """Make one of an element that our own code fails on."""
        return cls(f"{type(bug).__name__}: {bug}", bug=bug)


Inbound = InboundMessage | DeliveryStatus | Faulty
"""What `parse` gives, in the order of the body."""


# --- The way out. ---


@dataclass(frozen=True, slots=True)
class File:
    """A file to send along: its bytes, or a URL that the provider may fetch; one of both is there."""

    name: str
    media_type: str
    content: bytes | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class OutgoingReply:
    """A reply, as the core has decided it. `message_id` is ours and goes out wherever the channel takes a key."""

    message_id: str
    ticket_id: str
    #: `Sender.address` of the contact.
    to: str
    text: str
    #: When it was asked for, the same at every try; and when this try is made, which is what a signature says.
    at: datetime
    tried_at: datetime
    html: str | None = None
    to_name: str | None = None
    author_name: str | None = None
    files: tuple[File, ...] = ()
    subject: str | None = None
    #: Channel message id of the customer's message that this answers.
    in_reply_to: str | None = None
    #: Mail: References of that message, oldest first (`Mail.references`), without `in_reply_to`.
    references: tuple[str, ...] = ()
    conversation: str | None = None
    order_ref: str | None = None
    #: An automatic acknowledgement: says so in its headers and has no envelope sender, so that nobody answers it.
    automated: bool = False


@dataclass(frozen=True, slots=True)
class HttpCall:
    """A request to a provider's API; `channels.CHANNELS[channel].outcome` reads the answer."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class MailOut:
    """A mail, ready for SMTP. `message_id` is what answers will quote: store it as the channel message id."""

    sender: str
    recipients: tuple[str, ...]
    data: bytes
    message_id: str


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that the provider takes first, and the message that then names it; each try makes both calls."""

    call: HttpCall
    #: The message, given status and body of the answer to the first call; or why there is none.
    then: Callable[[int, bytes], HttpCall | SendFailure]


Rendered = HttpCall | MailOut | Upload


@dataclass(frozen=True, slots=True)
class Sent:
    """The channel took it. `channel_message_id` is None where the channel names none."""

    channel_message_id: str | None = None


@dataclass(frozen=True, slots=True)
class SendFailure:
    """The channel did not take it, as far as we know. Not permanent: try again, not before `retry_after` seconds."""

    reason: str
    permanent: bool
    retry_after: float | None = None
    #: It may have arrived nevertheless, and then another try makes another copy. Unset: it surely has not, or the
    #: channel takes a message with the same id once.
    unsure: bool = False


SendOutcome = Sent | SendFailure


class Unreadable(ValueError):
    """A body that its channel's parser cannot read: acknowledged, kept, a dead letter. The only error of `parse`."""


class Unsendable(ValueError):
    """A reply that this channel cannot carry, whatever is tried (empty, no address). The only error of `render`."""
