"""What an event of a ticket means for the ticket's clocks: which start, pause, resume, end or change their terms.

Each event carries the ticket as it was afterwards, and the rules look at that, so one missed event does not leave a
clock wrong for good. Order of the rules: stop outranks pause, pause outranks start. How a clock changes is in
`clocks.py`, how the changes are collected in `update.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from contracts.envelope import Event
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
from services.sla.core import replies
from services.sla.core.clocks import TOTAL_RESOLUTION, Phase, SlaClock, Terms, paused_by_solve
from services.sla.core.history import History, Span, append_status
from services.sla.core.state import Books, TicketClocks
from services.sla.core.update import REPLIES, Update

#: A message accepted longer than this before its event counts from the event's time.
MAX_TRANSIT = timedelta(days=30)


def decide(state: TicketClocks | None, event: Event, books: Books, now: datetime) -> Decision[TicketClocks]:
    """Apply one event of the tickets topic. Raises UnknownVersion for policies that must be looked up first."""
    data = event.data
    if not isinstance(data, TicketEvent) or (state is not None and state.closed):
        return Decision()
    at = event.time if state is None else max(event.time, state.at)
    update = Update(state or _initial_state(data.ticket, event, books), books, at, now)
    if _is_overtaken(data.ticket, update.state):
        _apply_overtaken(update, data, event)
    else:
        _apply(update, data, event)
    return Decision(update.state, update.events) if update.state != state else Decision()


def fire(state: TicketClocks, until: datetime, books: Books, now: datetime) -> Decision[TicketClocks] | None:
    """Publish warnings and breaches up to `until`. Everything that happened before `until` must have been handled."""
    update = Update(state, books, until, now)
    for clock in sorted(state.live, key=lambda c: c.next_at or until):
        update.tick(clock, until)
    return Decision(update.state, update.events) if update.events else None


def rebase(state: TicketClocks, books: Books, now: datetime) -> Decision[TicketClocks] | None:
    """Bind a ticket to the policies in force, and replace clocks whose terms differ.

    A clock that is due already keeps its terms: only the tick knows whether it was met in time.
    """
    version = books.current.version
    if state.closed or state.version == version or books.current.on_change != "rebase":
        return None
    update = Update(state, books, max(now, state.at), now)
    update.set(version=version, waits_version="")
    is_due = [clock for clock in state.live if clock.due_at is not None and clock.due_at <= update.at]
    _update_terms(update, keep=is_due)
    _start_clocks(update)
    return Decision(update.state, update.events)


def _initial_state(ticket: Ticket, event: Event, books: Books) -> TicketClocks:
    return TicketClocks(
        ticket.id,
        ticket.facts(),
        Status.NEW,
        event.time,
        books.current.version,
        replied=ticket.first_reply_at is not None,
    )


def _is_overtaken(ticket: Ticket, state: TicketClocks) -> bool:
    """Return whether an event with a newer version of the ticket was applied already."""
    return None not in (ticket.version, state.ticket_version) and (ticket.version or 0) < (state.ticket_version or 0)


def _apply(update: Update, data: TicketEvent, event: Event) -> None:
    ticket, old = data.ticket, update.old
    update.set(
        at=update.at,
        ticket_version=old.ticket_version if ticket.version is None else ticket.version,
        facts=ticket.facts(),
        status=ticket.status,
        bot=ticket.handled_by_bot,
        reopens=ticket.reopen_count,
    )
    if isinstance(data, MessageSent) and _is_by_agent(data.message):
        _stop_answered(update, data.message, ticket)
        update.set(replies=replies.add(update.state.replies, data.message.id, update.at))
    if _end_if_closed(update, data):
        return
    if ticket.handled_by_bot and not old.bot:
        for clock in update.state.live:
            update.cancel(clock, CancelReason.HANDLED_BY_BOT)
    if ticket.status is Status.SOLVED and old.status is not Status.SOLVED:
        _solve(update)
    _pause_or_resume(update, data)
    _record_wait(update, ticket, event)
    if isinstance(data, MessageBounced) and data.permanent:
        _undo_reply(update, data)
    _record_history(update, data)
    if update.state.facts != old.facts or update.state.solved_at != old.solved_at:
        _update_terms(update)
    question = data.message if isinstance(data, TicketOpened | MessageReceived) else None
    _start_clocks(update, None if question is None else question.id)


def _apply_overtaken(update: Update, data: TicketEvent, event: Event) -> None:
    """Apply an event that newer ones overtook: count a reply at its own time; the newer ones told everything else."""
    if not isinstance(data, MessageSent) or not _is_by_agent(data.message):
        return
    update.set(replies=replies.add(update.state.replies, data.message.id, event.time))
    open_since = data.ticket.oldest_unanswered_at
    for clock in update.live(*REPLIES):
        answered = clock.metric == Metric.FIRST_REPLY or open_since is None or open_since > clock.started_at
        if answered and clock.started_at <= event.time:
            update.stop(clock, event.time, data.message.id)
    if not update.live(Metric.FIRST_REPLY):  # a newer one measures the wait that goes on
        update.set(replied=True)
        _start_clocks(update)


# -- the rules, in order of rank ---------------------------------------------------------------------------------------


def _stop_answered(update: Update, message: Message, ticket: Ticket) -> None:
    """Stop the reply clocks that this reply answers. If it was written before the latest question, that stays open."""
    asked, open_since = update.state.asked_at, ticket.oldest_unanswered_at
    answered = asked is None or open_since is None or open_since > asked
    for clock in update.live(*REPLIES) if answered else update.live(Metric.FIRST_REPLY):
        update.stop(clock, update.at, message.id)
    update.set(replied=True)


def _end_if_closed(update: Update, data: TicketEvent) -> bool:
    """End all clocks of a ticket that was closed or merged; return whether it was."""
    merged = data.ticket.merged_into is not None or (
        isinstance(data, TicketClosed) and data.reason == CloseReason.MERGED
    )
    if not merged and data.ticket.status is not Status.CLOSED:
        return False
    solved_at = update.state.solved_at
    for clock in update.state.live:
        if merged:
            update.cancel(clock, CancelReason.MERGED)
        elif clock.metric in REPLIES:
            update.cancel(clock, CancelReason.CLOSED)
        else:
            update.stop(clock, solved_at if solved_at is not None and paused_by_solve(clock) else update.at)
    update.set(closed=True, asked_at=None, waits_since=None, waits_version="", history=(), replies=())
    return True


def _solve(update: Update) -> None:
    for clock in update.live(*REPLIES):
        update.cancel(clock, CancelReason.SOLVED)
    state = update.state
    update.set(solved_at=update.at, replied=state.replied or bool(state.history), replies=())


def _pause_or_resume(update: Update, data: TicketEvent) -> None:
    """Pause or resume the resolution clocks as the ticket's status demands."""
    status = update.state.status
    if status is not Status.SOLVED and update.state.solved_at is not None:
        update.set(solved_at=None)
    for clock in update.live(Metric.RESOLUTION, TOTAL_RESOLUTION):
        reason = _pause_reason(clock, status)
        if reason is None and clock.phase is Phase.PAUSED:
            update.resume(clock, _resume_reason(clock, data))
        elif reason is not None and reason != clock.pause_reason:
            update.pause(clock, reason)


