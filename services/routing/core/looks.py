"""What waiting does to a ticket: overflow to more queues, end the wait for one agent, announce it as unroutable.

Rule: the longer a ticket waits, the more agents may serve it. If no agent could, that is announced.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from contracts.assignments import RoutableReason, TicketUnroutable
from contracts.payload import Payload
from kit.protocol.document import Decision
from services.routing.core import ranking, transfers
from services.routing.core.agents import AgentState
from services.routing.core.moves import place_again, routable, widen
from services.routing.core.need import minimal_needs, why_unplaced
from services.routing.core.policy import Queue, RoutingPolicy
from services.routing.core.state import TicketState

People = Mapping[str, AgentState] | None
"""All agents by id; None until they are loaded."""

_Step = Callable[[TicketState, datetime, RoutingPolicy, People], Decision[TicketState]]


def look(state: TicketState, now: datetime, policy: RoutingPolicy, people: People) -> Decision[TicketState] | None:
    """Apply what is due to a waiting ticket, and schedule the next look. Return None if the ticket does not wait."""
    if state.phase != "waiting" or state.queued_at is None or state.entered_at is None:
        return None
    state, events = replace(state, looks=state.looks + 1), list[Payload]()
    for step in _STEPS:
        decision = step(state, now, policy, people)
        state = decision.state or state
        events += decision.events
    return Decision(replace(state, next_look=next_look(state, now, policy)), events)


def next_look(state: TicketState, now: datetime, policy: RoutingPolicy) -> datetime:
    """Return the time of the next look: after a growing delay with jitter, or when the next step is due, if earlier.

    Looks are rare since each is a write. Normally a ticket is assigned as soon as capacity is free, without a look;
    looks find what was missed.
    """
    pause = min(policy.look.most, policy.look.first * (1 << min(2 * state.looks, 20)))
    spread = 0.8 + 0.4 * (zlib.crc32(f"{state.id}/{state.looks}".encode()) % 1000) / 1000
    steps = [instant for instant in _steps(state, policy) if instant > now]
    instant = min([now + pause * spread, *steps])
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


def _steps(state: TicketState, policy: RoutingPolicy) -> list[datetime]:
    assert state.entered_at is not None
    served = [(state.queue, state.entered_at), *((more.queue, more.since) for more in state.overflow)]
    steps = [since + wait for name, since in served for wait in policy.queues.get(name or "", Queue()).relax_after]
    last, since = served[-1]
    overflow = policy.queues.get(last or "", Queue()).overflow
    steps += [state.entered_at + policy.unroutable_after, since + policy.unroutable_after]
    steps += [since + overflow.after] if overflow is not None else []
    return [*steps, state.target.until] if state.target is not None else steps


def _fall_back(state: TicketState, now: datetime, policy: RoutingPolicy, people: People) -> Decision[TicketState]:
    if state.target is None or people is None:
        return Decision(state)
    agent = people.get(state.target.agent)
    gone = agent is None or agent.removed_at is not None
    return transfers.fall_back(state, agent, policy) if gone or now >= state.target.until else Decision(state)


def _follow_rules(state: TicketState, now: datetime, policy: RoutingPolicy, _: People) -> Decision[TicketState]:
    return place_again(state, now, policy)


def overflow(state: TicketState, now: datetime, policy: RoutingPolicy, _: People = None) -> Decision[TicketState]:
    """Add the queue that the last one overflows to, once its wait is over."""
    last, since, own = state.queue, state.entered_at, True
    if state.overflow:
        more = state.overflow[-1]
        last, since, own = more.queue, more.since, more.own
    further = policy.queues.get(last or "", Queue()).overflow
    if further is None or since is None or now < since + further.after:
        return Decision(state)
    return widen(state, further.to, now, policy, own=own and further.keep_required)


def _announce_unroutable(
    state: TicketState, now: datetime, policy: RoutingPolicy, people: People
) -> Decision[TicketState]:
    """Announce once that no agent could serve the ticket, and once that one could again."""
    if state.target is not None:
        return Decision(state)  # it waits for one agent, who can serve it
    last, since = (state.overflow[-1].queue, state.overflow[-1].since) if state.overflow else (None, state.entered_at)
    queue = policy.queues.get(last or state.queue or "")
    assert since is not None
    why = why_unplaced(state, policy)
    if why is None:
        wider = queue is not None and queue.overflow is not None
        if wider or now < since + policy.unroutable_after or people is None:
            return Decision(state)
        why = ranking.why_unroutable(people.values(), minimal_needs(state, policy), policy)
    if why is None:
        return routable(state, RoutableReason.AGENT_FOUND)
    if state.unroutable is not None:
        return Decision(state)
    event = TicketUnroutable(
        ticket_id=state.id, queue=state.queue, facts=state.facts, reason=why.reason, detail=why.detail,
        queued_at=state.queued_at,
    )  # fmt: skip
    return Decision(replace(state, unroutable=str(why.reason)), [event])


_STEPS: tuple[_Step, ...] = (_fall_back, _follow_rules, overflow, _announce_unroutable)
