"""Attempts to send a queued message: start one, record its outcome, retry or give up.

Rules:
- An attempt is recorded in the document before it is made, so that two processes never make it at the same time. If its
  process dies, the message is tried again after the attempt's lease.
- An outcome counts only for the current attempt.
- An attempt without an outcome may have arrived. There are only a few of those, since each may deliver another copy.
- A message that has certainly not arrived is retried for hours.
- No message blocks the queue forever.
"""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta

from contracts.ticket import AuthorKind, Status
from contracts.tickets import FailureReason, MessageFailed, MessageSent
from kit.protocol.document import Decision
from services.ingest.core.commands import hand_off
from services.ingest.core.lifecycle import MOVE_TO, Move, allowed
from services.ingest.core.messages import SendFailure, SendOutcome, Sent
from services.ingest.core.moves import move
from services.ingest.core.policy import TicketPolicy
from services.ingest.core.state import ANSWERED_CAP, Answer, Draft, Pending, TicketState


def begin(state: TicketState, policy: TicketPolicy, now: datetime) -> Decision[TicketState] | None:
    """Start an attempt to send the first queued message, or give up after its last one. Return None if none is due."""
    if not state.pending or state.pending[0].next_at > now:
        return None
    first, *rest = state.pending
    if first.lost:
        reason = (
            "the database was rebuilt from Kafka, which does not tell whether this message was sent: check, then reply"
        )
        return _failed(state, first, SendFailure(f"{reason} again", permanent=False), now)
    if first.into is None and (late := _too_late(state, first, policy, now)):
        return _failed(state, first, late, now)
    if first.into is None and first.uncertain >= policy.send_attempts:
        return _failed(state, first, SendFailure("the last try ended without an outcome", permanent=False), now)
    token = state.reply_token if not first.attempts and first.into is None else None
    attempt = replace(
        first,
        attempts=first.attempts + 1,
        uncertain=first.uncertain + 1,
        next_at=now + policy.send_lease,
        reply_token=token.token if token and now <= token.until else None,
    )
    kept = state.reply_token if token is None else None  # it is used once, whatever comes of the attempt
    return Decision(replace(state, pending=(attempt, *rest), reply_token=kept))


