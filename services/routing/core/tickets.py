"""A ticket as routing knows it, and what events make of it: it waits, somebody has it, or it is aside. No agents here.

Rule: what an event means follows from the ticket it carries; a picture older than the known one means nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from contracts.assignments import (
    AgentRef,
    AssignmentDecision,
    AssignmentEvent,
    QueueReason,
    TicketAssigned,
    TicketQueued,
    TicketUnassigned,
    UnassignReason,
)
from contracts.commands import Transfer
from contracts.ticket import Status, Ticket, TicketFacts
from contracts.tickets import MessageReceived, TicketEvent, TicketHandedOff, TicketReopened, TicketStatusChanged
from kit.document import Cause, Decision
from services.routing.core.policy import Policy

Phase = Literal["aside", "waiting", "assigned"]

_NEEDS_SOMEBODY = frozenset({Status.NEW, Status.OPEN, Status.PENDING, Status.ON_HOLD})
_OURS_TO_ANSWER = frozenset({Status.NEW, Status.OPEN})
_REMEMBERED = 20


@dataclass(frozen=True, slots=True)
class TicketState:
    """What is stored of a ticket. `aside`: nobody is wanted (a bot answers, it is solved, closed or merged)."""

    id: str
    facts: TicketFacts
    status: Status
    phase: Phase = "aside"
    ticket_version: int | None = None
    required: tuple[tuple[str, int], ...] = ()
    preferred: tuple[tuple[str, int], ...] = ()
    queue: str | None = None
    rule_required: tuple[tuple[str, int], ...] = ()
    rule_preferred: tuple[tuple[str, int], ...] = ()
    pinned: bool = False
    overflowed: bool = False
    keeps_required: bool = True
    urgency: int = 1
    queued_at: datetime | None = None
    entered_at: datetime | None = None
    next_look: datetime | None = None
    looks: int = 0
    unroutable: str | None = None
    agent: str | None = None
    agent_name: str | None = None
    assigned_at: datetime | None = None
    previous: str | None = None
    target: str | None = None
    avoid: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    decision: AssignmentDecision | None = None
    commands: tuple[str, ...] = ()
    cause: Cause | None = None


def decide(
    state: TicketState | None,
    data: TicketEvent,
    now: datetime,
    policy: Policy,
    available: Callable[[str], bool],
    cause: Cause | None = None,
) -> Decision[TicketState]:
    """Decide on an event of the ticket. `now` is the event's time; `available` says whether an agent takes work."""
    ticket = data.ticket
    if state is not None and _is_older(ticket, state):
        return Decision()
    state = _seen(state, ticket)
    if not _wanted(ticket):
        return _put_aside(state, ticket, now)
    if state.phase == "aside":
        waiting = replace(state, cause=cause, queued_at=now, unroutable=None, overflowed=False, pinned=False)
        return _queue(waiting, _why_queued(data), now, policy)
    if state.phase == "waiting":
        return _placed_anew(state, now, policy)
    woken = isinstance(data, MessageReceived | TicketReopened | TicketStatusChanged)
    if woken and state.agent is not None and not available(state.agent):
        state = replace(state, cause=cause)
        gone = evict(state, state.agent or "", UnassignReason.AGENT_OFFLINE, now, policy, all_work=False)
        return gone or Decision(state)
    return Decision(state)


def evict(
    state: TicketState, agent: str, reason: UnassignReason, now: datetime, policy: Policy, *, all_work: bool = True
) -> Decision[TicketState] | None:
    """Take a ticket from an agent who is gone and let it wait again, as long as it has waited already.

    Without `all_work` only what we owe an answer goes; what waits on the customer stays until they write.
    """
    if state.phase != "assigned" or state.agent != agent or not (all_work or state.status in _OURS_TO_ANSWER):
        return None
    gone, event = _unassigned(state, reason, now)
    queued = _queue(gone, QueueReason.AGENT_OFFLINE, now, policy)
    return Decision(queued.state, [event, *queued.events])


def transfer(
    state: TicketState, command: Transfer, command_id: str, now: datetime, policy: Policy, cause: Cause | None = None
) -> Decision[TicketState]:
    """Give the ticket to a queue or an agent. Who had it does not get it back at once; its age stays."""
    if command_id in state.commands or state.phase == "aside":
        return Decision()
    if command.queue is not None and command.queue not in policy.queues:
        raise ValueError(f"there is no queue {command.queue!r}")
    state = replace(state, commands=(*state.commands, command_id)[-_REMEMBERED:], cause=cause or state.cause)
    events: list[AssignmentEvent] = []
    if state.agent is not None:
        if state.agent == command.agent_id:
            return Decision(state)
        before = state.agent
        state, event = _unassigned(state, UnassignReason.TRANSFERRED, now)
        state = replace(state, avoid=(before,))
        events.append(event)
    state = replace(state, target=command.agent_id, previous=None, unroutable=None)
    if command.queue is not None:
        state = replace(
            state, queue=command.queue, pinned=True, rule_required=(), rule_preferred=(), overflowed=False,
            keeps_required=True, entered_at=now,
        )  # fmt: skip
    queued = _queue(state, QueueReason.TRANSFERRED, now, policy)
    return Decision(queued.state, [*events, *queued.events])


