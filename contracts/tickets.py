"""Events of the tickets topic: what happened to a ticket. Source /deskbus/ingest, subject is the ticket id."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from contracts.payload import Payload
from contracts.ticket import Author, Facts, Message, Priority, Status, Ticket
from contracts.values import Count, Identifier, Instant, Open


class DeliveryState(StrEnum):
    """Delivery state of a message to the customer (open)."""

    DELIVERED = "delivered"
    READ = "read"


class CloseReason(StrEnum):
    """Why a ticket was closed (open)."""

    QUIET = "quiet"
    """Solved, and no message arrived within the reopen window."""
    COMMAND = "command"
    MERGED = "merged"


class RejectReason(StrEnum):
    """Why a command was not carried out (open)."""

    UNKNOWN_TICKET = "unknown_ticket"
    UNKNOWN_COMMAND = "unknown_command"
    INVALID = "invalid"
    NOT_ALLOWED = "not_allowed"
    """The ticket's state does not allow it."""
    FORBIDDEN = "forbidden"
    """The caller's token does not permit access to the ticket, or to something that the command names."""
    DUPLICATE = "duplicate"


class FailureReason(StrEnum):
    """Why a message to the customer was not sent (open)."""

    UNSENDABLE = "unsendable"
    """The channel cannot carry it: it is too long, for example, or has a file of a type that the channel refuses."""
    WINDOW_CLOSED = "window_closed"
    """It was too long after the customer's last message: the channel takes replies for a limited time only."""
    REFUSED = "refused"
    """The channel refused it."""
    EXHAUSTED = "exhausted"
    """No attempt succeeded within the allowed time or number of attempts."""


class TicketEvent(Payload):
    """Base of all events about a ticket. They carry the whole ticket, so that subscribers need no history."""

    ticket: Ticket = Field(description="The ticket after this event.")


class TicketOpened(TicketEvent):
    """A new ticket was opened, with its first message."""

    type: ClassVar[str] = "deskbus.ticket.opened.v1"
    message: Message | None = Field(None, description="First message; absent if the ticket was split off without one.")


class MessageReceived(TicketEvent):
    """The customer sent another message on an existing ticket."""

    type: ClassVar[str] = "deskbus.message.received.v1"
    message: Message = Field(description="The message.")


class MessageSent(TicketEvent):
    """The channel accepted a message to the customer."""

    type: ClassVar[str] = "deskbus.message.sent.v1"
    message: Message = Field(description="The message; author.kind distinguishes a person's reply from a bot's.")
    command_id: str | None = Field(None, description="Command that caused it.")
    attempts: Count = Field(1, description="Number of attempts.")


class MessageFailed(TicketEvent):
    """A message to the customer was not sent, or it is unknown whether it was (`may_have_arrived`)."""

    type: ClassVar[str] = "deskbus.message.failed.v1"
    message: Message = Field(description="The message that was not sent.")
    error: str = Field(description="The channel's answer, why it could not be reached, or why nothing was sent.")
    reason: Annotated[str, Open(FailureReason)] | None = Field(
        None, description="Why it failed; absent in events of earlier releases."
    )
    may_have_arrived: bool = Field(
        default=False,
        description="Whether the outcome of an attempt is unknown, e.g. because the connection broke after the message "
        "had left: the customer may have it. If false, it has certainly not arrived.",
    )
    permanent: bool = Field(default=True, description="Whether sending it again unchanged is pointless.")
    command_id: str | None = Field(None, description="Command that caused it.")
    attempts: Count = Field(1, description="Number of attempts so far.")


class MessageDelivered(TicketEvent):
    """The channel reported that a message to the customer was delivered or read.

    Messenger names the last message of a conversation that was read; earlier ones on the ticket have been read as well.
    """

    type: ClassVar[str] = "deskbus.message.delivered.v1"
    message_id: Identifier = Field(description="Id of the message.")
    state: Annotated[str, Open(DeliveryState)] = Field(description="Delivery state.")
    at: Instant = Field(description="When, according to the channel.")


class MessageBounced(TicketEvent):
    """A message that the channel had accepted was returned."""

    type: ClassVar[str] = "deskbus.message.bounced.v1"
    message_id: str | None = Field(None, description="Id of the message, if the report names it.")
    permanent: bool = Field(description="If false, the channel keeps trying.")
    error: str = Field(description="Reason or diagnostic code of the report.")
    recipient: str | None = Field(None, description="Address that could not be reached.")
    at: Instant = Field(description="When the report was received.")