def _record_wait(update: Update, ticket: Ticket, event: Event) -> None:
    """Record since when the customer waits for an agent: not while a bot has the ticket, nor once it is solved."""
    old, asked = update.old, ticket.oldest_unanswered_at
    update.set(asked_at=asked)
    if asked is None or ticket.handled_by_bot or ticket.status is Status.SOLVED:
        update.set(waits_since=None, waits_version="")
    elif old.waits_since is None or old.asked_at is None or asked > old.asked_at:
        since = asked if event.time - MAX_TRANSIT <= asked <= event.time else event.time
        since = max(since, ticket.handed_off_at or since)
        since = update.at if old.status is Status.SOLVED else since
        update.set(waits_since=since, waits_version=update.books.current.version)


def _undo_reply(update: Update, data: MessageBounced) -> None:
    """Let the clocks that a bounced reply ended go on, up to the next reply if there was one."""
    asked = data.ticket.oldest_unanswered_at
    ended = [c for c in update.state.ended if c.answered_by is not None and c.answered_by == data.message_id]
    rest, following = replies.remove(update.state.replies, data.message_id)
    update.set(replies=rest)
    waits_again = asked is not None and (update.old.asked_at is None or asked < update.old.asked_at)
    if waits_again and update.state.waits_since is not None:
        _resume_wait(update, data.ticket, ended)
    elif following is not None:
        for clock in ended:
            update.stop(update.reinstate(clock), following.at, following.message_id)


