"""Which waiting ticket is first, which agent it gets, and with which claim. Nothing is written here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from contracts.assignments import AgentRef, AssignmentDecision
from kit.protocol.document import Decision
from services.routing.core import agents, moves, ranking
from services.routing.core.agents import AgentState
from services.routing.core.need import Need, why_unplaced
from services.routing.core.policy import RoutingPolicy
from services.routing.core.pool import Pool
from services.routing.core.ranking import Choice
from services.routing.core.state import TicketState

SMALL = 64
"""Up to this number of agents, an explanation may also list agents who cannot serve; beyond, it only counts them."""
SHOWN = 8
"""Maximum number of agents listed in an explanation."""


@dataclass(frozen=True, slots=True)
class Pick:
    """The choice of an agent for a ticket, before the claim is written. `claimed` is the agent with the claim."""

    claimed: AgentState
    lighter: bool
    """Whether an earlier attempt's claim remains, which is heavier than the ticket's weight now."""
    reason: str
    load_before: float
    decision: AssignmentDecision
    overflow_queue: str | None
    share: float

    @property
    def agent_id(self) -> str:
        """The agent's id."""
        return self.claimed.profile.id


def waits(state: TicketState, policy: RoutingPolicy) -> bool:
    """Whether the ticket waits and has a queue or a target agent."""
    return state.phase == "waiting" and why_unplaced(state, policy) is None


def may_go_first(state: TicketState, backlog: frozenset[str], policy: RoutingPolicy) -> bool:
    """Whether assigning the ticket now overtakes none that waits.

    That is so if no ticket waits in its queue, if it waits for one agent, or if it takes no capacity.
    """
    return state.target is not None or state.queue not in backlog or not policy.share(state.facts.channel, state.status)


def queues_behind(state: TicketState) -> frozenset[str]:
    """Return the queues in which others must wait behind this ticket; none if it waits for one agent."""
    if state.phase != "waiting" or state.unroutable is not None or state.target is not None:
        return frozenset()
    return frozenset(name or "" for name in state.queues)


def turn(state: TicketState) -> tuple[int, datetime, str]:
    """Return the sort key of a waiting ticket: most urgent first, then longest waiting."""
    assert state.queued_at is not None
    return -state.urgency, state.queued_at, state.id


def choose(
    needs: Sequence[Need], pool: Pool, holders: Iterable[str], policy: RoutingPolicy, *, skip: int
) -> Choice | None:
    """Choose one of `holders`, who still have the ticket's claim from an earlier attempt, else one of all agents."""
    return held(needs, (pool.agents[agent_id] for agent_id in sorted(holders)), policy) or pool.pick(needs, skip=skip)


def held(needs: Sequence[Need], holders: Iterable[AgentState], policy: RoutingPolicy) -> Choice | None:
    """Return the first agent with a claim from an earlier attempt who can serve the ticket; None if none can."""
    home = needs[0]
    for agent in holders:
        agent_id = agent.profile.id
        weight = policy.weight(home.channel, agent.profile.channel_weights, home.share)
        if agent_id in home.avoid or not agent.online or not agent.has_room(weight - agent.claims[home.ticket].weight):
            continue
        if agent_id == home.target:
            return Choice(agent, home, home.target_reason, claimed=True)
        if home.target is None:
            fits = (need for need in needs if ranking.unfit(agent, need, policy) is None)
            for need in fits:
                return Choice(agent, need, ranking.reason_of(agent, need), claimed=True)
    return None


def pick(
    needs: Sequence[Need],
    choice: Choice,
    version: int,
    pool: Pool,
    policy: RoutingPolicy,
    now: datetime,
    claimed_at: datetime,
) -> Pick:
    """Return the chosen agent with the ticket's claim at `version`, and the explanation of the choice."""
    need, agent = choice.need, choice.agent
    weight = policy.weight(need.channel, agent.profile.channel_weights, need.share)
    claimed = agents.claim(agent, need.ticket, version, weight, claimed_at)
    own = agent.claims[need.ticket].weight if need.ticket in agent.claims else 0.0
    return Pick(
        claimed=claimed,
        lighter=claimed.claims[need.ticket].weight > weight,
        reason=str(choice.reason),
        load_before=max(0.0, agent.load - own),
        decision=explain(needs, choice, pool, policy, now),
        overflow_queue=None if need is needs[0] else need.queue,
        share=need.share,
    )


def assigned(state: TicketState, picked: Pick, now: datetime) -> Decision[TicketState]:
    """Assign a ticket to the agent who has its claim."""
    profile = picked.claimed.profile
    return moves.assigned(
        state,
        AgentRef(id=profile.id, name=profile.name),
        picked.reason,
        now,
        load_before=picked.load_before,
        load_after=picked.claimed.load,
        decision=picked.decision,
        overflow_queue=picked.overflow_queue,
        share=picked.share,
    )


def explain(
    needs: Sequence[Need], choice: Choice, pool: Pool, policy: RoutingPolicy, now: datetime
) -> AssignmentDecision:
    """Explain a choice: up to `SMALL` agents are judged one by one, of more only the best by the index."""
    need = choice.need
    if len(pool.agents) <= SMALL:
        return ranking.explain(pool.agents.values(), needs, policy, now, choice, SHOWN)
    best = ranking.judge(choice.agent, [need], policy)
    able = islice((agent for agent in pool.best_first(need) if agent is not choice.agent), SHOWN - 1)
    shown = [best, *(ranking.able(agent, need, policy) for agent in able)]
    counts = pool.passed_over(choice)
    return AssignmentDecision(
        candidates=tuple(
            ranking.candidate(judged, now, choice, ranking.passed_over(judged, needs, choice, best)) for judged in shown
        ),
        looked_at=sum(counts.values()) + 1,
        passed_over=counts,
        skills_dropped=need.dropped,
    )
