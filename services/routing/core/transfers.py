"""Transfers: carried out, waiting for the agent, falling back to the queue, or refused.

Rule: a transfer that is not carried out at once is announced with its reason. A command counts once, by its id.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from contracts.agents import Presence
from contracts.assignments import (
    AgentRef,
    AssignmentEvent,
    QueueReason,
    TicketTransferAnswered,
    TransferOutcome,
    TransferReason,
    UnassignReason,
)
from contracts.commands import Transfer
from contracts.ticket import Status, TicketFacts
from kit.protocol.document import Cause, Decision
from services.routing.core.agents import AgentState
from services.routing.core.moves import queue, unassigned
from services.routing.core.policy import RoutingPolicy
from services.routing.core.state import Target, TicketState

REMEMBERED = 20
"""Commands that a ticket remembers, the latest ones."""


def transfer(
    state: TicketState,
    command: Transfer,
    command_id: str,
    now: datetime,
    policy: RoutingPolicy,
    people: Mapping[str, AgentState],
    cause: Cause | None = None,
    source: str = "",
) -> Decision[TicketState]:
    """Transfer the ticket to a queue or an agent. It keeps its age; its former agent does not get it back at once."""
    key = f"{source}:{command_id}"
    if key in state.commands:
        return Decision()
    state = replace(state, commands=(*state.commands, key)[-REMEMBERED:])
    refusal = _refusal(state, command, policy, people)
    if refusal is not None:
        return Decision(state, [_refused(state, command, command_id, *refusal)])
    if state.agent is not None and state.agent == command.agent_id:
        return Decision(state)
    events = superseded(state, TransferReason.TRANSFERRED)
    state = replace(state, cause=cause or state.cause, previous=None, target=None)
    if state.agent is not None:
        before = state.agent
        state, event = unassigned(state, UnassignReason.TRANSFERRED, now)
        state = replace(state, avoid=(before,))
        events.append(event)
    if command.agent_id is not None:
        agent = people[command.agent_id].profile
        state = replace(state, target=Target(agent.id, now + policy.transfer.wait, agent.name, command_id))
    if command.queue is not None:
        state = replace(
            state, queue=command.queue, pinned=True, rule_required=(), rule_preferred=(), overflow=(), entered_at=now,
        )  # fmt: skip
    queued = queue(state, QueueReason.TRANSFERRED, now, policy)
    return Decision(queued.state, [*events, *queued.events])


def wait(state: TicketState, agent: AgentState | None, policy: RoutingPolicy) -> Decision[TicketState] | None:
    """Announce that a ticket waits for the agent it was transferred to; None if it does not, or was announced."""
    if state.target is None or state.target.command is None or state.target.announced:
        return None
    event = _answer(state, TransferOutcome.WAITING, *hindrance(state, agent, policy))
    return Decision(replace(state, target=replace(state.target, announced=True)), [event])


def fall_back(state: TicketState, agent: AgentState | None, policy: RoutingPolicy) -> Decision[TicketState]:
    """End the wait for one agent: any agent of the queue may take the ticket."""
    assert state.target is not None
    gone = replace(state, target=None)
    if state.target.command is None:
        return Decision(gone)
    return Decision(gone, [_answer(state, TransferOutcome.FELL_BACK, *hindrance(state, agent, policy))])


def superseded(state: TicketState, reason: TransferReason) -> list[AssignmentEvent]:
    """Return the event that a transfer waiting for its agent was superseded; empty if none waits."""
    if state.target is None or state.target.command is None:
        return []
    return [_answer(state, TransferOutcome.SUPERSEDED, reason, None)]


def unknown_ticket(ticket_id: str) -> TicketState:
    """Return the state for an unknown ticket, which records the ids of refused transfers."""
    facts = TicketFacts(channel="unknown")
    return TicketState(ticket_id, facts, Status.CLOSED, aside=TransferReason.UNKNOWN_TICKET.value)


def hindrance(state: TicketState, agent: AgentState | None, policy: RoutingPolicy) -> tuple[TransferReason, str | None]:
    """Return why the target agent cannot take the ticket now, with a detail."""
    if agent is None or agent.removed_at is not None:
        return TransferReason.AGENT_REMOVED, None
    if not agent.online:
        away = agent.profile.presence == Presence.AWAY
        return TransferReason.AGENT_AWAY if away else TransferReason.AGENT_OFFLINE, None
    share = policy.share(state.facts.channel, state.status)
    weight = policy.weight(state.facts.channel, agent.profile.channel_weights, share)
    return TransferReason.AGENT_FULL, f"{agent.load:g} of {agent.profile.capacity:g} in use, {weight:g} wanted"


def _refusal(
    state: TicketState, command: Transfer, policy: RoutingPolicy, people: Mapping[str, AgentState]
) -> tuple[TransferReason, str] | None:
    if state.phase == "aside":
        reason = TransferReason(state.aside or TransferReason.SOLVED)
        return reason, _ASIDE[reason]
    if command.queue is not None and command.queue not in policy.queues:
        return TransferReason.UNKNOWN_QUEUE, f"there is no queue {command.queue!r}"
    agent = people.get(command.agent_id or "")
    if command.agent_id is not None and agent is None:
        return TransferReason.UNKNOWN_AGENT, f"there is no agent {command.agent_id!r}"
    if agent is not None and agent.removed_at is not None:
        return TransferReason.AGENT_REMOVED, f"agent {command.agent_id!r} was removed"
    return None


_ASIDE = {
    TransferReason.UNKNOWN_TICKET: "there is no such ticket",
    TransferReason.WITH_BOT: "a bot answers this ticket; it can be transferred once it is handed off",
    TransferReason.SOLVED: "the ticket is solved; reopen it first",
    TransferReason.CLOSED: "the ticket is closed",
    TransferReason.MERGED: "the ticket was merged into another one; ask there",
}


def _refused(
    state: TicketState, command: Transfer, command_id: str, reason: TransferReason, detail: str
) -> TicketTransferAnswered:
    return TicketTransferAnswered(
        ticket_id=state.id,
        queue=state.queue,
        facts=state.facts if reason != TransferReason.UNKNOWN_TICKET else None,
        command_id=command_id,
        outcome=TransferOutcome.REFUSED,
        reason=reason,
        detail=detail,
        to_queue=command.queue,
        to_agent=AgentRef(id=command.agent_id) if command.agent_id else None,
    )


def _answer(
    state: TicketState, outcome: TransferOutcome, reason: TransferReason, detail: str | None
) -> TicketTransferAnswered:
    assert state.target is not None
    assert state.target.command is not None
    return TicketTransferAnswered(
        ticket_id=state.id,
        queue=state.queue,
        facts=state.facts,
        command_id=state.target.command,
        outcome=outcome,
        reason=reason,
        detail=detail,
        to_agent=AgentRef(id=state.target.agent, name=state.target.name),
        until=state.target.until if outcome == TransferOutcome.WAITING else None,
    )
