"""A ticket in routing from the events and commands about it, and from what routing said. No IO, and nobody is assigned.

Who was available, who had room and who was chosen is not decided again: it follows from what was said. When a waiting
ticket is looked at next is not known; it is due at once. Until it is assigned, its `share` means nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from contracts.agents import Agent, AgentPresenceChanged, AgentRemoved, AgentUpdated
from contracts.assignments import (
    QueueReason,
    TicketAssigned,
    TicketQueued,
    TicketRoutable,
    TicketTransferAnswered,
    TicketUnassigned,
    TicketUnroutable,
    TransferOutcome,
    TransferReason,
    UnassignReason,
)
from contracts.commands import Transfer
from contracts.envelope import Command, Event
from contracts.payload import Payload
from contracts.tickets import TicketEvent
from kit.protocol.document import Cause, Decision
from services.routing.core import looks, moves, tickets, transfers
from services.routing.core.agents import AgentState, Claim
from services.routing.core.policy import RoutingPolicy
from services.routing.core.state import TicketState


class Staff:
    """The agents as their events tell, of which the compacted topic may have the last only, with their tickets."""

    def __init__(self, policy: RoutingPolicy) -> None:
        self.policy = policy
        self.people: dict[str, AgentState] = {}
        self.emitted: dict[str, int] = {}
        self._presence: dict[str, list[tuple[datetime, bool]]] = {}

    def note(self, event: Event) -> None:
        """Take an event of an agent, or of a ticket: whoever got it was assigned then."""
        known = self.people.get(event.subject)
        match event.data:
            case AgentUpdated() | AgentPresenceChanged() as data:
                claims = known.claims if known is not None else {}
                last = known.last_assigned_at if known is not None else None
                self._put(event, AgentState(data.agent, claims, last, announced_at=event.time, touched_at=event.time))
            case AgentRemoved() as data:
                old = known.profile if known is not None else Agent(id=data.agent_id, name=data.agent_id, capacity=0)
                profile = old.model_copy(update={"presence": "offline", "presence_since": data.removed_at})
                state = known or AgentState(profile)
                gone = replace(state, profile=profile, removed_at=data.removed_at)
                self._put(event, replace(gone, announced_at=event.time, touched_at=event.time))
            case TicketAssigned() as data if (agent := self.people.get(data.agent.id)) is not None:
                last = max(data.assigned_at, agent.last_assigned_at or data.assigned_at)
                self.people[data.agent.id] = replace(agent, last_assigned_at=last)

    def _put(self, event: Event, state: AgentState) -> None:
        self.people[event.subject] = state
        self.emitted[event.subject] = event.sequence
        self._presence.setdefault(event.subject, []).append((event.time, state.online))

    def was_online(self, agent: str, at: datetime) -> bool:
        """Return whether an agent accepted tickets, as far as it is known; True where it is not."""
        told = self._presence.get(agent, [])
        return next((online for since, online in reversed(told) if since <= at), not told or told[0][1])

    def took(self, ticket: TicketState) -> None:
        """Note the claim of a ticket. Any later one is made at a higher version, so it needs no stamp."""
        agent = self.people.get(ticket.agent or "")
        if agent is None or ticket.assigned_at is None:
            return
        weight = self.policy.weight(ticket.facts.channel, agent.profile.channel_weights, ticket.share)
        claim = Claim(0, weight, ticket.assigned_at)
        self.people[agent.profile.id] = replace(agent, claims={**agent.claims, ticket.id: claim})


_EVICTS = frozenset({UnassignReason.AGENT_OFFLINE, UnassignReason.AGENT_REMOVED, UnassignReason.AGENT_FULL})


class RestoreTickets:
    """See `Restore` in kit/protocol/restoring.py."""

    def __init__(
        self,
        policy: RoutingPolicy,
        people: Mapping[str, AgentState],
        was_online: Callable[[str, datetime], bool] = lambda _agent, _at: True,
    ) -> None:
        """`people` are the agents as they were last, for their names; `was_online` is what is known of the past."""
        self._policy, self._people, self._was_online = policy, people, was_online

    def heard(
        self,
        state: TicketState | None,
        what: Event | Command,
        at: datetime,
        said: Sequence[Event],
        *,
        incomplete: bool,  # noqa: ARG002 - it makes no difference here
    ) -> Decision[TicketState]:
        """Decide an event or a command again, then apply what was said of it besides: that an agent was found."""
        payloads = [event.data for event in said]
        if isinstance(what, Command):
            first = self._transfer(state, what, at, said)
        elif isinstance(what.data, TicketEvent):
            first = self._follow(state, what, at, payloads)
        else:
            return Decision()
        after = first.state or state
        rest = self._apply(after, said[len(first.events) :])
        after = rest.state or after
        return Decision(None if after is None else self._fit(after), [*first.events, *rest.events])

    def _follow(
        self, state: TicketState | None, what: Event, at: datetime, said: Sequence[Payload]
    ) -> Decision[TicketState]:
        """Decide with the availability of agents that leads to most of what was said, else with what is known of it."""
        answers: tuple[Callable[[str], bool], ...] = (
            lambda agent: self._was_online(agent, at),
            lambda _: True,
            lambda _: False,
        )
        decisions = [
            tickets.decide(state, what.data, what.time, self._policy, available, Cause.of(what))
            for available in answers
        ]
        fits = [each for each in decisions if self._begins(said, each.events)]
        return max(fits, key=lambda each: len(each.events), default=decisions[0])

    def _begins(self, said: Sequence[Payload], mine: Sequence[Payload]) -> bool:
        return len(said) >= len(mine) and all(map(self.agrees, mine, said))

    def _transfer(
        self, state: TicketState | None, command: Command, at: datetime, said: Sequence[Event]
    ) -> Decision[TicketState]:
        data = command.data
        if not isinstance(data, Transfer):
            return Decision()
        answer = said[0].data if said else None
        refused = isinstance(answer, TicketTransferAnswered) and answer.outcome == TransferOutcome.REFUSED
        if state is None and refused:
            state = transfers.unknown_ticket(command.subject)
        if state is None:
            return Decision()
        known = state.aside != TransferReason.UNKNOWN_TICKET
        if known and not command.reaches(state.facts.brand, state.facts.account):
            return Decision()
        key = f"{command.source}:{command.id}"
        if refused and key not in state.commands:
            done = replace(state, commands=(*state.commands, key)[-transfers.REMEMBERED :])
            return Decision(done, [said[0].data])
        queued = [event.data.entered_at for event in said if isinstance(event.data, TicketQueued)]
        now = next((instant for instant in queued if instant is not None), max(at, command.time))
        cause = Cause(command.id, command.correlationid or command.id, command.traceparent)
        return transfers.transfer(state, data, command.id, now, self._policy, self._people, cause, command.source)

    def said(self, state: TicketState | None, said: Sequence[Event]) -> Decision[TicketState]:
        """Apply what was said because of time, agents or the policy."""
        return self._apply(state, said)

    def _apply(self, state: TicketState | None, said: Sequence[Event]) -> Decision[TicketState]:
        events: list[Payload] = []
        while state is not None and len(events) < len(said):
            decision = self._again(state, said[len(events)])
            if decision is None or not decision.events:
                break
            state = decision.state or state
            events += decision.events
        return Decision(state, events)

    def _again(self, state: TicketState, event: Event) -> Decision[TicketState] | None:
        match event.data:
            case TicketAssigned() as data:
                return self._assign(state, data)
            case TicketUnassigned() as data if data.reason in _EVICTS:
                reason = UnassignReason(data.reason)
                return tickets.evict(state, data.agent.id, reason, data.unassigned_at, self._policy, all_work=True)
            case TicketQueued(reason=QueueReason.RULES_CHANGED) as data:
                return moves.place_again(state, data.entered_at or event.time, self._policy)
            case TicketQueued(reason=QueueReason.OVERFLOW) as data:
                return looks.overflow(state, data.entered_at or event.time, self._policy)
            case TicketUnroutable() as data:
                return Decision(replace(state, unroutable=str(data.reason)), [data])
            case TicketRoutable() as data:
                return Decision(replace(state, unroutable=None), [data])
            case TicketTransferAnswered() as data:
                return self._answered(state, data)
        return None

    def _assign(self, state: TicketState, data: TicketAssigned) -> Decision[TicketState] | None:
        if state.phase != "waiting" or state.queued_at is None:
            return None
        return moves.assigned(
            state,
            data.agent,
            data.reason,
            data.assigned_at,
            load_before=data.load_before or 0.0,
            load_after=data.load_after or 0.0,
            decision=data.decision,
            overflow_queue=data.overflow_queue,
            share=self._policy.share(state.facts.channel, state.status),
        )

    def _answered(self, state: TicketState, data: TicketTransferAnswered) -> Decision[TicketState]:
        target = state.target
        if data.outcome == TransferOutcome.WAITING and target is not None:
            return Decision(
                replace(state, target=replace(target, announced=True, until=data.until or target.until)), [data]
            )
        return Decision(replace(state, target=None), [data])

    def _fit(self, state: TicketState) -> TicketState:
        """Give an assigned ticket the share of its status, as it has it unless it was said to be taken away."""
        if state.phase != "assigned":
            return state
        return replace(state, share=self._policy.share(state.facts.channel, state.status))

    def finished(self, state: TicketState) -> TicketState:
        """Return the state as it is."""
        return state

    def agrees(self, mine: Payload, said: Payload) -> bool:
        """Return whether it is the same about the same agent or queue."""
        return mine.type == said.type and _about(mine) == _about(said)


def _about(data: Payload) -> tuple[object, ...]:
    match data:
        case TicketQueued():
            return data.queue, data.reason, data.queued_at, data.overflow_queues
        case TicketAssigned():
            return data.agent.id, data.assigned_at, data.queued_at
        case TicketUnassigned():
            return data.agent.id, data.reason
        case TicketTransferAnswered():
            return data.command_id, data.outcome, data.reason
    return ()
