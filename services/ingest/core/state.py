"""A ticket's state as its document stores it: the published ticket, and what only ingest needs. No business rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from contracts.commands import Template
from contracts.payload import Payload
from contracts.ticket import ContactRef, Message, Status, Ticket
from kit.protocol.document import Decision, Insert
from services.ingest.core.messages import ReplyToken

MESSAGES = "messages"
TAKEN = "taken"
"""Collection: one id (`taken_id`) for each message that a ticket took and that its document no longer lists."""
#: Maximum number of taken messages listed in a ticket's document. Older ones are in TAKEN.
TAKEN_CAP = 1_000
COMMANDS_CAP = 500
PARTICIPANTS_CAP = 100
REFERENCES_CAP = 20
ANSWERED_CAP = 20


@dataclass(frozen=True, slots=True)
class Pending:
    """A queued outgoing message. Its id, which is also the channel's idempotency key, never changes."""

    message: Message
    command: str
    asked_at: datetime
    next_at: datetime
    attempts: int = 0
    #: Attempts that may have arrived. Incremented before each attempt, decremented if it has certainly not arrived.
    uncertain: int = 0
    #: Whether an attempt ended without telling whether it arrived.
    doubtful: bool = False
    html: str | None = None
    #: Sent instead of the message's text.
    template: Template | None = None
    #: Of the attempt that runs; not stored, since it is used once.
    reply_token: str | None = field(default=None, compare=False)
    status: Status | None = None
    #: If set, this is no reply, but a customer's message to forward to this ticket, into which its own was merged.
    into: str | None = None
    contact: ContactRef | None = None
    #: The database was rebuilt, and nothing tells whether the message was tried. It is not sent again.
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A person's sent reply, and the messages that it answered: they are unanswered again if it bounces."""

    message: str
    given_at: datetime
    sent_at: datetime
    #: Arrival times of the messages that it answered, oldest first.
    questions: tuple[datetime, ...]


@dataclass(frozen=True, slots=True)
class TicketState:
    """Everything about one ticket. `ticket` is None if there is no such ticket, only refused commands to its id."""

    ticket: Ticket | None = None
    taken: tuple[str, ...] = ()
    #: How many of `taken`, counted from the oldest, are already in the stored document.
    stored: int = field(default=0, compare=False)
    commands: tuple[str, ...] = ()
    #: Contacts who wrote on the ticket. Others cannot join it by message ids or a ticket token in the subject.
    participants: tuple[str, ...] = ()
    #: Contacts with an authenticated mail on the ticket. Their unauthenticated mail is not accepted any more.
    proven: tuple[str, ...] = ()
    #: Arrival times of messages that no person has answered yet, oldest first.
    unanswered: tuple[datetime, ...] = ()
    #: The latest replies since the ticket was last solved.
    answered: tuple[Answer, ...] = ()
    reopened: tuple[datetime, ...] = ()
    closes_at: datetime | None = None
    pending: tuple[Pending, ...] = ()
    #: Message id -> furthest reported state: delivered, read, delayed, bounced.
    receipts: Mapping[str, str] = field(default_factory=dict)
    #: Channel message id of the customer's last message, which the next reply answers; `references` are that mail's.
    answers: str | None = None
    references: tuple[str, ...] = ()
    conversation: str | None = None
    #: Of the customer's last message, until it is used.
    reply_token: ReplyToken | None = None

    @property
    def people(self) -> frozenset[str]:
        """Contacts who take part: the ticket's contact, and everyone who wrote on it."""
        return frozenset(self.participants) | ({self.ticket.contact.id} if self.ticket else frozenset())

    @property
    def send_at(self) -> datetime | None:
        """When to try the first queued message; None if there is none. Messages are sent one at a time, in order."""
        return self.pending[0].next_at if self.pending else None

    @property
    def active_at(self) -> datetime | None:
        """When the customer or an agent last wrote; None if there is no ticket."""
        if self.ticket is None:
            return None
        times = (self.ticket.created_at, self.ticket.last_customer_message_at, self.ticket.last_reply_at)
        return max(t for t in times if t is not None)


def remember(known: tuple[str, ...], new: str, cap: int) -> tuple[str, ...]:
    """Append an id, and drop the oldest beyond `cap`."""
    return (*known, new)[-cap:]


class Draft:
    """Builds a decision. Each event contains the ticket as it is directly after that event."""

    def __init__(self, state: TicketState, now: datetime) -> None:
        self.state, self.now = state, now
        self.events: list[Payload] = []
        self.inserts: list[Insert] = []

    @property
    def ticket(self) -> Ticket:
        """The ticket after the changes made so far."""
        assert self.state.ticket is not None
        return self.state.ticket

    def update(self, **fields: object) -> None:
        """Change fields of the state that are not published."""
        self.state = replace(self.state, **fields)  # type: ignore[arg-type]

    def mark_taken(self, message: str) -> None:
        """Record that the ticket has taken a message, and move the oldest ids beyond `TAKEN_CAP` to TAKEN.

        TAKEN is written before the ticket, whose write may fail. So only ids that the stored ticket already lists are
        moved: these have been taken, whatever becomes of this write.
        """
        taken = (*self.state.taken, message)
        released = min(max(0, len(taken) - TAKEN_CAP), self.state.stored)
        self.inserts += [Insert(TAKEN, {"_id": taken_id(self.ticket.id, each)}) for each in taken[:released]]
        self.update(taken=taken[released:], stored=self.state.stored - released)

    def emit(self, event: Callable[[Ticket], Payload], **changes: object) -> None:
        """Change fields of the ticket, increase its version, and emit an event that contains it."""
        version = (self.ticket.version or 0) + 1
        changed = self.ticket.model_copy(update={**changes, "version": version, "updated_at": self.now})
        self.update(ticket=changed)
        self.events.append(event(changed))

    def store(self, message: Message, *, kind: str = "message", whole: str | None = None) -> None:
        """Store a message as a separate document, which is written before the ticket."""
        self.inserts.append(Insert(MESSAGES, message_document(self.ticket.id, message, kind=kind, whole=whole)))

    def decision(self) -> Decision[TicketState]:
        """Return the decision."""
        return Decision(self.state, self.events, self.inserts)


def taken_id(ticket: str, message: str) -> str:
    """Return the id in TAKEN of a message that a ticket has taken."""
    return f"{ticket}:{message}"


def message_document(ticket: str, message: Message, *, kind: str, whole: str | None = None) -> dict[str, object]:
    """Return the document of a message on a ticket. A message forwarded after a merge has one on both tickets."""
    at = message.received_at or message.sent_at
    body = message.model_dump(mode="json", exclude_none=True)
    own = f"{ticket}:{message.id}"
    document = {"_id": own, "ticket": ticket, "message": message.id, "kind": kind, "at": at, "body": body}
    return document if whole is None else {**document, "whole": whole}
