"""Value types between channels and the core: parsed messages, delivery statuses, replies to send. No rules, no IO.

Rule: a parser fills in what the channel provides, and nothing else. `None` or an empty tuple means that the channel did
not provide the value; the core applies the account's defaults (brand, market, language, bot).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Self

from contracts.commands import Template
from contracts.contacts import Identity
from contracts.ticket import Authentication, CustomerFacts, Location, Market, Priority
from contracts.tickets import FailureReason


def identity_key(identity: Identity) -> str:
    """Return a string that is equal for equal identities; used to compute ids and claims, and to compare."""
    return f"{identity.channel}:{identity.account or ''}:{identity.id}"


@dataclass(frozen=True, slots=True)
class Sender:
    """The customer who sent a message.

    `identities` is never empty. The contact's id is made from the first. The others belong to the same person according
    to this message (WhatsApp: user id, then phone number): a known contact with any of them is this sender, unless it
    has a different user id, since phone numbers are reassigned.
    A phone number alone is an identity only on SMS, which has nothing else. `account` of an identity is None if its id
    is globally unique (mail addresses, phone numbers).
    """

    identities: tuple[Identity, ...]
    name: str | None = None
    #: Where replies go: a mail address, phone number or user id. Copied to `OutgoingReply.to`.
    address: str | None = None
    email: str | None = None
    phone: str | None = None
    language: str | None = None

    @property
    def key(self) -> str:
        """Return the key of the first identity."""
        return identity_key(self.identities[0])


@dataclass(frozen=True, slots=True)
class Part:
    """A file of a message: its bytes in `content` (mail), or `ref` where the provider stores it (chat).

    The worker stores `content` as a blob; the published `Attachment` has the blob's id.
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
    """What only mail has. Message-IDs include their angle brackets; `references` are in the header's order."""

    message_id: str
    #: The mail had no Message-ID: it was made from a hash of the bytes, and no answer will refer to it.
    generated_id: bool
    in_reply_to: tuple[str, ...]
    references: tuple[str, ...]
    sender: str
    reply_to: str | None
    #: Envelope sender or Return-Path; "" for the null sender `<>`, None if unknown.
    return_path: str | None
    #: Envelope recipients, Delivered-To, X-Original-To, To, Cc, in this order; lower case, without duplicates.
    recipients: tuple[str, ...]
    #: Ticket id from a plus-address with a valid signature, so it can be trusted. Step 1 of threading.
    ticket_by_address: str | None = None
    #: Ticket id from the subject. Step 4 of threading, only for an authenticated sender who takes part in the ticket.
    ticket_by_subject: str | None = None
    #: The sender asks for no automatic replies (X-Auto-Response-Suppress); it need not be a machine.
    no_auto_reply: bool = False
    #: Whether the From address is authenticated; None if that was not checked.
    authentication: Authentication | None = None
    #: The Date header; equal in all copies of one mail.
    dated: datetime | None = None

    @property
    def ancestors(self) -> tuple[str, ...]:
        """Message-IDs to look up, likeliest first: In-Reply-To, then References newest first (step 2 of threading).

        The last one is the oldest ancestor. The ticket claims all of them, so that two answers to a mail that Deskbus
        never received get the same ticket (step 3).
        """
        return tuple(dict.fromkeys((*self.in_reply_to, *reversed(self.references))))


@dataclass(frozen=True, slots=True)
class ReplyToken:
    """What a message may be answered with, once and for a short time, at better terms (LINE: free of charge)."""

    token: str
    until: datetime


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """A customer's message. One inbound record may contain several (a provider's batch).

    - Duplicates have the same (`channel`, `account`, `message_id`), in mail also the same sender and Date.
    - Chat: `conversation` is the thread's key within (`channel`, `account`), `mail` is None.
    - Mail: `conversation` is None; `mail` determines the thread, in steps 1 to 4 as its fields say.
    - `text` is shown and searched; `text_full` is set only if `text` omits a part of it (mail: quotes).
    - `automated_because`: an automated message is recorded, but reopens nothing and affects no clock.
    - `account` may differ from the record's, since a provider may batch several of our accounts.
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
    reply_token: ReplyToken | None = None
    #: The channel's id of the message that this one answers, sent by the customer or by us.
    in_reply_to: str | None = None
    parts: tuple[Part, ...] = ()
    #: Number of further parts of a mail, beyond those that the parser reads.
    parts_left_out: int = 0
    location: Location | None = None
    mail: Mail | None = None
    automated_because: str | None = None
    brand: str | None = None
    market: Market | None = None
    order_ref: str | None = None
    order_line: str | None = None
    #: The marketplace's ids of the item on sale, and of our shop.
    listing: str | None = None
    shop: str | None = None
    #: The marketplace's deadline for an answer.
    reply_by: datetime | None = None
    tags: tuple[str, ...] = ()
    customer: CustomerFacts | None = None
    priority: Priority | None = None
    required_skills: Mapping[str, int] = field(default_factory=dict)
    preferred_skills: Mapping[str, int] = field(default_factory=dict)
    #: Whether a bot answers this conversation; None for the account's default.
    bot: bool | None = None

    @property
    def automated(self) -> bool:
        """Whether a machine wrote the message (RFC 3834)."""
        return self.automated_because is not None


class Delivery(StrEnum):
    """State of a message that we sent, as the channel reports it."""

    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    #: Final.
    FAILED = "failed"
    #: From a mail delivery report; `DeliveryStatus.permanent` says whether it is final.
    BOUNCED = "bounced"


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """The status of a message that we sent, identified by (`channel`, `account`, `channel_message_id`).

    `our_message_id` is set if the channel returns the id that we put into the message. Statuses may be late, repeated
    and out of order; read implies delivered, which implies sent.

    `channel_message_id` is "" if a delivery report does not name the mail. `ticket` is then taken from the signed
    address that the report was sent to, and the report is about the last message sent on that ticket.

    A mail delivery report is followed, in the same record, by an automated InboundMessage, which adds the report's
    text to the ticket.
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
    #: The channel names no message, but all that were sent in this conversation until `at` (a watermark). The report
    #: is about the last of them; `channel_message_id` is "".
    conversation: str | None = None


