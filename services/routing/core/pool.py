"""The index that finds the best agent without judging all of them: one bit per agent, one mask per property.

Rule: a mask is an integer in which an agent's bit is set if the agent has the property. Bits are ordered by the time of
the last assignment, so that of agents with equal skill and load the lowest bit is the best; of those assigned at the
same instant, the id decides. `ranking.best` defines the result.
"""

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from contracts.assignments import PassedOver
from services.routing.core.agents import AgentState, has_room
from services.routing.core.need import Need
from services.routing.core.policy import RoutingPolicy
from services.routing.core.ranking import (
    NEVER,
    Choice,
    absent,
    awaited,
    lacking,
    reason_of,
    skills_of,
    unavailable,
    unfit,
)

NEAR = 32
"""Among so many who are as good as the best, one of ours is looked for."""

Tag = tuple[Any, ...]
ONLINE: Tag = ("online",)


class Pool:
    """Agents indexed by skills and load. Not pure, but without IO: a cache with the same results as `ranking`."""

    def __init__(self, policy: RoutingPolicy, agents: Iterable[AgentState] = ()) -> None:
        self.policy = policy
        self.ours: Callable[[str], bool] = lambda _: True
        """Tells the agents whom this replica takes first among equals, so that replicas do not all want the same."""
        self._agents: dict[str, AgentState] = {agent.profile.id: agent for agent in agents}
        self._stale = True
        self._masks: dict[Tag, int] = {}
        self._loads: list[float] = []
        self._places: dict[str, int] = {}
        self._at: list[str] = []
        self._instants: list[datetime] = []
        """Position -> time of the last assignment, in ascending order."""
        self._tags: dict[str, frozenset[Tag]] = {}
        self._last = NEVER
        self._sorted = 0
        self._channels: frozenset[str] = frozenset()

    # -- agents -----------------------------------------------------------------------------------------------------

    @property
    def agents(self) -> Mapping[str, AgentState]:
        """All agents by id, including removed ones, which may still have claims."""
        return self._agents

    def set_policy(self, policy: RoutingPolicy) -> None:
        """Replace the policy."""
        self.policy = policy
        self._stale = True

    def put(self, agent: AgentState) -> None:
        """Add an agent or replace its state."""
        agent_id = agent.profile.id
        before = self._agents.get(agent_id)
        self._agents[agent_id] = agent
        if self._stale:
            return
        if before is None or not self._channels >= agent.profile.channel_weights.keys():
            self._stale = True
            return
        moved = before.last_assigned_at != agent.last_assigned_at
        if moved and (agent.last_assigned_at or NEVER) < self._last:
            self._stale = True  # not the latest assignment: positions are recomputed before the next choice
            return
        if moved and len(self._at) > 2 * len(self._agents) + 64:
            self._stale = True
            return
        self._index(agent, anew=moved)

    def opens(self, before: AgentState, after: AgentState) -> bool:
        """Say whether an agent has room for some work for which there was none before."""
        if after.load >= before.load:
            return False
        own = after.profile.channel_weights
        channels = {"", *self.policy.channel_weights, *own}
        weights = {self.policy.weight(channel, own, share) for channel in channels for share in self.policy.shares}
        return any(after.has_room(weight) and not before.has_room(weight) for weight in weights)

    # -- choosing ---------------------------------------------------------------------------------------------------

    def pick(self, needs: Sequence[Need], *, skip: int = 0) -> Choice | None:
        """Choose by the needs of a ticket, its own queue first: the agent it is meant for, or the best.

        With `skip`, so many of those who are as good and as busy as the best are passed over, round and round.
        """
        meant = self._agents.get(needs[0].target or "")
        can = awaited(meant, needs[0], self.policy)
        if can is not None and meant is not None:
            return Choice(meant, needs[0], needs[0].target_reason) if can else None
        for need in needs:
            agent = self.choose(need, skip=skip)
            if agent is not None:
                return Choice(agent, need, reason_of(agent, need))
        return None

    def choose(self, need: Need, *, skip: int = 0) -> AgentState | None:
        """Return the best agent for a need, or None; whoever had the ticket before goes before the best."""
        had_it = self._agents.get(need.sticky or "")
        if had_it is not None and self._may(had_it, need):
            return had_it
        equals = next(self._equals(need), 0)
        if skip and equals:
            return next(islice(self._by_idleness(equals), skip % equals.bit_count(), None))
        near = islice(self._by_idleness(equals), NEAR)
        first = next(near, None)
        if first is None or self.ours(first.profile.id):
            return first
        return next((agent for agent in near if self.ours(agent.profile.id)), first)

    def best_first(self, need: Need) -> Iterator[AgentState]:
        """Yield the agents who can take the ticket now, best first."""
        for equals in self._equals(need):
            yield from self._by_idleness(equals)

    def _equals(self, need: Need) -> Iterator[int]:
        """Yield masks of agents who can take the ticket, grouped by skill, then load, best first."""
        for equal in self._by_score(self.able(need), need):
            for load in self._loads:
                if mask := equal & self._masks[("load", load)]:
                    yield mask

    def able(self, need: Need) -> int:
        """Return the mask of the agents who can take the ticket now."""
        self._refresh()
        channel = need.channel if need.channel in self._channels else None
        able = self._fit(need) & self._mask(("room", channel, need.share))
        for agent_id in need.avoid:
            if agent_id in self._places:
                able &= ~(1 << self._places[agent_id])
        return able

    def online(self, need: Need) -> int:
        """Count those online who could take the ticket if they had room for it."""
        self._refresh()
        return self._fit(need).bit_count()

    def _fit(self, need: Need) -> int:
        fit = self._mask(ONLINE)
        if need.queue is not None:
            fit &= self._mask(("queue", None)) | self._mask(("queue", need.queue))
        if need.brand is not None:
            fit &= self._mask(("brand", None)) | self._mask(("brand", need.brand))
        for skill in need.required:
            fit &= self._mask(("skill", *skill))
        return fit

    def with_room(self) -> int:
        """Count those online who have room for something that we owe; without them looking at who waits is in vain."""
        return self._free().bit_count()

    def free(self) -> list[str]:
        """Return the ids of those online who have room for something that we owe an answer."""
        return [agent.profile.id for agent in self._by_idleness(self._free())]

    def _free(self) -> int:
        self._refresh()
        some = 0
        for channel in (None, *self._channels):
            some |= self._mask(("room", channel, self.policy.least_share))
        return self._mask(ONLINE) & some

    @property
    def channels(self) -> frozenset[str]:
        """Channels with a weight in the policy or in an agent's profile."""
        self._refresh()
        return self._channels

    def passed_over(self, choice: Choice) -> dict[str, int]:
        """Count the agents who did not get the ticket, by reason, for the need that was met."""
        self._refresh()
        need, chosen = choice.need, 1 << self._places[choice.agent.profile.id]
        absent_for = (PassedOver.AWAY, PassedOver.OFFLINE)
        counts = Counter({why: (self._mask(("absent", why)) & ~chosen).bit_count() for why in absent_for})
        left = self._mask(ONLINE) & ~chosen
        for mask, reason in self._hurdles(need):
            counts[reason] += (left & ~mask).bit_count()
            left &= mask
        if choice.instead is not None:
            counts[choice.instead] += left.bit_count()
        else:
            as_good = next(self._by_score(left | chosen, need), 0)
            as_busy = as_good & self._mask(("load", choice.agent.relative_load))
            before = (1 << bisect_right(self._instants, choice.agent.last_assigned_at or NEVER)) - 1
            counts[PassedOver.LOWER_SKILL] += (left & ~as_good).bit_count()
            counts[PassedOver.HIGHER_LOAD] += (left & as_good & ~as_busy).bit_count()
            counts[PassedOver.ASSIGNED_LATER] += (left & as_busy & ~before).bit_count()
            counts[PassedOver.EQUAL] += (left & as_busy & before).bit_count()
        return {str(reason): count for reason, count in sorted(counts.items()) if count}

    def _hurdles(self, need: Need) -> Iterator[tuple[int, PassedOver]]:
        """Yield the conditions for online agents as (mask, reason if not met), in the order of reasons."""
        if need.queue is not None:
            yield self._mask(("queue", None)) | self._mask(("queue", need.queue)), PassedOver.WRONG_QUEUE
        if need.brand is not None:
            yield self._mask(("brand", None)) | self._mask(("brand", need.brand)), PassedOver.WRONG_BRAND
        for skill in need.required:
            yield self._mask(("skill", *skill)), lacking(skill[0], need)
        channel = need.channel if need.channel in self._channels else None
        yield self._mask(("room", channel, need.share)), PassedOver.AT_CAPACITY
        yield self.able(need), PassedOver.DECLINED

    def _may(self, agent: AgentState, need: Need) -> bool:
        return unavailable(agent, need, self.policy) is None and unfit(agent, need, self.policy) is None

    def _by_score(self, able: int, need: Need) -> Iterator[int]:
        """Split a mask by the number of preferred skills, highest first."""
        at_least = [able] + [0] * len(need.preferred)
        for skill in need.preferred:
            mask = self._mask(("skill", *skill))
            for count in range(len(need.preferred), 0, -1):
                at_least[count] |= at_least[count - 1] & mask
        better = 0
        for mask in reversed(at_least):
            if mask & ~better:
                yield mask & ~better
            better |= mask

    def _by_idleness(self, mask: int) -> Iterator[AgentState]:
        """Yield agents with equal score and load, longest idle first; by id if assigned at the same instant."""
        while mask:
            lowest = mask & -mask
            place = lowest.bit_length() - 1
            agent = self._agents[self._at[place]]
            mask ^= lowest
            if place < self._sorted:
                yield agent
                continue
            together, at = [agent], agent.last_assigned_at
            while mask:
                lowest = mask & -mask
                agent = self._agents[self._at[lowest.bit_length() - 1]]
                if agent.last_assigned_at != at:
                    break
                together.append(agent)
                mask ^= lowest
            yield from sorted(together, key=lambda a: a.profile.id)

    # -- the index --------------------------------------------------------------------------------------------------

    def _mask(self, tag: Tag) -> int:
        return self._masks.get(tag, 0)

    def _refresh(self) -> None:
        if not self._stale:
            return
        self._masks, self._loads, self._places, self._at, self._tags = {}, [], {}, [], {}
        self._instants = []
        own = (agent.profile.channel_weights for agent in self._agents.values())
        self._channels = frozenset(self.policy.channel_weights).union(*own)
        bits: dict[Tag, bytearray] = {}
        size = len(self._agents) // 8 + 1
        ordered = sorted(self._agents.values(), key=lambda a: (a.last_assigned_at or NEVER, a.profile.id))
        for place, agent in enumerate(ordered):
            tags = self._tags_of(agent)
            self._places[agent.profile.id], self._tags[agent.profile.id] = place, tags
            self._at.append(agent.profile.id)
            self._instants.append(agent.last_assigned_at or NEVER)
            for tag in tags:
                bits.setdefault(tag, bytearray(size))[place >> 3] |= 1 << (place & 7)
        self._masks = {tag: int.from_bytes(mask, "little") for tag, mask in bits.items()}
        self._loads = sorted(tag[1] for tag in bits if tag[0] == "load")
        self._last = max((agent.last_assigned_at or NEVER for agent in ordered), default=NEVER)
        # Ids are in order below this place; after it, whoever is assigned at the latest instant may join out of order.
        self._sorted = sum((agent.last_assigned_at or NEVER) < self._last or self._last == NEVER for agent in ordered)
        self._stale = False

    def _index(self, agent: AgentState, *, anew: bool) -> None:
        """Update the masks of one agent; with `anew`, also move it to the last position, as the last assigned."""
        agent_id = agent.profile.id
        before, after = self._tags[agent_id], self._tags_of(agent)
        old = 1 << self._places[agent_id]
        if anew:
            self._places[agent_id] = len(self._at)
            self._at.append(agent_id)
            self._last = agent.last_assigned_at or NEVER
            self._instants.append(self._last)
        new = 1 << self._places[agent_id]
        for tag in before if anew else before - after:
            self._toggle(tag, old)
        for tag in after if anew else after - before:
            self._toggle(tag, new)
        self._tags[agent_id] = after

    def _toggle(self, tag: Tag, bit: int) -> None:
        mask = self._masks.get(tag, 0) ^ bit
        if mask:
            if tag[0] == "load" and tag not in self._masks:
                insort(self._loads, tag[1])
            self._masks[tag] = mask
            return
        self._masks.pop(tag, None)
        if tag[0] == "load":
            del self._loads[bisect_left(self._loads, tag[1])]

    def _tags_of(self, agent: AgentState) -> frozenset[Tag]:
        profile = agent.profile
        gone = absent(agent)
        if gone is not None:
            return frozenset() if agent.removed_at is not None else frozenset({("absent", gone)})  # no more is asked
        tags: list[Tag] = [ONLINE, ("load", agent.relative_load)]
        load, own = agent.load, profile.channel_weights
        tags += [
            ("room", channel, share)
            for channel in (None, *self._channels)
            for share in self.policy.shares
            if has_room(profile.capacity, load, self.policy.weight(channel or "", own, share))
        ]
        tags += [("queue", queue) for queue in profile.queues or (None,)]
        tags += [("brand", brand) for brand in profile.brands or (None,)]
        for skill, level in skills_of(agent, self.policy).items():
            tags += [("skill", skill, below) for below in range(1, level + 1)]
        return frozenset(tags)
