"""Timelines for the tests of sla: the events of a ticket as ingest would publish them, and the ticket's clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from contracts.envelope import Event
from contracts.payload import Payload
from contracts.sla import ClockEvent
from contracts.ticket import Author, ContactRef, CustomerFacts, Direction, Market, Message, Priority, Status, Ticket
from contracts.tickets import (
    MessageBounced,
    MessageReceived,
    MessageSent,
    NoteAdded,
    TicketClosed,
    TicketFactsChanged,
    TicketHandedOff,
    TicketMerged,
    TicketOpened,
    TicketPriorityChanged,
    TicketReopened,
    TicketStatusChanged,
    TicketTagged,
)
from kit.policy.file import parse
from services.sla.core import tickets
from services.sla.core.policy import Book
from services.sla.core.state import TicketClocks

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)  # a Monday
AGENT = Author(kind="agent", id="ana")
BOT = Author(kind="bot", id="helper")
CUSTOMER = Author(kind="contact", id="c-1")

SIMPLE = """
policies:
  - name: default
    targets: {first_reply: 30m, next_reply: 20m, resolution: 120m, total_resolution: 300m}
"""


def book(text: str = SIMPLE) -> Book:
    return parse("sla.yaml", text.encode(), Book)


class BookVersions:
    """All versions of the policy file that a test has used; `current` is the latest."""

    def __init__(self, *books: Book) -> None:
        self.current = books[-1]
        self._known = {b.version: b for b in books}

    def put(self, new: Book) -> None:
        self.current = self._known[new.version] = new

    def version(self, version: str) -> Book:
        return self._known[version]


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def minute(instant: datetime | None) -> float | None:
    return None if instant is None else (instant - START) / timedelta(minutes=1)


class Writer:
    """Makes the events of one ticket, as ingest does: each contains the ticket directly after it."""

    def __init__(self, ticket_id: str = "t-1", **facts: Any) -> None:
        self.sequence = 0
        self.unanswered: list[datetime] = []
        self.answers: dict[str, tuple[datetime, datetime, list[datetime]]] = {}
        """Replies since the last solve: message id -> (sent at, requested at, arrival times of answered messages)."""
        defaults: dict[str, Any] = {
            "channel": "email",
            "account": "support-nimbus",
            "brand": "nimbus",
            "market": Market(marketplace="shopee", country="TH"),
        }
        self.ticket = Ticket(
            id=ticket_id,
            contact=ContactRef(id="c-1"),
            created_at=START,
            updated_at=START,
            **{**defaults, **facts},
        )

    def event(self, t: float, data_type: Any, *, changes: dict[str, Any] | None = None, **data: Any) -> Event:
        self.sequence += 1
        self.ticket = self.ticket.model_copy(update={"updated_at": at(t), "version": self.sequence, **(changes or {})})
        payload = data_type(ticket=self.ticket, **data)
        return Event.of(payload, source="/deskbus/ingest", subject=self.ticket.id, sequence=self.sequence, time=at(t))

    def opened(self, t: float = 0, *, automated: bool = False, taken: float | None = None) -> Event:
        created = at(t if taken is None else taken)
        message = self.message(t, automated=automated)
        return self.event(
            t, TicketOpened, message=message, changes={"created_at": created, **self._asks(message, created)}
        )

    def message(self, t: float, author: Author = CUSTOMER, *, automated: bool = False) -> Message:
        return Message(
            id=f"m-{self.sequence + 1}",
            direction=Direction.IN if author.kind == "contact" else Direction.OUT,
            author=author,
            text="…",
            sent_at=at(t),
            automated=automated,
        )

    def received(self, t: float, *, automated: bool = False) -> Event:
        message = self.message(t, automated=automated)
        return self.event(t, MessageReceived, message=message, changes=self._asks(message, at(t)))

    def _asks(self, message: Message, instant: datetime) -> dict[str, Any]:
        if message.automated:
            return {}
        self.unanswered = sorted([*self.unanswered, instant])
        return {"last_customer_message_at": instant, "oldest_unanswered_at": self.unanswered[0]}

    def replied(
        self, t: float, author: Author = AGENT, *, automated: bool = False, asked: float | None = None
    ) -> Event:
        """Return the event of a reply sent at `t` and requested at `asked`; it answers what had arrived by then."""
        message = self.message(t, author, automated=automated)
        if author.kind == "bot" or automated:
            return self.event(t, MessageSent, message=message)
        given = at(t if asked is None else asked)
        self.answers[message.id] = at(t), given, [instant for instant in self.unanswered if instant <= given]
        self.unanswered = [instant for instant in self.unanswered if instant > given]
        return self.event(t, MessageSent, message=message, changes=self._waits())

    def bounced(self, t: float, message_id: str, *, permanent: bool = True) -> Event:
        """Return the event of a bounce: what the reply answered is unanswered again, unless a later one answers it."""
        for instant in self.answers.pop(message_id)[2] if permanent and message_id in self.answers else ():
            later = next((asked for _, given, asked in self.answers.values() if given >= instant), self.unanswered)
            later.append(instant)
        self.unanswered.sort()
        data = {"message_id": message_id, "permanent": permanent, "error": "no such mailbox", "at": at(t)}
        return self.event(t, MessageBounced, changes=self._waits(), **data)

    def _waits(self) -> dict[str, Any]:
        first = min((sent for sent, _, _ in self.answers.values()), default=None)
        return {"first_reply_at": first, "oldest_unanswered_at": self._oldest()}

    def _oldest(self) -> datetime | None:
        return self.unanswered[0] if self.unanswered else None

    def noted(self, t: float) -> Event:
        return self.event(t, NoteAdded, note_id="n-1", author=AGENT, text="…")

    def status(self, t: float, new: str, actor: Author = AGENT) -> Event:
        old, changes = self.ticket.status, {"status": Status(new)}
        return self.event(
            t, TicketStatusChanged, changes=changes | self._settled(new), old=old, new=Status(new), actor=actor
        )

    def _settled(self, new: str) -> dict[str, Any]:
        """Return the changes of solving and closing, which count as an answer to everything."""
        if new not in {"solved", "closed"}:
            return {}
        self.unanswered, self.answers = [], {}
        return {"oldest_unanswered_at": None}

    def reopened(self, t: float) -> Event:
        changes = {"status": Status.OPEN, "reopen_count": self.ticket.reopen_count + 1}
        return self.event(t, TicketReopened, changes=changes, old=self.ticket.status, actor=CUSTOMER)

    def closed(self, t: float, reason: str = "quiet") -> Event:
        changes = {"status": Status.CLOSED, **self._settled("closed")}
        return self.event(t, TicketClosed, changes=changes, old=self.ticket.status, reason=reason, actor=AGENT)

    def merged(self, t: float) -> Event:
        return self.event(t, TicketMerged, changes={"merged_into": "t-0"}, into="t-0", actor=AGENT)

    def handed_off(self, t: float) -> Event:
        changes = {"handled_by_bot": False, "handed_off_at": at(t)}
        return self.event(t, TicketHandedOff, changes=changes, actor=BOT)

    def priority(self, t: float, new: str) -> Event:
        old = self.ticket.priority
        return self.event(
            t, TicketPriorityChanged, changes={"priority": Priority(new)}, old=old, new=Priority(new), actor=AGENT
        )

    def tier(self, t: float, tier: str) -> Event:
        changes = {"customer": CustomerFacts(tier=tier)}
        return self.event(t, TicketFactsChanged, changes=changes, changed=("customer.tier",), actor=AGENT)

    def tagged(self, t: float, *tags: str) -> Event:
        return self.event(t, TicketTagged, changes={"tags": tags}, actor=AGENT)


class Desk:
    """One ticket's clocks. `said` has all their events; each method returns the new ones as "metric type"."""

    def __init__(self, text: str | Book = SIMPLE, **facts: Any) -> None:
        self.shelf = BookVersions(text if isinstance(text, Book) else book(text))
        self.write = Writer(**facts)
        self.state: TicketClocks | None = None
        self.said: list[ClockEvent] = []

    def take(self, event: Event, now: float | None = None) -> list[str]:
        decision = tickets.decide(self.state, event, self.shelf, event.time if now is None else at(now))
        self.state = decision.state or self.state
        return self._hear(decision.events)

    def tick(self, t: float) -> list[str]:
        assert self.state is not None
        decision = tickets.fire(self.state, at(t), self.shelf, at(t))
        if decision is None:
            return []
        self.state = decision.state or self.state
        return self._hear(decision.events)

    def rebase(self, t: float) -> list[str]:
        assert self.state is not None
        decision = tickets.rebase(self.state, self.shelf, at(t))
        if decision is None:
            return []
        self.state = decision.state or self.state
        return self._hear(decision.events)

    def due(self, metric: str) -> float | None:
        """Return the minute at which the metric's live clock is due; None if it is paused or there is none."""
        assert self.state is not None
        found = [clock for clock in self.state.live if clock.metric == metric]
        assert len(found) <= 1
        return minute(found[0].due_at) if found else None

    def running(self) -> set[str]:
        assert self.state is not None
        return {str(c.metric) for c in self.state.live if c.phase == "running"}

    def _hear(self, events: Any) -> list[str]:
        heard: list[Payload] = list(events)
        new = [event for event in heard if isinstance(event, ClockEvent)]
        assert len(new) == len(heard)
        self.said += new
        return [f"{event.metric} {name(event)}" for event in new]


def name(event: ClockEvent) -> str:
    word = event.type.removeprefix("deskbus.sla.").removesuffix(".v1").removeprefix("clock_")
    reason = getattr(event, "reason", None)
    return f"{word} {reason}" if reason else word


__all__ = ["AGENT", "BOT", "START", "BookVersions", "Desk", "Writer", "at", "book", "minute"]
