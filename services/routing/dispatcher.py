"""Looks at who waits: when there is room the most urgent and oldest first, and each one when its own look is due.

Rule: all of it may happen in several replicas at once, and again after a crash; guards keep it right.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from kit.base.clock import Clock
from kit.protocol.document import Decision, Document
from services.routing.assignment.assigner import Assigner
from services.routing.core.moves import place_again
from services.routing.core.need import Need
from services.routing.core.picking import queues_behind
from services.routing.core.policy import RoutingPolicy
from services.routing.core.state import TicketState

PAGE = 200
LEAST, LOOKED = 8, 50
"""Tickets that a look reads first: twice as many as agents have room, within these; then up to a page at once."""
FURTHER = 8
"""How many times as far as a page went the next ones are sought first."""
PAGES = 40
"""Pages of one urgency in one look; who stands further back is seen by their own `next_look`."""


class Dispatcher:
    """Looks at waiting tickets when there is room, the most urgent and oldest first, and at those whose look is due."""

    def __init__(self, assigner: Assigner, clock: Clock) -> None:
        self._assigner, self._clock = assigner, clock
        self._due: set[str] = set()
        self._near: dict[int, datetime] = {}
        """Urgency -> instant up to which those who waited longest had been queued, and some more."""
        self._rules: RoutingPolicy | None = None
        """The policy by which all who wait were placed."""

    def due(self, ticket: str) -> None:
        """Look at this ticket too."""
        self._due.add(ticket)

    async def turn(self) -> None:
        """Look once, if there is a reason; a look that failed is one."""
        try:
            await self._turn()
        except Exception:
            self._assigner.claims.freed.set()
            raise

    async def _turn(self) -> None:
        if self._rules is not self._assigner.policy:
            await self.follow_rules()
        # Others may have filled an agent since with whom a release opened no room: it opens some now, for who waits.
        if self._assigner.claims.freed.is_set() or self._assigner.roster.owing(missed=True):
            self._assigner.claims.freed.clear()
            await self.look()
            await self._assigner.claims.write_releases(missed=True)  # nobody whom we know of needed it
        if self._due:
            due, self._due = sorted(self._due)[:PAGE], set(sorted(self._due)[PAGE:])
            docs = await self._assigner.documents.load(due)
            loaded = [doc for doc in docs.values() if doc.fault is None]
            await self._assigner.serve([doc for doc in loaded if doc.state and doc.state.phase == "waiting"])

    async def follow_rules(self) -> None:
        """Move those who wait to where the rules want them now: after a start, and whenever the policy has changed."""
        policy, last = self._assigner.policy, ""
        query = {"state.phase": "waiting"}
        while page := await self._assigner.documents.find(
            query | {"_id": {"$gt": last}}, sort=[("_id", 1)], limit=PAGE
        ):
            last = page[-1].id
            others = [doc.id for doc in page if doc.state is not None and self._moved(doc.state, policy)]
            await self._assigner.work(others, lambda state: self._moved(state, policy))
        self._rules = policy

    def _moved(self, state: TicketState, policy: RoutingPolicy) -> Decision[TicketState] | None:
        if state.phase != "waiting":
            return None
        decision = place_again(state, self._clock.now(), policy)
        return decision if decision.state != state else None

    async def look(self) -> None:
        """Go through those who wait in queues that somebody can serve now."""
        self._assigner.follow_policy()
        if not self._assigner.roster.loaded:
            await self._assigner.roster.load_all()
        await self._look_at_meant()
        behind: set[str] = set()
        queues = self._open_queues()
        for urgency in (3, 2, 1, 0) if queues else ():
            if not self._assigner.roster.pool.with_room():
                behind |= set(queues)  # whoever comes now comes after those who wait there, seen or not
                break
            behind |= await self._look_at(urgency, queues)
        closed = self._assigner.backlog - set(queues)
        self._assigner.backlog = frozenset(behind | closed)

    async def _look_at_meant(self) -> None:
        """Serve those meant for one agent who has room now, of whatever queue, or who is gone for good."""
        if not await self._find({"state.target.agent": {"$gt": ""}}, 1):
            return
        gone = [state.profile.id for state in self._assigner.roster.states() if state.removed_at is not None]
        meant = {"state.target.agent": {"$in": [*self._assigner.roster.pool.free(), *gone]}}
        await self._assigner.serve(await self._find(meant, PAGE))

    def _open_queues(self) -> list[str]:
        policy, pool = self._assigner.policy, self._assigner.roster.pool
        return [
            name
            for name, queue in policy.queues.items()
            if any(
                pool.able(Need("", channel, name, required=tuple(queue.required.items()), share=policy.least_share))
                for channel in ("", *pool.channels)
            )
        ]

    async def _look_at(self, urgency: int, queues: list[str]) -> set[str]:
        """Serve one urgency page by page; returns the queues in which somebody who can be served still waits."""
        behind: set[str] = set()
        seen: set[str] = set()
        since: datetime | None = None
        asked: list[str] | None = None
        first = min(LOOKED, max(LEAST, 2 * self._assigner.roster.pool.with_room()))
        for number in range(PAGES):
            limit = min(PAGE, first << number)
            found = await self._page(urgency, asked, since, limit)
            fresh = [(doc, doc.state) for doc in found if doc.state is not None and doc.id not in seen]
            if not fresh:
                break
            seen |= {doc.id for doc, _ in fresh}
            since = fresh[-1][1].queued_at
            page = [doc for doc, state in fresh if any(name in queues for name in state.queues)]
            if len(page) < len(fresh) / 2:
                asked = queues  # those in front wait for somebody else: no use in reading them all
            await self._assigner.serve(page)
            behind = behind.union(*(queues_behind(doc.state) for doc in page if doc.state is not None))
            if len(found) < limit or not self._assigner.roster.pool.with_room():
                break
        return behind

    async def _page(
        self, urgency: int, queues: list[str] | None, since: datetime | None, limit: int
    ) -> list[Document[TicketState]]:
        """Read who waits longest, of all queues or of these.

        Asked for by what the index has and in its order, and near the front first: not every server stops reading where
        the limit is, and one that does not goes through all who wait.
        """
        query: dict[str, Any] = {"state.phase": "waiting", "state.urgency": urgency}
        after = {} if since is None else {"$gte": since}
        near = self._near.get(urgency)
        if queues is None and near is not None and (since is None or since < near):
            found = await self._find(query | {"state.queued_at": after | {"$lte": near}}, limit)
            if len(found) == limit:
                return found
        query |= {"state.queued_at": after} if after else {}
        query |= {"state.queues": {"$in": queues}} if queues is not None else {}
        found = await self._find(query, limit)
        ends = [doc.state.queued_at for doc in (found[0], found[-1]) if doc.state is not None] if found else []
        self._near.pop(urgency, None)
        if len(found) == limit and ends[0] is not None and ends[1] is not None:
            self._near[urgency] = ends[1] + FURTHER * (ends[1] - ends[0])
        return found

    async def _find(self, query: dict[str, Any], limit: int) -> list[Document[TicketState]]:
        return await self._assigner.documents.find(query, sort=[("state.queued_at", 1)], limit=limit)
