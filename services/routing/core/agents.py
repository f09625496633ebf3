"""An agent in routing: profile, presence, and the claims of open tickets on the agent's capacity.

Rule: a claim is written before the ticket is assigned, and released after the ticket went elsewhere.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from contracts.agents import Agent, AgentPresenceChanged, AgentRemoved, AgentUpdated, Presence, PresenceReason
from kit.protocol.document import Decision


@dataclass(frozen=True, slots=True)
class Claim:
    """A ticket's claim on an agent's capacity. `stamp` is the highest version of the ticket that made the claim."""

    stamp: int
    weight: float
    since: datetime


@dataclass(frozen=True, slots=True)
class Release:
    """A claim is to be given up, or with `weight` made lighter, if it was made for an older version of its ticket.

    Whoever claims for that ticket later does so at that version or above, so a lower stamp can win no more.
    """

    version: int
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class AgentState:
    """An agent's stored state. `profile` is the published part; a removed agent remains as a tombstone."""

    profile: Agent
    claims: Mapping[str, Claim] = field(default_factory=dict)
    last_assigned_at: datetime | None = None
    removed_at: datetime | None = None
    announced_at: datetime | None = None
    touched_at: datetime | None = None
    load: float = field(init=False, compare=False)
    """Claimed units of capacity; computed once, since each choice reads it. Independent of the claims' order."""

    def __post_init__(self) -> None:
        """Add up the claims."""
        object.__setattr__(self, "load", math.fsum(claim.weight for claim in self.claims.values()))

    @property
    def relative_load(self) -> float:
        """Load divided by capacity; infinite without capacity."""
        return self.load / self.profile.capacity if self.profile.capacity else math.inf

    @property
    def online(self) -> bool:
        """Whether the agent accepts tickets."""
        return self.removed_at is None and self.profile.presence == Presence.ONLINE

    def has_room(self, weight: float) -> bool:
        """Whether the agent has capacity for a ticket of that weight."""
        return has_room(self.profile.capacity, self.load, weight)


def has_room(capacity: float, load: float, weight: float) -> bool:
    """Whether load and weight fit into the capacity; 1e-9 is tolerated for rounding errors of weights such as 0.1."""
    return load + weight <= capacity + 1e-9


def put(state: AgentState | None, profile: Agent, now: datetime) -> Decision[AgentState] | None:
    """Create an agent or replace the profile. Return None if nothing changes. Presence is used for new agents only."""
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
    """Set an agent's presence. Return None if it does not change or the agent was removed."""
    old = state.profile.presence
    if state.removed_at is not None or old == presence:
        return None
    agent = state.profile.model_copy(
        update={"presence": str(presence), "presence_since": now, "version": state.profile.version + 1}
    )
    changed = replace(state, profile=agent, announced_at=now, touched_at=now)
    return Decision(changed, [AgentPresenceChanged(agent=agent, old=old, new=str(presence), reason=str(reason))])


def remove(state: AgentState, now: datetime) -> Decision[AgentState] | None:
    """Remove an agent for good. A tombstone remains, with claims until their tickets went elsewhere."""
    if state.removed_at is not None:
        return None
    agent = state.profile.model_copy(update={"presence": Presence.OFFLINE.value, "presence_since": now})
    gone = replace(state, profile=agent, removed_at=now, touched_at=now)
    return Decision(gone, [AgentRemoved(agent_id=agent.id, removed_at=now)])


def announce(state: AgentState, now: datetime, period: timedelta) -> Decision[AgentState] | None:
    """Publish an agent's state again if the last time was `period` ago; return None if not.

    In the compacted topic, an older record that was written late could otherwise remain the last one.
    """
    if state.announced_at is not None and state.announced_at + period > now:
        return None
    again = replace(state, announced_at=now, touched_at=now)
    if state.removed_at is not None:
        return Decision(again, [AgentRemoved(agent_id=state.profile.id, removed_at=state.removed_at)])
    return Decision(again, [AgentUpdated(agent=state.profile)])


def claim(state: AgentState, ticket: str, stamp: int, weight: float, now: datetime) -> AgentState:
    """Add a ticket's claim to an agent. An existing claim keeps the higher stamp (`stamp-max`).

    It also keeps the higher weight: another replica may have made it for a newer version (`claim-heaviest`).
    """
    old = state.claims.get(ticket)
    claim = Claim(stamp, weight, now) if old is None else Claim(max(old.stamp, stamp), max(old.weight, weight), now)
    return replace(state, claims={**state.claims, ticket: claim}, last_assigned_at=now, touched_at=now)


def renew(state: AgentState, ticket: str, stamp: int, weight: float, now: datetime) -> AgentState:
    """Update the weight of a ticket's claim for its current status. Does not count as an assignment."""
    return replace(claim(state, ticket, stamp, weight, now), last_assigned_at=state.last_assigned_at)


def release(state: AgentState, releases: Mapping[str, Release]) -> AgentState:
    """Give claims up, or make them lighter; those renewed for their ticket since stay (`release-stamped`)."""
    good = effective(state, releases)
    kept = {t: claim for t, claim in state.claims.items() if t not in good or good[t].weight is not None}
    kept |= {t: replace(kept[t], weight=given.weight) for t, given in good.items() if given.weight is not None}
    return replace(state, claims=kept) if good else state


def effective(state: AgentState, releases: Mapping[str, Release]) -> dict[str, Release]:
    """Return the releases that change something of these claims."""
    claims = state.claims
    old = {t: given for t, given in releases.items() if t in claims and claims[t].stamp < given.version}
    return {t: given for t, given in old.items() if given.weight is None or given.weight < claims[t].weight}
