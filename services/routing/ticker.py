"""What time makes happen: looks that tickets asked for, work taken from agents who are gone, claims that nobody used.

Rule: all of it may happen in several replicas at once, and again after a crash; guards keep it right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from contracts.agents import Presence
from contracts.assignments import UnassignReason
from contracts.topics import TICKETS
from kit.base.clock import Clock
from kit.base.series import OTHER
from kit.protocol.document import Decision, Document
from kit.protocol.outbox import Documents
from kit.protocol.timers import Positions, Ticker
from services.routing import metrics
from services.routing.assignment.assigner import Assigner
from services.routing.core import agents, looks, ranking, tickets
from services.routing.core.agents import AgentState
from services.routing.core.need import Need
from services.routing.core.state import TicketState
from services.routing.dispatcher import Dispatcher
from services.routing.settings import RoutingSettings
from services.routing.store.waiting import Waiting, oldest, waiting

PAGE = 200


class Absence:
    """Takes work from agents who are gone, at once when it is told so and otherwise when it finds out."""

    def __init__(self, assigner: Assigner, clock: Clock) -> None:
        self._assigner, self._clock = assigner, clock
        self._told: set[str] = set()

    def told(self, agent_id: str) -> None:
        """Look at this agent at the next turn."""
        self._told.add(agent_id)

    async def turn(self) -> None:
        """Look at those we were told of: costs nothing while there are none."""
        told, self._told = self._told, set()
        try:
            for agent_id in sorted(told):
                await self._look_at(agent_id)
        except BaseException:
            self._told |= told
            raise

    async def sweep(self) -> None:
        """Look at all agents that are not online and still have work."""
        for state in list(self._assigner.roster.states()):
            if state.claims and not state.online:
                await self._look_at(state.profile.id)

    async def _look_at(self, agent_id: str) -> None:
        doc = self._assigner.roster.get(agent_id)
        if doc is None or doc.state is None or doc.state.online:
            return
        state, policy, now = doc.state, self._assigner.policy, self._clock.now()
        wait = policy.requeue.away if state.profile.presence == Presence.AWAY else policy.requeue.offline
        if state.removed_at is None:
            since = state.profile.presence_since or now
            if wait is None or now < since + wait:
                return
        removed = state.removed_at is not None
        reason = UnassignReason.AGENT_REMOVED if removed else UnassignReason.AGENT_OFFLINE
        taken = await self._assigner.work(
            list(state.claims),
            lambda ticket: tickets.evict(ticket, agent_id, reason, now, policy, all_work=removed),
        )
        metrics.REQUEUED.inc(taken)


class Reconciler:
    """Gives up claims whose ticket went elsewhere, after a crash between the two writes."""

    def __init__(self, assigner: Assigner, positions: Positions, clock: Clock, settings: RoutingSettings) -> None:
        self._assigner, self._positions, self._clock = assigner, positions, clock
        self._age = timedelta(seconds=settings.claim_seconds)
        self._verify = timedelta(seconds=settings.verify_seconds)
        self._home = settings.topic_prefix + TICKETS
        self._verified: dict[tuple[str, str, int], datetime] = {}
        assigner.documents.watch(self._note)

    def _note(self, docs: Sequence[Document[TicketState]]) -> None:
        """Take a claim as good whose ticket this process has just written as its agent's, without reading it again."""
        now = self._clock.now()
        for doc in docs:
            if doc.state is None:
                continue
            agent_id = doc.state.agent
            agent = self._assigner.roster.get(agent_id) if agent_id is not None else None
            claim = agent.state.claims.get(doc.id) if agent is not None and agent.state is not None else None
            if agent is None or claim is None:
                continue
            mark = agent.id, doc.id, claim.stamp
            if claim.weight <= self._assigner.claims.weigh(doc.state, agent.id):
                self._verified[mark] = now
            else:  # it is about to be made lighter
                self._verified.pop(mark, None)

    async def turn(self) -> None:
        """Look at claims of some age, of the tickets whose partitions are ours; at good ones again after a while."""
        now, owned = self._clock.now(), set(self._positions.owned(self._home))
        suspects: dict[tuple[str, str, int], datetime] = {}
        kept: dict[tuple[str, str, int], datetime] = {}
        for state in list(self._assigner.roster.states()):
            for ticket, claim in state.claims.items():
                partition = self._assigner.documents.home_partition(ticket)
                if partition is not None and partition not in owned:
                    continue  # its owner looks; once that has ended, what was verified here may have changed since
                mark = (state.profile.id, ticket, claim.stamp)
                verified = self._verified.get(mark)
                if verified is not None:
                    kept[mark] = verified
                fresh = claim.since + self._age > now or (verified is not None and verified + self._verify > now)
                if not fresh:
                    suspects[mark] = now
        self._verified = kept
        marks = list(suspects)
        for start in range(0, len(marks), PAGE):
            page = marks[start : start + PAGE]
            metrics.RECONCILED.inc(await self._assigner.claims.look_at([mark[:2] for mark in page], fence=True))
            self._verified.update(dict.fromkeys(page, now))
        if marks:
            await self._assigner.claims.write_releases()


