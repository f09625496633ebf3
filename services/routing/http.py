"""Routing's REST API: agents and their presence, the state of queues, and explanations of decisions. No rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Literal

from fastapi import Depends, FastAPI, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from contracts.agents import Agent
from contracts.assignments import AgentRef, AssignmentDecision, TransferReason
from contracts.ticket import Priority, Status, TicketFacts
from contracts.values import SkillLevels, Units
from kit.base.clock import Clock
from kit.doors.http import Problem, Router, door, requires
from kit.protocol.document import Decision, Document
from services.routing.assignment.assigner import Assigner
from services.routing.core import agents, need, ranking
from services.routing.core.agents import AgentState
from services.routing.core.moves import place
from services.routing.core.state import TicketState
from services.routing.settings import RoutingSettings
from services.routing.store.waiting import Waiting, oldest, waiting

SHOWN = 50

Id = Annotated[str, Path(min_length=1, max_length=100, pattern=r"^[^\s/\x00]+$")]


class AgentBody(BaseModel):
    """An agent's profile. `presence` is used for new agents only."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=200)
    email: str | None = None
    skills: SkillLevels = Field(default_factory=dict)
    languages: tuple[str, ...] = ()
    brands: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    capacity: Units
    channel_weights: dict[str, Annotated[float, Field(gt=0, le=1000)]] = Field(default_factory=dict)
    presence: Literal["online", "away", "offline"] = "offline"


class PresenceBody(BaseModel):
    """An agent's presence; only online agents get tickets."""

    model_config = ConfigDict(extra="forbid")
    presence: Literal["online", "away", "offline"]


class AgentView(BaseModel):
    """An agent with load and open tickets."""

    agent: Agent
    load: Units
    tickets: tuple[str, ...]
    last_assigned_at: datetime | None = None


class QueueView(BaseModel):
    """The state of a queue."""

    queue: str | None
    depth: int
    oldest_queued_at: datetime | None = Field(None, description="Since when the longest waiting ticket waits.")
    oldest_wait_seconds: float = Field(0.0, description="How long that ticket waits; time while assigned not counted.")
    waiting: dict[str, int] = Field(description="Tickets by priority.")
    unroutable: int = Field(description="How many of them no agent can serve.")
    agents_online: int


class Explanation(BaseModel):
    """Which agent would get a ticket now, and why the others would not; the best are listed, all are counted."""

    agent: AgentRef | None
    queue: str | None = Field(None, description="Queue that would serve it: its own, or one that it overflows to.")
    required: SkillLevels
    preferred: SkillLevels
    decision: AssignmentDecision
    passed_over: dict[str, int]
    nobody: str | None = Field(None, description="Why no agent could serve it, even if all were online and free.")


class DecisionView(BaseModel):
    """A ticket's state in routing and the last decision; if it waits, also what would be decided now."""

    ticket_id: str
    phase: str
    queue: str | None
    overflow_queues: tuple[str, ...] = Field((), description="Other queues that may serve it.")
    waits_for: AgentRef | None = Field(None, description="The only agent who may take it until `waits_for_until`.")
    waits_for_until: datetime | None = None
    queued_at: datetime | None
    agent: AgentRef | None
    assigned_at: datetime | None
    unroutable: str | None = None
    next_look: datetime | None = None
    decision: AssignmentDecision | None
    now: Explanation | None = None


class SimulationBody(BaseModel):
    """A hypothetical ticket."""

    model_config = ConfigDict(extra="forbid")
    facts: TicketFacts
    required_skills: SkillLevels = Field(default_factory=dict)
    preferred_skills: SkillLevels = Field(default_factory=dict)
    queue: str | None = Field(None, description="Queue to wait in; defaults to the one that the rules choose.")
    previous_agent: str | None = None
    waited_seconds: Annotated[float, Field(ge=0, le=86_400 * 365)] = 0


