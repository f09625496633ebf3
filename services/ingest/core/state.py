"""A ticket as its document keeps it: the published ticket, and what only its owner needs. Values; no rule is here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from contracts.payload import Payload
from contracts.ticket import ContactRef, Message, Status, Ticket
from kit.protocol.document import Decision, Insert

MESSAGES = "messages"
TAKEN = "taken"
"""Which tickets have taken which messages that they no longer remember themselves: `taken_id`, and nothing else."""
#: Ids that a ticket remembers, to tell what it has taken. The older ones are in TAKEN.
TAKEN_CAP = 1_000
COMMANDS_CAP = 500
PARTICIPANTS_CAP = 100
REFERENCES_CAP = 20
ANSWERED_CAP = 20


@dataclass(frozen=True, slots=True)
class Pending:
    """A message that has to leave. Its id, and so the key that the channel sees, is fixed."""

    message: Message
    command: str
    asked_at: datetime
    next_at: datetime
    attempts: int = 0
    #: Tries that may have arrived. Counted before each is made, and taken back when it surely has not.
    begun: int = 0
    html: str | None = None
    status: Status | None = None
    #: Set: no reply, but a customer's message that goes on to this ticket, into which the own one was merged.
    into: str | None = None
    contact: ContactRef | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A person's reply that the channel took, and what it answered: the wait goes on if it comes back."""

    message: str
    given_at: datetime
    sent_at: datetime
    #: When the messages came that it answered, oldest first.
    questions: tuple[datetime, ...]


@dataclass(frozen=True, slots=True)
class TicketState:
    """Everything about one ticket. `ticket` is None for an id that only refused commands are known of."""

    ticket: Ticket | None = None
    taken: tuple[str, ...] = ()
    #: How many of `taken`, from the oldest on, were read from the store; 0 for what was never loaded.
    stored: int = field(default=0, compare=False)
    commands: tuple[str, ...] = ()
    #: Contacts who wrote here: only they may go on with the ticket by ids, or by its token in a subject line.
    participants: tuple[str, ...] = ()
    #: Contacts of whom a mail on this ticket was proven to be theirs: one that is not is no longer believed.
    proven: tuple[str, ...] = ()
    #: When the messages came that a person has not answered yet, oldest first.
    unanswered: tuple[datetime, ...] = ()
    #: Replies since the last solve, the latest ones.
    answered: tuple[Answer, ...] = ()
    reopened: tuple[datetime, ...] = ()
    closes_at: datetime | None = None
    pending: tuple[Pending, ...] = ()
    #: How far each of our messages got: message id -> delivered, read, bounced.
    receipts: Mapping[str, str] = field(default_factory=dict)
    #: What the next reply answers: the customer's last message and (mail) what that one referred to.
    answers: str | None = None
    references: tuple[str, ...] = ()
    conversation: str | None = None

    @property
    def people(self) -> frozenset[str]:
        """Contacts who take part: those who wrote, and whose ticket it is."""
        return frozenset(self.participants) | ({self.ticket.contact.id} if self.ticket else frozenset())

    @property
    def send_at(self) -> datetime | None:
        """When the next message has to leave. They leave one after another, so that none overtakes."""
        return self.pending[0].next_at if self.pending else None

    @property
    def active_at(self) -> datetime | None:
        """When somebody wrote last, either way."""
        if self.ticket is None:
            return None
        times = (self.ticket.created_at, self.ticket.last_customer_message_at, self.ticket.last_reply_at)
        return max(t for t in times if t is not None)


def remember(known: tuple[str, ...], new: str, cap: int) -> tuple[str, ...]:
    """Add an id, letting go of the oldest."""
    return (*known, new)[-cap:]


class Draft:
    """A decision in the making: the ticket after each event, so that every event carries the ticket as it is then."""

    def __init__(self, state: TicketState, now: datetime) -> None:
        self.state, self.now = state, now
        self.events: list[Payload] = []
        self.inserts: list[Insert] = []

    @property
    def ticket(self) -> Ticket:
        """The ticket as it is now."""
        assert self.state.ticket is not None
        return self.state.ticket

    def keep(self, **fields: object) -> None:
        """Change what only the owner knows."""
        self.state = replace(self.state, **fields)  # type: ignore[arg-type]

    def take(self, message: str) -> None:
        """Remember that the ticket has taken a message, and let go of the oldest beyond the cap.

        A message's own document is written before the ticket that counts it, and proves nothing if that write is lost.
        So only what the store's ticket had taken already is let go: that stays true, whatever becomes of this write.
        """
        taken = (*self.state.taken, message)
        gone = min(max(0, len(taken) - TAKEN_CAP), self.state.stored)
        self.inserts += [Insert(TAKEN, {"_id": taken_id(self.ticket.id, each)}) for each in taken[:gone]]
        self.keep(taken=taken[gone:], stored=self.state.stored - gone)

    def say(self, event: Callable[[Ticket], Payload], **changes: object) -> None:
        """Change the ticket and announce it."""
        version = (self.ticket.version or 0) + 1
        changed = self.ticket.model_copy(update={**changes, "version": version, "updated_at": self.now})
        self.keep(ticket=changed)
        self.events.append(event(changed))

    def store(self, message: Message, *, kind: str = "message", whole: str | None = None) -> None:
        """Keep a message as a document of its own, written before the ticket that counts it."""
        self.inserts.append(Insert(MESSAGES, message_document(self.ticket.id, message, kind=kind, whole=whole)))

    def decision(self) -> Decision[TicketState]:
        """Return what was decided."""
        return Decision(self.state, self.events, self.inserts)


def taken_id(ticket: str, message: str) -> str:
    """Return the id under which TAKEN says that a ticket has taken a message."""
    return f"{ticket}:{message}"


def message_document(ticket: str, message: Message, *, kind: str, whole: str | None = None) -> dict[str, object]:
    """Return the document of a message on a ticket. Two tickets may have one: it arrived on the one, and went on."""
    at = message.received_at or message.sent_at
    body = message.model_dump(mode="json", exclude_none=True)
    own = f"{ticket}:{message.id}"
    document = {"_id": own, "ticket": ticket, "message": message.id, "kind": kind, "at": at, "body": body}
    return document if whole is None else {**document, "whole": whole}
