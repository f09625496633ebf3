"""One update of a ticket's clocks: the state before it, the state so far, and the events to publish.

Everything here carries out; which clocks start, pause or end is decided in `tickets.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from contracts.payload import Payload
from contracts.sla import Metric
from contracts.ticket import Status
from services.sla.core import clocks
from services.sla.core.clocks import TOTAL_RESOLUTION, ClockContext, Phase, SlaClock, Terms
from services.sla.core.history import History, working_ms
from services.sla.core.state import Books, Breach, TicketClocks

#: Ended clocks and breaches that a ticket's document keeps, the latest ones.
KEPT_CLOCKS, KEPT_BREACHES = 20, 50

REPLIES = (Metric.FIRST_REPLY, Metric.NEXT_REPLY)


@dataclass
class Update:
    """Collects the changes of one decision."""

    state: TicketClocks
    books: Books
    at: datetime
    """Instant that the update is about."""
    now: datetime
    events: list[Payload] = field(default_factory=list)
    old: TicketClocks = field(init=False)

    def __post_init__(self) -> None:
        self.old = self.state

    def set(self, **changes: object) -> None:
        """Change fields of the state."""
        self.state = replace(self.state, **changes)  # type: ignore[arg-type]

    def live(self, *metrics: str) -> list[SlaClock]:
        """Return the ticket's live clocks of these metrics."""
        return [clock for clock in self.state.live if clock.metric in metrics]

    def terms(self, state: TicketClocks, metric: str) -> Terms | None:
        """Return the terms of a metric by the policies that the ticket, or its present wait, is bound to."""
        version = state.waits_version if metric in REPLIES and state.waits_version else state.version
        return self.books.version(version).terms(state.facts, metric)

    def tick(self, clock: SlaClock, until: datetime) -> None:
        self._replace(clock, *clocks.tick(clock, until, self._context(clock.terms)))

    def pause(self, clock: SlaClock, reason: str) -> None:
        self._replace(clock, *clocks.pause(clock, self.at, reason, self._context(clock.terms)))

    def resume(self, clock: SlaClock, reason: str) -> None:
        self._replace(clock, *clocks.resume(clock, self.at, reason, self._context(clock.terms)))

    def stop(self, clock: SlaClock, at: datetime, message_id: str | None = None) -> None:
        self._replace(clock, *clocks.stop(clock, at, self._context(clock.terms), message_id))

    def cancel(self, clock: SlaClock, reason: str) -> None:
        self._replace(clock, *clocks.cancel(clock, self.at, reason, self._context(clock.terms)))

    def reinstate(self, clock: SlaClock) -> SlaClock:
        """Let an ended clock go on, and return it as it runs."""
        ended = tuple(c for c in self.state.ended if c.id != clock.id)
        self.set(live=(*self.state.live, clock), ended=ended)
        self._replace(clock, *clocks.reinstate(clock, self.at, self._context(clock.terms)))
        return next(c for c in self.state.live if c.id == clock.id)

    def start(self, metric: str, past: History, message_id: str | None = None) -> None:
        """Start a clock unless the ticket has one, with the working time of `past` as used.

        If the metric did not apply before this update, its clock cannot have breached in the past: one whose time is
        used up is due at once.
        """
        terms = None if self.live(metric) else self.terms(self.state, metric)
        if terms is None:
            return
        context = self._context(terms)
        newly_applies = self.terms(self.old, metric) is None
        at = self.at if newly_applies else past[-1].since
        paused_in = () if metric == TOTAL_RESOLUTION else (*terms.pauses, Status.SOLVED)
        started = clocks.start(
            self._next_id(metric),
            metric,
            terms,
            at,
            context,
            elapsed_ms=working_ms(past, at, context.calendar, paused_in),
            started_at=past[0].since,
            message_id=message_id,
        )
        self._add(*started)

    def change_terms(self, clock: SlaClock, terms: Terms) -> None:
        """Replace a clock by one with other terms, unless the old ones are breached already."""
        steps = clocks.change_terms(
            clock,
            terms,
            self.at,
            clock_id=self._next_id(clock.metric),
            old=self._context(clock.terms),
            new=self._context(terms),
        )
        self._replace(clock, *steps[0])
        for successor in steps[1:]:
            self._add(*successor)

    def _add(self, clock: SlaClock, events: list[Payload]) -> None:
        self.set(live=(*self.state.live, clock), serial=self.state.serial + 1)
        self.events += events

    def _replace(self, old: SlaClock, new: SlaClock, events: list[Payload]) -> None:
        live = tuple(new if c.id == old.id else c for c in self.state.live)
        if new.phase is Phase.ENDED:
            live = tuple(c for c in live if c.id != new.id)
            self.set(ended=(*self.state.ended, new)[-KEPT_CLOCKS:])
        if new.breached_at is not None and old.breached_at is None:
            breach = Breach(new.id, new.metric, new.terms.policy.name, new.breached_at, new.terms.target_ms)
            self.set(breaches=(*self.state.breaches, breach)[-KEPT_BREACHES:])
        if new.breached_at is None and old.breached_at is not None:  # withdrawn
            self.set(breaches=tuple(breach for breach in self.state.breaches if breach.clock_id != new.id))
        self.set(live=live)
        self.events += events

    def _context(self, terms: Terms) -> ClockContext:
        calendar = self.books.version(terms.policy.version).calendar(terms.calendar.name)
        return ClockContext(self.state.ticket_id, self.state.facts, calendar, self.now, reopens=self.state.reopens)

    def _next_id(self, metric: str) -> str:
        return f"{self.state.ticket_id}:{metric}:{self.state.serial + 1}"