class SimulationView(BaseModel):
    """The queue and the decision for a hypothetical ticket."""

    queue: str | None
    explanation: Explanation | None


def build_app(
    settings: RoutingSettings, assigner: Assigner, clock: Clock, changed: Callable[[Document[AgentState]], None]
) -> FastAPI:
    """Build the public door. `changed` is called for every agent that was written."""
    app = door("Deskbus routing", settings)
    app.include_router(_agents(assigner, clock, changed))
    app.include_router(_insight(assigner, clock))
    return app


def _agents(assigner: Assigner, clock: Clock, changed: Callable[[Document[AgentState]], None]) -> Router:
    router = Router(prefix="/v1/agents", tags=["agents"])
    documents = assigner.roster.documents
    reads, writes = Depends(requires("agents:read")), Depends(requires("agents:write"))

    async def change(
        agent_id: str, decide: Callable[[AgentState | None], Decision[AgentState] | None]
    ) -> tuple[AgentState | None, AgentState | None]:
        """Change an agent, and return the state before and after."""
        before: list[AgentState | None] = [None]

        def noted(state: AgentState | None) -> Decision[AgentState] | None:
            before[0] = state
            return decide(state)

        doc = await documents.change(agent_id, noted)
        changed(doc)
        return before[0], doc.state

    @router.get("", dependencies=[reads])
    async def list_agents(
        after: Annotated[str, Query(description="Last id of the previous page.")] = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> list[AgentView]:
        found = await documents.find({"_id": {"$gt": after}, "state.removed_at": None}, sort=[("_id", 1)], limit=limit)
        return [_view(doc.state) for doc in found if doc.state is not None]

    @router.get("/{agent_id}", dependencies=[reads])
    async def get_agent(agent_id: Id) -> AgentView:
        return _view(_present((await documents.load([agent_id]))[agent_id].state, agent_id))

    @router.put(
        "/{agent_id}",
        dependencies=[writes],
        responses={201: {"model": AgentView, "description": "The agent was created"}},
    )
    async def put_agent(agent_id: Id, body: AgentBody, response: Response) -> AgentView:
        profile = Agent(id=agent_id, **body.model_dump())
        before, after = await change(agent_id, lambda state: agents.put(state, profile, clock.now()))
        if before is None or before.removed_at is not None:
            response.status_code = 201
        return _view(_present(after, agent_id))

    @router.put("/{agent_id}/presence", dependencies=[writes])
    async def put_presence(agent_id: Id, body: PresenceBody) -> AgentView:
        _, after = await change(
            agent_id, lambda state: agents.set_presence(_present(state, agent_id), body.presence, clock.now())
        )
        return _view(_present(after, agent_id))

    @router.delete("/{agent_id}", dependencies=[writes], status_code=204)
    async def delete_agent(agent_id: Id) -> None:
        await change(agent_id, lambda state: agents.remove(_known(state, agent_id), clock.now()))

    return router


def _insight(assigner: Assigner, clock: Clock) -> Router:
    router = Router(prefix="/v1", tags=["insight"], dependencies=[Depends(requires("routing:read"))])

    @router.get("/queues")
    async def queues() -> list[QueueView]:
        groups = await waiting(assigner.documents)
        names = [*assigner.policy.queues, *({group.queue for group in groups} - assigner.policy.queues.keys())]
        return [_queue_view(name, [g for g in groups if g.queue == name], assigner, clock.now()) for name in names]

    @router.get("/tickets/{ticket_id}/decision")
    async def decision(ticket_id: Id) -> DecisionView:
        state = (await assigner.documents.load([ticket_id]))[ticket_id].state
        if state is None or state.aside == TransferReason.UNKNOWN_TICKET:
            raise Problem(404, detail=f"Unknown ticket {ticket_id}")
        return DecisionView(
            ticket_id=ticket_id,
            phase=state.phase,
            queue=state.queue,
            overflow_queues=state.overflow_queues,
            waits_for=AgentRef(id=state.target.agent, name=state.target.name) if state.target else None,
            waits_for_until=state.target.until if state.target else None,
            queued_at=state.queued_at,
            agent=AgentRef(id=state.agent, name=state.agent_name) if state.agent else None,
            assigned_at=state.assigned_at,
            unroutable=state.unroutable,
            next_look=state.next_look,
            decision=state.decision,
            now=_explain(state, assigner, clock.now()) if state.phase == "waiting" else None,
        )

    @router.post("/simulate")
    async def simulate(body: SimulationBody) -> SimulationView:
        now = clock.now()
        since = now - timedelta(seconds=body.waited_seconds)
        needs = TicketState(
            id="simulated",
            facts=body.facts,
            status=Status.OPEN,
            phase="waiting",
            required=tuple(sorted(body.required_skills.items())),
            preferred=tuple(sorted(body.preferred_skills.items())),
            urgency=body.facts.priority.rank,
            queue=body.queue,
            queued_at=since,
            entered_at=since,
            waiting_since=since,
            previous=body.previous_agent,
        )
        placed = needs if body.queue is not None else place(needs, assigner.policy)
        if body.queue is not None and body.queue not in assigner.policy.queues:
            raise Problem(422, detail=f"Unknown queue {body.queue}")
        explanation = _explain(placed, assigner, now) if placed.queue is not None else None
        return SimulationView(queue=placed.queue, explanation=explanation)

    return router


def _present(state: AgentState | None, agent_id: str) -> AgentState:
    known = _known(state, agent_id)
    if known.removed_at is not None:
        raise Problem(404, detail=f"Agent {agent_id} was removed")
    return known


def _known(state: AgentState | None, agent_id: str) -> AgentState:
    if state is None:
        raise Problem(404, detail=f"Unknown agent {agent_id}")
    return state


def _view(state: AgentState) -> AgentView:
    return AgentView(
        agent=state.profile, load=state.load, tickets=tuple(state.claims), last_assigned_at=state.last_assigned_at
    )


def _queue_view(name: str | None, groups: list[Waiting], assigner: Assigner, now: datetime) -> QueueView:
    by_priority: Counter[Priority] = Counter()
    for group in groups:
        by_priority[group.priority] += group.count
    since = oldest(groups)
    serve = [
        state
        for state in assigner.roster.states()
        if state.online and (not state.profile.queues or name in state.profile.queues)
    ]
    return QueueView(
        queue=name,
        depth=by_priority.total(),
        oldest_queued_at=since,
        oldest_wait_seconds=max(0.0, (now - since).total_seconds()) if since else 0.0,
        waiting={priority.value: by_priority[priority] for priority in Priority},
        unroutable=sum(group.count for group in groups if group.unroutable),
        agents_online=len(serve),
    )


def _explain(state: TicketState, assigner: Assigner, now: datetime) -> Explanation:
    """Explain what would be decided now. Judges every agent, unlike an assignment, since a person asked."""
    policy = assigner.follow_policy()
    needs = need.needs_of(state, policy, now)
    everybody = [agent for agent in assigner.roster.states() if agent.removed_at is None]
    why = need.why_unplaced(state, policy)
    choice = assigner.roster.pool.pick(needs) if why is None else None
    need_met, chosen = (choice.need, choice.agent.profile) if choice is not None else (needs[0], None)
    decision = ranking.explain(everybody, needs, policy, now, choice, SHOWN)
    if why is None and state.target is None:
        why = ranking.why_unroutable(everybody, need.minimal_needs(state, policy), policy)
    return Explanation(
        agent=AgentRef(id=chosen.id, name=chosen.name) if chosen is not None else None,
        queue=need_met.queue,
        required=dict(need_met.required),
        preferred=dict(need_met.preferred),
        decision=decision,
        passed_over=decision.passed_over,
        nobody=f"{why.reason}: {why.detail}" if why else None,
    )
