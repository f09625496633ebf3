"""The ticket as other services see it: snapshot, message, contact, and the words of their fields. No events here."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from contracts.values import Count, Identifier, Instant, Open, SkillLevels, Value


class Channel(StrEnum):
    """Where a conversation takes place (open)."""

    EMAIL = "email"
    WHATSAPP = "whatsapp"
    LINE = "line"
    SMS = "sms"
    WEBHOOK = "webhook"
    MESSENGER = "messenger"
    INSTAGRAM = "instagram"
    PHONE = "phone"
    MARKETPLACE = "marketplace"
    REVIEW = "review"
    CHAT = "chat"


class Priority(StrEnum):
    """How urgent a ticket is (closed, ordered by `rank`)."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"

    @property
    def rank(self) -> int:
        """0 (low) to 3 (urgent)."""
        return _RANKS[self]


_RANKS = {Priority.LOW: 0, Priority.NORMAL: 1, Priority.HIGH: 2, Priority.URGENT: 3}


class Status(StrEnum):
    """Where a ticket is in its life (closed)."""

    NEW = "new"
    """Nobody has answered yet."""
    OPEN = "open"
    """We owe the customer an answer."""
    PENDING = "pending"
    """The customer owes us an answer."""
    ON_HOLD = "on_hold"
    """A third party owes us an answer."""
    SOLVED = "solved"
    """Done; a new message of the customer reopens it."""
    CLOSED = "closed"
    """Frozen; a new message opens a new, linked ticket."""


class Direction(StrEnum):
    """Which way a message went, seen from us (closed)."""

    IN = "in"
    OUT = "out"


class AuthorKind(StrEnum):
    """What kind of author or actor this is (open)."""

    CONTACT = "contact"
    AGENT = "agent"
    BOT = "bot"
    SYSTEM = "system"


class Authentication(StrEnum):
    """What is known about whether a sender is who the message says (open)."""

    PASS = "pass"  # noqa: S105 the word of RFC 8601
    """The domain of the From address vouches for the mail (DMARC, or DKIM or SPF of that domain)."""
    FAIL = "fail"
    """The domain of the From address disowns the mail (DMARC)."""
    NONE = "none"
    """It was asked, and nobody vouches."""


ChannelName = Annotated[str, Open(Channel)]


class Author(Value):
    """Who wrote a message or did something to a ticket."""

    kind: Annotated[str, Open(AuthorKind)] = Field(description="Kind of author.")
    id: str | None = Field(None, description="Contact id, agent id, name of the bot; nothing for the system.")
    name: str | None = Field(None, description="Name to show.")


class Money(Value):
    """An amount of money. The amount is a decimal string, so that no binary fraction changes it."""

    amount: str = Field(
        pattern=r"^-?[0-9]{1,18}(\.[0-9]{1,6})?$", description="Decimal number in the currency's main unit."
    )
    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code.")

    @property
    def value(self) -> Decimal:
        """The amount as a number."""
        return Decimal(self.amount)


class Market(Value):
    """Where the sale took place."""

    marketplace: str | None = Field(None, description="Marketplace, e.g. allegro, shopee; nothing for an own shop.")
    country: str | None = Field(None, description="ISO 3166-1 alpha-2 code, upper case.")


class CustomerFacts(Value):
    """What is known about the customer, as far as the channel or a command brought it."""

    tier: str | None = Field(None, description="Customer tier, e.g. gold.")
    since: Instant | None = Field(None, description="Customer since.")
    orders: Count | None = Field(None, description="Number of orders so far.")
    lifetime_value: Money | None = Field(None, description="Revenue with this customer so far.")


class ContactRef(Value):
    """The person on the other side, as the ticket's channel knows them."""

    id: Identifier = Field(description="Contact id, stable across tickets.")
    name: str | None = Field(None, description="Name to show.")
    address: str | None = Field(None, description="Where a reply goes: mail address, phone number, user id.")
    identity: str | None = Field(None, description="The channel's own id of the person, when it differs from address.")
    language: str | None = Field(None, description="Preferred language, BCP 47.")


class Attachment(Value):
    """A file that came or went with a message. Ingest keeps the bytes, or fetches them from the channel when asked."""

    name: str = Field(description="File name to show.")
    media_type: str = Field(description="Media type, e.g. image/jpeg.")
    size: Count | None = Field(None, description="Size in bytes, when known.")
    ref: str | None = Field(
        None, description="Ingest's id of the file, and nothing else: GET /v1/files/{ref} gives the bytes."
    )
    media_id: str | None = Field(
        None, description="Of a file that came: the channel's id of it, when the channel keeps the bytes under one."
    )
    url: str | None = Field(
        None,
        description="Of a file that came: where the channel keeps the bytes. Of one to send: an http(s) URL that the "
        "channel may fetch it from, instead of ref.",
    )
    inline: bool = Field(default=False, description="Shown inside the text rather than below it.")


class Location(Value):
    """A place that the customer sent."""

    latitude: float = Field(ge=-90, le=90, description="Degrees north, WGS 84.")
    longitude: float = Field(ge=-180, le=180, description="Degrees east, WGS 84.")
    name: str | None = Field(None, description="Name of the place.")
    address: str | None = Field(None, description="Postal address.")


