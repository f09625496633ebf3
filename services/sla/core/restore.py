"""The clocks of a ticket from its events and from those of its clocks: the same rules, with warnings and breaches as
they were announced. No IO.

Of the policies only those whose files are given are known. Which was in force when is seen from the clocks that
started: a version from its first use on. So a ticket without clocks may be bound to the one before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from contracts.envelope import Command, Event
from contracts.payload import Payload
from contracts.sla import ClockAtRisk, ClockBreached, ClockCancelled, ClockDueSoon, ClockEvent, ClockStarted
from kit.protocol.document import Decision
from services.sla.core import tickets
from services.sla.core.policy import Book
from services.sla.core.state import TicketClocks
from services.sla.core.update import Update

_BY_TIMER = (ClockBreached, ClockDueSoon, ClockAtRisk)


@dataclass
class Shelf:
    """The given versions of the policies. `current` is the one in force at the instant that is being decided."""

    books: Mapping[str, Book]
    current: Book
    used: dict[str, datetime] = field(default_factory=dict)
    """Version -> when the first clock started by it."""
    unknown: set[str] = field(default_factory=set)
    """Versions that events name, and whose file was not given."""

    @classmethod
    def of(cls, latest: Book, *earlier: Book) -> Shelf:
        """Return a shelf; `latest` is in force where events do not tell."""
        return cls({book.version: book for book in (*earlier, latest)}, latest)

    def version(self, version: str) -> Book:
        """Return one version, the current one if its file was not given."""
        return self.books.get(version, self.current)

    def note(self, event: Event) -> None:
        """Take from an event which policies there were. Needed of all events before the first document is folded."""
        if isinstance(event.data, ClockStarted):
            version = event.data.policy.version
            if version not in self.books:
                self.unknown.add(version)
            elif version not in self.used or event.time < self.used[version]:
                self.used[version] = event.time

    def turn_to(self, at: datetime) -> None:
        """Put in force what was in force at an instant."""
        if self.used:
            begun = [(since, version) for version, since in self.used.items() if since <= at]
            first = min((since, version) for version, since in self.used.items())
            self.current = self.books[max(begun, default=first)[1]]


class RestoreClocks:
    """See `Restore` in kit/protocol/restoring.py."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def heard(
        self,
        state: TicketClocks | None,
        what: Event | Command,
        at: datetime,
        said: Sequence[Event],
        *,
        incomplete: bool,  # noqa: ARG002 - it makes no difference here
    ) -> Decision[TicketClocks]:
        """Decide an event of the ticket again."""
        assert isinstance(what, Event)
        now = said[0].time if said else at
        self._shelf.turn_to(now)
        return tickets.decide(state, what, self._shelf, now)

    def said(self, state: TicketClocks | None, said: Sequence[Event]) -> Decision[TicketClocks]:
        """Let the clocks warn and breach that did so then, or bind the ticket to a changed policy file."""
        if state is None:
            return Decision()
        events = [event.data for event in said if isinstance(event.data, ClockEvent)]
        self._shelf.turn_to(said[0].time)
        if not all(isinstance(event, _BY_TIMER) for event in events):
            ended = [event.cancelled_at for event in events if isinstance(event, ClockCancelled)]
            return tickets.rebase(state, self._shelf, ended[0] if ended else said[0].time) or Decision()
        update = Update(state, self._shelf, said[0].time, said[0].time)
        for number, event in enumerate(events):
            clock = next((clock for clock in update.state.live if clock.id == event.clock_id), None)
            until = None if clock is None else clock.due_at if isinstance(event, ClockBreached) else clock.next_at
            if clock is not None and until is not None and len(update.events) <= number:  # two warnings at one instant
                update.tick(clock, until)
        return Decision(update.state, update.events)

    def finished(self, state: TicketClocks) -> TicketClocks:
        """Return the state as it is."""
        return state

    def agrees(self, mine: Payload, said: Payload) -> bool:
        """Return whether it is the same about the same clock, with the same end. How late it was noticed may differ."""
        if not isinstance(mine, ClockEvent) or not isinstance(said, ClockEvent):
            return False
        return (mine.type, mine.clock_id, mine.policy, mine.due_at) == (
            said.type,
            said.clock_id,
            said.policy,
            said.due_at,
        )
