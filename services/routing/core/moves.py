"""Moves of a ticket that have several causes: into a queue, into more queues, to an agent and back.

Each function takes a state and returns the new state with its events. The caller gives the reason.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from contracts.assignments import (
    AgentRef,
    AssignmentDecision,
    QueueReason,
    RoutableReason,
    TicketAssigned,
    TicketQueued,
    TicketRoutable,
    TicketUnassigned,
    UnassignReason,
)
from kit.protocol.document import Decision
from services.routing.core.policy import Queue, RoutingPolicy
from services.routing.core.state import Overflowed, TicketState


def queue(state: TicketState, reason: QueueReason, now: datetime, policy: RoutingPolicy) -> Decision[TicketState]:
    """Put a ticket into its queue and announce it. If it was announced as unroutable, revoke that."""
    return _enter(state if state.pinned or state.overflow else place(state, policy), reason, now, policy)


def _enter(state: TicketState, reason: QueueReason, now: datetime, policy: RoutingPolicy) -> Decision[TicketState]:
    if state.phase != "waiting" or state.entered_at is None:
        state = replace(state, entered_at=now, waiting_since=now, looks=0)
    cleared = routable(state, RoutableReason.MOVED)
    state = cleared.state or state
    queued_at = state.queued_at or now
    waiting = replace(state, phase="waiting", aside=None, queued_at=queued_at, next_look=now + policy.look.first)
    event = TicketQueued(
        ticket_id=state.id,
        queue=state.queue,
        facts=state.facts,
        reason=reason,
        priority=state.facts.priority,
        required_skills=dict(state.required),
        preferred_skills=dict(state.preferred),
        queued_at=queued_at,
        overflow_queues=state.overflow_queues,
        entered_at=now,
    )
    return Decision(waiting, [*cleared.events, event])


def widen(state: TicketState, to: str, now: datetime, policy: RoutingPolicy, *, own: bool) -> Decision[TicketState]:
    """Let one more queue serve a waiting ticket, which stays in its own queue and keeps its age."""
    more = (*state.overflow, Overflowed(to, now, own))
    return _enter(replace(state, overflow=more, looks=0, avoid=()), QueueReason.OVERFLOW, now, policy)


def _narrowed(state: TicketState, now: datetime, policy: RoutingPolicy) -> Decision[TicketState]:
    """Remove overflow queues to which the ticket would no longer overflow, since the policy changed."""
    kept, last, own = list[Overflowed](), state.queue, True
    for more in state.overflow:
        overflow = policy.queues.get(last or "", Queue()).overflow
        if overflow is None or overflow.to != more.queue:
            fewer = replace(state, overflow=tuple(kept), looks=0)
            return _enter(fewer, QueueReason.RULES_CHANGED, now, policy)
        last, own = more.queue, own and overflow.keep_required
        kept.append(replace(more, own=own))
    return Decision(replace(state, overflow=tuple(kept)))


def place_again(state: TicketState, now: datetime, policy: RoutingPolicy) -> Decision[TicketState]:
    """Apply the current rules to a waiting ticket, which may move it to another queue.

    A ticket that was transferred to a queue, or that no rule matches any more, stays while its queue exists. Its
    overflow queues are reduced to those that the current policy allows.
    """
    there = state.queue in policy.queues
    moved = place(state, policy)
    if there and (state.pinned or moved.queue is None):
        return _narrowed(state, now, policy)
    if moved.queue == state.queue:
        return _narrowed(moved, now, policy)
    anew = replace(moved, pinned=False, overflow=(), entered_at=now, looks=0, avoid=())
    return _enter(anew, QueueReason.RULES_CHANGED, now, policy)


def place(state: TicketState, policy: RoutingPolicy) -> TicketState:
    """Return the ticket with the queue and skills of the first rule that matches; without queue if none does."""
    rule = policy.place(state.facts)
    return replace(
        state,
        queue=rule.queue if rule else None,
        rule_required=pairs(rule.required) if rule else (),
        rule_preferred=pairs(rule.preferred) if rule else (),
    )


def assigned(
    state: TicketState,
    agent: AgentRef,
    reason: str,
    now: datetime,
    *,
    load_before: float,
    load_after: float,
    decision: AssignmentDecision,
    overflow_queue: str | None = None,
    share: float = 1.0,
) -> Decision[TicketState]:
    """Assign a waiting ticket to an agent on whom it has a claim. Raises ValueError if it does not wait."""
    if state.phase != "waiting" or state.queued_at is None:
        raise ValueError("only a waiting ticket can be assigned")
    event = TicketAssigned(
        ticket_id=state.id,
        queue=state.queue,
        facts=state.facts,
        agent=agent,
        reason=reason,
        sticky=reason == "sticky",
        queued_at=state.queued_at,
        assigned_at=now,
        waited_ms=max(0, round((now - (state.waiting_since or state.queued_at)).total_seconds() * 1000)),
        overflow_queue=overflow_queue,
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
        share=share,
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


def unassigned(state: TicketState, reason: UnassignReason, now: datetime) -> tuple[TicketState, TicketUnassigned]:
    """Unassign the ticket. Agents in `left` may still have its claim, which is released after the write."""
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


def routable(state: TicketState, reason: RoutableReason) -> Decision[TicketState]:
    """Announce that the ticket can be served again, if it was announced as unroutable."""
    if state.unroutable is None:
        return Decision(state)
    event = TicketRoutable(
        ticket_id=state.id, queue=state.queue, facts=state.facts, reason=reason, queued_at=state.queued_at
    )
    return Decision(replace(state, unroutable=None), [event])


def pairs(skills: dict[str, int] | Sequence[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(skills.items())) if isinstance(skills, dict) else tuple(skills)
