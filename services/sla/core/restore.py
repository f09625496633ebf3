"""The clocks of a ticket from its events and from those of its clocks: the same rules, with warnings and breaches as
they were announced. No IO.

Of the policies only those whose files are given are known. Which was in force when is seen from the clocks that
started: a version from its first use on, and again from when it binds a ticket. So a ticket without clocks may be bound
to the one before.
"""

from __future__ import annotations

from bisect import bisect_right
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
from services.sla.core.update import REPLIES, Update

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
    _bound: dict[tuple[datetime, str], datetime] = field(default_factory=dict)
    """Minute and version -> when the first ticket of that minute was bound to it; each instant would take too much."""
    _changes: list[tuple[datetime, str]] | None = None
    """Instant -> version in force from then on; made once, after everything is noted."""

    @classmethod
    def of(cls, latest: Book, *earlier: Book) -> Shelf:
        """Return a shelf; `latest` is in force where events do not tell."""
        return cls({book.version: book for book in (*earlier, latest)}, latest)

    def version(self, version: str) -> Book:
        """Return one version, the current one if its file was not given."""
        return self.books.get(version, self.current)

    def note(self, event: Event) -> None:
        """Take from an event which policies there were. Needed of all events before the first document is folded."""
        if not isinstance(event.data, ClockStarted):
            return
        version, since = event.data.policy.version, event.time
        if version not in self.books:
            self.unknown.add(version)
            return
        self.used[version] = min(since, self.used.get(version, since))
        if event.causationid is None or event.data.clock_id.endswith(":1"):  # later clocks may be of an earlier version
            minute = since.replace(second=0, microsecond=0), version
            self._bound[minute] = min(since, self._bound.get(minute, since))

    def turn_to(self, at: datetime, said: Sequence[Event] = ()) -> None:
        """Put in force what was in force at an instant, when `said` was said."""
        started = [event.data for event in said if isinstance(event.data, ClockStarted)]
        started.sort(key=lambda data: data.metric not in REPLIES)  # a wait is bound anew, the ticket is not
        versions = [data.policy.version for data in started if data.policy.version in self.books]
        if self._changes is None:
            again = [(since, version) for (_, version), since in self._bound.items()]
            self._changes = sorted([*again, *((since, version) for version, since in self.used.items())])
        if versions:
            self.current = self.books[versions[0]]
        elif self._changes:
            place = bisect_right(self._changes, at, key=lambda change: change[0])
            self.current = self.books[self._changes[max(place - 1, 0)][1]]


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
        self._shelf.turn_to(now, said)
        return tickets.decide(state, what, self._shelf, now)

    def said(self, state: TicketClocks | None, said: Sequence[Event]) -> Decision[TicketClocks]:
        """Let the clocks warn and breach that did so then, or bind the ticket to a changed policy file."""
        if state is None:
            return Decision()
        events = [event.data for event in said if isinstance(event.data, ClockEvent)]
        self._shelf.turn_to(said[0].time, said)
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
