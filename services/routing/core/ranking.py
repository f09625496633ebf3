"""Who may serve a ticket and who is best, one agent at a time: the definition that the index must agree with.

Order: the ticket's own queue before those it overflows to, then more preferred skills, then lower share of capacity in
use, then longest since the last assignment, then the id.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from contracts.agents import Presence
from contracts.assignments import AssignmentDecision, AssignReason, Candidate, PassedOver, UnroutableReason
from services.routing.core.agents import AgentState, has_room
from services.routing.core.need import Need, Nobody
from services.routing.core.policy import RoutingPolicy

NEVER = datetime.min.replace(tzinfo=UTC)

Order = tuple[int, float, datetime, str]

#: Why those who could have taken the ticket did not get it, where the choice was not by order.
_INSTEAD = {
    AssignReason.STICKY: PassedOver.NOT_STICKY,
    AssignReason.TRANSFERRED: PassedOver.NOT_NAMED,
    AssignReason.ANSWERED: PassedOver.NOT_NAMED,
}


@dataclass(frozen=True, slots=True)
class Choice:
    """The agent who gets a ticket, by which of its needs, and why. `claimed`: a claim of an earlier try stood."""

    agent: AgentState
    need: Need
    reason: AssignReason = AssignReason.BEST_MATCH
    claimed: bool = False

    @property
    def instead(self) -> PassedOver | None:
        """Why whoever could have taken the ticket did not get it; None: by order."""
        return PassedOver.NOT_CLAIMED if self.claimed else _INSTEAD.get(self.reason)


def reason_of(agent: AgentState, need: Need) -> AssignReason:
    """Return why an agent gets a ticket that anybody may have."""
    return AssignReason.STICKY if agent.profile.id == need.sticky else AssignReason.BEST_MATCH


def skills_of(agent: AgentState, policy: RoutingPolicy) -> dict[str, int]:
    """Return an agent's skills, languages among them."""
    return {**policy.language_skills(agent.profile.languages), **agent.profile.skills}


def order(agent: AgentState, need: Need, policy: RoutingPolicy) -> Order:
    """Return the sort key of an agent who may serve a need; the best is the least."""
    return -score(agent, need, policy), agent.relative_load, agent.last_assigned_at or NEVER, agent.profile.id


def score(agent: AgentState, need: Need, policy: RoutingPolicy) -> int:
    """Count the preferred skills that an agent has at the level wanted."""
    skills = skills_of(agent, policy)
    return sum(skills.get(skill, 0) >= level for skill, level in need.preferred)


def unfit(agent: AgentState, need: Need, policy: RoutingPolicy) -> tuple[PassedOver, str] | None:
    """Say why an agent could not serve a need, even online and free; None when they could."""
    profile = agent.profile
    if profile.queues and need.queue is not None and need.queue not in profile.queues:
        return PassedOver.WRONG_QUEUE, f"serves {', '.join(profile.queues)}"
    if profile.brands and need.brand is not None and need.brand not in profile.brands:
        return PassedOver.WRONG_BRAND, f"serves {', '.join(profile.brands)}"
    skills = skills_of(agent, policy)
    for skill, level in need.required:
        if skills.get(skill, 0) < level:
            return lacking(skill, need), f"{skill} at {level} is needed, has {skills.get(skill, 0)}"
    return None


def lacking(skill: str, need: Need) -> PassedOver:
    """Return the reason why an agent without a required skill is passed over."""
    return PassedOver.LANGUAGE if skill == need.language else PassedOver.MISSING_SKILL


def absent(agent: AgentState) -> PassedOver | None:
    """Say that an agent is away or offline; None when they are online."""
    if agent.online:
        return None
    away = agent.removed_at is None and agent.profile.presence == Presence.AWAY
    return PassedOver.AWAY if away else PassedOver.OFFLINE


def unavailable(agent: AgentState, need: Need, policy: RoutingPolicy) -> tuple[PassedOver, str] | None:
    """Say why an agent cannot take a ticket now, whatever it needs; None when they can."""
    gone = absent(agent)
    if gone is not None:
        return gone, str(gone)
    weight = policy.weight(need.channel, agent.profile.channel_weights, need.share)
    if not agent.has_room(weight):
        return PassedOver.AT_CAPACITY, f"{agent.load:g} of {agent.profile.capacity:g} in use, {weight:g} wanted"
    if agent.profile.id in need.avoid:
        return PassedOver.DECLINED, "gave it away"
    return None


def awaited(agent: AgentState | None, need: Need, policy: RoutingPolicy) -> bool | None:
    """Say whether the one agent whom a ticket is meant for can take it now; None when there is no such agent."""
    if agent is None or agent.removed_at is not None or agent.profile.id != need.target:
        return None
    weight = policy.weight(need.channel, agent.profile.channel_weights, need.share)
    return (agent.online or need.even_absent) and agent.has_room(weight)


def best(agents: Iterable[AgentState], need: Need, policy: RoutingPolicy) -> AgentState | None:
    """Choose by looking at every agent. Slow and plainly right; the index is held to it."""
    able = [a for a in agents if unfit(a, need, policy) is None and unavailable(a, need, policy) is None]
    return min(able, key=lambda agent: order(agent, need, policy), default=None)