def _resume_wait(update: Update, ticket: Ticket, ended: Sequence[SlaClock]) -> None:
    """Let the wait go on that the clocks in `ended` measured, in place of any later one."""
    if not ended:
        first = ticket.first_reply_at is not None or ticket.reopen_count > 0
        update.set(replied=update.state.replied and first)
        return
    for newer in update.live(*REPLIES):
        update.cancel(newer, CancelReason.SUPERSEDED)
    oldest = min(ended, key=lambda c: c.started_at)  # the others measured later questions
    update.reinstate(oldest)
    update.set(
        waits_since=oldest.started_at,
        waits_version=oldest.terms.policy.version,
        replied=oldest.metric != Metric.FIRST_REPLY,
    )
    _update_terms(update)


def _record_history(update: Update, data: TicketEvent) -> None:
    """Record the ticket's status, from the first message of the customer that an agent has to answer."""
    state, ticket, version = update.state, data.ticket, update.books.current.version
    if state.bot:
        update.set(history=())
    elif state.history:
        update.set(history=append_status(state.history, update.at, state.status))
    elif state.status is not Status.SOLVED and (
        ticket.last_customer_message_at is not None or (isinstance(data, TicketOpened) and data.message is None)
    ):
        began = state.waits_since if state.waits_since != update.old.waits_since else None
        update.set(history=(Span(began or update.at, state.status),), version=version)


def _update_terms(update: Update, keep: Sequence[SlaClock] = ()) -> None:
    """Give running clocks the terms that apply to the ticket now, after a change of facts or of the policy file.

    Clocks in `keep` are left as they are, and so are breached ones, and those of a solved ticket until it is reopened.
    """
    for clock in update.state.live:
        if clock.breached_at is not None or paused_by_solve(clock) or clock in keep:
            continue
        terms = update.terms(update.state, clock.metric)
        if terms is None:
            update.cancel(clock, CancelReason.POLICY_CHANGED)
        elif _differ(terms, clock.terms):
            update.change_terms(clock, terms)
            _pause_started(update)


def _start_clocks(update: Update, message_id: str | None = None) -> None:
    """Start the clocks that the policies set for the ticket and that it does not have yet."""
    state = update.state
    if not state.history or state.status is Status.SOLVED:
        return
    if state.waits_since is not None:
        wait: History = (Span(state.waits_since, state.status),)
        update.start(Metric.NEXT_REPLY if state.replied else Metric.FIRST_REPLY, wait, message_id)
    for metric in (Metric.RESOLUTION, TOTAL_RESOLUTION):
        update.start(metric, state.history)
    _pause_started(update)


def _pause_started(update: Update) -> None:
    """Pause a resolution clock that has just started in a status that pauses it."""
    for clock in update.live(Metric.RESOLUTION):
        reason = _pause_reason(clock, update.state.status)
        if reason is not None and clock.phase is Phase.RUNNING:
            update.pause(clock, reason)


def _is_by_agent(message: Message) -> bool:
    return message.direction is Direction.OUT and message.author.kind == AuthorKind.AGENT and not message.automated


def _pause_reason(clock: SlaClock, status: Status) -> str | None:
    if status is Status.SOLVED:
        return PauseReason.SOLVED
    return status.value if status in clock.terms.pauses else None


def _resume_reason(clock: SlaClock, data: TicketEvent) -> str:
    if clock.pause_reason == PauseReason.SOLVED:
        return ResumeReason.REOPENED
    # Ingest publishes the change of status before the message that caused it.
    by_customer = isinstance(data, TicketStatusChanged) and data.actor.kind == AuthorKind.CONTACT
    return ResumeReason.CUSTOMER_REPLIED if by_customer or isinstance(data, MessageReceived) else ResumeReason.STATUS


def _differ(new: Terms, old: Terms) -> bool:
    """Return whether terms differ in anything but the version of the file: a file may leave a policy as it was."""
    return _content(new) != _content(old)


def _content(terms: Terms) -> tuple[object, ...]:
    calendar = terms.calendar
    hours = (calendar.name, calendar.version, calendar.holidays)
    return terms.policy.name, terms.target_ms, hours, terms.warnings, terms.pauses
