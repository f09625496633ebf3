"""Who goes first among those who wait, whom each gets, and with which claim. Nothing is written here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from contracts.assignments import AgentRef, AssignmentDecision
from kit.protocol.document import Decision
from services.routing.core import agents, moves, ranking
from services.routing.core.agents import AgentState
from services.routing.core.need import Need, unplaced
from services.routing.core.policy import RoutingPolicy
from services.routing.core.pool import Pool
from services.routing.core.ranking import Choice
from services.routing.core.state import TicketState

SMALL = 64
"""Up to so many agents, those who could not serve may be named too; of more they are counted."""
SHOWN = 8


@dataclass(frozen=True, slots=True)
class Pick:
    """An agent picked for a ticket, before the claim is made. `claimed` is the agent as the claim leaves them."""

    claimed: AgentState
    lighter: bool
    """Whether the ticket takes less of them than a claim of an earlier try that stays."""
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
    """Whether there is somebody to ask: those of its queue, or the one agent it is meant for, whatever the queue."""
    return state.phase == "waiting" and unplaced(state, policy) is None


def may_go_first(state: TicketState, backlog: frozenset[str], policy: RoutingPolicy) -> bool:
    """Whether nobody who waits is overtaken: in its queue, or since it is meant for one agent, or takes no room."""
    return state.target is not None or state.queue not in backlog or not policy.share(state.facts.channel, state.status)


def queues_behind(state: TicketState) -> frozenset[str]:
    """Return the queues in which others come after this ticket: none after one that waits for a certain agent."""
    if state.phase != "waiting" or state.unroutable is not None or state.target is not None:
        return frozenset()
    return frozenset({state.queue or "", *(more.queue for more in state.overflow)})


def turn(state: TicketState) -> tuple[int, datetime, str]:
    """Return the sort key of a ticket that waits: the most urgent first, and of those who waits longest."""
    assert state.queued_at is not None
    return -state.urgency, state.queued_at, state.id


def choose(
    needs: Sequence[Need], pool: Pool, holders: Iterable[str], policy: RoutingPolicy, *, skip: int
) -> Choice | None:
    """Choose among `holders`, on whom an earlier try left a claim of this ticket, or else among all."""
    return held(needs, (pool.agents[agent_id] for agent_id in sorted(holders)), policy) or pool.pick(needs, skip=skip)


def held(needs: Sequence[Need], holders: Iterable[AgentState], policy: RoutingPolicy) -> Choice | None:
    """Return the first of those on whom a claim of an earlier try was left who would do."""
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
    """Put a ticket's claim, made at a version of it, on the agent who was chosen, and say why they were."""
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
    """Give a ticket to the agent on whom its claim was made."""
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
    """Explain a choice: all agents one by one where they are few, the best of many by the index."""
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
