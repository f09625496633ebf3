"""Changes of a ticket that more than one cause makes: it receives, wakes, closes, is moved, has been answered.

Each takes a draft and puts into it what changed and the events that say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from contracts.ticket import Author, AuthorKind, Message, Status
from contracts.tickets import (
    CloseReason,
    MessageReceived,
    TicketClosed,
    TicketReopened,
    TicketStatusChanged,
    TicketTagged,
)
from services.ingest.core.lifecycle import Move, after
from services.ingest.core.policy import TicketPolicy
from services.ingest.core.state import Draft

SYSTEM = Author(kind=AuthorKind.SYSTEM.value)
UNANSWERED_CAP = 200
LOOPING = "reopen-limited"
"""Tag of a ticket whose reopens were refused, so that a person finds it."""


def receive(draft: Draft, message: Message, at: datetime, policy: TicketPolicy, news: Mapping[str, Any]) -> None:
    """Take a message of the customer on a ticket that exists; `news` is what else the ticket learns from it."""
    changes = {**news, "message_count": draft.ticket.message_count + 1}
    limited = False
    if not message.automated:
        limited = not _wake(draft, at, message, policy)
        draft.keep(unanswered=tuple(sorted((*draft.state.unanswered, at)))[:UNANSWERED_CAP])
        earlier = draft.ticket.last_customer_message_at
        changes["last_customer_message_at"] = max(at, earlier) if earlier else at
        changes["oldest_unanswered_at"] = draft.state.unanswered[0]
    draft.say(lambda ticket: MessageReceived(ticket=ticket, message=message), **changes)
    if limited and LOOPING not in draft.ticket.tags:
        tags = tuple(sorted({*draft.ticket.tags, LOOPING}))
        draft.say(lambda ticket: TicketTagged(ticket=ticket, added=(LOOPING,), actor=SYSTEM), tags=tags)


def _wake(draft: Draft, at: datetime, message: Message, policy: TicketPolicy) -> bool:
    """Let the customer's message move the ticket; False: it was solved and has been reopened too often lately."""
    if draft.ticket.status != Status.SOLVED:
        move(draft, Move.CUSTOMER, message.author, "customer_wrote")
        return True
    recent = tuple(instant for instant in draft.state.reopened if at - instant < policy.reopen_period)
    if len(recent) >= policy.reopens:
        return False
    draft.keep(reopened=(*recent, at))
    move(draft, Move.CUSTOMER, message.author, "customer_wrote", policy, message_id=message.id)
    return True


def move(
    draft: Draft,
    by: Move,
    actor: Author,
    reason: str | None,
    policy: TicketPolicy | None = None,
    *,
    message_id: str | None = None,
) -> None:
    """Move the ticket as the table says, and announce it in the words that the contract has; raises Illegal."""
    old = draft.ticket.status
    new = after(old, by)
    if old == new:
        return
    if new == Status.CLOSED:
        close(draft, CloseReason.COMMAND, actor, by)
    elif old == Status.SOLVED:
        draft.keep(closes_at=None)
        draft.say(
            lambda ticket: TicketReopened(ticket=ticket, old=old, actor=actor, message_id=message_id),
            status=new,
            solved_at=None,
            reopen_count=draft.ticket.reopen_count + 1,
        )
    else:
        changes: dict[str, Any] = {"status": new}
        if new == Status.SOLVED:
            # What was not answered by now is taken as settled: solving ends the wait.
            changes |= {"solved_at": draft.now, "oldest_unanswered_at": None}
            draft.keep(unanswered=(), answered=(), closes_at=draft.now + (policy or TicketPolicy()).reopen_window)
        draft.say(
            lambda ticket: TicketStatusChanged(ticket=ticket, old=old, new=new, actor=actor, reason=reason), **changes
        )


def unanswer(draft: Draft, message_id: str) -> dict[str, Any]:
    """Take back what a reply answered that never arrived, unless a later one answers it; returns the ticket's changes.

    What was solved since stays settled.
    """
    lost = next((answer for answer in draft.state.answered if answer.message == message_id), None)
    if lost is None:
        return {}
    rest = [answer for answer in draft.state.answered if answer is not lost]
    waits = list(draft.state.unanswered)
    for question in lost.questions:
        place = next((n for n, answer in enumerate(rest) if answer.given_at >= question), None)
        if place is None:
            waits.append(question)
        else:
            other = rest[place]
            rest[place] = replace(other, questions=tuple(sorted((*other.questions, question))))
    draft.keep(unanswered=tuple(sorted(waits))[:UNANSWERED_CAP], answered=tuple(rest))
    first, last = draft.ticket.first_reply_at, draft.ticket.last_reply_at
    if first == lost.sent_at:
        first = rest[0].sent_at if rest else None
    if last == lost.sent_at:
        last = rest[-1].sent_at if rest else first
    oldest = draft.state.unanswered[0] if draft.state.unanswered else None
    return {"first_reply_at": first, "last_reply_at": last, "oldest_unanswered_at": oldest}


def close(draft: Draft, reason: CloseReason, actor: Author, by: Move) -> None:
    """Freeze the ticket; raises Illegal."""
    old = draft.ticket.status
    new = after(old, by)
    draft.keep(closes_at=None, unanswered=(), answered=())
    draft.say(
        lambda ticket: TicketClosed(ticket=ticket, old=old, reason=reason.value, actor=actor),
        status=new,
        closed_at=draft.now,
        oldest_unanswered_at=None,
    )
