"""How tickets and agents become documents and back, and the indexes they need. No protocol here."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from contracts import topics
from contracts.agents import Agent
from contracts.assignments import AssignmentDecision
from contracts.ticket import Status, TicketFacts
from kit.mongo import MongoStore
from kit.protocol.document import Cause, Kind
from services.routing.core.agents import AgentState, Claim
from services.routing.core.state import Overflowed, Target, TicketState

_PLAIN = (
    "id", "phase", "ticket_version", "queue", "pinned", "urgency", "queued_at", "entered_at", "waiting_since",
    "next_look", "looks", "unroutable", "agent", "agent_name", "assigned_at", "share", "previous",
    "aside",
)  # fmt: skip
_PAIRS = ("required", "preferred", "rule_required", "rule_preferred")
_LISTS = ("avoid", "left", "commands")


def _dump_ticket(state: TicketState) -> dict[str, Any]:
    return {
        **{name: getattr(state, name) for name in _PLAIN},
        **{name: [list(pair) for pair in getattr(state, name)] for name in _PAIRS},
        **{name: list(getattr(state, name)) for name in _LISTS},
        "overflow": [{"queue": more.queue, "since": more.since, "own": more.own} for more in state.overflow],
        "queues": list(state.queues),  # to be found by
        "target": _dump_target(state.target) if state.target else None,
        "status": state.status.value,
        "facts": state.facts.model_dump(mode="json", exclude_defaults=True),
        "decision": state.decision.model_dump(mode="json", exclude_defaults=True) if state.decision else None,
        "cause": [state.cause.id, state.cause.correlationid, state.cause.traceparent] if state.cause else None,
    }


def _load_ticket(raw: Mapping[str, Any]) -> TicketState:
    fields: dict[str, Any] = {name: raw[name] for name in _PLAIN if name in raw}
    fields |= {name: tuple((skill, level) for skill, level in raw.get(name, ())) for name in _PAIRS}
    fields |= {name: tuple(raw.get(name, ())) for name in _LISTS}
    return TicketState(
        **fields,
        overflow=tuple(Overflowed(**more) for more in raw.get("overflow", ())),
        target=Target(**raw["target"]) if raw.get("target") else None,
        status=Status(raw["status"]),
        facts=TicketFacts.model_validate(raw["facts"]),
        decision=AssignmentDecision.model_validate(raw["decision"]) if raw.get("decision") else None,
        cause=Cause(*raw["cause"]) if raw.get("cause") else None,
    )


def _dump_target(target: Target) -> dict[str, Any]:
    return {name: getattr(target, name) for name in ("agent", "until", "name", "command", "announced")}


TICKET_KIND: Kind[TicketState] = Kind(
    collection="tickets",
    source="/deskbus/routing",
    topic=topics.ASSIGNMENTS,
    load=_load_ticket,
    dump=_dump_ticket,
    due=lambda state: state.next_look if state.phase == "waiting" else None,
    home_topic=topics.TICKETS,
)


def _dump_agent(state: AgentState) -> dict[str, Any]:
    # Claims and levels are lists, since ids of tickets and names of skills must not be field names.
    profile = state.profile.model_dump(exclude={"skills", "channel_weights"})
    profile["languages"], profile["brands"], profile["queues"] = (
        list(state.profile.languages), list(state.profile.brands), list(state.profile.queues),
    )  # fmt: skip
    return {
        "profile": profile,
        "skills": [list(pair) for pair in state.profile.skills.items()],
        "channel_weights": [list(pair) for pair in state.profile.channel_weights.items()],
        "claims": [
            {"ticket": ticket, "stamp": claim.stamp, "weight": claim.weight, "since": claim.since}
            for ticket, claim in state.claims.items()
        ],
        "last_assigned_at": state.last_assigned_at,
        "removed_at": state.removed_at,
        "announced_at": state.announced_at,
        "touched_at": state.touched_at,
    }


def _load_agent(raw: Mapping[str, Any]) -> AgentState:
    profile = {**raw["profile"], "skills": dict(raw["skills"]), "channel_weights": dict(raw["channel_weights"])}
    return AgentState(
        profile=Agent.model_validate(profile),
        claims={h["ticket"]: Claim(h["stamp"], h["weight"], h["since"]) for h in raw["claims"]},
        last_assigned_at=raw.get("last_assigned_at"),
        removed_at=raw.get("removed_at"),
        announced_at=raw.get("announced_at"),
        touched_at=raw.get("touched_at"),
    )


def agent_kind(announce_every: timedelta) -> Kind[AgentState]:
    """Return the kind of agents, who are announced anew after that time."""
    return Kind(
        collection="agents",
        source="/deskbus/routing/agents",
        topic=topics.AGENTS,
        load=_load_agent,
        dump=_dump_agent,
        due=lambda state: state.announced_at + announce_every if state.announced_at else None,
        home_topic=topics.TICKETS,
    )


async def ensure_indexes(store: MongoStore) -> None:
    """Make the indexes of both collections."""
    await store.ensure_outbox_indexes("tickets")
    await store.ensure_outbox_indexes("agents")
    await store.ensure_indexes("tickets", ["state.phase", "state.urgency", "state.queued_at"])
    meant = {"state.target.agent": {"$exists": True}}  # few are: the others take no place in it
    await store.ensure_indexes("tickets", ["state.target.agent"], partial=meant)
    await store.ensure_indexes("agents", ["state.touched_at"])
