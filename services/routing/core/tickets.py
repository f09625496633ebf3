"""What ticket events do to a ticket in routing: it waits, stays assigned, or is put aside.

Rule: the ticket in the event decides, not the event's type. A version older than the known one is ignored.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from contracts.assignments import AssignmentEvent, QueueReason, TransferReason, UnassignReason
from contracts.ticket import AuthorKind, Status, Ticket
from contracts.tickets import MessageReceived, MessageSent, TicketEvent, TicketHandedOff, TicketReopened
from kit.protocol.document import Cause, Decision
from services.routing.core.moves import pairs, place_again, queue, unassigned
from services.routing.core.policy import RoutingPolicy
from services.routing.core.state import OURS_TO_ANSWER, Target, TicketState
from services.routing.core.transfers import superseded

_NEEDS_SOMEBODY = frozenset({Status.NEW, Status.OPEN, Status.PENDING, Status.ON_HOLD})


def decide(
    state: TicketState | None,
    data: TicketEvent,
    now: datetime,
    policy: RoutingPolicy,
    available: Callable[[str], bool],
    cause: Cause | None = None,
) -> Decision[TicketState]:
    """Decide an event of the ticket. `now` is the event's time; `available` says whether an agent accepts tickets."""
    ticket = data.ticket
    if state is not None and _is_older(ticket, state):
        return Decision()
    before, state = state, _updated(state, ticket)
    if not _wanted(ticket):
        return _put_aside(state, ticket, now)
    if state.phase != "assigned":
        state, over = _target_author(_drop_absent_target(state, data, available), data, now, policy)
        if state.phase == "aside":
            waiting = replace(state, cause=cause, queued_at=now, overflow=(), pinned=False)
            return queue(waiting, _why_queued(data), now, policy)
        moved = place_again(state, now, policy)
        return Decision(moved.state, [*over, *moved.events])
    if (
        before is not None
        and owes_answer_again(before, state)
        and state.agent is not None
        and not available(state.agent)
    ):
        gone = replace(state, cause=cause)
        return evict(gone, state.agent, UnassignReason.AGENT_OFFLINE, now, policy, all_work=True) or Decision(gone)
    return Decision(state)


def owes_answer_again(before: TicketState, after: TicketState) -> bool:
    """Whether we owe an answer now and did not before. Automated messages do not change that."""
    return before.status not in OURS_TO_ANSWER and after.status in OURS_TO_ANSWER


def evict(
    state: TicketState, agent: str, reason: UnassignReason, now: datetime, policy: RoutingPolicy, *, all_work: bool
) -> Decision[TicketState] | None:
    """Take a ticket from an agent who cannot serve it, and requeue it with its age. Return None if it stays.

    Without `all_work`, a ticket stays if it waits for the customer.
    """
    if state.phase != "assigned" or state.agent != agent or not (all_work or state.status in OURS_TO_ANSWER):
        return None
    gone, event = unassigned(state, reason, now)
    full = reason == UnassignReason.AGENT_FULL
    queued = queue(gone, QueueReason.AGENT_FULL if full else QueueReason.AGENT_OFFLINE, now, policy)
    return Decision(queued.state, [event, *queued.events])


def _wanted(ticket: Ticket) -> bool:
    behind_a_bot = ticket.handled_by_bot and ticket.handed_off_at is None
    return ticket.merged_into is None and ticket.status in _NEEDS_SOMEBODY and not behind_a_bot


def _is_older(ticket: Ticket, state: TicketState) -> bool:
    # Events of one change share a version, so only a lower version is older.
    return None not in (ticket.version, state.ticket_version) and (ticket.version or 0) < (state.ticket_version or 0)


def _updated(state: TicketState | None, ticket: Ticket) -> TicketState:
    known = state or TicketState(id=ticket.id, facts=ticket.facts(), status=ticket.status)
    return replace(
        known,
        facts=ticket.facts(),
        status=ticket.status,
        ticket_version=ticket.version if ticket.version is not None else known.ticket_version,
        required=pairs(ticket.required_skills),
        preferred=pairs(ticket.preferred_skills),
        urgency=ticket.priority.rank,
    )


def _put_aside(state: TicketState, ticket: Ticket, now: datetime) -> Decision[TicketState]:
    reason, aside = UnassignReason.SOLVED, TransferReason.SOLVED
    if ticket.merged_into is not None:
        reason, aside = UnassignReason.MERGED, TransferReason.MERGED
    elif ticket.status == Status.CLOSED:
        reason, aside = UnassignReason.CLOSED, TransferReason.CLOSED
    elif ticket.status != Status.SOLVED:
        reason, aside = UnassignReason.TRANSFERRED, TransferReason.WITH_BOT
    events: list[AssignmentEvent] = superseded(state, aside)
    if state.agent is not None:
        state, event = unassigned(state, reason, now)
        events.append(event)
    gone = replace(state, phase="aside", aside=str(aside), unroutable=None, next_look=None, target=None, avoid=())
    return Decision(gone, events)


def _drop_absent_target(state: TicketState, data: TicketEvent, available: Callable[[str], bool]) -> TicketState:
    """Drop the target who answered the ticket if the customer writes again and the agent is not available."""
    target = state.target
    if target is None or target.command is not None or not isinstance(data, MessageReceived):
        return state
    return state if data.message.automated or available(target.agent) else replace(state, target=None)


def _target_author(
    state: TicketState, data: TicketEvent, now: datetime, policy: RoutingPolicy
) -> tuple[TicketState, list[AssignmentEvent]]:
    """Make the agent who answered an unassigned ticket its target."""
    if not isinstance(data, MessageSent) or data.message.automated:
        return state, []
    author = data.message.author
    if author.kind != AuthorKind.AGENT or author.id is None:
        return state, []
    target = Target(author.id, now + policy.transfer.wait)
    look = min(state.next_look or target.until, target.until)
    return replace(state, target=target, avoid=(), next_look=look), superseded(state, TransferReason.ANSWERED)


def _why_queued(data: TicketEvent) -> QueueReason:
    if isinstance(data, TicketHandedOff):
        return QueueReason.HANDED_OFF
    return QueueReason.REOPENED if isinstance(data, TicketReopened) else QueueReason.OPENED
