"""What happens to a ticket: `decide` takes its state and one thing that came, and says what it is afterwards.

Rule: pure, and idempotent: what was taken once (a channel's message, a command, a report) changes nothing again.
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
from services.ingest.core.moves import SYSTEM, close, move, receive, unanswer
from services.ingest.core.policy import TicketPolicy
from services.ingest.core.state import PARTICIPANTS_CAP, REFERENCES_CAP, Draft, TicketState
from services.ingest.core.threading import is_proven, may_join, same_house, takes

RECEIPTS_CAP = 500

_TAKEN_BY_CHANNEL = {Delivery.SENT, Delivery.DELIVERED, Delivery.READ}
_RANK = {"": 0, "sent": 0, DeliveryState.DELIVERED.value: 1, DeliveryState.READ.value: 2, "delayed": 3, "bounced": 4}


def decide(
    state: TicketState | None, what: Arrival | StatusReport | CommandContext, policy: TicketPolicy, now: datetime
) -> Decision[TicketState]:
    """Decide about one item. Raises TransientError when another ticket must take it: look up the thread again."""
    state = state or TicketState()
    match what:
        case Arrival():
            return _arrival(state, what, policy, now)
        case StatusReport():
            return _report(state, what, policy, now)
        case _:
            return commands.decide(state, what, policy, now)


def fire(state: TicketState, now: datetime) -> Decision[TicketState] | None:
    """What time makes happen: a ticket that was solved long enough is closed."""
    if state.ticket is None or state.closes_at is None or state.closes_at > now:
        return None
    draft = Draft(state, now)
    draft.keep(closes_at=None)
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
    if not takes(state.ticket, arrival.received_at, policy, automated=arrival.inbound.automated):
        raise TransientError("the thread continues on another ticket")
    if not arrival.admitted and not _admits(state, state.ticket, arrival):
        raise TransientError("the sender may not join this ticket, which was opened while the thread was looked up")
    draft = Draft(_noted(state, arrival), now)
    draft.take(arrival.id)
    draft.store(arrival.message(), whole=arrival.whole())
    receive(draft, arrival.message(), arrival.received_at, policy, _news(state.ticket, arrival))
    return draft.decision()


def _admits(state: TicketState, ticket: Ticket, arrival: Arrival) -> bool:
    return same_house(ticket, arrival.inbound) and may_join(
        state.people, state.proven, arrival.contact_id, arrival.inbound
    )


def _noted(state: TicketState, arrival: Arrival) -> TicketState:
    """Remember who wrote the message, and how to answer it."""
    inbound, mail = arrival.inbound, arrival.inbound.mail
    # A machine's mail was let in unproven: it must not open the way for the next one under its name.
    proven = (arrival.contact_id,) if is_proven(inbound) else ()
    known = state.participants if inbound.automated and state.ticket else (*state.participants, arrival.contact_id)
    state = replace(
        state,
        participants=tuple(dict.fromkeys(known))[-PARTICIPANTS_CAP:],
        proven=tuple(dict.fromkeys((*state.proven, *proven)))[-PARTICIPANTS_CAP:],
        conversation=inbound.conversation or state.conversation,
    )
    if inbound.automated and state.answers:
        return state
    return replace(state, answers=inbound.message_id, references=mail.references[-REFERENCES_CAP:] if mail else ())


def _open(state: TicketState, arrival: Arrival, now: datetime) -> Decision[TicketState]:
    inbound, defaults, at = arrival.inbound, arrival.defaults, arrival.received_at
    bot = defaults.bot if inbound.bot is None else inbound.bot
    waits = not inbound.automated
    message = arrival.message()
    ticket = Ticket(
        id=arrival.ticket_id,
        version=0,
        channel=inbound.channel,
        account=inbound.account,
        brand=inbound.brand or defaults.brand,
        market=inbound.market or defaults.market,
        contact=arrival.contact(),
        **_optional(customer=inbound.customer),
        order_ref=inbound.order_ref,
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
    noted = replace(_noted(state, arrival), ticket=ticket, unanswered=(at,) if waits else ())
    draft = Draft(noted, now)
    draft.take(arrival.id)
    draft.store(message, whole=arrival.whole())
    draft.say(
        lambda ticket: TicketOpened(ticket=ticket, message=message),
        message_count=1,
        last_customer_message_at=at if waits else None,
        oldest_unanswered_at=at if waits else None,
    )
    return draft.decision()


def _optional(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _news(ticket: Ticket, arrival: Arrival) -> dict[str, Any]:
    """What a later message tells about the ticket besides its text.

    Never where replies go: a sender, or a Reply-To, is easily forged, and the next answer would go to a stranger.
    """
    inbound, changes = arrival.inbound, dict[str, Any]()
    if ticket.order_ref is None and inbound.order_ref is not None:
        changes["order_ref"] = inbound.order_ref
    if inbound.customer is not None:
        changes["customer"] = inbound.customer
    return changes


# --- What a channel says about our messages. ---


def _report(state: TicketState, report: StatusReport, policy: TicketPolicy, now: datetime) -> Decision[TicketState]:
    status, ours = report.status, report.message_id
    if state.ticket is None or ours is None:
        return Decision()
    before = None
    if status.state in _TAKEN_BY_CHANNEL:
        before = sending.prove(state, ours, Sent(status.channel_message_id), policy, now)
        state = before.state if before is not None and before.state is not None else state
    draft = Draft(state, now)
    changed = _note_report(draft, ours, report)
    if before is None:
        return draft.decision() if changed else Decision()
    after = draft.decision()
    return Decision(after.state, [*before.events, *after.events], [*before.inserts, *after.inserts])


def _note_report(draft: Draft, ours: str, report: StatusReport) -> bool:
    """Say what is reported, unless as much was known: reports come late, twice and in any order."""
    status = report.status
    failed = status.state in {Delivery.FAILED, Delivery.BOUNCED}
    permanent = status.state == Delivery.FAILED or status.permanent
    reached = ("bounced" if permanent else "delayed") if failed else status.state.value
    if _RANK[reached] <= _RANK[draft.state.receipts.get(ours, "")]:
        return False
    receipts = {**{k: v for k, v in draft.state.receipts.items() if k != ours}, ours: reached}
    draft.keep(receipts=dict(list(receipts.items())[-RECEIPTS_CAP:]))
    if not failed:
        draft.say(lambda ticket: MessageDelivered(ticket=ticket, message_id=ours, state=reached, at=status.at))
        return True
    reason = (status.reason or "the channel gave no reason")[:2000]
    changes = unanswer(draft, ours) if permanent else {}
    draft.say(
        lambda ticket: MessageBounced(
            ticket=ticket,
            message_id=ours,
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