def _too_late(state: TicketState, message: Pending, policy: TicketPolicy, now: datetime) -> SendFailure | None:
    """Return why the channel would not take the message any more; None if it may."""
    window, written = policy.window, state.ticket.last_customer_message_at if state.ticket else None
    if window is None or written is None or (message.template is not None and window.templates):
        return None
    person = message.message.author.kind == AuthorKind.AGENT and not message.message.automated
    limit = window.people if person and window.people else window.anyone
    if now <= written + limit:
        return None
    days, hours = divmod(limit // timedelta(hours=1), 24)
    span = f"{days} days" if days > 1 and not hours else f"{days * 24 + hours} hours"
    whose = "" if window.people is None else " of people" if person else " of bots"
    then = ", then templates only" if window.templates else ""
    reason = f"the channel takes replies{whose} for {span} after the customer's last message{then}"
    return SendFailure(reason, permanent=True, why=FailureReason.WINDOW_CLOSED)


def started(before: TicketState, after: TicketState) -> Pending | None:
    """Return the attempt that `begin` started; None if it gave up the message instead."""
    first = after.pending[0] if after.pending else None
    return (
        first if first is not None and is_current(after, replace(before.pending[0], attempts=first.attempts)) else None
    )


def is_current(state: TicketState | None, attempt: Pending) -> bool:
    """Whether this is still the latest attempt at the first queued message."""
    if state is None or not state.pending:
        return False
    first = state.pending[0]
    return first.message.id == attempt.message.id and first.attempts == attempt.attempts


def settle(
    state: TicketState, attempt: Pending, outcome: SendOutcome, policy: TicketPolicy, now: datetime
) -> Decision[TicketState] | None:
    """Record the outcome of an attempt, and retry or give up. Return None if a later attempt has replaced it."""
    if not is_current(state, attempt):
        return None
    match outcome:
        case Sent():
            return _sent(state, attempt, outcome, policy, now)
        case SendFailure():
            retry = replace(
                attempt,
                uncertain=attempt.uncertain if outcome.may_duplicate else attempt.uncertain - 1,
                doubtful=attempt.doubtful or outcome.unsure,
                next_at=now + _wait(attempt.attempts, outcome, policy),
            )
            if attempt.into is None and (outcome.permanent or _is_exhausted(retry, outcome, policy)):
                return _failed(state, retry, outcome, now)
            return Decision(replace(state, pending=(retry, *state.pending[1:])))


def _is_exhausted(retry: Pending, outcome: SendFailure, policy: TicketPolicy) -> bool:
    """Whether to give up: too many attempts that may have arrived, or no time left for those that have not."""
    if outcome.may_duplicate:
        return retry.uncertain >= policy.send_attempts
    return retry.attempts >= policy.send_attempts and retry.next_at > retry.asked_at + policy.send_for


def confirm(
    state: TicketState, message_id: str, sent: Sent, policy: TicketPolicy, now: datetime
) -> Decision[TicketState] | None:
    """Record the first queued message as sent because a delivery report says so, whatever our attempt's outcome.

    Return None if it is another message or was not tried yet.
    """
    if not state.pending or state.pending[0].message.id != message_id or not state.pending[0].attempts:
        return None
    return _sent(state, state.pending[0], sent, policy, now)


def _wait(attempts: int, outcome: SendFailure, policy: TicketPolicy) -> timedelta:
    """Return the wait before the next attempt: fourfold backoff with jitter, at least the channel's `retry_after`."""
    grown: timedelta = policy.send_backoff * 4 ** min(attempts - 1, 10)
    wait = min(grown, policy.send_backoff_max) * random.uniform(0.5, 1)
    return max(wait, timedelta(seconds=outcome.retry_after or 0))


def _sent(
    state: TicketState, attempt: Pending, outcome: Sent, policy: TicketPolicy, now: datetime
) -> Decision[TicketState]:
    draft = Draft(replace(state, pending=state.pending[1:]), now)
    draft.mark_taken(attempt.message.id)
    if attempt.into is not None:
        return draft.decision()
    message = attempt.message.model_copy(update={"channel_message_id": outcome.channel_message_id, "sent_at": now})
    draft.store(message)
    person = message.author.kind == AuthorKind.AGENT and not message.automated
    changes: dict[str, object] = {"message_count": draft.ticket.message_count + 1}
    if person:
        if draft.ticket.handled_by_bot:
            hand_off(draft, message.author, "a person answered")
        # The reply does not answer messages that arrived after it was written.
        unanswered = tuple(at for at in state.unanswered if at > attempt.message.sent_at)
        given = attempt.message.sent_at
        answer = Answer(message.id, given, now, tuple(at for at in state.unanswered if at <= given))
        draft.update(unanswered=unanswered, answered=(*state.answered, answer)[-ANSWERED_CAP:])
        changes |= {
            "first_reply_at": draft.ticket.first_reply_at or now,
            "last_reply_at": now,
            "oldest_unanswered_at": unanswered[0] if unanswered else None,
        }
    draft.emit(
        lambda ticket: MessageSent(
            ticket=ticket, message=message, command_id=attempt.command, attempts=attempt.attempts
        ),
        **changes,
    )
    _move(draft, attempt, policy, person=person)
    return draft.decision()


def _move(draft: Draft, attempt: Pending, policy: TicketPolicy, *, person: bool) -> None:
    """Set the status that the reply asks for if its current status allows that, else move it as a reply does."""
    author, status = attempt.message.author, draft.ticket.status
    if attempt.status is not None:
        # Solving would mark the customer's newer message as answered.
        overtaken = attempt.status == Status.SOLVED and draft.state.unanswered
        if not overtaken and allowed(status, MOVE_TO[attempt.status]):
            move(draft, MOVE_TO[attempt.status], author, "replied", policy)
            return
    answered = Move.REPLY_OVERTAKEN if draft.state.unanswered else Move.REPLY
    by = answered if person else Move.BOT_REPLY
    if allowed(status, by):
        move(draft, by, author, "replied", policy)


def _failed(state: TicketState, attempt: Pending, outcome: SendFailure, now: datetime) -> Decision[TicketState]:
    draft = Draft(replace(state, pending=state.pending[1:]), now)
    draft.store(attempt.message, kind="failed")
    counted = FailureReason.REFUSED if outcome.permanent else FailureReason.EXHAUSTED
    doubt = f" ({attempt.uncertain} of {attempt.attempts} tries may have arrived)" if attempt.uncertain else ""
    draft.emit(
        lambda ticket: MessageFailed(
            ticket=ticket,
            message=attempt.message,
            error=outcome.reason[:1900] + doubt,
            reason=(outcome.why or counted).value,
            may_have_arrived=attempt.lost or attempt.doubtful or attempt.uncertain > 0,
            permanent=outcome.permanent,
            command_id=attempt.command,
            attempts=attempt.attempts,
        )
    )
    return draft.decision()