class NoteAdded(TicketEvent):
    """An internal note was added. The customer never sees it, and it affects no clock."""

    type: ClassVar[str] = "deskbus.note.added.v1"
    note_id: Identifier = Field(description="Id of the note.")
    author: Author = Field(description="Author of the note.")
    text: str = Field(description="Text of the note.")
    command_id: str | None = Field(None, description="Command that caused it.")


class TicketStatusChanged(TicketEvent):
    """The status changed. Reopening and closing have events of their own: ticket.reopened, ticket.closed."""

    type: ClassVar[str] = "deskbus.ticket.status_changed.v1"
    old: Status = Field(description="Previous status.")
    new: Status = Field(description="New status.")
    actor: Author = Field(description="Who changed it.")
    reason: str | None = Field(None, description="Reason in a word, e.g. replied, command.")


class TicketPriorityChanged(TicketEvent):
    """The priority changed."""

    type: ClassVar[str] = "deskbus.ticket.priority_changed.v1"
    old: Priority = Field(description="Previous priority.")
    new: Priority = Field(description="New priority.")
    actor: Author = Field(description="Who changed it.")
    reason: str | None = Field(None, description="Reason.")


class TicketTagged(TicketEvent):
    """Tags were changed; the ticket has the resulting ones."""

    type: ClassVar[str] = "deskbus.ticket.tagged.v1"
    added: tuple[str, ...] = Field((), description="Tags that were added.")
    removed: tuple[str, ...] = Field((), description="Tags that were removed.")
    actor: Author = Field(description="Who changed them.")


class TicketFactsChanged(TicketEvent):
    """Facts about the customer, the order or the conversation were changed; the ticket has the resulting ones."""

    type: ClassVar[str] = "deskbus.ticket.facts_changed.v1"
    changed: tuple[str, ...] = Field(
        description="Fields of the ticket that changed, e.g. brand; of the customer single facts, e.g. customer.tier."
    )
    old: Facts = Field(default=Facts(), description="Previous values; absent if not known.")
    actor: Author = Field(description="Who changed them.")
    command_id: str | None = Field(None, description="Command that caused it.")


class TicketReopened(TicketEvent):
    """A solved ticket was reopened."""

    type: ClassVar[str] = "deskbus.ticket.reopened.v1"
    old: Status = Field(description="Previous status.")
    actor: Author = Field(description="Who reopened it; the contact if a message did.")
    message_id: str | None = Field(None, description="Message that reopened it; it has an event of its own.")


class TicketMerged(TicketEvent):
    """This ticket was merged into an older one and only forwards messages to it from now on."""

    type: ClassVar[str] = "deskbus.ticket.merged.v1"
    into: Identifier = Field(description="The surviving ticket.")
    actor: Author = Field(description="Who merged them.")


class TicketSplit(TicketEvent):
    """Messages of this ticket were split off into a new ticket."""

    type: ClassVar[str] = "deskbus.ticket.split.v1"
    new_ticket_id: Identifier = Field(description="The new ticket; it is announced by ticket.opened.")
    message_ids: tuple[str, ...] = Field((), description="Messages that moved to it.")
    actor: Author = Field(description="Who split it.")


class TicketHandedOff(TicketEvent):
    """A bot handed the conversation off to people. Routing and clocks start now."""

    type: ClassVar[str] = "deskbus.ticket.handed_off.v1"
    actor: Author = Field(description="The bot.")
    reason: str | None = Field(None, description="Why the bot handed it off.")
    summary: str | None = Field(None, description="What the bot found out, for the agent.")


class TicketClosed(TicketEvent):
    """The ticket was closed for good."""

    type: ClassVar[str] = "deskbus.ticket.closed.v1"
    old: Status = Field(Status.SOLVED, description="Previous status.")
    reason: Annotated[str, Open(CloseReason)] = Field(description="Why it was closed.")
    actor: Author = Field(description="Who closed it.")


class CommandRejected(Payload):
    """A command was refused; nothing changed."""

    type: ClassVar[str] = "deskbus.command.rejected.v1"
    ticket: Ticket | None = Field(None, description="The ticket, if there is one.")
    ticket_id: Identifier = Field(description="Ticket that the command named.")
    command_id: Identifier = Field(description="Id of the command.")
    command_type: str = Field(description="Type of the command.")
    reason: Annotated[str, Open(RejectReason)] = Field(description="Why it was refused.")
    detail: str | None = Field(None, description="The reason in words.")
    actor: Author | None = Field(None, description="Who sent the command.")