def assigned(
    state: TicketState,
    agent: AgentRef,
    reason: str,
    now: datetime,
    *,
    load_before: float,
    load_after: float,
    decision: AssignmentDecision,
) -> Decision[TicketState]:
    """Give a waiting ticket to an agent on whom it has a claim."""
    if state.phase != "waiting" or state.queued_at is None:
        raise ValueError("only a waiting ticket is assigned")
    event = TicketAssigned(
        ticket_id=state.id,
        queue=state.queue,
        facts=state.facts,
        agent=agent,
        reason=reason,
        sticky=reason == "sticky",
        queued_at=state.queued_at,
        assigned_at=now,
        waited_ms=max(0, round((now - state.queued_at).total_seconds() * 1000)),
        load_before=load_before,
        load_after=load_after,
        decision=decision,
    )
    has = replace(
        state,
        phase="assigned",
        agent=agent.id,
        agent_name=agent.name,
        assigned_at=now,
        previous=agent.id,
        target=None,
        avoid=(),
        unroutable=None,
        next_look=None,
        looks=0,
        left=tuple(a for a in state.left if a != agent.id),
        decision=decision,
    )
    return Decision(has, [event])


def enter(state: TicketState, queue: str, reason: QueueReason, now: datetime, policy: Policy) -> Decision[TicketState]:
    """Let a waiting ticket go on waiting in another queue, keeping its age."""
    moved = replace(state, queue=queue, entered_at=now, looks=0, avoid=(), unroutable=None)
    return _queue(moved, reason, now, policy)


def _wanted(ticket: Ticket) -> bool:
    behind_a_bot = ticket.handled_by_bot and ticket.handed_off_at is None
    return ticket.merged_into is None and ticket.status in _NEEDS_SOMEBODY and not behind_a_bot


def _is_older(ticket: Ticket, state: TicketState) -> bool:
    # Events of one change share a version, so only a lower one is an older picture.
    return None not in (ticket.version, state.ticket_version) and (ticket.version or 0) < (state.ticket_version or 0)


def _seen(state: TicketState | None, ticket: Ticket) -> TicketState:
    known = state or TicketState(id=ticket.id, facts=ticket.facts(), status=ticket.status)
    return replace(
        known,
        facts=ticket.facts(),
        status=ticket.status,
        ticket_version=ticket.version if ticket.version is not None else known.ticket_version,
        required=_pairs(ticket.required_skills),
        preferred=_pairs(ticket.preferred_skills),
        urgency=ticket.priority.rank,
    )


def _put_aside(state: TicketState, ticket: Ticket, now: datetime) -> Decision[TicketState]:
    events: list[AssignmentEvent] = []
    if state.agent is not None:
        reason = UnassignReason.SOLVED
        if ticket.merged_into is not None:
            reason = UnassignReason.MERGED
        elif ticket.status == Status.CLOSED:
            reason = UnassignReason.CLOSED
        elif ticket.status != Status.SOLVED:
            reason = UnassignReason.TRANSFERRED  # to a bot
        state, event = _unassigned(state, reason, now)
        events.append(event)
    return Decision(replace(state, phase="aside", next_look=None, target=None, avoid=()), events)


def _why_queued(data: TicketEvent) -> QueueReason:
    if isinstance(data, TicketHandedOff):
        return QueueReason.HANDED_OFF
    return QueueReason.REOPENED if isinstance(data, TicketReopened) else QueueReason.OPENED


def _unassigned(state: TicketState, reason: UnassignReason, now: datetime) -> tuple[TicketState, TicketUnassigned]:
    """Take the ticket from its agent. Who is in `left` may still hold a claim, which is given up after the write."""
    assert state.agent is not None
    event = TicketUnassigned(
        ticket_id=state.id,
        queue=state.queue,
        facts=state.facts,
        agent=AgentRef(id=state.agent, name=state.agent_name),
        reason=reason,
        assigned_at=state.assigned_at,
        unassigned_at=now,
    )
    left = (*(a for a in state.left if a != state.agent), state.agent)[-3:]
    return replace(state, agent=None, agent_name=None, assigned_at=None, left=left), event


def _placed_anew(state: TicketState, now: datetime, policy: Policy) -> Decision[TicketState]:
    """Follow the facts of a ticket that waits: they may lead to another queue, unless somebody put it where it is."""
    if state.pinned or state.overflowed:
        return Decision(state)
    moved = place(state, policy)
    if moved.queue == state.queue:
        return Decision(moved)
    return _queue(replace(moved, entered_at=now, looks=0, unroutable=None), QueueReason.RULES_CHANGED, now, policy)


def place(state: TicketState, policy: Policy) -> TicketState:
    """Put a ticket where the rules want it."""
    rule = policy.place(state.facts)
    return replace(
        state,
        queue=rule.queue if rule else None,
        rule_required=_pairs(rule.required) if rule else (),
        rule_preferred=_pairs(rule.preferred) if rule else (),
    )


def _queue(state: TicketState, reason: QueueReason, now: datetime, policy: Policy) -> Decision[TicketState]:
    if not (state.pinned or state.overflowed):
        state = replace(place(state, policy), keeps_required=True)
    if state.phase != "waiting" or state.entered_at is None:
        state = replace(state, entered_at=now, looks=0)
    queued_at = state.queued_at or now
    waiting = replace(state, phase="waiting", queued_at=queued_at, next_look=now + policy.look.first)
    event = TicketQueued(
        ticket_id=state.id,
        queue=state.queue,
        facts=state.facts,
        reason=reason,
        priority=state.facts.priority,
        required_skills=dict(state.required),
        preferred_skills=dict(state.preferred),
        queued_at=queued_at,
    )
    return Decision(waiting, [event])


def _pairs(skills: dict[str, int] | Sequence[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(skills.items())) if isinstance(skills, dict) else tuple(skills)
