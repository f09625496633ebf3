"""What happens to a ticket, as what it means for the ticket's clocks. How a clock itself moves is in `clocks.py`.

Each event carries the ticket as it is afterwards, and every step looks at that, so one missed event does not leave a
clock wrong for good. Order of the rules: stop outranks pause, pause outranks start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from contracts.envelope import Event
from contracts.payload import Payload
from contracts.sla import CancelReason, Metric, PauseReason, ResumeReason
from contracts.ticket import AuthorKind, Direction, Message, Status, Ticket
from contracts.tickets import CloseReason, MessageReceived, MessageSent, TicketClosed, TicketEvent, TicketOpened
from kit.document import Decision
from services.sla.core import clocks
from services.sla.core.clocks import TOTAL_RESOLUTION, Clock, Phase, Setting, Step
from services.sla.core.state import Books, Breach, TicketClocks

#: Ended clocks and breaches that a ticket's document keeps, the latest ones.
KEPT_CLOCKS, KEPT_BREACHES = 20, 50
#: How long before its event a message may have been taken by the door; beyond, the event's own time counts.
LONGEST_WAY = timedelta(days=30)

_MACHINES = frozenset({AuthorKind.BOT, AuthorKind.SYSTEM})
REPLIES = (Metric.FIRST_REPLY, Metric.NEXT_REPLY)


def decide(state: TicketClocks | None, event: Event, books: Books, now: datetime) -> Decision[TicketClocks]:
    """Take one event of the tickets topic."""
    data = event.data
    if not isinstance(data, TicketEvent) or (state is not None and state.closed):
        return Decision()
    first_sight = state is None
    at = event.time if state is None else max(event.time, state.at)
    before = state or _unseen(data.ticket, event, books)
    turn = _Turn(before, books, at, now)
    turn.take(data, event, first_sight=first_sight)
    return Decision(turn.state, turn.events) if turn.state != state else Decision()


def fire(state: TicketClocks, until: datetime, books: Books, now: datetime) -> Decision[TicketClocks] | None:
    """Let time pass up to `until`, before which everything that happened is known."""
    turn = _Turn(state, books, until, now)
    for clock in sorted(state.live, key=lambda c: c.next_at or until):
        turn.step(clock, lambda c, w: clocks.tick(c, until, w))
    return Decision(turn.state, turn.events) if turn.events else None


def rebase(state: TicketClocks, books: Books, now: datetime) -> Decision[TicketClocks] | None:
    """Bind a ticket to the policies in force and put its clocks on their terms, if these ask for it.

    One that may be over already keeps its terms: whether it is, only the tick says, which knows what came in time.
    """
    if state.closed or state.version == books.current.version or books.current.on_change != "rebase":
        return None
    turn = _Turn(replace(state, version=books.current.version), books, max(now, state.at), now)
    turn.agree(but=[clock for clock in state.live if clock.due_at is not None and clock.due_at <= turn.at])
    return Decision(turn.state, turn.events)


def _unseen(ticket: Ticket, event: Event, books: Books) -> TicketClocks:
    return TicketClocks(
        ticket.id,
        ticket.facts(),
        Status.NEW,
        event.time,
        books.current.version,
        bot=ticket.handled_by_bot,
        replied=ticket.first_reply_at is not None,
    )


@dataclass
class _Turn:
    """One event being taken: the state so far and the facts to announce."""

    state: TicketClocks
    books: Books
    at: datetime
    now: datetime
    events: list[Payload] = field(default_factory=list)

    def take(self, data: TicketEvent, event: Event, *, first_sight: bool) -> None:
        ticket, old = data.ticket, self.state
        self._set(
            at=self.at,
            facts=ticket.facts(),
            status=ticket.status,
            bot=ticket.handled_by_bot,
            reopens=ticket.reopen_count,
        )
        if isinstance(data, MessageSent) and _by_a_person(data.message):
            self._answered(data.message)
        if self._is_over(data):
            return
        if ticket.handled_by_bot and not old.bot:
            self._cancel_all(CancelReason.HANDLED_BY_BOT)
        if ticket.status is Status.SOLVED and old.status is not Status.SOLVED:
            self._solved()
        self._stand_or_go(data)
        if self.state.facts != old.facts or self.state.solved_at != old.solved_at:
            self.agree()
        asked = self._ask(data, event, first_sight=first_sight)
        self._start(data, self.at if asked is None or old.bot else asked)

    # -- the rules, in order of rank -----------------------------------------------------------------------------

    def _answered(self, message: Message) -> None:
        for clock in self._of(*REPLIES):
            self.step(clock, lambda c, w: clocks.stop(c, self.at, w, message.id))
        self._set(replied=True, asked_at=None)

    def _is_over(self, data: TicketEvent) -> bool:
        merged = data.ticket.merged_into is not None or (
            isinstance(data, TicketClosed) and data.reason == CloseReason.MERGED
        )
        if not merged and data.ticket.status is not Status.CLOSED:
            return False
        solved_at = self.state.solved_at
        for clock in self.state.live:
            if merged:
                self.step(clock, lambda c, w: clocks.cancel(c, self.at, CancelReason.MERGED, w))
            elif clock.metric in REPLIES:
                self.step(clock, lambda c, w: clocks.cancel(c, self.at, CancelReason.CLOSED, w))
            else:
                done = solved_at if solved_at is not None and clocks.settled(clock) else self.at
                self.step(clock, lambda c, w, done=done: clocks.stop(c, done, w))  # type: ignore[misc]
        self._set(closed=True, asked_at=None)
        return True

    def _solved(self) -> None:
        for clock in self._of(*REPLIES):
            self.step(clock, lambda c, w: clocks.cancel(c, self.at, CancelReason.SOLVED, w))
        self._set(
            solved_at=self.at, asked_at=None, replied=self.state.replied or (self.state.begun and not self.state.bot)
        )

    def _stand_or_go(self, data: TicketEvent) -> None:
        status = self.state.status
        if status is not Status.SOLVED and self.state.solved_at is not None:
            self._set(solved_at=None)
        for clock in self._of(Metric.RESOLUTION, TOTAL_RESOLUTION):
            reason = _pause_reason(clock, status)
            if reason is None and clock.phase is Phase.PAUSED:
                why = _resume_reason(clock, data)
                self.step(clock, lambda c, w, why=why: clocks.resume(c, self.at, why, w))  # type: ignore[misc]
            elif reason is not None and reason != clock.pause_reason:
                self.step(clock, lambda c, w, reason=reason: clocks.pause(c, self.at, reason, w))  # type: ignore[misc]

    def agree(self, but: Sequence[Clock] = ()) -> None:
        """Give every running clock the terms that hold for the ticket now: another priority, tier or policy file."""
        book = self.books.version(self.state.version)
        for clock in self.state.live:
            if clock.breached_at is not None or clocks.settled(clock) or clock in but:
                continue  # a breach stays as it was told; who is solved has time until the reopening
            terms = book.terms(self.state.facts, clock.metric)
            if terms is None:
                self.step(clock, lambda c, w: clocks.cancel(c, self.at, CancelReason.POLICY_CHANGED, w))
            elif _other(terms, clock.terms):
                self._succeed(clock, terms)

    def _ask(self, data: TicketEvent, event: Event, *, first_sight: bool) -> datetime | None:
        """Note since when the customer waits; returns when they asked with this event."""
        asked: datetime | None = None
        if isinstance(data, TicketOpened):
            if data.message is None or _by_the_customer(data.message):
                asked = data.ticket.created_at
        elif isinstance(data, MessageReceived):
            if _by_the_customer(data.message):
                asked = data.message.received_at or event.time
        elif first_sight:  # opened before we began to listen
            asked = data.ticket.oldest_unanswered_at
            self._set(begun=data.ticket.last_customer_message_at is not None)
        if asked is not None:
            asked = asked if event.time - LONGEST_WAY <= asked <= event.time else event.time
            self._set(asked_at=self.state.asked_at or asked, begun=True)
        return asked

    def _start(self, data: TicketEvent, at: datetime) -> None:
        state = self.state
        if state.bot or not state.begun or state.status is Status.SOLVED:
            return
        message = data.message.id if isinstance(data, TicketOpened | MessageReceived) and data.message else None
        if state.asked_at is not None:
            self._begin(Metric.NEXT_REPLY if state.replied else Metric.FIRST_REPLY, at, message)
        for metric in (Metric.RESOLUTION, TOTAL_RESOLUTION):
            self._begin(metric, at, None)
        self._stand_or_go_new()

    def _stand_or_go_new(self) -> None:
        for clock in self._of(Metric.RESOLUTION):
            reason = _pause_reason(clock, self.state.status)
            if reason is not None and clock.phase is Phase.RUNNING:
                self.step(clock, lambda c, w, reason=reason: clocks.pause(c, self.at, reason, w))  # type: ignore[misc]

    # -- steps ---------------------------------------------------------------------------------------------------

    def step(self, clock: Clock, move: Callable[[Clock, Setting], Step]) -> None:
        """Move one clock, keep what it has become and what it says."""
        self._keep(clock, *move(clock, self._setting(clock.terms.policy.version, clock.terms.calendar.name)))

    def _begin(self, metric: str, at: datetime, message_id: str | None) -> None:
        if self._of(metric):
            return
        terms = self.books.version(self.state.version).terms(self.state.facts, metric)
        if terms is None:
            return
        where = self._setting(self.state.version, terms.calendar.name)
        clock, events = clocks.start(self._next_id(metric), metric, terms, at, where, message_id=message_id)
        self._set(live=(*self.state.live, clock), serial=self.state.serial + 1)
        self.events += events

    def _succeed(self, clock: Clock, terms: clocks.Terms) -> None:
        steps = clocks.revalue(
            clock,
            terms,
            self.at,
            clock_id=self._next_id(clock.metric),
            old=self._setting(clock.terms.policy.version, clock.terms.calendar.name),
            new=self._setting(terms.policy.version, terms.calendar.name),
        )
        self._keep(clock, *steps[0])
        for successor, events in steps[1:]:
            self._set(live=(*self.state.live, successor), serial=self.state.serial + 1)
            self.events += events
        self._stand_or_go_new()

    def _cancel_all(self, reason: str) -> None:
        for clock in self.state.live:
            self.step(clock, lambda c, w: clocks.cancel(c, self.at, reason, w))

    def _keep(self, old: Clock, new: Clock, events: list[Payload]) -> None:
        live = tuple(new if c.id == old.id else c for c in self.state.live)
        if new.phase is Phase.ENDED:
            live = tuple(c for c in live if c.id != new.id)
            self._set(ended=(*self.state.ended, new)[-KEPT_CLOCKS:])
        if new.breached_at is not None and old.breached_at is None:
            breach = Breach(new.id, new.metric, new.terms.policy.name, new.breached_at, new.terms.target_ms)
            self._set(breaches=(*self.state.breaches, breach)[-KEPT_BREACHES:])
        self._set(live=live)
        self.events += events

    def _of(self, *metrics: str) -> list[Clock]:
        return [clock for clock in self.state.live if clock.metric in metrics]

    def _setting(self, version: str, calendar: str) -> Setting:
        book = self.books.version(version)
        return Setting(
            self.state.ticket_id, self.state.facts, book.calendar(calendar), self.now, reopens=self.state.reopens
        )

    def _next_id(self, metric: str) -> str:
        return f"{self.state.ticket_id}:{metric}:{self.state.serial + 1}"

    def _set(self, **changes: object) -> None:
        self.state = replace(self.state, **changes)  # type: ignore[arg-type]


def _by_a_person(message: Message) -> bool:
    return message.direction is Direction.OUT and message.author.kind == AuthorKind.AGENT and not message.automated


def _by_the_customer(message: Message) -> bool:
    return message.direction is Direction.IN and not message.automated and message.author.kind not in _MACHINES


def _pause_reason(clock: Clock, status: Status) -> str | None:
    if status is Status.SOLVED:
        return PauseReason.SOLVED
    return status.value if status in clock.terms.pauses else None


def _resume_reason(clock: Clock, data: TicketEvent) -> str:
    if clock.pause_reason == PauseReason.SOLVED:
        return ResumeReason.REOPENED
    return ResumeReason.CUSTOMER_REPLIED if isinstance(data, MessageReceived) else ResumeReason.STATUS


def _other(new: clocks.Terms, old: clocks.Terms) -> bool:
    return (new.policy, new.target_ms, new.calendar.name, new.warnings, new.pauses) != (
        old.policy,
        old.target_ms,
        old.calendar.name,
        old.warnings,
        old.pauses,
    )
