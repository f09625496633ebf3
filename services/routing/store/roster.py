"""The agents as this process knows them: documents kept in memory and refreshed, with the index to choose from.

Rule: nothing depends on the roster being right. It may be old; a claim is guarded by the version that was looked at.
What is owed to an agent, releases that are not written yet, is left out of their claims here: it goes with the next
write of that agent.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from kit.protocol.document import Document
from kit.protocol.outbox import Documents
from services.routing.core import agents
from services.routing.core.agents import AgentState, Release
from services.routing.core.policy import RoutingPolicy
from services.routing.core.pool import Pool

_PAGE = 1_000
#: How far clocks of replicas may differ before a change is seen only by the full reload.
OVERLAP = timedelta(seconds=2)


class Roster:
    """All agents and who holds what."""

    def __init__(self, documents: Documents[AgentState], policy: RoutingPolicy) -> None:
        self.documents = documents
        self.pool = Pool(policy)
        self.loaded = False
        self._docs: dict[str, Document[AgentState]] = {}
        self._holders: dict[str, set[str]] = {}
        self._latest: datetime | None = None
        self._gone: set[str] = set()
        self._owed: dict[str, dict[str, Release]] = {}
        self._missed: set[str] = set()
        """Agents who have room by what is owed for which others, who do not know of it, may wait."""

    def get(self, agent_id: str) -> Document[AgentState] | None:
        """Return an agent's document as it was last seen, less what is owed."""
        return self._docs.get(agent_id)

    def states(self) -> Collection[AgentState]:
        """Return all agents, tombstones among them."""
        return self.pool.agents.values()

    def available(self, agent_id: str) -> bool:
        """Say whether an agent takes work, as far as is known. One who is not known does not."""
        doc = self._docs.get(agent_id)
        return doc is not None and doc.state is not None and doc.state.online

    def is_there(self, agent_id: str) -> bool:
        """Say whether there is such an agent, as far as is known."""
        doc = self._docs.get(agent_id)
        return doc is not None and doc.state is not None and doc.state.removed_at is None

    def holders(self, ticket: str) -> set[str]:
        """Return the agents on whom a ticket has a claim."""
        return self._holders.get(ticket, set())

    def put(self, doc: Document[AgentState]) -> bool:
        """Take a document if it is newer; says whether somebody who waits may be served who could not be before.

        There is room, or an ability, that was not there, or an agent is gone for good for whom tickets waited.
        """
        if doc.fault is not None or doc.state is None:
            return False
        known = self._docs.get(doc.id)
        if known is not None and known.version >= doc.version:
            return False
        before, after = known.state if known is not None else None, self._less_owed(doc.state)
        self._keep(doc, after)
        if after.claims and not after.online and (before is None or before.online):
            self._gone.add(doc.id)
        return self._gained(before, after)

    def divide(self) -> None:
        """Prefer, among equals, the agents of our partitions: other replicas prefer theirs, and claims do not meet."""
        owned = None if self.documents.owned is None else frozenset(self.documents.owned())

        def ours(agent_id: str) -> bool:
            home = self.documents.home_partition(agent_id)
            return owned is None or home is None or home in owned

        self.pool.ours = ours

    # -- releases that are not written yet ---------------------------------------------------------------------------

    def owe(self, agent_id: str, releases: Mapping[str, Release]) -> int:
        """Leave out what is released from here on; returns how many claims are given up by it."""
        doc = self._docs.get(agent_id)
        if doc is None or doc.state is None:
            return 0
        before, good = doc.state, agents.effective(doc.state, releases)
        if not good:
            return 0
        self._owed.setdefault(agent_id, {}).update(good)
        after = agents.release(before, good)
        if self.pool.opens(before, after):
            self._missed.add(agent_id)
        self._keep(doc, after)
        return len(before.claims) - len(after.claims)

    def owing(self, *, missed: bool = False) -> list[str]:
        """Return the agents to whom something is owed; with `missed` those whose room others may wait for."""
        return sorted(self._missed if missed else self._owed)

    def _less_owed(self, stored: AgentState) -> AgentState:
        """Leave out what is owed still, and forget the rest: it is written, or has been overtaken."""
        agent_id = stored.profile.id
        owed = agents.effective(stored, self._owed.pop(agent_id, {}))
        self._missed.discard(agent_id)
        if not owed:
            return stored
        self._owed[agent_id] = owed
        less = agents.release(stored, owed)
        if self.pool.opens(stored, less):
            self._missed.add(agent_id)
        return less

    def _keep(self, doc: Document[AgentState], state: AgentState) -> None:
        known = self._docs.get(doc.id)
        self._hold(doc.id, known.state if known is not None else None, state)
        kept = self._docs[doc.id] = replace(doc)
        kept.state = state
        self.pool.put(state)

    # -- reading -----------------------------------------------------------------------------------------------------

    def take_gone(self) -> set[str]:
        """Return, once, the agents who were seen to leave with work in hand."""
        gone, self._gone = self._gone, set()
        return gone

    def undo(self, agent_ids: Iterable[str]) -> None:
        """Take the index back to what the documents say, after claims that came to nothing."""
        for agent_id in agent_ids:
            doc = self._docs.get(agent_id)
            if doc is not None and doc.state is not None:
                self.pool.put(doc.state)

    async def reload(self, agent_ids: Iterable[str]) -> bool:
        """Read some agents again."""
        docs = await self.documents.load(agent_ids)
        return self._noted(docs.values())

    async def load_all(self) -> bool:
        """Read all agents."""
        last, gained = "", False
        while True:
            page = await self.documents.find({"_id": {"$gt": last}}, sort=[("_id", 1)], limit=_PAGE)
            gained = self._noted(page) or gained
            if len(page) < _PAGE:
                break
            last = page[-1].id
        self.loaded = True
        return gained

    async def refresh(self, sure: Collection[str] = ()) -> bool:
        """Read the agents that changed lately, and those in `sure`; says whether there is room that was not there."""
        if not self.loaded or self._latest is None:
            return await self.load_all()
        # Most of those were touched by this process itself, so versions are asked for first.
        rows = await self.documents.store.find(
            self.documents.kind.collection,
            {"state.touched_at": {"$gte": self._latest - OVERLAP}},
            sort=[("state.touched_at", 1)],
            limit=10 * _PAGE,
            projection=["version", "state.touched_at"],
        )
        changed = {row["_id"] for row in rows if (doc := self.get(row["_id"])) is None or doc.version < row["version"]}
        gained = await self.reload(changed.union(sure))
        if rows:  # only now: what could not be read is asked for again
            self._latest = max(self._latest, rows[-1]["state"]["touched_at"])
        return gained

    def _noted(self, docs: Iterable[Document[AgentState]]) -> bool:
        gained = False
        for doc in docs:
            touched = doc.state.touched_at if doc.fault is None and doc.state is not None else None
            if touched is not None and (self._latest is None or touched > self._latest):
                self._latest = touched
            gained = self.put(doc) or gained
        return gained

    def _hold(self, agent_id: str, before: AgentState | None, after: AgentState) -> None:
        old = before.claims.keys() if before is not None else set()
        for ticket in old - after.claims.keys():
            holders = self._holders.get(ticket, set())
            holders.discard(agent_id)
            if not holders:
                self._holders.pop(ticket, None)
        for ticket in after.claims.keys() - old:
            self._holders.setdefault(ticket, set()).add(agent_id)

    def _gained(self, before: AgentState | None, after: AgentState) -> bool:
        if not after.online:
            return before is not None and before.removed_at is None and after.removed_at is not None
        if before is None or not before.online or before.profile.version != after.profile.version:
            return True
        return self.pool.opens(before, after)
