"""Claims of tickets on agents: made before a ticket says "assigned", given up once they can be used no more.

Rules, by their names in the model of the protocol: a claim moves the agent's version (claim-bumps) and keeps the
highest version of the ticket it was made at (stamp-max); who loses the ticket looks at it before giving the claim up
(loser-looks); a claim is released, or made lighter, only once its stamp can win no more (release-fenced).
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from kit.base.clock import Clock
from kit.protocol.document import Document
from kit.protocol.outbox import Documents, Saved
from services.routing.core import agents
from services.routing.core.agents import AgentState
from services.routing.core.policy import RoutingPolicy
from services.routing.core.state import TicketState
from services.routing.store.roster import Roster

ROUNDS = 4
"""Tries against other writers, before something is left to the next look or to the reconciler."""

Pair = tuple[str, str]
"""Agent and ticket."""

Versions = dict[str, dict[str, int]]
"""Agent -> ticket -> version of the ticket at which it was surely not the agent's, or lighter."""

Weights = dict[str, dict[str, float]]
"""Agent -> ticket -> what is left of the weight of a claim that stays."""


class Observer(Protocol):
    """Who counts what happens here."""

    def assigned(self, queue: str, reason: str, waited: float) -> None: ...
    def decided(self, seconds: float) -> None: ...
    def claims(self, outcome: str, count: int) -> None: ...


class Claims:
    """The claims that this process makes and gives up, one bundle at a time."""

    def __init__(
        self,
        tickets: Documents[TicketState],
        roster: Roster,
        policy: Callable[[], RoutingPolicy],
        clock: Clock,
        observer: Observer,
    ) -> None:
        self.lock = asyncio.Lock()
        self.freed = asyncio.Event()
        """Set when there is room that was not there before."""
        self._tickets, self._roster, self._policy = tickets, roster, policy
        self._clock, self._observer = clock, observer

    async def make(self, agent_ids: Sequence[str]) -> set[str]:
        """Write the agents as the index has them, claims included; returns those whose write was not lost.

        The caller has the lock.
        """
        ids = list(dict.fromkeys(agent_ids))
        docs = [self._changed(agent_id, self._roster.pool.agents[agent_id]) for agent_id in ids]
        try:
            saved = await self._roster.documents.save(docs)
        except BaseException:
            self._roster.undo(ids)
            raise
        won = self._took(saved)
        self._observer.claims("won", sum(agent_id in won for agent_id in agent_ids))
        if saved.lost:
            self._observer.claims("lost", sum(agent_id not in won for agent_id in agent_ids))
            lost = [doc.id for doc in saved.lost]
            self._roster.undo(lost)
            await self._roster.refresh(lost)  # whoever took these has taken others too
        return won

    async def release(self, free: Versions, lighter: Weights | None = None) -> None:
        """Release claims made at an older version than the one at which their ticket was written as not the agent's.

        Whoever claims for that ticket later does so at that version or above, so a lower stamp can win no more. Those
        in `lighter` stay the agent's, with that weight.
        """
        left = lighter or {}
        async with self.lock:
            unknown = [a for a, t in free.items() if not t.keys() <= self._claims_of(a)]
            if unknown:
                await self._roster.reload(unknown)
            for _ in range(ROUNDS):
                docs = [doc for a, versions in free.items() if (doc := self._without(a, versions, left.get(a, {})))]
                if not docs:
                    return
                before = {doc.id: len(self._claims_of(doc.id)) for doc in docs}
                saved = await self._roster.documents.save(docs)
                for agent_id in self._took(saved):
                    self._observer.claims("released", max(0, before[agent_id] - len(self._claims_of(agent_id))))
                    self.freed.set()
                if not saved.lost:
                    return
                await self._roster.reload(doc.id for doc in saved.lost)

    def _claims_of(self, agent_id: str) -> set[str]:
        doc = self._roster.get(agent_id)
        return set(doc.state.claims) if doc is not None and doc.state is not None else set()

    def _without(
        self, agent_id: str, versions: dict[str, int], lighter: dict[str, float]
    ) -> Document[AgentState] | None:
        doc = self._roster.get(agent_id)
        if doc is None or doc.state is None:
            return None
        claims = doc.state.claims
        old = {t for t, version in versions.items() if t in claims and claims[t].stamp < version}
        less = {t: lighter[t] for t in old & lighter.keys() if lighter[t] < claims[t].weight}
        gone = old - lighter.keys()
        changed = agents.release(doc.state, gone, self._clock.now(), less)
        return self._changed(agent_id, changed) if gone or less else None

    async def look_at(self, pairs: Sequence[Pair], *, fence: bool) -> int:
        """Release those claims whose ticket is not the agent's and cannot become so with that claim.

        Those that weigh more than their ticket does in its status are made lighter. With `fence` a ticket's version is
        moved first, so that a slow assigner who holds the claim loses.
        """
        found = await self._roster.documents.load({agent_id for agent_id, _ in pairs})
        claims = {
            (a, t): doc.state.claims[t]
            for a, t in pairs
            if (doc := found[a]).fault is None and doc.state is not None and t in doc.state.claims
        }
        for doc in found.values():
            self._roster.put(doc)
        docs = await self._tickets.load({t for _, t in claims})
        claims = {(a, t): claim for (a, t), claim in claims.items() if docs[t].fault is None}
        weights = {(a, t): self.weigh(state, a) for a, t in claims if (state := docs[t].state) and state.agent == a}
        loose = [pair for pair, claim in claims.items() if weights.get(pair, -1.0) < claim.weight]
        if fence:
            await self._fence([docs[t] for a, t in loose if docs[t].version <= claims[a, t].stamp])
        free, lighter = Versions(), Weights()
        for a, t in loose:
            if docs[t].version > claims[a, t].stamp:
                free.setdefault(a, {})[t] = docs[t].version
                if (a, t) in weights:
                    lighter.setdefault(a, {})[t] = weights[a, t]
        if free:
            await self.release(free, lighter)
        return sum(len(versions) for versions in free.values())

    def weigh(self, state: TicketState, agent_id: str) -> float:
        """Return the units that a ticket takes of an agent in its status."""
        policy, agent = self._policy(), self._roster.pool.agents.get(agent_id)
        own = agent.profile.channel_weights if agent is not None else {}
        return policy.weight(state.facts.channel, own, policy.share(state.facts.channel, state.status))

    async def _fence(self, docs: Sequence[Document[TicketState]]) -> None:
        for doc in docs:
            doc.changed = True
        if docs:
            await self._tickets.save(docs)  # `save` moves the version of those that it wrote

    def _changed(self, agent_id: str, state: AgentState) -> Document[AgentState]:
        known = self._roster.get(agent_id)
        assert known is not None
        changed = replace(known, outbox=[], fresh=[], inserts=[], changed=True)
        changed.state = state
        return changed

    def _took(self, saved: Saved[AgentState]) -> set[str]:
        for doc in saved.won:
            self._roster.put(doc)
        return {doc.id for doc in saved.won}
