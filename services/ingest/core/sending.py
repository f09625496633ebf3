"""What becomes of a message that has to leave: a try begins, the channel takes it, refuses it, or cannot be reached.

Rules: a try is begun in the document before it is made, so that two processes never make the same one at once, and one
whose process died is made again after its lease. An outcome counts only for the try that is still the running one. A
try without an outcome may have arrived: of those only a few are made, each may be another copy to the customer. What
surely has not arrived is tried for hours. No message stays at the head for ever.
"""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta

from contracts.ticket import AuthorKind, Status
from contracts.tickets import MessageFailed, MessageSent
from kit.protocol.document import Decision
from services.ingest.core.commands import hand_off
from services.ingest.core.lifecycle import SET, Move, allowed
from services.ingest.core.messages import SendFailure, SendOutcome, Sent
from services.ingest.core.moves import move
from services.ingest.core.policy import TicketPolicy
from services.ingest.core.state import ANSWERED_CAP, Answer, Draft, Pending, TicketState


def begin(state: TicketState, policy: TicketPolicy, now: datetime) -> Decision[TicketState] | None:
    """Begin a try of the first message that waits, or give it up after its last one; None when none is due."""
    if not state.pending or state.pending[0].next_at > now:
        return None
    first, *rest = state.pending
    if first.into is None and first.begun >= policy.send_attempts:
        return _failed(state, first, SendFailure("the last try ended without an outcome", permanent=False), now)
    running = replace(first, attempts=first.attempts + 1, begun=first.begun + 1, next_at=now + policy.send_lease)
    return Decision(replace(state, pending=(running, *rest)))


def begun(before: TicketState, after: TicketState) -> Pending | None:
    """Return the try that `begin` has begun; None when it gave the message up instead."""
    first = after.pending[0] if after.pending else None
    return first if first is not None and running(after, replace(before.pending[0], attempts=first.attempts)) else None


def running(state: TicketState | None, tried: Pending) -> bool:
    """Whether this try is still the one that counts."""
    if state is None or not state.pending:
        return False
    first = state.pending[0]
    return first.message.id == tried.message.id and first.attempts == tried.attempts


def settle(
    state: TicketState, tried: Pending, outcome: SendOutcome, policy: TicketPolicy, now: datetime
) -> Decision[TicketState] | None:
    """Say what became of a try; None when another try has overtaken it."""
    if not running(state, tried):
        return None
    match outcome:
        case Sent():
            return _sent(state, tried, outcome, policy, now)
        case SendFailure():
            begun = tried.begun if outcome.unsure else tried.begun - 1
            later = replace(tried, begun=begun, next_at=now + _wait(tried.attempts, outcome, policy))
            if tried.into is None and (outcome.permanent or _is_over(later, outcome, policy)):
                return _failed(state, later, outcome, now)
            return Decision(replace(state, pending=(later, *state.pending[1:])))


def _is_over(later: Pending, outcome: SendFailure, policy: TicketPolicy) -> bool:
    """Whether there is to be no other try: of copies there were enough, or there was time enough."""
    if outcome.unsure:
        return later.begun >= policy.send_attempts
    return later.attempts >= policy.send_attempts and later.next_at > later.asked_at + policy.send_for


def prove(
    state: TicketState, message_id: str, sent: Sent, policy: TicketPolicy, now: datetime
) -> Decision[TicketState] | None:
    """Settle a message by what the channel reports about it: it was taken, whatever became of the answer to our try."""
    if not state.pending or state.pending[0].message.id != message_id or not state.pending[0].attempts:
        return None
    return _sent(state, state.pending[0], sent, policy, now)


def _wait(attempts: int, outcome: SendFailure, policy: TicketPolicy) -> timedelta:
    """Grow fourfold from try to try, with jitter, and never sooner than the channel asks."""
    grown: timedelta = policy.send_backoff * 4 ** min(attempts - 1, 10)
    wait = min(grown, policy.send_backoff_max) * random.uniform(0.5, 1)
    return max(wait, timedelta(seconds=outcome.retry_after or 0))


def _sent(
    state: TicketState, tried: Pending, outcome: Sent, policy: TicketPolicy, now: datetime
) -> Decision[TicketState]:
    draft = Draft(replace(state, pending=state.pending[1:]), now)
    draft.take(tried.message.id)
    if tried.into is not None:
        return draft.decision()
    message = tried.message.model_copy(update={"channel_message_id": outcome.channel_message_id, "sent_at": now})
    draft.store(message)
    person = message.author.kind == AuthorKind.AGENT and not message.automated
    changes: dict[str, object] = {"message_count": draft.ticket.message_count + 1}
    if person:
        if draft.ticket.handled_by_bot:
            hand_off(draft, message.author, "a person answered")
        # What the customer wrote after the reply was given has not been answered by it.
        open_still = tuple(at for at in state.unanswered if at > tried.message.sent_at)
        given = tried.message.sent_at
        answer = Answer(message.id, given, now, tuple(at for at in state.unanswered if at <= given))
        draft.keep(unanswered=open_still, answered=(*state.answered, answer)[-ANSWERED_CAP:])
        changes |= {
            "first_reply_at": draft.ticket.first_reply_at or now,
            "last_reply_at": now,
            "oldest_unanswered_at": open_still[0] if open_still else None,
        }
    draft.say(
        lambda ticket: MessageSent(ticket=ticket, message=message, command_id=tried.command, attempts=tried.attempts),
        **changes,
    )
    _move(draft, tried, policy, person=person)
    return draft.decision()


def _move(draft: Draft, tried: Pending, policy: TicketPolicy, *, person: bool) -> None:
    """Move the ticket as the reply asked, as far as its status by now allows; else as the life cycle says."""
    author, status = tried.message.author, draft.ticket.status
    if tried.status is not None:
        # Solving would take the new question for settled.
        overtaken = tried.status == Status.SOLVED and draft.state.unanswered
        if not overtaken and allowed(status, SET[tried.status]):
            move(draft, SET[tried.status], author, "replied", policy)
            return
    answered = Move.REPLY_OVERTAKEN if draft.state.unanswered else Move.REPLY
    by = answered if person else Move.BOT_REPLY
    if allowed(status, by):
        move(draft, by, author, "replied", policy)


def _failed(state: TicketState, tried: Pending, outcome: SendFailure, now: datetime) -> Decision[TicketState]:
    draft = Draft(replace(state, pending=state.pending[1:]), now)
    draft.store(tried.message, kind="failed")
    doubt = f" ({tried.begun} of {tried.attempts} tries may have arrived)" if tried.begun else ""
    draft.say(
        lambda ticket: MessageFailed(
            ticket=ticket,
            message=tried.message,
            error=outcome.reason[:1900] + doubt,
            permanent=outcome.permanent,
            command_id=tried.command,
            attempts=tried.attempts,
        )
    )
    return draft.decision()
