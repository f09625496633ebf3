"""What time makes happen: looks at who waits, work taken from agents who are gone, claims that nobody used.

Rule: all of it may happen in several replicas at once, and again after a crash; guards keep it right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from contracts.agents import Presence
from contracts.assignments import TicketUnroutable, UnassignReason
from contracts.topics import TICKETS
from kit.clock import Clock
from kit.document import Decision, Document
from kit.errors import Passing
from kit.outbox import Documents
from kit.timers import Positions, Ticker
from services.routing import metrics
from services.routing.core import agents, need, ranking, tickets
from services.routing.core.agents import AgentState
from services.routing.core.need import Need
from services.routing.core.tickets import TicketState
from services.routing.settings import RoutingSettings
from services.routing.store.desk import Desk
from services.routing.store.waiting import oldest, waiting

log = structlog.get_logger(__name__)

PAGE = 200
LOOKED = 50
"""Tickets that a look reads first; then up to a page at once. Room comes by ones and twos."""
REST = 4
"""How many times as long as a look took its rest is, at least: a long queue, or a slow store, makes looks rarer."""
PAGES = 40
"""Pages of one urgency in one look; who stands further back is seen by their own `next_look`."""


class Looker:
    """Looks at waiting tickets when there is room, the most urgent and oldest first, and at those whose look is due."""

    def __init__(self, desk: Desk, clock: Clock, pause: float) -> None:
        self._desk, self._clock, self._pause = desk, clock, pause
        self._due: set[str] = set()

    def due(self, ticket: str) -> None:
        """Look at this ticket too."""
        self._due.add(ticket)

    async def run(self) -> None:
        """Look whenever there is a reason, until cancelled."""
        while True:
            begin = self._clock.monotonic()
            try:
                await self.turn()
            except Passing as fault:
                log.warning("looks wait", fault=str(fault))
                self._desk.claims.freed.set()
                await self._clock.sleep(1)
            except Exception:
                log.exception("a look failed")
                self._desk.claims.freed.set()
                await self._clock.sleep(1)
            await self._clock.sleep(max(self._pause, REST * (self._clock.monotonic() - begin)))

    async def turn(self) -> None:
        """Look once, if there is a reason."""
        if self._desk.claims.freed.is_set():
            self._desk.claims.freed.clear()
            await self.look()
        if self._due:
            due, self._due = sorted(self._due)[:PAGE], set(sorted(self._due)[PAGE:])
            docs = await self._desk.documents.load(due)
            await self._desk.serve([doc for doc in docs.values() if doc.state and doc.state.phase == "waiting"])

    async def look(self) -> None:
        """Go through those who wait in queues that somebody can serve now."""
        if not self._desk.roster.loaded:
            await self._desk.roster.load_all()
        behind: set[str] = set()
        queues = self._open_queues()
        for urgency in (3, 2, 1, 0) if queues else ():
            if not self._desk.roster.pool.has_room():
                behind |= set(queues)  # whoever comes now comes after those who wait there, seen or not
                break
            behind |= await self._look_at(urgency, queues)
        closed = self._desk.backlog - set(queues)
        self._desk.backlog = frozenset(behind | closed)

    def _open_queues(self) -> list[str]:
        policy, pool = self._desk.policy, self._desk.roster.pool
        return [
            name
            for name, queue in policy.queues.items()
            if any(
                pool.able(Need("", channel, name, required=tuple(queue.required.items())))
                for channel in ("", *policy.channel_weights)
            )
        ]

    async def _look_at(self, urgency: int, queues: list[str]) -> set[str]:
        """Serve one urgency page by page; returns the queues in which somebody who can be served still waits."""
        behind: set[str] = set()
        seen: set[str] = set()
        query = {"state.phase": "waiting", "state.urgency": urgency, "state.queue": {"$in": queues}}
        since: datetime | None = None
        for number in range(PAGES):
            later = {} if since is None else {"state.queued_at": {"$gte": since}}
            limit = min(PAGE, LOOKED << number)
            # By what the index is in order of, and nothing else, or the server sorts all who wait.
            found = await self._desk.documents.find(query | later, sort=[("state.queued_at", 1)], limit=limit)
            page = [doc for doc in found if doc.id not in seen]
            if not page:
                break
            seen |= {doc.id for doc in page}
            since = page[-1].state.queued_at if page[-1].state is not None else since
            await self._desk.serve(page)
            behind |= {
                doc.state.queue or ""
                for doc in page
                if doc.state is not None and doc.state.phase == "waiting" and doc.state.unroutable is None
            }
            if len(found) < limit or not self._desk.roster.pool.has_room():
                break
        return behind


class Absence:
    """Takes work from agents who are gone, at once when it is told so and otherwise when it finds out."""

    def __init__(self, desk: Desk, clock: Clock) -> None:
        self._desk, self._clock = desk, clock
        self._told: set[str] = set()

    def told(self, agent_id: str) -> None:
        """Look at this agent at the next turn."""
        self._told.add(agent_id)

    async def turn(self) -> None:
        """Look at those we were told of."""
        told, self._told = self._told, set()
        try:
            for agent_id in sorted(told):
                await self._look_at(agent_id)
        except BaseException:
            self._told |= told
            raise

    async def sweep(self) -> None:
        """Look at all agents that are not online and still have work."""
        for state in list(self._desk.roster.states()):
            if state.holds and not state.online:
                await self._look_at(state.profile.id)

    async def _look_at(self, agent_id: str) -> None:
        doc = self._desk.roster.get(agent_id)
        if doc is None or doc.state is None or doc.state.online:
            return
        state, policy, now = doc.state, self._desk.policy, self._clock.now()
        wait = policy.requeue.away if state.profile.presence == Presence.AWAY else policy.requeue.offline
        if state.removed_at is None:
            since = state.profile.presence_since or now
            if wait is None or now < since + wait:
                return
        removed = state.removed_at is not None
        reason = UnassignReason.AGENT_REMOVED if removed else UnassignReason.AGENT_OFFLINE
        taken = await self._desk.work(
            list(state.holds),
            lambda ticket: tickets.evict(ticket, agent_id, reason, now, policy, all_work=removed),
        )
        metrics.REQUEUED.inc(taken)


class Reconciler:
    """Gives up claims whose ticket went elsewhere, after a crash between the two writes."""

    def __init__(self, desk: Desk, positions: Positions, clock: Clock, settings: RoutingSettings) -> None:
        self._desk, self._positions, self._clock = desk, positions, clock
        self._age = timedelta(seconds=settings.claim_seconds)
        self._verify = timedelta(seconds=settings.verify_seconds)
        self._home = settings.topic_prefix + TICKETS
        self._verified: dict[tuple[str, str, int], datetime] = {}

    async def turn(self) -> None:
        """Look at claims of some age, of the tickets whose partitions are ours; at good ones again after a while."""
        now, owned = self._clock.now(), set(self._positions.owned(self._home))
        suspects: dict[tuple[str, str, int], datetime] = {}
        kept: dict[tuple[str, str, int], datetime] = {}
        for state in list(self._desk.roster.states()):
            for ticket, hold in state.holds.items():
                mark = (state.profile.id, ticket, hold.stamp)
                verified = self._verified.get(mark)
                if verified is not None:
                    kept[mark] = verified
                partition = self._desk.documents.home_partition(ticket)
                fresh = hold.since + self._age > now or (verified is not None and verified + self._verify > now)
                if not fresh and (partition is None or partition in owned):
                    suspects[mark] = now
        self._verified = kept
        marks = list(suspects)
        for start in range(0, len(marks), PAGE):
            page = marks[start : start + PAGE]
            metrics.RECONCILED.inc(await self._desk.claims.look_at([mark[:2] for mark in page], fence=True))
            self._verified.update(dict.fromkeys(page, now))


def build_ticker(
    desk: Desk, positions: Positions, looker: Looker, clock: Clock, settings: RoutingSettings
) -> Ticker[TicketState]:
    """Fire the looks that tickets asked for: what the wait changes is decided here, an agent is sought right after."""

    def nobody(asked: Need) -> need.Nobody | None:
        return ranking.nobody(desk.roster.states(), asked, desk.policy) if desk.roster.loaded else None

    def fire(state: TicketState, now: datetime) -> Decision[TicketState] | None:
        decision = need.look(state, now, desk.policy, nobody)
        if decision is not None:
            looker.due(state.id)
            for event in decision.events:
                if isinstance(event, TicketUnroutable):
                    metrics.UNROUTABLE.labels(event.reason).inc()
        return decision

    period = settings.timer_ms / 1000
    return Ticker(desk.documents, positions, fire, clock, prefix=settings.topic_prefix, period=period)


def build_announcer(
    documents: Documents[AgentState], positions: Positions, clock: Clock, settings: RoutingSettings
) -> Ticker[AgentState]:
    """Announce agents anew from time to time: the topic is compacted, and an old record may come last."""
    period = timedelta(hours=settings.announce_hours)

    def fire(state: AgentState, now: datetime) -> Decision[AgentState] | None:
        return agents.announce(state, now, period)

    return Ticker(documents, positions, fire, clock, prefix=settings.topic_prefix, period=5, limit=50)


async def follow_agents(desk: Desk, told: Callable[[str], None]) -> None:
    """Read agents that changed, also elsewhere; new room is a reason to look at who waits."""
    if await desk.roster.refresh():
        desk.claims.freed.set()
    for agent_id in desk.roster.take_gone():
        told(agent_id)


async def count(desk: Desk, clock: Clock) -> None:
    """Set the gauges of queues and agents."""
    groups = await waiting(desk.documents)
    for name in desk.policy.queues:
        mine = [group for group in groups if group.queue == name]
        metrics.WAITING.labels(name).set(sum(group.count for group in mine))
        since = oldest(mine)
        metrics.OLDEST_SECONDS.labels(name).set((clock.now() - since).total_seconds() if since else 0)
    present = [state for state in desk.roster.states() if state.removed_at is None]
    for presence in Presence:
        metrics.AGENTS.labels(str(presence)).set(sum(state.profile.presence == presence for state in present))
    metrics.OCCUPANCY.set(ranking.room_share(state for state in present if state.online))


def agent_changed(desk: Desk, absence: Absence) -> Callable[[Document[AgentState]], None]:
    """Return what a door calls after it changed an agent: room is looked for, or work is taken away, at once."""

    def changed(doc: Document[AgentState]) -> None:
        if desk.roster.put(doc):
            desk.claims.freed.set()
        if doc.state is not None and not doc.state.online and doc.state.holds:
            absence.told(doc.id)

    return changed


def at_once(absence: Absence, clock: Clock, pause: float) -> Callable[[], asyncio.Future[None]]:
    """Run the turns of absence, which cost nothing while nobody was told of."""

    async def run() -> None:
        while True:
            try:
                await absence.turn()
            except Passing as fault:
                log.warning("work stays where it is for now", fault=str(fault))
                await clock.sleep(1)
            except Exception:
                log.exception("work could not be taken away")
                await clock.sleep(1)
            await clock.sleep(pause)

    return lambda: asyncio.ensure_future(run())
