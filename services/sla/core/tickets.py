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
from contracts.tickets import (
    CloseReason,
    MessageBounced,
    MessageReceived,
    MessageSent,
    TicketClosed,
    TicketEvent,
    TicketOpened,
    TicketStatusChanged,
)
from kit.protocol.document import Decision
from services.sla.core import clocks, replies
from services.sla.core.clocks import TOTAL_RESOLUTION, Phase, Setting, SlaClock, Step
from services.sla.core.history import History, Span, then, used
from services.sla.core.state import Books, Breach, TicketClocks

#: Ended clocks and breaches that a ticket's document keeps, the latest ones.
KEPT_CLOCKS, KEPT_BREACHES = 20, 50
#: How long before its event a message may have been taken by the door; beyond, the event's own time counts.
LONGEST_WAY = timedelta(days=30)

REPLIES = (Metric.FIRST_REPLY, Metric.NEXT_REPLY)


def decide(state: TicketClocks | None, event: Event, books: Books, now: datetime) -> Decision[TicketClocks]:
    """Take one event of the tickets topic."""
    data = event.data
    if not isinstance(data, TicketEvent) or (state is not None and state.closed):
        return Decision()
    at = event.time if state is None else max(event.time, state.at)
    before = state or _unseen(data.ticket, event, books)
    turn = _Turn(before, books, at, now)
    if _is_older(data.ticket, before):
        turn.take_late(data, event)
    else:
        turn.take(data, event)
    return Decision(turn.state, turn.events) if turn.state != state else Decision()


def fire(state: TicketClocks, until: datetime, books: Books, now: datetime) -> Decision[TicketClocks] | None:
    """Let time pass up to `until`, before which everything that happened is known."""
    turn = _Turn(state, books, until, now)
    for clock in sorted(state.live, key=lambda c: c.next_at or until):
        turn.step(clock, lambda c, w: clocks.tick(c, until, w))
    return Decision(turn.state, turn.events) if turn.events else None


def rebase(state: TicketClocks, books: Books, now: datetime) -> Decision[TicketClocks] | None:
    """Bind a ticket to the policies in force and put its clocks on their terms, where these differ.

    One that may be over already keeps its terms: whether it is, only the tick says, which knows what came in time.
    """
    version = books.current.version
    if state.closed or state.version == version or books.current.on_change != "rebase":
        return None
    turn = _Turn(state, books, max(now, state.at), now)
    turn.bind(version)
    turn.agree(but=[clock for clock in state.live if clock.due_at is not None and clock.due_at <= turn.at])
    turn.begin()
    return Decision(turn.state, turn.events)


def _unseen(ticket: Ticket, event: Event, books: Books) -> TicketClocks:
    return TicketClocks(
        ticket.id,
        ticket.facts(),
        Status.NEW,
        event.time,
        books.current.version,
        replied=ticket.first_reply_at is not None,
    )


