"""The ticket as other services see it: snapshot, message, contact and their enums. No events here."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from contracts.values import Count, Identifier, Instant, Open, SkillLevels, Value


class Channel(StrEnum):
    """Channel of a conversation (open)."""

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
    TELEGRAM = "telegram"
    X = "x"
    KAKAOTALK = "kakaotalk"
    ZALO = "zalo"
    SLACK = "slack"


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
    """State of a ticket in its life cycle (closed)."""

    NEW = "new"
    """Not answered yet."""
    OPEN = "open"
    """We owe the customer an answer."""
    PENDING = "pending"
    """The customer owes us an answer."""
    ON_HOLD = "on_hold"
    """A third party owes us an answer."""
    SOLVED = "solved"
    """Done; a new customer message reopens it."""
    CLOSED = "closed"
    """Final; a new message opens a new, linked ticket."""


class Direction(StrEnum):
    """Direction of a message: from or to the customer (closed)."""

    IN = "in"
    OUT = "out"


class AuthorKind(StrEnum):
    """Kind of author or actor (open)."""

    CONTACT = "contact"
    AGENT = "agent"
    BOT = "bot"
    SYSTEM = "system"


class Authentication(StrEnum):
    """Result of checking the sender of a mail (open)."""

    PASS = "pass"  # noqa: S105 the word of RFC 8601
    """The domain of the From address authenticates the mail (DMARC, or DKIM or SPF of that domain)."""
    FAIL = "fail"
    """Authentication by the domain of the From address failed (DMARC)."""
    NONE = "none"
    """It was checked, and nothing authenticates the mail."""


ChannelName = Annotated[str, Open(Channel)]


class Author(Value):
    """The author of a message, or the actor who changed a ticket."""

    kind: Annotated[str, Open(AuthorKind)] = Field(description="Kind of author.")
    id: str | None = Field(None, description="Contact id, agent id, or name of the bot; absent for the system.")
    name: str | None = Field(None, description="Display name.")


class Money(Value):
    """An amount of money. The amount is a decimal string, so that it stays exact."""

    amount: str = Field(
        pattern=r"^-?[0-9]{1,18}(\.[0-9]{1,6})?$", description="Decimal number in the currency's main unit."
    )
    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code.")

    @property
    def value(self) -> Decimal:
        """The amount as a number."""
        return Decimal(self.amount)


class Market(Value):
    """The market in which the sale took place."""

    marketplace: str | None = Field(
        None, description="Marketplace, e.g. allegro or shopee; absent for the company's own shop."
    )
    country: str | None = Field(None, description="ISO 3166-1 alpha-2 code, upper case.")


class CustomerFacts(Value):
    """What is known about the customer from the channel and from commands."""

    tier: str | None = Field(None, description="Customer tier, e.g. gold.")
    since: Instant | None = Field(None, description="When the customer relationship began.")
    orders: Count | None = Field(None, description="Number of orders so far.")
    lifetime_value: Money | None = Field(None, description="Revenue from this customer so far.")


class ContactRef(Value):
    """The customer of a ticket, as the ticket's channel knows them."""

    id: Identifier = Field(description="Contact id, stable across tickets.")
    name: str | None = Field(None, description="Display name.")
    address: str | None = Field(None, description="Address for replies: mail address, phone number or user id.")
    identity: str | None = Field(None, description="The channel's id of the person, if it differs from address.")
    language: str | None = Field(None, description="Preferred language, BCP 47.")


class Attachment(Value):
    """A file received or sent with a message. Ingest stores the bytes, or fetches them from the channel on request."""

    name: str = Field(description="File name.")
    media_type: str = Field(description="Media type, e.g. image/jpeg.")
    size: Count | None = Field(None, description="Size in bytes, if known.")
    ref: str | None = Field(None, description="Ingest's id of the file: GET /v1/files/{ref} returns the bytes.")
    media_id: str | None = Field(
        None, description="Received files: the channel's id of the file, if the channel stores the bytes."
    )
    url: str | None = Field(
        None,
        description="Received files: where the channel stores the bytes. Files to send: an http(s) URL from which the "
        "channel fetches the file, instead of ref.",
    )
    inline: bool = Field(default=False, description="Whether it is shown inside the text rather than below it.")


class Location(Value):
    """A location that the customer sent."""

    latitude: float = Field(ge=-90, le=90, description="Degrees north, WGS 84.")
    longitude: float = Field(ge=-180, le=180, description="Degrees east, WGS 84.")
    name: str | None = Field(None, description="Name of the location.")
    address: str | None = Field(None, description="Postal address.")


class Message(Value):
    """A message of a conversation, to or from the customer. Internal notes are not messages."""

    id: Identifier = Field(description="Message id, unique within Deskbus.")
    direction: Direction = Field(description="in: from the customer; out: to the customer.")
    author: Author = Field(description="Author of the message.")
    text: str = Field(description="Text without quotes and signature.")
    text_full: str | None = Field(None, description="The whole body, if it differs from text.")
    html: bool = Field(default=False, description="Whether the body is HTML; text is its plain rendering.")
    attachments: tuple[Attachment, ...] = Field((), description="Files, in the order of the message.")
    attachments_left_out: int | None = Field(
        None, description="Number of further files, or parts of a mail, that were not stored; absent if all were."
    )
    location: Location | None = Field(None, description="The location, if the message is one.")
    sent_at: Instant = Field(description="When the author sent it, according to the channel.")
    received_at: Instant | None = Field(
        None, description="When ingest accepted it; absent for messages to the customer."
    )
    automated: bool = Field(
        default=False, description="Whether a machine wrote it: such messages affect no clock and reopen nothing."
    )
    in_reply_to: str | None = Field(None, description="Channel message id of the message that this one answers.")
    channel_message_id: str | None = Field(None, description="The channel's id of this message, e.g. Message-ID.")
    authentication: Annotated[str, Open(Authentication)] | None = Field(
        None,
        description="Result of checking the sender of a mail; absent if not checked or if the channel signs webhooks.",
    )