def build_ticker(
    assigner: Assigner, positions: Positions, dispatcher: Dispatcher, settings: RoutingSettings
) -> Ticker[TicketState]:
    """Fire the looks that tickets asked for: what the wait changes is decided here, an agent is sought right after."""

    def fire(state: TicketState, now: datetime) -> Decision[TicketState] | None:
        decision = looks.look(
            state, now, assigner.policy, assigner.roster.pool.agents if assigner.roster.loaded else None
        )
        if decision is not None:
            dispatcher.due(state.id)
        return decision

    period = settings.timer_ms / 1000
    return Ticker(assigner.documents, positions, fire, period=period)


def build_announcer(
    documents: Documents[AgentState], positions: Positions, settings: RoutingSettings
) -> Ticker[AgentState]:
    """Announce agents anew from time to time: the topic is compacted, and an old record may come last."""
    period = timedelta(hours=settings.announce_hours)

    def fire(state: AgentState, now: datetime) -> Decision[AgentState] | None:
        return agents.announce(state, now, period)

    return Ticker(documents, positions, fire, period=5, limit=50)


async def follow_agents(assigner: Assigner, told: Callable[[str], None]) -> None:
    """Read agents that changed, also elsewhere; new room is a reason to look at who waits."""
    if await assigner.roster.refresh():
        assigner.claims.freed.set()
    for agent_id in assigner.roster.take_gone():
        told(agent_id)


async def count(assigner: Assigner, clock: Clock) -> None:
    """Set the gauges of queues and agents."""
    groups, pool = await waiting(assigner.documents), assigner.roster.pool
    counts, ages, staff = dict[tuple[str], float](), dict[tuple[str], float](), dict[tuple[str], float]()
    for name, queue in assigner.policy.queues.items():
        mine = [group for group in groups if group.queue == name]
        counts[name,], ages[name,] = sum(group.count for group in mine), _age(mine, clock)
        metrics.WAIT_SECONDS.labels(name)  # from zero on: `increase` overlooks what a histogram starts with
        staff[name,] = pool.online(Need("", "", name, required=tuple(queue.required.items())))
    rest = [group for group in groups if group.queue not in assigner.policy.queues]
    counts[OTHER,], ages[OTHER,] = sum(group.count for group in rest), _age(rest, clock)
    metrics.WAITING.replace(counts)
    metrics.OLDEST_SECONDS.replace(ages, max)
    metrics.QUEUE_AGENTS.replace(staff)
    present = [state for state in assigner.roster.states() if state.removed_at is None]
    for presence in Presence:
        metrics.AGENTS.labels(str(presence)).set(sum(state.profile.presence == presence for state in present))
    metrics.OCCUPANCY.set(ranking.room_share(state for state in present if state.online))


def _age(groups: Sequence[Waiting], clock: Clock) -> float:
    since = oldest(groups)
    return (clock.now() - since).total_seconds() if since else 0.0


def agent_changed(assigner: Assigner, absence: Absence) -> Callable[[Document[AgentState]], None]:
    """Return what a door calls after it changed an agent: room is looked for, or work is taken away, at once."""

    def changed(doc: Document[AgentState]) -> None:
        if assigner.roster.put(doc):
            assigner.claims.freed.set()
        if doc.state is not None and not doc.state.online and doc.state.claims:
            absence.told(doc.id)

    return changed