class Message(Value):
    """One message of a conversation, to or from the customer. Internal notes are no messages."""

    id: Identifier = Field(description="Message id, unique within Deskbus.")
    direction: Direction = Field(description="in: from the customer; out: to the customer.")
    author: Author = Field(description="Who wrote it.")
    text: str = Field(description="What was said, without quoted text and signature.")
    text_full: str | None = Field(None, description="The whole body, when it differs from text.")
    html: bool = Field(default=False, description="The body came (or goes) as HTML; text is its plain rendering.")
    attachments: tuple[Attachment, ...] = Field((), description="Files in the order of the message.")
    attachments_left_out: int | None = Field(
        None, description="How many more files, or parts of a mail, came that are not kept; nothing: all are."
    )
    location: Location | None = Field(None, description="The place, when the message is one.")
    sent_at: Instant = Field(description="When the author sent it, as the channel says.")
    received_at: Instant | None = Field(None, description="When the door took it; nothing for our own messages.")
    automated: bool = Field(default=False, description="Written by a machine: moves no clock, reopens nothing.")
    in_reply_to: str | None = Field(None, description="Channel message id that this answers.")
    channel_message_id: str | None = Field(None, description="The channel's id of this message, e.g. Message-ID.")
    authentication: Annotated[str, Open(Authentication)] | None = Field(
        None,
        description="Whether the sender of a mail is proven; nothing: not asked, or the channel signs its webhooks.",
    )


class TicketFacts(Value):
    """The few facts about a ticket that rules match on. Carried by events of services that do not own tickets."""

    channel: ChannelName = Field(description="Channel of the conversation.")
    account: str | None = Field(None, description="Our account on the channel.")
    brand: str | None = Field(None, description="Brand that the customer wrote to.")
    market: Market = Field(default=Market(), description="Where the sale took place.")
    priority: Priority = Field(Priority.NORMAL, description="Priority of the ticket.")
    language: str | None = Field(None, description="Language of the conversation, BCP 47.")
    tier: str | None = Field(None, description="Customer tier.")
    subject: str | None = Field(None, description="Subject line of the ticket.")
    contact_name: str | None = Field(None, description="Name of the contact.")
    tags: tuple[str, ...] = Field((), description="Tags of the ticket.")


class Facts(Value):
    """Facts about a ticket that a command may bring. A field that is absent says nothing."""

    customer: CustomerFacts | None = Field(None, description="Facts about the customer.")
    order_ref: str | None = Field(None, description="Order that the conversation is about.")
    brand: str | None = Field(None, description="Brand.")
    market: Market | None = Field(None, description="Where the sale took place.")
    language: str | None = Field(None, description="Language of the conversation, BCP 47.")
    required_skills: SkillLevels | None = Field(None, description="Skills that an agent must have.")
    preferred_skills: SkillLevels | None = Field(None, description="Skills that are dropped as the wait grows.")


class Ticket(Value):
    """A ticket as it is after the event that carries it. Who works on it is routing's to say, not the ticket's."""

    id: Identifier = Field(description="Ticket id.")
    version: Count | None = Field(None, description="Grows with every change of the ticket.")
    channel: ChannelName = Field(description="Channel of the conversation.")
    account: str = Field(description="Our account on the channel: mailbox, phone number id, channel id.")
    brand: str | None = Field(None, description="Brand that the customer wrote to.")
    market: Market = Field(default=Market(), description="Where the sale took place.")
    contact: ContactRef = Field(description="The person on the other side.")
    customer: CustomerFacts = Field(default=CustomerFacts(), description="What is known about the customer.")
    order_ref: str | None = Field(None, description="Order that the conversation is about.")
    subject: str | None = Field(None, description="Subject line, or the beginning of the first message.")
    language: str | None = Field(None, description="Language of the conversation, BCP 47.")
    priority: Priority = Field(Priority.NORMAL, description="How urgent it is.")
    status: Status = Field(Status.NEW, description="Where it is in its life.")
    tags: tuple[str, ...] = Field((), description="Tags, sorted, each once.")
    required_skills: SkillLevels = Field(default_factory=dict, description="Skills that are kept until overflow.")
    preferred_skills: SkillLevels = Field(default_factory=dict, description="Skills dropped as the wait grows.")
    nth_contact: Annotated[int, Field(ge=1)] = Field(
        1,
        description="Which ticket of this contact it is about the same order, or without an order about the same topic "
        "(the tags that the message came with, else its subject), from 1; 1 where none of them is known.",
    )
    thread: str | None = Field(None, description="Anchor of the thread: conversation key, or first known message id.")
    message_count: Count = Field(0, description="Messages in and out so far.")
    created_at: Instant = Field(description="When its first message was taken.")
    updated_at: Instant = Field(description="When it last changed.")
    first_reply_at: Instant | None = Field(None, description="First public reply of a person.")
    last_reply_at: Instant | None = Field(None, description="Latest public reply of a person.")
    last_customer_message_at: Instant | None = Field(None, description="Latest customer message that is not automated.")
    oldest_unanswered_at: Instant | None = Field(None, description="Oldest customer message still without an answer.")
    solved_at: Instant | None = Field(None, description="Latest solve; nothing while it is not solved.")
    closed_at: Instant | None = Field(None, description="When it was closed.")
    reopen_count: Count = Field(0, description="How often it was reopened.")
    handled_by_bot: bool = Field(default=False, description="A bot answers; clocks and routing wait for the hand-off.")
    handed_off_at: Instant | None = Field(None, description="When a bot handed it to people.")
    merged_into: str | None = Field(None, description="Surviving ticket; set means this one only forwards.")
    split_from: str | None = Field(None, description="Ticket that this one was split from.")
    linked_to: str | None = Field(None, description="Earlier ticket of the same conversation or subject.")

    def facts(self) -> TicketFacts:
        """The small copy that other services carry along."""
        return TicketFacts(
            channel=self.channel,
            account=self.account,
            brand=self.brand,
            market=self.market,
            priority=self.priority,
            language=self.language,
            tier=self.customer.tier,
            subject=self.subject,
            contact_name=self.contact.name,
            tags=self.tags,
        )