@dataclass
class _Turn:
    """One event being taken: the state before it and so far, and the facts to announce."""

    state: TicketClocks
    books: Books
    at: datetime
    now: datetime
    events: list[Payload] = field(default_factory=list)
    old: TicketClocks = field(init=False)

    def __post_init__(self) -> None:
        self.old = self.state

    def take(self, data: TicketEvent, event: Event) -> None:
        ticket, old = data.ticket, self.old
        self._set(
            at=self.at,
            ticket_version=old.ticket_version if ticket.version is None else ticket.version,
            facts=ticket.facts(),
            status=ticket.status,
            bot=ticket.handled_by_bot,
            reopens=ticket.reopen_count,
        )
        if isinstance(data, MessageSent) and _by_a_person(data.message):
            self._answered(data.message, ticket)
            self._set(replies=replies.given(self.state.replies, data.message.id, self.at))
        if self._is_over(data):
            return
        if ticket.handled_by_bot and not old.bot:
            self._cancel_all(CancelReason.HANDLED_BY_BOT)
        if ticket.status is Status.SOLVED and old.status is not Status.SOLVED:
            self._solved()
        self._stand_or_go(data)
        self._wait(ticket, event)
        if isinstance(data, MessageBounced) and data.permanent:
            self._unanswered(data)
        self._live(data)
        if self.state.facts != old.facts or self.state.solved_at != old.solved_at:
            self.agree()
        self.begin(data.message.id if isinstance(data, TicketOpened | MessageReceived) and data.message else None)

    def take_late(self, data: TicketEvent, event: Event) -> None:
        """Take an event that newer ones have overtaken: a reply was given then, all else is known from the newer."""
        if not isinstance(data, MessageSent) or not _by_a_person(data.message):
            return
        self._set(replies=replies.given(self.state.replies, data.message.id, event.time))
        open_since = data.ticket.oldest_unanswered_at
        for clock in self._of(*REPLIES):
            answered = clock.metric == Metric.FIRST_REPLY or open_since is None or open_since > clock.started_at
            if answered and clock.started_at <= event.time:
                self.step(clock, lambda c, w: clocks.stop(c, event.time, w, data.message.id))
        if not self._of(Metric.FIRST_REPLY):  # one that began since stands for the wait that goes on
            self._set(replied=True)
            self.begin()

    def bind(self, version: str) -> None:
        """Hold the ticket and its wait to another version of the policies."""
        self._set(version=version, waits_version="")

    # -- the rules, in order of rank -----------------------------------------------------------------------------

    def _answered(self, message: Message, ticket: Ticket) -> None:
        """End the waits that this reply ends: one written before the latest question leaves that question open."""
        asked, open_since = self.state.asked_at, ticket.oldest_unanswered_at
        answered = asked is None or open_since is None or open_since > asked
        for clock in self._of(*REPLIES) if answered else self._of(Metric.FIRST_REPLY):
            self.step(clock, lambda c, w: clocks.stop(c, self.at, w, message.id))
        self._set(replied=True)

    def _unanswered(self, data: MessageBounced) -> None:
        """Let the wait go on whose reply never arrived: until now, or until the next reply if there was one."""
        ticket, asked = data.ticket, data.ticket.oldest_unanswered_at
        ended = [c for c in self.state.ended if c.answered_by is not None and c.answered_by == data.message_id]
        rest, following = replies.lost(self.state.replies, data.message_id)
        self._set(replies=rest)
        again = asked is not None and (self.old.asked_at is None or asked < self.old.asked_at)
        if again and self.state.waits_since is not None:
            if not ended:
                first = ticket.first_reply_at is not None or ticket.reopen_count > 0
                self._set(replied=self.state.replied and first)
                return
            for newer in self._of(*REPLIES):
                self.step(newer, lambda c, w: clocks.cancel(c, self.at, CancelReason.SUPERSEDED, w))
            oldest = min(ended, key=lambda c: c.started_at)  # the others are about questions asked since
            self._reinstate(oldest)
            self._set(waits_since=oldest.started_at, waits_version=oldest.terms.policy.version)
            self._set(replied=oldest.metric != Metric.FIRST_REPLY)
            self.agree()
        elif following is not None:
            for clock in ended:
                back, at, by = self._reinstate(clock), following.at, following.message_id
                self.step(back, lambda c, w, at=at, by=by: clocks.stop(c, at, w, by))  # type: ignore[misc]

    def _reinstate(self, clock: SlaClock) -> SlaClock:
        ended = tuple(c for c in self.state.ended if c.id != clock.id)
        self._set(live=(*self.state.live, clock), ended=ended)
        self.step(clock, lambda c, w: clocks.reinstate(c, self.at, w))
        return next(c for c in self.state.live if c.id == clock.id)

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
        self._set(closed=True, asked_at=None, waits_since=None, waits_version="", history=(), replies=())
        return True

    def _solved(self) -> None:
        for clock in self._of(*REPLIES):
            self.step(clock, lambda c, w: clocks.cancel(c, self.at, CancelReason.SOLVED, w))
        self._set(solved_at=self.at, replied=self.state.replied or bool(self.state.history), replies=())

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

    def agree(self, but: Sequence[SlaClock] = ()) -> None:
        """Give every running clock the terms that hold for the ticket now: another priority, tier or policy file."""
        for clock in self.state.live:
            if clock.breached_at is not None or clocks.settled(clock) or clock in but:
                continue  # a breach stays as it was told; who is solved has time until the reopening
            terms = self._terms(self.state, clock.metric)
            if terms is None:
                self.step(clock, lambda c, w: clocks.cancel(c, self.at, CancelReason.POLICY_CHANGED, w))
            elif _other(terms, clock.terms):
                self._succeed(clock, terms)

    def _wait(self, ticket: Ticket, event: Event) -> None:
        """Note since when the customer waits for people; neither a bot nor a solved ticket lets them wait."""
        old, asked = self.old, ticket.oldest_unanswered_at
        self._set(asked_at=asked)
        if asked is None or ticket.handled_by_bot or ticket.status is Status.SOLVED:
            self._set(waits_since=None, waits_version="")
        elif old.waits_since is None or old.asked_at is None or asked > old.asked_at:
            since = asked if event.time - LONGEST_WAY <= asked <= event.time else event.time
            since = max(since, ticket.handed_off_at or since)
            since = self.at if old.status is Status.SOLVED else since
            self._set(waits_since=since, waits_version=self.books.current.version)

    def _live(self, data: TicketEvent) -> None:
        """Note what the ticket goes through, from the customer's first word to people on."""
        state, ticket = self.state, data.ticket
        if state.bot:
            self._set(history=())
        elif state.history:
            self._set(history=then(state.history, self.at, state.status))
        elif state.status is not Status.SOLVED and (
            ticket.last_customer_message_at is not None or (isinstance(data, TicketOpened) and data.message is None)
        ):
            began = state.waits_since if state.waits_since != self.old.waits_since else None
            self._set(history=(Span(began or self.at, state.status),), version=self.books.current.version)

    def begin(self, message_id: str | None = None) -> None:
        """Start the clocks that the ticket asks for and does not have."""
        state = self.state
        if not state.history or state.status is Status.SOLVED:
            return
        if state.waits_since is not None:
            waits: History = (Span(state.waits_since, state.status),)
            self._begin(Metric.NEXT_REPLY if state.replied else Metric.FIRST_REPLY, waits, message_id)
        for metric in (Metric.RESOLUTION, TOTAL_RESOLUTION):
            self._begin(metric, state.history, None)
        self._stand_or_go_new()

    def _stand_or_go_new(self) -> None:
        for clock in self._of(Metric.RESOLUTION):
            reason = _pause_reason(clock, self.state.status)
            if reason is not None and clock.phase is Phase.RUNNING:
                self.step(clock, lambda c, w, reason=reason: clocks.pause(c, self.at, reason, w))  # type: ignore[misc]

    # -- steps ---------------------------------------------------------------------------------------------------

    def step(self, clock: SlaClock, move: Callable[[SlaClock, Setting], Step]) -> None:
        """Move one clock, keep what it has become and what it says."""
        self._keep(clock, *move(clock, self._setting(clock.terms.policy.version, clock.terms.calendar.name)))

    def _begin(self, metric: str, past: History, message_id: str | None) -> None:
        """Start a clock where it would be, had it run all along `past`.

        One that applies only from now on cannot have run out before: if its time is over, it is due at once.
        """
        terms = None if self._of(metric) else self._terms(self.state, metric)
        if terms is None:
            return
        where = self._setting(terms.policy.version, terms.calendar.name)
        late = self._terms(self.old, metric) is None
        at = self.at if late else past[-1].since
        still = () if metric == TOTAL_RESOLUTION else (*terms.pauses, Status.SOLVED)
        clock, events = clocks.start(
            self._next_id(metric),
            metric,
            terms,
            at,
            where,
            elapsed_ms=used(past, at, where.calendar, still),
            started_at=past[0].since,
            message_id=message_id,
        )
        self._set(live=(*self.state.live, clock), serial=self.state.serial + 1)
        self.events += events

    def _terms(self, state: TicketClocks, metric: str) -> clocks.Terms | None:
        """Return what is asked for by the policies that this metric of the ticket is bound to."""
        version = state.waits_version if metric in REPLIES and state.waits_version else state.version
        return self.books.version(version).terms(state.facts, metric)

    def _succeed(self, clock: SlaClock, terms: clocks.Terms) -> None:
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

    def _keep(self, old: SlaClock, new: SlaClock, events: list[Payload]) -> None:
        live = tuple(new if c.id == old.id else c for c in self.state.live)
        if new.phase is Phase.ENDED:
            live = tuple(c for c in live if c.id != new.id)
            self._set(ended=(*self.state.ended, new)[-KEPT_CLOCKS:])
        if new.breached_at is not None and old.breached_at is None:
            breach = Breach(new.id, new.metric, new.terms.policy.name, new.breached_at, new.terms.target_ms)
            self._set(breaches=(*self.state.breaches, breach)[-KEPT_BREACHES:])
        if new.breached_at is None and old.breached_at is not None:  # it was none, as we hear now
            self._set(breaches=tuple(breach for breach in self.state.breaches if breach.clock_id != new.id))
        self._set(live=live)
        self.events += events

    def _of(self, *metrics: str) -> list[SlaClock]:
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


