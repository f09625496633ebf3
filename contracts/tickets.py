"""Events of the tickets topic: what happened to a ticket. Source /deskbus/ingest, subject is the ticket id."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from contracts.payload import Payload
from contracts.ticket import Author, Facts, Message, Priority, Status, Ticket
from contracts.values import Count, Identifier, Instant, Open


class DeliveryState(StrEnum):
    """How far our message got at the channel (open)."""

    DELIVERED = "delivered"
    READ = "read"


class CloseReason(StrEnum):
    """Why a ticket was closed (open)."""

    QUIET = "quiet"
    """Solved, and nobody wrote for as long as the reopen window."""
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
    """The caller's token does not reach the ticket, or what was named."""
    DUPLICATE = "duplicate"


class TicketEvent(Payload):
    """What all events about a ticket carry: the ticket as it is afterwards, so that nobody replays its past."""

    ticket: Ticket = Field(description="The ticket after this event.")


class TicketOpened(TicketEvent):
    """A conversation began: a new ticket with its first message."""

    type: ClassVar[str] = "deskbus.ticket.opened.v1"
    message: Message | None = Field(None, description="First message; nothing when it was split off without one.")


class MessageReceived(TicketEvent):
    """The customer wrote again on an existing ticket."""

    type: ClassVar[str] = "deskbus.message.received.v1"
    message: Message = Field(description="The message.")


class MessageSent(TicketEvent):
    """Our message was accepted by the channel."""

    type: ClassVar[str] = "deskbus.message.sent.v1"
    message: Message = Field(description="The message; author.kind tells a person's reply from a bot's.")
    command_id: str | None = Field(None, description="Command that asked for it.")
    attempts: Count = Field(1, description="Tries that it took.")


class MessageFailed(TicketEvent):
    """Our message was refused by the channel, or could not be handed over within the tries allowed."""

    type: ClassVar[str] = "deskbus.message.failed.v1"
    message: Message = Field(description="The message that did not go out.")
    error: str = Field(description="What the channel said, or what kept us from reaching it.")
    permanent: bool = Field(default=True, description="Trying again as it is will not help.")
    command_id: str | None = Field(None, description="Command that asked for it.")
    attempts: Count = Field(1, description="Tries so far.")


class MessageDelivered(TicketEvent):
    """The channel reports how far our message got."""

    type: ClassVar[str] = "deskbus.message.delivered.v1"
    message_id: Identifier = Field(description="Our message.")
    state: Annotated[str, Open(DeliveryState)] = Field(description="How far it got.")
    at: Instant = Field(description="When, as the channel says.")


class MessageBounced(TicketEvent):
    """A message that the channel had accepted came back."""

    type: ClassVar[str] = "deskbus.message.bounced.v1"
    message_id: str | None = Field(None, description="Our message, when the report names it.")
    permanent: bool = Field(description="False: the channel keeps trying.")
    error: str = Field(description="Reason or diagnostic code of the report.")
    recipient: str | None = Field(None, description="Address that could not be reached.")
    at: Instant = Field(description="When the report was received.")


class NoteAdded(TicketEvent):
    """Somebody left an internal note. The customer never sees it and no clock moves."""

    type: ClassVar[str] = "deskbus.note.added.v1"
    note_id: Identifier = Field(description="Id of the note.")
    author: Author = Field(description="Who wrote it.")
    text: str = Field(description="The note.")
    command_id: str | None = Field(None, description="Command that asked for it.")


class TicketStatusChanged(TicketEvent):
    """The status changed. A reopen is announced as ticket.reopened instead, a close as ticket.closed."""

    type: ClassVar[str] = "deskbus.ticket.status_changed.v1"
    old: Status = Field(description="Status before.")
    new: Status = Field(description="Status after.")
    actor: Author = Field(description="Who changed it.")
    reason: str | None = Field(None, description="Why, in a word, e.g. replied, command.")


class TicketPriorityChanged(TicketEvent):
    """The priority changed."""

    type: ClassVar[str] = "deskbus.ticket.priority_changed.v1"
    old: Priority = Field(description="Priority before.")
    new: Priority = Field(description="Priority after.")
    actor: Author = Field(description="Who changed it.")
    reason: str | None = Field(None, description="Why.")


class TicketTagged(TicketEvent):
    """Tags were changed; the ticket carries all that hold now."""

    type: ClassVar[str] = "deskbus.ticket.tagged.v1"
    added: tuple[str, ...] = Field((), description="Tags that are new.")
    removed: tuple[str, ...] = Field((), description="Tags that are gone.")
    actor: Author = Field(description="Who changed them.")


class TicketFactsChanged(TicketEvent):
    """Facts about the customer, the order or the conversation were changed; the ticket carries all that hold now."""

    type: ClassVar[str] = "deskbus.ticket.facts_changed.v1"
    changed: tuple[str, ...] = Field(
        description="Fields of the ticket that changed, e.g. brand; of the customer each fact, e.g. customer.tier."
    )
    old: Facts = Field(default=Facts(), description="What they were; one that is absent was not known.")
    actor: Author = Field(description="Who changed them.")
    command_id: str | None = Field(None, description="Command that asked for it.")


class TicketReopened(TicketEvent):
    """A solved ticket is open again."""

    type: ClassVar[str] = "deskbus.ticket.reopened.v1"
    old: Status = Field(description="Status before.")
    actor: Author = Field(description="Who reopened it; the contact when a message did.")
    message_id: str | None = Field(None, description="Message that reopened it; it is announced by its own event.")


class TicketMerged(TicketEvent):
    """This ticket was merged into an older one and only forwards from now on."""

    type: ClassVar[str] = "deskbus.ticket.merged.v1"
    into: Identifier = Field(description="The ticket that survives.")
    actor: Author = Field(description="Who merged them.")


class TicketSplit(TicketEvent):
    """Messages of this ticket went on as a ticket of their own."""

    type: ClassVar[str] = "deskbus.ticket.split.v1"
    new_ticket_id: Identifier = Field(description="The ticket that was split off; it is announced by ticket.opened.")
    message_ids: tuple[str, ...] = Field((), description="Messages that went with it.")
    actor: Author = Field(description="Who split it.")


class TicketHandedOff(TicketEvent):
    """A bot handed the conversation to people: routing and the clocks begin here."""

    type: ClassVar[str] = "deskbus.ticket.handed_off.v1"
    actor: Author = Field(description="The bot.")
    reason: str | None = Field(None, description="Why it gave up.")
    summary: str | None = Field(None, description="What it found out, for the agent.")


class TicketClosed(TicketEvent):
    """The ticket is frozen."""

    type: ClassVar[str] = "deskbus.ticket.closed.v1"
    old: Status = Field(Status.SOLVED, description="Status before.")
    reason: Annotated[str, Open(CloseReason)] = Field(description="Why it was closed.")
    actor: Author = Field(description="Who closed it.")


class CommandRejected(Payload):
    """A command was understood and refused; nothing changed."""

    type: ClassVar[str] = "deskbus.command.rejected.v1"
    ticket: Ticket | None = Field(None, description="The ticket as it is, when there is one.")
    ticket_id: Identifier = Field(description="Ticket that the command was about.")
    command_id: Identifier = Field(description="Id of the command.")
    command_type: str = Field(description="Type of the command.")
    reason: Annotated[str, Open(RejectReason)] = Field(description="Why it was refused.")
    detail: str | None = Field(None, description="The reason in words.")
    actor: Author | None = Field(None, description="Who gave the command.")