def nobody(agents: Iterable[AgentState], needs: Sequence[Need], policy: RoutingPolicy) -> Nobody | None:
    """Say why no agent could ever serve any of a ticket's needs, were all online and free; None when one could."""
    closest: Counter[str] = Counter()
    for agent in agents:
        if agent.removed_at is not None:
            continue
        weight = policy.weight(needs[0].channel, agent.profile.channel_weights, needs[0].share)
        if has_room(agent.profile.capacity, 0.0, weight) and any(unfit(agent, need, policy) is None for need in needs):
            return None
        why = unfit(agent, needs[0], policy)
        closest[str(why[0] if why else PassedOver.AT_CAPACITY)] += 1
    home, others = needs[0], [need.queue or "" for need in needs[1:]]
    wanted = ", ".join(f"{skill} at {level}" for skill, level in home.required) or "no skill"
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(closest.items()))
    besides = f", nor in {', '.join(others)}" if others else ""
    detail = f"{wanted} in queue {home.queue}; {counts or 'there are no agents'}{besides}"
    if closest.keys() <= {PassedOver.WRONG_QUEUE, PassedOver.WRONG_BRAND}:
        return Nobody(UnroutableReason.NO_AGENT_IN_QUEUE, detail)
    if PassedOver.MISSING_SKILL not in closest and PassedOver.LANGUAGE in closest:
        return Nobody(UnroutableReason.NO_AGENT_WITH_LANGUAGE, detail)
    return Nobody(UnroutableReason.NO_AGENT_WITH_SKILLS, detail)


@dataclass(frozen=True, slots=True)
class Judged:
    """One agent beside one ticket: everything that an explanation tells. `rank` counts the needs before theirs."""

    agent: AgentState
    passed: tuple[PassedOver, str] | None
    fit: bool
    rank: int
    order: Order


def judge(agent: AgentState, needs: Sequence[Need], policy: RoutingPolicy) -> Judged:
    """Look at an agent once: by the first need that they could serve, or by the ticket's own queue."""
    misfit = unfit(agent, needs[0], policy)
    for rank, need in enumerate(needs):
        if (unfit(agent, need, policy) if rank else misfit) is None:
            return Judged(agent, unavailable(agent, need, policy), True, rank, order(agent, need, policy))
    return Judged(agent, misfit, False, len(needs), order(agent, needs[0], policy))


def able(agent: AgentState, need: Need, policy: RoutingPolicy) -> Judged:
    """Look at an agent of whom it is known that they can take the ticket."""
    return Judged(agent, None, fit=True, rank=0, order=order(agent, need, policy))


def candidate(
    judged: Judged, now: datetime, choice: Choice | None, why: tuple[PassedOver, str | None] | None
) -> Candidate:
    """Tell of one agent: chosen, or why not."""
    agent = judged.agent
    idle = None if agent.last_assigned_at is None else max(0.0, (now - agent.last_assigned_at).total_seconds())
    return Candidate(
        agent_id=agent.profile.id,
        chosen=choice is not None and agent.profile.id == choice.agent.profile.id,
        passed_over=str(why[0]) if why else None,
        detail=why[1] if why else None,
        skill_score=-judged.order[0],
        load=agent.load,
        capacity=agent.profile.capacity,
        idle_seconds=idle,
    )


def passed_over(
    judged: Judged, needs: Sequence[Need], choice: Choice | None, chosen: Judged | None
) -> tuple[PassedOver, str | None] | None:
    """Say why an agent did not get the ticket: the first reason. None for the one who did."""
    if choice is not None and judged.agent.profile.id == choice.agent.profile.id:
        return None
    if judged.passed is not None:
        return judged.passed
    if choice is None or chosen is None:
        return (PassedOver.NOT_NAMED, None) if needs[0].target is not None else None
    if choice.instead is not None:
        return choice.instead, None
    return _beaten(judged, chosen)


def _beaten(mine: Judged, theirs: Judged) -> tuple[PassedOver, str | None]:
    if mine.rank > theirs.rank:
        return PassedOver.ONLY_OVERFLOW, None
    if mine.order[0] > theirs.order[0]:
        return PassedOver.LOWER_SKILL, f"{-mine.order[0]} preferred skills, not {-theirs.order[0]}"
    if mine.order[:1] == theirs.order[:1] and mine.order[1] > theirs.order[1]:
        return PassedOver.HIGHER_LOAD, f"{mine.order[1]:.0%} of capacity in use, not {theirs.order[1]:.0%}"
    if mine.order[:2] == theirs.order[:2] and mine.order[2] > theirs.order[2]:
        return PassedOver.ASSIGNED_LATER, None
    return PassedOver.EQUAL, None


def explain(
    agents: Iterable[AgentState],
    needs: Sequence[Need],
    policy: RoutingPolicy,
    now: datetime,
    choice: Choice | None,
    cap: int,
) -> AssignmentDecision:
    """Explain a decision over these agents: the best `cap` of them, those who could have done it first."""
    present = [judge(agent, needs, policy) for agent in agents if agent.removed_at is None]
    best_id = choice.agent.profile.id if choice is not None else None
    present.sort(key=lambda j: (j.agent.profile.id != best_id, not j.fit, j.passed is not None, j.rank, j.order))
    first = present[0] if present and best_id is not None else None
    reasons = [passed_over(judged, needs, choice, first) for judged in present]
    # Who is not there is counted as that, whatever else they lack.
    counts = Counter(
        str(absent(judged.agent) or why[0]) for judged, why in zip(present, reasons, strict=True) if why is not None
    )
    return AssignmentDecision(
        candidates=tuple(
            candidate(judged, now, choice, why) for judged, why in zip(present[:cap], reasons[:cap], strict=True)
        ),
        looked_at=len(present),
        passed_over=dict(sorted(counts.items())),
        skills_dropped=(choice.need if choice is not None else needs[0]).dropped,
    )


def room_share(agents: Iterable[AgentState]) -> float:
    """Return load over capacity of those agents; 0 without capacity."""
    present = list(agents)
    capacity = math.fsum(agent.profile.capacity for agent in present)
    return math.fsum(agent.load for agent in present) / capacity if capacity else 0.0