class TicketFacts(Value):
    """The facts about a ticket that rules match on. Events of services that do not own tickets carry them."""

    channel: ChannelName = Field(description="Channel of the conversation.")
    account: str | None = Field(None, description="Account on the channel.")
    brand: str | None = Field(None, description="Brand that the customer wrote to.")
    market: Market = Field(default=Market(), description="Market in which the sale took place.")
    priority: Priority = Field(Priority.NORMAL, description="Priority of the ticket.")
    language: str | None = Field(None, description="Language of the conversation, BCP 47.")
    tier: str | None = Field(None, description="Customer tier.")
    subject: str | None = Field(None, description="Subject line of the ticket.")
    contact_name: str | None = Field(None, description="Name of the contact.")
    tags: tuple[str, ...] = Field((), description="Tags of the ticket.")


class Facts(Value):
    """Facts about a ticket that a command may set. Absent fields are not changed."""

    customer: CustomerFacts | None = Field(None, description="Facts about the customer.")
    order_ref: str | None = Field(None, description="Order that the conversation is about.")
    order_line: str | None = Field(None, description="Line of the order that it is about.")
    listing: str | None = Field(None, description="The marketplace's id of the item that it is about.")
    shop: str | None = Field(None, description="The marketplace's id of our shop.")
    reply_by: Instant | None = Field(None, description="The marketplace's deadline for an answer.")
    brand: str | None = Field(None, description="Brand.")
    market: Market | None = Field(None, description="Market in which the sale took place.")
    language: str | None = Field(None, description="Language of the conversation, BCP 47.")
    required_skills: SkillLevels | None = Field(None, description="Skills that an agent must have.")
    preferred_skills: SkillLevels | None = Field(None, description="Skills that are dropped as the ticket waits.")


class Ticket(Value):
    """A ticket after the event that carries it. Which agent has it is in routing's events, not here."""

    id: Identifier = Field(description="Ticket id.")
    version: Count | None = Field(None, description="Increases with every change of the ticket.")
    channel: ChannelName = Field(description="Channel of the conversation.")
    account: str = Field(description="Account on the channel: mailbox, phone number id or channel id.")
    brand: str | None = Field(None, description="Brand that the customer wrote to.")
    market: Market = Field(default=Market(), description="Market in which the sale took place.")
    contact: ContactRef = Field(description="The customer.")
    customer: CustomerFacts = Field(default=CustomerFacts(), description="What is known about the customer.")
    order_ref: str | None = Field(None, description="Order that the conversation is about.")
    order_line: str | None = Field(None, description="Line of the order that it is about.")
    listing: str | None = Field(None, description="The marketplace's id of the item that it is about.")
    shop: str | None = Field(None, description="The marketplace's id of our shop.")
    reply_by: Instant | None = Field(
        None,
        description="The marketplace's deadline for answering the oldest unanswered message. It stays when that "
        "message is answered, and means nothing while oldest_unanswered_at is absent.",
    )
    subject: str | None = Field(None, description="Subject line, or the beginning of the first message.")
    language: str | None = Field(None, description="Language of the conversation, BCP 47.")
    priority: Priority = Field(Priority.NORMAL, description="Priority.")
    status: Status = Field(Status.NEW, description="Status.")
    tags: tuple[str, ...] = Field((), description="Tags, sorted, without duplicates.")
    required_skills: SkillLevels = Field(
        default_factory=dict, description="Skills that an agent must have; they apply until overflow."
    )
    preferred_skills: SkillLevels = Field(
        default_factory=dict, description="Skills that are dropped as the ticket waits."
    )
    nth_contact: Annotated[int, Field(ge=1)] = Field(
        1,
        description="Position among this contact's tickets about the same order, or without an order about the same "
        "topic (the tags that came with the message, otherwise its subject), from 1; 1 if none of these is known.",
    )
    thread: str | None = Field(
        None, description="Anchor of the thread: conversation key, or the first known message id."
    )
    message_count: Count = Field(0, description="Number of messages so far, in both directions.")
    created_at: Instant = Field(description="When the first message was accepted.")
    updated_at: Instant = Field(description="When it last changed.")
    first_reply_at: Instant | None = Field(None, description="When a person first replied to the customer.")
    last_reply_at: Instant | None = Field(None, description="When a person last replied to the customer.")
    last_customer_message_at: Instant | None = Field(
        None, description="When the customer last wrote, automated messages excluded."
    )
    oldest_unanswered_at: Instant | None = Field(
        None, description="When the customer wrote the oldest message that is not answered yet."
    )
    solved_at: Instant | None = Field(None, description="When it was last solved; absent while it is not solved.")
    closed_at: Instant | None = Field(None, description="When it was closed.")
    reopen_count: Count = Field(0, description="Number of reopens.")
    handled_by_bot: bool = Field(
        default=False, description="Whether a bot answers; clocks and routing wait for the hand-off."
    )
    handed_off_at: Instant | None = Field(None, description="When a bot handed it off to people.")
    merged_into: str | None = Field(
        None, description="Surviving ticket. If set, this ticket only forwards messages to it."
    )
    split_from: str | None = Field(None, description="Ticket that this one was split from.")
    linked_to: str | None = Field(None, description="Earlier ticket of the same conversation or subject.")

    def facts(self) -> TicketFacts:
        """Return the facts that events of other services carry."""
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