def _is_older(ticket: Ticket, state: TicketClocks) -> bool:
    return None not in (ticket.version, state.ticket_version) and (ticket.version or 0) < (state.ticket_version or 0)


def _by_a_person(message: Message) -> bool:
    return message.direction is Direction.OUT and message.author.kind == AuthorKind.AGENT and not message.automated


def _pause_reason(clock: SlaClock, status: Status) -> str | None:
    if status is Status.SOLVED:
        return PauseReason.SOLVED
    return status.value if status in clock.terms.pauses else None


def _resume_reason(clock: SlaClock, data: TicketEvent) -> str:
    if clock.pause_reason == PauseReason.SOLVED:
        return ResumeReason.REOPENED
    # Ingest tells of the status first and of the message that moved it after that.
    woken = isinstance(data, TicketStatusChanged) and data.actor.kind == AuthorKind.CONTACT
    return ResumeReason.CUSTOMER_REPLIED if woken or isinstance(data, MessageReceived) else ResumeReason.STATUS


def _other(new: clocks.Terms, old: clocks.Terms) -> bool:
    """Say whether the terms differ in what they ask for: a new file that leaves a policy as it was changes nothing."""
    return _asked_for(new) != _asked_for(old)


def _asked_for(terms: clocks.Terms) -> tuple[object, ...]:
    calendar = terms.calendar
    hours = (calendar.name, calendar.version, calendar.holidays)
    return terms.policy.name, terms.target_ms, hours, terms.warnings, terms.pauses
