"""Who may serve a need and who is best, one agent at a time: the definition that the index must agree with.

Order: more preferred skills, then lower share of capacity in use, then longest since the last assignment, then the id.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from contracts.agents import Presence
from contracts.assignments import AssignmentDecision, Candidate, PassedOver, UnroutableReason
from services.routing.core.agents import AgentState
from services.routing.core.need import Need, Nobody
from services.routing.core.policy import Policy

NEVER = datetime.min.replace(tzinfo=UTC)

Order = tuple[int, float, datetime, str]


def skills_of(agent: AgentState, policy: Policy) -> dict[str, int]:
    """Return an agent's skills, languages among them."""
    return {**policy.language_skills(agent.profile.languages), **agent.profile.skills}


def order(agent: AgentState, need: Need, policy: Policy) -> Order:
    """Return the sort key of an agent who may serve a need; the best is the least."""
    return -score(agent, need, policy), agent.relative_load, agent.last_assigned_at or NEVER, agent.profile.id


def score(agent: AgentState, need: Need, policy: Policy) -> int:
    """Count the preferred skills that an agent has at the level wanted."""
    skills = skills_of(agent, policy)
    return sum(skills.get(skill, 0) >= level for skill, level in need.preferred)


def unfit(agent: AgentState, need: Need, policy: Policy) -> tuple[PassedOver, str] | None:
    """Say why an agent could not serve a need, even online and free; None when they could."""
    profile = agent.profile
    if profile.queues and need.queue is not None and need.queue not in profile.queues:
        return PassedOver.WRONG_QUEUE, f"serves {', '.join(profile.queues)}"
    if profile.brands and need.brand is not None and need.brand not in profile.brands:
        return PassedOver.WRONG_BRAND, f"serves {', '.join(profile.brands)}"
    skills = skills_of(agent, policy)
    for skill, level in need.required:
        if skills.get(skill, 0) < level:
            reason = PassedOver.LANGUAGE if skill == need.language else PassedOver.MISSING_SKILL
            return reason, f"{skill} at {level} is needed, has {skills.get(skill, 0)}"
    return None


def unavailable(agent: AgentState, need: Need, policy: Policy) -> tuple[PassedOver, str] | None:
    """Say why an agent cannot take a ticket now, whatever it needs; None when they can."""
    if not agent.online:
        away = agent.removed_at is None and agent.profile.presence == Presence.AWAY
        return (PassedOver.AWAY, "away") if away else (PassedOver.OFFLINE, "offline")
    weight = policy.weight(need.channel, agent.profile.channel_weights)
    if not agent.has_room(weight):
        return PassedOver.AT_CAPACITY, f"{agent.load:g} of {agent.profile.capacity:g} in use, {weight:g} wanted"
    if agent.profile.id in need.avoid:
        return PassedOver.DECLINED, "gave it away"
    return None


def best(agents: Iterable[AgentState], need: Need, policy: Policy) -> AgentState | None:
    """Choose by looking at every agent. Slow and plainly right; the index is held to it."""
    able = [a for a in agents if unfit(a, need, policy) is None and unavailable(a, need, policy) is None]
    return min(able, key=lambda agent: order(agent, need, policy), default=None)


def nobody(agents: Iterable[AgentState], need: Need, policy: Policy) -> Nobody | None:
    """Say why no agent could ever serve a need, were all online and free; None when somebody could."""
    closest: dict[str, int] = {}
    some = False
    for agent in agents:
        if agent.removed_at is not None:
            continue
        some = True
        why = unfit(agent, need, policy)
        weight = policy.weight(need.channel, agent.profile.channel_weights)
        if why is None and weight <= agent.profile.capacity + 1e-9:
            return None
        key = str(why[0]) if why else str(PassedOver.AT_CAPACITY)
        closest[key] = closest.get(key, 0) + 1
    wanted = ", ".join(f"{skill} at {level}" for skill, level in need.required) or "no skill"
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(closest.items()))
    detail = f"{wanted} in queue {need.queue}; {counts or 'there are no agents'}"
    if not some or set(closest) <= {PassedOver.WRONG_QUEUE, PassedOver.WRONG_BRAND}:
        return Nobody(UnroutableReason.NO_AGENT_IN_QUEUE, detail)
    if PassedOver.MISSING_SKILL not in closest and PassedOver.LANGUAGE in closest:
        return Nobody(UnroutableReason.NO_AGENT_WITH_LANGUAGE, detail)
    return Nobody(UnroutableReason.NO_AGENT_WITH_SKILLS, detail)


@dataclass(frozen=True, slots=True)
class Judged:
    """One agent beside one need: everything that an explanation tells."""

    agent: AgentState
    passed: tuple[PassedOver, str] | None
    fit: bool
    order: Order


def judge(agent: AgentState, need: Need, policy: Policy) -> Judged:
    """Look at an agent once."""
    misfit = unfit(agent, need, policy)
    passed = misfit or unavailable(agent, need, policy)
    return Judged(agent, passed, misfit is None, order(agent, need, policy))


def able(agent: AgentState, need: Need, policy: Policy) -> Judged:
    """Look at an agent of whom it is known that they can take the ticket."""
    return Judged(agent, None, fit=True, order=order(agent, need, policy))


def candidate(judged: Judged, now: datetime, chosen: Judged | None) -> Candidate:
    """Explain one agent: chosen, or the first reason why not."""
    agent = judged.agent
    is_chosen = chosen is not None and agent.profile.id == chosen.agent.profile.id
    why = None if is_chosen else judged.passed or _beaten(judged.order, chosen)
    idle = None if agent.last_assigned_at is None else max(0.0, (now - agent.last_assigned_at).total_seconds())
    return Candidate(
        agent_id=agent.profile.id,
        chosen=is_chosen,
        passed_over=str(why[0]) if why else None,
        detail=why[1] if why else None,
        skill_score=-judged.order[0],
        load=agent.load,
        capacity=agent.profile.capacity,
        idle_seconds=idle,
    )


def _beaten(mine: Order, chosen: Judged | None) -> tuple[PassedOver, str | None] | None:
    if chosen is None:
        return None
    theirs = chosen.order
    if mine[0] > theirs[0]:
        return PassedOver.LOWER_SKILL, f"{-mine[0]} preferred skills, not {-theirs[0]}"
    if mine[0] == theirs[0] and mine[1] > theirs[1]:
        return PassedOver.HIGHER_LOAD, f"{mine[1]:.0%} of capacity in use, not {theirs[1]:.0%}"
    return PassedOver.ASSIGNED_LATER, None


def explain(
    agents: Iterable[AgentState], need: Need, policy: Policy, now: datetime, chosen: AgentState | None, cap: int
) -> AssignmentDecision:
    """Explain a decision over these agents: the best `cap` of them, those who could have done it first."""
    present = [judge(agent, need, policy) for agent in agents if agent.removed_at is None]
    best_id = chosen.profile.id if chosen is not None else None
    present.sort(key=lambda j: (j.agent.profile.id != best_id, not j.fit, j.passed is not None, j.order))
    first = present[0] if present and best_id is not None else None
    return AssignmentDecision(
        candidates=tuple(candidate(judged, now, first) for judged in present[:cap]),
        looked_at=len(present),
        skills_dropped=need.dropped,
    )


def room_share(agents: Iterable[AgentState]) -> float:
    """Return load over capacity of those agents; 0 without capacity."""
    present = list(agents)
    capacity = math.fsum(agent.profile.capacity for agent in present)
    return math.fsum(agent.load for agent in present) / capacity if capacity else 0.0
