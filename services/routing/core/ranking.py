"""Which agents may serve a ticket and which is best, by judging each agent: the definition that the index must match.

Order: the ticket's own queue before overflow queues, then more preferred skills, then lower load relative to capacity,
then longest since the last assignment, then the id.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from contracts.agents import Presence
from contracts.assignments import AssignmentDecision, AssignReason, Candidate, PassedOver, UnroutableReason
from services.routing.core.agents import AgentState, has_room
from services.routing.core.need import Need, Unroutable
from services.routing.core.policy import RoutingPolicy

NEVER = datetime.min.replace(tzinfo=UTC)

Order = tuple[int, float, datetime, str]

#: Why other able agents did not get the ticket, if the choice was not by order.
_INSTEAD = {
    AssignReason.STICKY: PassedOver.NOT_STICKY,
    AssignReason.TRANSFERRED: PassedOver.NOT_NAMED,
    AssignReason.ANSWERED: PassedOver.NOT_NAMED,
}


@dataclass(frozen=True, slots=True)
class Choice:
    """The agent who gets a ticket, for which need, and why. `claimed`: the agent has an earlier attempt's claim."""

    agent: AgentState
    need: Need
    reason: AssignReason = AssignReason.BEST_MATCH
    claimed: bool = False

    @property
    def instead(self) -> PassedOver | None:
        """Why other able agents did not get the ticket; None if the choice was by order."""
        return PassedOver.NOT_CLAIMED if self.claimed else _INSTEAD.get(self.reason)


def reason_of(agent: AgentState, need: Need) -> AssignReason:
    """Return why an agent gets a ticket without a target: it had the ticket before, or is the best match."""
    return AssignReason.STICKY if agent.profile.id == need.sticky else AssignReason.BEST_MATCH


def skills_of(agent: AgentState, policy: RoutingPolicy) -> dict[str, int]:
    """Return an agent's skills, including those of languages."""
    return {**policy.language_skills(agent.profile.languages), **agent.profile.skills}


def order(agent: AgentState, need: Need, policy: RoutingPolicy) -> Order:
    """Return the sort key of an agent who may serve a need; the lowest is the best."""
    return -score(agent, need, policy), agent.relative_load, agent.last_assigned_at or NEVER, agent.profile.id


def score(agent: AgentState, need: Need, policy: RoutingPolicy) -> int:
    """Count the preferred skills that an agent has at the preferred level."""
    skills = skills_of(agent, policy)
    return sum(skills.get(skill, 0) >= level for skill, level in need.preferred)


def unfit(agent: AgentState, need: Need, policy: RoutingPolicy) -> tuple[PassedOver, str] | None:
    """Return why an agent could not serve a need, even if online and free; None if the agent could."""
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
    """Return AWAY or OFFLINE; None if the agent is online."""
    if agent.online:
        return None
    away = agent.removed_at is None and agent.profile.presence == Presence.AWAY
    return PassedOver.AWAY if away else PassedOver.OFFLINE


def unavailable(agent: AgentState, need: Need, policy: RoutingPolicy) -> tuple[PassedOver, str] | None:
    """Return why an agent cannot take any ticket of this weight now; None if the agent can."""
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
    """Whether the ticket's target agent can take it now; None if there is no such agent."""
    if agent is None or agent.removed_at is not None or agent.profile.id != need.target:
        return None
    weight = policy.weight(need.channel, agent.profile.channel_weights, need.share)
    return (agent.online or need.even_absent) and agent.has_room(weight)


def best(agents: Iterable[AgentState], need: Need, policy: RoutingPolicy) -> AgentState | None:
    """Choose by judging every agent. Slow and evidently correct; tests compare the index with it."""
    able = [a for a in agents if unfit(a, need, policy) is None and unavailable(a, need, policy) is None]
    return min(able, key=lambda agent: order(agent, need, policy), default=None)


def why_unroutable(agents: Iterable[AgentState], needs: Sequence[Need], policy: RoutingPolicy) -> Unroutable | None:
    """Return why no agent could serve any of the needs, even if all were online and free; None if one could."""
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
        return Unroutable(UnroutableReason.NO_AGENT_IN_QUEUE, detail)
    if PassedOver.MISSING_SKILL not in closest and PassedOver.LANGUAGE in closest:
        return Unroutable(UnroutableReason.NO_AGENT_WITH_LANGUAGE, detail)
    return Unroutable(UnroutableReason.NO_AGENT_WITH_SKILLS, detail)


@dataclass(frozen=True, slots=True)
class Judged:
    """One agent judged for one ticket: all that an explanation shows. `rank`: index of the need that they can serve."""

    agent: AgentState
    passed: tuple[PassedOver, str] | None
    fit: bool
    rank: int
    order: Order


def judge(agent: AgentState, needs: Sequence[Need], policy: RoutingPolicy) -> Judged:
    """Judge an agent by the first need that they could serve, or by the ticket's own queue if there is none."""
    misfit = unfit(agent, needs[0], policy)
    for rank, need in enumerate(needs):
        if (unfit(agent, need, policy) if rank else misfit) is None:
            return Judged(agent, unavailable(agent, need, policy), True, rank, order(agent, need, policy))
    return Judged(agent, misfit, False, len(needs), order(agent, needs[0], policy))


def able(agent: AgentState, need: Need, policy: RoutingPolicy) -> Judged:
    """Return the judgement of an agent who is known to be able to take the ticket."""
    return Judged(agent, None, fit=True, rank=0, order=order(agent, need, policy))


def candidate(
    judged: Judged, now: datetime, choice: Choice | None, why: tuple[PassedOver, str | None] | None
) -> Candidate:
    """Return an agent's entry in an explanation; `why` is the reason for passing the agent over."""
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
    """Return the first reason why an agent did not get the ticket; None for the one who did."""
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
    """Explain a decision over these agents. List the best `cap` of them, able ones first; count all."""
    present = [judge(agent, needs, policy) for agent in agents if agent.removed_at is None]
    best_id = choice.agent.profile.id if choice is not None else None
    present.sort(key=lambda j: (j.agent.profile.id != best_id, not j.fit, j.passed is not None, j.rank, j.order))
    first = present[0] if present and best_id is not None else None
    reasons = [passed_over(judged, needs, choice, first) for judged in present]
    # Absent agents are counted as absent, whatever else they lack.
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
    """Return the agents' total load divided by their total capacity; 0 without capacity."""
    present = list(agents)
    capacity = math.fsum(agent.profile.capacity for agent in present)
    return math.fsum(agent.load for agent in present) / capacity if capacity else 0.0
