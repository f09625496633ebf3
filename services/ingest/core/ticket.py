"""Decisions about a ticket: `decide` takes its state and one item, and returns the new state and events.

Rule: pure and idempotent. A message, command or delivery report that was handled before changes nothing.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from contracts.ticket import Priority, Status, Ticket
from contracts.tickets import CloseReason, DeliveryState, MessageBounced, MessageDelivered, TicketOpened
from kit.base.errors import TransientError
from kit.protocol.document import Decision
from services.ingest.core import commands, sending
from services.ingest.core.arrivals import Arrival, StatusReport, subject_of
from services.ingest.core.commands import CommandContext
from services.ingest.core.lifecycle import Move, allowed
from services.ingest.core.messages import Delivery, Sent
from services.ingest.core.moves import SYSTEM, close, move, receive, withdraw_answer
from services.ingest.core.policy import TicketPolicy
from services.ingest.core.state import PARTICIPANTS_CAP, REFERENCES_CAP, Draft, TicketState
from services.ingest.core.threading import accepts, is_proven, may_join, same_account_and_brand

RECEIPTS_CAP = 500

_SALE = ("order_ref", "order_line", "listing", "shop")
"""Facts about the sale. A ticket takes each from the first message that has it."""
_TAKEN_BY_CHANNEL = {Delivery.SENT, Delivery.DELIVERED, Delivery.READ}
_RANK = {"": 0, "sent": 0, DeliveryState.DELIVERED.value: 1, DeliveryState.READ.value: 2, "delayed": 3, "bounced": 4}


def decide(
    state: TicketState | None, item: Arrival | StatusReport | CommandContext, policy: TicketPolicy, now: datetime
) -> Decision[TicketState]:
    """Decide one item. Raises TransientError if another ticket must take it, so that the thread is looked up again."""
    state = state or TicketState()
    match item:
        case Arrival():
            return _arrival(state, item, policy, now)
        case StatusReport():
            return _report(state, item, policy, now)
        case _:
            return commands.decide(state, item, policy, now)


def fire(state: TicketState, now: datetime) -> Decision[TicketState] | None:
    """Close the ticket if it was solved long enough ago. Return None if that is not due."""
    if state.ticket is None or state.closes_at is None or state.closes_at > now:
        return None
    draft = Draft(state, now)
    draft.update(closes_at=None)
    if state.ticket.status == Status.SOLVED:
        close(draft, CloseReason.QUIET, SYSTEM, Move.QUIET)
    return draft.decision()


# --- A customer's message. ---


def _arrival(state: TicketState, arrival: Arrival, policy: TicketPolicy, now: datetime) -> Decision[TicketState]:
    if arrival.taken or arrival.id in state.taken:
        return Decision()
    if arrival.too_early:
        raise TransientError("the thread continues on another ticket, which must wait until this one is stored")
    if state.ticket is None:
        return _open(state, arrival, now)
    if not accepts(state.ticket, arrival.received_at, policy, automated=arrival.inbound.automated):
        raise TransientError("the thread continues on another ticket")
    if not arrival.admitted and not admits(state, state.ticket, arrival):
        raise TransientError("the sender may not join this ticket, which was opened while the thread was looked up")
    draft = Draft(with_author(state, arrival), now)
    draft.mark_taken(arrival.id)
    draft.store(arrival.message(), whole=arrival.whole())
    receive(draft, arrival.message(), arrival.received_at, policy, _updates(state.ticket, arrival))
    return draft.decision()


def admits(state: TicketState, ticket: Ticket, arrival: Arrival) -> bool:
    """Whether the sender may join the ticket."""
    return same_account_and_brand(ticket, arrival.inbound) and may_join(
        state.people, state.proven, arrival.contact_id, arrival.inbound
    )


def with_author(state: TicketState, arrival: Arrival) -> TicketState:
    """Record who wrote the message, and what a reply to it must refer to."""
    inbound, mail = arrival.inbound, arrival.inbound.mail
    # Automated mail joins without authentication, so its sender must not become a participant.
    proven = (arrival.contact_id,) if is_proven(inbound) else ()
    known = state.participants if inbound.automated and state.ticket else (*state.participants, arrival.contact_id)
    state = replace(
        state,
        participants=tuple(dict.fromkeys(known))[-PARTICIPANTS_CAP:],
        proven=tuple(dict.fromkeys((*state.proven, *proven)))[-PARTICIPANTS_CAP:],
        conversation=inbound.conversation or state.conversation,
        reply_token=inbound.reply_token or state.reply_token,
    )
    if inbound.automated and state.answers:
        return state
    return replace(state, answers=inbound.message_id, references=mail.references[-REFERENCES_CAP:] if mail else ())


def _open(state: TicketState, arrival: Arrival, now: datetime) -> Decision[TicketState]:
    inbound, defaults, at = arrival.inbound, arrival.defaults, arrival.received_at
    bot = defaults.bot if inbound.bot is None else inbound.bot
    awaits_answer = not inbound.automated
    message = arrival.message()
    ticket = Ticket(
        id=arrival.ticket_id,
        version=0,
        channel=inbound.channel,
        account=inbound.account,
        brand=inbound.brand or defaults.brand,
        market=inbound.market or defaults.market,
        contact=arrival.contact(),
        **_present(customer=inbound.customer),
        **{name: getattr(inbound, name) for name in _SALE},
        reply_by=inbound.reply_by,
        subject=subject_of(inbound),
        language=inbound.language or inbound.sender.language or defaults.language,
        priority=inbound.priority or Priority.NORMAL,
        tags=tuple(sorted({*defaults.tags, *inbound.tags})),
        required_skills=dict(inbound.required_skills),
        preferred_skills=dict(inbound.preferred_skills),
        nth_contact=arrival.nth_contact,
        thread=arrival.thread,
        created_at=at,
        updated_at=now,
        handled_by_bot=bot,
        linked_to=arrival.linked_to,
    )
    opened = replace(with_author(state, arrival), ticket=ticket, unanswered=(at,) if awaits_answer else ())
    draft = Draft(opened, now)
    draft.mark_taken(arrival.id)
    draft.store(message, whole=arrival.whole())
    draft.emit(
        lambda ticket: TicketOpened(ticket=ticket, message=message),
        message_count=1,
        last_customer_message_at=at if awaits_answer else None,
        oldest_unanswered_at=at if awaits_answer else None,
    )
    return draft.decision()


def _present(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _updates(ticket: Ticket, arrival: Arrival) -> dict[str, Any]:
    """Return fields of the ticket that a later message changes.

    The reply address is never among them: From and Reply-To are easily forged.
    """
    inbound, changes = arrival.inbound, dict[str, Any]()
    for name in _SALE:
        if getattr(ticket, name) is None and (value := getattr(inbound, name)) is not None:
            changes[name] = value
    if not inbound.automated and (ticket.reply_by is None or ticket.oldest_unanswered_at is None):
        changes["reply_by"] = inbound.reply_by
    if inbound.customer is not None:
        changes["customer"] = inbound.customer
    return changes


# --- Delivery reports about our messages. ---


def _report(state: TicketState, report: StatusReport, policy: TicketPolicy, now: datetime) -> Decision[TicketState]:
    status, message_id = report.status, report.message_id
    if state.ticket is None or message_id is None:
        return Decision()
    before = None
    if status.state in _TAKEN_BY_CHANNEL:
        before = sending.confirm(state, message_id, Sent(status.channel_message_id), policy, now)
        state = before.state if before is not None and before.state is not None else state
    draft = Draft(state, now)
    changed = _note_report(draft, message_id, report)
    if before is None:
        return draft.decision() if changed else Decision()
    after = draft.decision()
    return Decision(after.state, [*before.events, *after.events], [*before.inserts, *after.inserts])


def _note_report(draft: Draft, message_id: str, report: StatusReport) -> bool:
    """Record a report and emit its event. Return False if the message's known state is as far or further already.

    Reports may be late, repeated and out of order.
    """
    status = report.status
    failed = status.state in {Delivery.FAILED, Delivery.BOUNCED}
    permanent = status.state == Delivery.FAILED or status.permanent
    reached = ("bounced" if permanent else "delayed") if failed else status.state.value
    if _RANK[reached] <= _RANK[draft.state.receipts.get(message_id, "")]:
        return False
    receipts = {**{k: v for k, v in draft.state.receipts.items() if k != message_id}, message_id: reached}
    draft.update(receipts=dict(list(receipts.items())[-RECEIPTS_CAP:]))
    if not failed:
        draft.emit(lambda ticket: MessageDelivered(ticket=ticket, message_id=message_id, state=reached, at=status.at))
        return True
    reason = (status.reason or "the channel gave no reason")[:2000]
    changes = withdraw_answer(draft, message_id) if permanent else {}
    draft.emit(
        lambda ticket: MessageBounced(
            ticket=ticket,
            message_id=message_id,
            permanent=permanent,
            error=reason,
            recipient=status.recipient,
            at=report.received_at,
        ),
        **changes,
    )
    if changes and draft.state.unanswered and allowed(draft.ticket.status, Move.REPLY_OVERTAKEN):
        move(draft, Move.REPLY_OVERTAKEN, SYSTEM, "bounced")
    return True
