"""An agent as routing knows them: skills, capacity, presence, and the claims that open work has on them.

Rule: a claim is made before the ticket says "assigned" and given up after the ticket says something else.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from contracts.agents import Agent, AgentPresenceChanged, AgentRemoved, AgentUpdated, Presence, PresenceReason
from kit.protocol.document import Decision


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of a ticket on an agent. `stamp` is the highest version of the ticket that it was claimed at."""

    stamp: int
    weight: float
    since: datetime


@dataclass(frozen=True, slots=True)
class AgentState:
    """What is stored of an agent. `profile` is what everyone may know; `removed` leaves a tombstone."""

    profile: Agent
    claims: Mapping[str, Claim] = field(default_factory=dict)
    last_assigned_at: datetime | None = None
    removed_at: datetime | None = None
    announced_at: datetime | None = None
    touched_at: datetime | None = None
    load: float = field(init=False, compare=False)
    """Units of open work now; the sum does not depend on the order of the claims. Kept: each pick looks at it."""

    def __post_init__(self) -> None:
        """Add up the claims."""
        object.__setattr__(self, "load", math.fsum(claim.weight for claim in self.claims.values()))

    @property
    def relative_load(self) -> float:
        """Share of the capacity that is used; without capacity there is no room at all."""
        return self.load / self.profile.capacity if self.profile.capacity else math.inf

    @property
    def online(self) -> bool:
        """Whether the agent takes work."""
        return self.removed_at is None and self.profile.presence == Presence.ONLINE

    def has_room(self, weight: float) -> bool:
        """Whether work of that weight fits."""
        return has_room(self.profile.capacity, self.load, weight)


def has_room(capacity: float, load: float, weight: float) -> bool:
    """Whether work of that weight fits beside that load. A billionth is left for sums of weights such as 0.1."""
    return load + weight <= capacity + 1e-9


def put(state: AgentState | None, profile: Agent, now: datetime) -> Decision[AgentState] | None:
    """Take an agent's profile; presence is changed apart, except for one who is new. The same again changes nothing."""
    gone = state is None or state.removed_at is not None
    if state is None or gone:
        version = 1 if state is None else state.profile.version + 1
        agent = profile.model_copy(update={"version": version, "presence_since": now})
        fresh = AgentState(agent, state.claims if state else {}, announced_at=now, touched_at=now)
        return Decision(fresh, [AgentUpdated(agent=agent)])
    old = state.profile
    kept = {"version": old.version, "presence": old.presence, "presence_since": old.presence_since}
    if profile.model_copy(update=kept) == old:
        return None
    agent = profile.model_copy(update={**kept, "version": old.version + 1})
    return Decision(replace(state, profile=agent, announced_at=now, touched_at=now), [AgentUpdated(agent=agent)])


def set_presence(
    state: AgentState, presence: str, now: datetime, reason: str = PresenceReason.REQUEST
) -> Decision[AgentState] | None:
    """Change whether an agent takes work."""
    old = state.profile.presence
    if state.removed_at is not None or old == presence:
        return None
    agent = state.profile.model_copy(
        update={"presence": str(presence), "presence_since": now, "version": state.profile.version + 1}
    )
    changed = replace(state, profile=agent, announced_at=now, touched_at=now)
    return Decision(changed, [AgentPresenceChanged(agent=agent, old=old, new=str(presence), reason=str(reason))])


def remove(state: AgentState, now: datetime) -> Decision[AgentState] | None:
    """Let an agent go for good. What is left is a tombstone, and claims until their tickets have gone elsewhere."""
    if state.removed_at is not None:
        return None
    agent = state.profile.model_copy(update={"presence": Presence.OFFLINE.value, "presence_since": now})
    gone = replace(state, profile=agent, removed_at=now, touched_at=now)
    return Decision(gone, [AgentRemoved(agent_id=agent.id, removed_at=now)])


def announce(state: AgentState, now: datetime, period: timedelta) -> Decision[AgentState] | None:
    """Say again who an agent is: on a compacted topic an old record that was confirmed late could be the last one."""
    if state.announced_at is not None and state.announced_at + period > now:
        return None
    again = replace(state, announced_at=now, touched_at=now)
    if state.removed_at is not None:
        return Decision(again, [AgentRemoved(agent_id=state.profile.id, removed_at=state.removed_at)])
    return Decision(again, [AgentUpdated(agent=state.profile)])


def claim(state: AgentState, ticket: str, stamp: int, weight: float, now: datetime) -> AgentState:
    """Put a ticket's claim on an agent. One that is there keeps its place and the higher stamp (`stamp-max`).

    It keeps the higher weight too: another replica may have made it for what the ticket is by now (`claim-heaviest`).
    """
    old = state.claims.get(ticket)
    claim = Claim(stamp, weight, now) if old is None else Claim(max(old.stamp, stamp), max(old.weight, weight), now)
    return replace(state, claims={**state.claims, ticket: claim}, last_assigned_at=now, touched_at=now)


def renew(state: AgentState, ticket: str, stamp: int, weight: float, now: datetime) -> AgentState:
    """Give a ticket's claim the weight that the ticket has in its status now. Nothing is assigned by that."""
    return replace(claim(state, ticket, stamp, weight, now), last_assigned_at=state.last_assigned_at)


def release(
    state: AgentState, tickets: set[str], now: datetime, lighter: Mapping[str, float] | None = None
) -> AgentState:
    """Give claims up; those in `lighter` stay, with the weight that stands there."""
    kept = {t: h for t, h in state.claims.items() if t not in tickets}
    kept |= {t: replace(kept[t], weight=weight) for t, weight in (lighter or {}).items() if t in kept}
    return replace(state, claims=kept, touched_at=now)
