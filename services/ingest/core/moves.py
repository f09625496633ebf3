"""Changes of a ticket that have several causes: receive a message, change status, close, withdraw an answer.

Each function takes a draft and adds changes and events to it.
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
REOPENS_LIMITED = "reopen-limited"
"""Tag of a ticket that was not reopened because it had been reopened too often, so that a person finds it."""


def receive(draft: Draft, message: Message, at: datetime, policy: TicketPolicy, updates: Mapping[str, Any]) -> None:
    """Add a customer's message to an existing ticket; `updates` are further fields that the message changes."""
    changes = {**updates, "message_count": draft.ticket.message_count + 1}
    limited = False
    if not message.automated:
        limited = not _wake(draft, at, message, policy)
        draft.update(unanswered=tuple(sorted((*draft.state.unanswered, at)))[:UNANSWERED_CAP])
        earlier = draft.ticket.last_customer_message_at
        changes["last_customer_message_at"] = max(at, earlier) if earlier else at
        changes["oldest_unanswered_at"] = draft.state.unanswered[0]
    draft.emit(lambda ticket: MessageReceived(ticket=ticket, message=message), **changes)
    if limited and REOPENS_LIMITED not in draft.ticket.tags:
        tags = tuple(sorted({*draft.ticket.tags, REOPENS_LIMITED}))
        draft.emit(lambda ticket: TicketTagged(ticket=ticket, added=(REOPENS_LIMITED,), actor=SYSTEM), tags=tags)


def _wake(draft: Draft, at: datetime, message: Message, policy: TicketPolicy) -> bool:
    """Move the ticket because the customer wrote. Return False if it may not be reopened again yet."""
    if draft.ticket.status != Status.SOLVED:
        move(draft, Move.CUSTOMER, message.author, "customer_wrote")
        return True
    recent = tuple(instant for instant in draft.state.reopened if at - instant < policy.reopen_period)
    if len(recent) >= policy.reopens:
        return False
    draft.update(reopened=(*recent, at))
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
    """Move the ticket according to the table, and emit the event for it. Raises IllegalMove."""
    old = draft.ticket.status
    new = after(old, by)
    if old == new:
        return
    if new == Status.CLOSED:
        close(draft, CloseReason.COMMAND, actor, by)
    elif old == Status.SOLVED:
        draft.update(closes_at=None)
        draft.emit(
            lambda ticket: TicketReopened(ticket=ticket, old=old, actor=actor, message_id=message_id),
            status=new,
            solved_at=None,
            reopen_count=draft.ticket.reopen_count + 1,
        )
    else:
        changes: dict[str, Any] = {"status": new}
        if new == Status.SOLVED:
            # Solving counts as an answer to everything that was unanswered.
            changes |= {"solved_at": draft.now, "oldest_unanswered_at": None}
            draft.update(unanswered=(), answered=(), closes_at=draft.now + (policy or TicketPolicy()).reopen_window)
        draft.emit(
            lambda ticket: TicketStatusChanged(ticket=ticket, old=old, new=new, actor=actor, reason=reason), **changes
        )


def withdraw_answer(draft: Draft, message_id: str) -> dict[str, Any]:
    """Mark messages as unanswered again because the reply to them bounced. Return the changes of the ticket.

    A message that a later reply answers as well, or that was there when the ticket was solved, stays answered.
    """
    withdrawn = next((answer for answer in draft.state.answered if answer.message == message_id), None)
    if withdrawn is None:
        return {}
    later = [answer for answer in draft.state.answered if answer is not withdrawn]
    unanswered = list(draft.state.unanswered)
    for question in withdrawn.questions:
        index = next((n for n, answer in enumerate(later) if answer.given_at >= question), None)
        if index is None:
            unanswered.append(question)
        else:
            other = later[index]
            later[index] = replace(other, questions=tuple(sorted((*other.questions, question))))
    draft.update(unanswered=tuple(sorted(unanswered))[:UNANSWERED_CAP], answered=tuple(later))
    first, last = draft.ticket.first_reply_at, draft.ticket.last_reply_at
    if first == withdrawn.sent_at:
        first = later[0].sent_at if later else None
    if last == withdrawn.sent_at:
        last = later[-1].sent_at if later else first
    oldest = draft.state.unanswered[0] if draft.state.unanswered else None
    return {"first_reply_at": first, "last_reply_at": last, "oldest_unanswered_at": oldest}


def close(draft: Draft, reason: CloseReason, actor: Author, by: Move) -> None:
    """Close the ticket for good. Raises IllegalMove."""
    old = draft.ticket.status
    new = after(old, by)
    draft.update(closes_at=None, unanswered=(), answered=())
    draft.emit(
        lambda ticket: TicketClosed(ticket=ticket, old=old, reason=reason.value, actor=actor),
        status=new,
        closed_at=draft.now,
        oldest_unanswered_at=None,
    )
