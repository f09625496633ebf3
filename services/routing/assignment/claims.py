"""Claims of tickets on agents: made before a ticket says "assigned", given up once they can be used no more.

Rules, by their names in the model of the protocol: a claim moves the agent's version (claim-bumps) and keeps the
highest version of the ticket it was made at (stamp-max); who loses the ticket looks at it before giving the claim up
(loser-looks); a claim is released, or made lighter, only once its stamp can win no more (release-fenced).

A release is not written by itself: it goes with the agent's next claim, or with others a little later.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from kit.base.clock import Clock
from kit.protocol.document import Document
from kit.protocol.outbox import Documents, Saved
from services.routing.core.agents import AgentState, Release
from services.routing.core.policy import RoutingPolicy
from services.routing.core.state import TicketState
from services.routing.store.roster import Roster

ROUNDS = 4
"""Tries against other writers, before something is left to the next look or to the reconciler."""

TOGETHER = 25
"""Agents whose releases are written at once: so long whoever has claims to make may have to wait."""

Pair = tuple[str, str]
"""Agent and ticket."""

Releases = dict[str, dict[str, Release]]
"""Agent -> ticket -> what is to be released."""


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

    async def release(self, free: Releases) -> None:
        """Release claims from here on in this process; the agents are written later.

        The room is there at once for tickets that are served here, which may be anybody's who waits.
        """
        unknown = [a for a, releases in free.items() if not releases.keys() <= self._claims_of(a)]
        if unknown:
            await self._roster.reload(unknown)
        given_up = sum(self._roster.owe(agent_id, releases) for agent_id, releases in free.items())
        self._observer.claims("released", given_up)
        if self._roster.owing(missed=True):
            self.freed.set()

    async def write_releases(self, *, missed: bool = False) -> None:
        """Write the releases that no claim has taken along; with `missed` only those that others may wait for."""
        owing = self._roster.owing(missed=missed)
        for start in range(0, len(owing), TOGETHER):
            async with self.lock:
                await self._write_releases(owing[start : start + TOGETHER])

    async def _write_releases(self, agent_ids: Sequence[str]) -> None:
        for _ in range(ROUNDS):
            now, owing = self._clock.now(), set(self._roster.owing())
            known = [doc.state for i in agent_ids if i in owing and (doc := self._roster.get(i)) is not None]
            docs = [self._changed(s.profile.id, replace(s, touched_at=now)) for s in known if s is not None]
            saved = await self._roster.documents.save(docs)
            self._took(saved)
            if not saved.lost:
                return
            await self._roster.reload(doc.id for doc in saved.lost)

    def _claims_of(self, agent_id: str) -> set[str]:
        doc = self._roster.get(agent_id)
        return set(doc.state.claims) if doc is not None and doc.state is not None else set()

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
        free = Releases()
        for a, t in loose:
            if docs[t].version > claims[a, t].stamp:
                free.setdefault(a, {})[t] = Release(docs[t].version, weights.get((a, t)))
        if free:
            await self.release(free)
        return sum(len(releases) for releases in free.values())

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