@dataclass(frozen=True, slots=True)
class Faulty:
    """An element of a provider's batch that cannot be read; the other elements are handled."""

    reason: str
    #: The element is about an account that is not configured here: not a fault, and no fixed parser would read it.
    foreign: bool = False
    #: The unexpected exception that our parser raised; None if it refused the element.
    bug: Exception | None = field(default=None, compare=False)

    @classmethod
    def failed(cls, bug: Exception) -> Self:
        """Return the Faulty for an element on which our parser raised an unexpected exception."""
        return cls(f"{type(bug).__name__}: {bug}", bug=bug)


Inbound = InboundMessage | DeliveryStatus | Faulty
"""What `parse` returns, in the order of the body."""


# --- Outgoing messages. ---


@dataclass(frozen=True, slots=True)
class File:
    """A file to attach: either its bytes, or a URL that the provider fetches."""

    name: str
    media_type: str
    content: bytes | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class OutgoingReply:
    """A reply to send. `message_id` is ours, and is passed to channels that accept an idempotency key."""

    message_id: str
    ticket_id: str
    #: `Sender.address` of the contact.
    to: str
    text: str
    #: When the reply was requested; the same for every attempt.
    at: datetime
    #: When this attempt is made; signatures contain it.
    tried_at: datetime
    html: str | None = None
    to_name: str | None = None
    author_name: str | None = None
    files: tuple[File, ...] = ()
    #: Sent instead of the text, by channels whose `WINDOW` has templates.
    template: Template | None = None
    subject: str | None = None
    #: Channel message id of the customer's message that this one answers.
    in_reply_to: str | None = None
    #: Mail: the References of that message, oldest first, without `in_reply_to`.
    references: tuple[str, ...] = ()
    conversation: str | None = None
    order_ref: str | None = None
    #: An automatic message: its headers say so and its envelope sender is empty, so that no machine answers it.
    automated: bool = False
    #: Set for the first attempt only, as long as it is valid.
    reply_token: str | None = None
    #: Whether a person wrote it, and no bot.
    by_person: bool = False
    #: When the customer last wrote on the ticket, as far as we know.
    customer_wrote_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class HttpCall:
    """A request to a provider's API; the channel's `outcome` reads the response."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    #: The next attempt is another request: this one's refusal is not final, and a repetition is not recognised.
    once: bool = False


@dataclass(frozen=True, slots=True)
class MailOut:
    """A mail, ready for SMTP. Answers refer to `message_id`, so it is stored as the channel message id."""

    sender: str
    recipients: tuple[str, ...]
    data: bytes
    message_id: str


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload of a file, and the message that then refers to it. Each attempt makes both calls."""

    call: HttpCall
    #: Return the second call, given status and body of the response to the first, or the failure.
    then: Callable[[int, bytes], HttpCall | SendFailure]


Rendered = HttpCall | MailOut | Upload


@dataclass(frozen=True, slots=True)
class Sent:
    """The channel accepted the message. `channel_message_id` is None if the channel returns no id."""

    channel_message_id: str | None = None


@dataclass(frozen=True, slots=True)
class SendFailure:
    """The attempt failed, as far as we know. If not permanent, retry it after at least `retry_after` seconds."""

    reason: str
    permanent: bool
    retry_after: float | None = None
    #: The message may have arrived nevertheless. False if it has certainly not arrived.
    unsure: bool = False
    #: The channel deduplicates by message id, so that a retry cannot deliver another copy.
    repeatable: bool = False
    #: None: REFUSED if permanent, else EXHAUSTED.
    why: FailureReason | None = None

    @property
    def may_duplicate(self) -> bool:
        """Whether a retry may deliver another copy."""
        return self.unsure and not self.repeatable


SendOutcome = Sent | SendFailure


class Unreadable(ValueError):
    """The parser cannot read the body, which becomes a dead letter. The only error that `parse` raises on purpose."""


class Unsendable(ValueError):
    """The channel can never send this reply (empty, no address). The only error that `render` raises on purpose."""
