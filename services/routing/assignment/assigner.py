"""Assign waiting tickets: a claim on the agent first, then the ticket's own guarded write.

Changes of a ticket outside the batch loop (by a timer, a door, the dispatcher) are made here as well.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from zlib import crc32

import structlog

from contracts.assignments import TicketUnassigned
from kit.base.clock import Clock
from kit.base.errors import TooLarge, TransientError
from kit.protocol.document import Decision, Document
from kit.protocol.outbox import Documents, Saved
from services.routing.assignment.claims import ROUNDS, Claims, Observer, Releases
from services.routing.assignment.shares import Shares
from services.routing.core import picking, transfers
from services.routing.core.agents import Release
from services.routing.core.need import needs_of
from services.routing.core.picking import Pick
from services.routing.core.policy import RoutingPolicy
from services.routing.core.state import TicketState
from services.routing.store.roster import Roster

log = structlog.get_logger(__name__)

APART = 16
"""Agents for each ticket, among whom one that has lost a claim picks again."""


Picked = tuple[Document[TicketState], Pick]


class Assigner:
    """One per process. The handler, the dispatcher and the doors all assign through it."""

    def __init__(
        self,
        documents: Documents[TicketState],
        roster: Roster,
        policy: Callable[[], RoutingPolicy],
        clock: Clock,
        observer: Observer,
    ) -> None:
        self.documents, self.roster, self.clock = documents, roster, clock
        self.claims = Claims(documents, roster, policy, clock, observer)
        self.backlog: frozenset[str] = frozenset()
        """Queues in which somebody waited longer when last looked at: who comes now does not overtake them."""
        self.shares = Shares(documents, self.claims, roster, clock)
        self._policy, self._observer = policy, observer
        self._given: dict[str, Pick] = {}
        self._left: dict[str, set[str]] = {}
        """Of tickets that were written: the agents they were taken from, whose claims are given up next."""
        documents.watch(self._note)

    @property
    def policy(self) -> RoutingPolicy:
        """The policy in force."""
        return self._policy()

    def follow_policy(self) -> RoutingPolicy:
        """Return the policy in force, and let the index of agents follow it."""
        policy = self._policy()
        if self.roster.pool.policy is not policy:
            self.roster.pool.set_policy(policy)
        return policy

    def _note(self, docs: Sequence[Document[TicketState]]) -> None:
        """Take from what a write announces which agents have lost a ticket by it."""
        for doc in docs:
            for event in doc.announced:
                if isinstance(event, TicketUnassigned):
                    self._left.setdefault(doc.id, set()).add(event.agent.id)

    # -- claims, before the tickets are written ----------------------------------------------------------------------

    async def assign(self, docs: Iterable[Document[TicketState]], *, overtake: bool = False) -> None:
        """Claim agents for those who wait, and put the assignment into their documents."""
        policy, docs = self.follow_policy(), list(docs)
        await self.shares.fit(docs, policy)
        waiting = [(doc.state, doc) for doc in docs if doc.state is not None and picking.waits(doc.state, policy)]
        if not overtake:
            first = [each for each in waiting if picking.may_go_first(each[0], self.backlog, policy)]
            if len(first) < len(waiting):
                self.claims.freed.set()
                waiting = first
        if not waiting:
            return
        waiting.sort(key=lambda each: picking.turn(each[0]))
        await self._claim([doc for _, doc in waiting], policy)

    async def _claim(self, waiting: list[Document[TicketState]], policy: RoutingPolicy) -> None:
        async with self.claims.lock:
            self.roster.divide()
            seen = waiting
            for number in range(ROUNDS):
                picks = self._pick(waiting, policy, spread=number * APART * len(waiting))
                if not picks:
                    break
                won = await self.claims.make([pick.agent_id for _, pick in picks])
                for doc, pick in picks:
                    if pick.agent_id in won:
                        self._give(doc, pick)
                waiting = [doc for doc, pick in picks if pick.agent_id not in won]
            else:
                if waiting:
                    self.claims.freed.set()  # others were faster each time: there may be room all the same
            self._say_who_is_waited_for(seen, policy)

    def _pick(self, waiting: Sequence[Document[TicketState]], policy: RoutingPolicy, *, spread: int) -> list[Picked]:
        """Pick agents one ticket after the other; each pick takes room from the index at once.

        All replicas see the same agents as the best, and begin with those of their own partitions. Who has lost one to
        another replica all the same picks anywhere among the first `spread` of those who are as good.
        """
        now, pool, picks = self.clock.now(), self.roster.pool, list[Picked]()
        for doc in waiting:
            begin = self.clock.monotonic()
            state = self._without_gone_target(doc, policy)
            if not picking.waits(state, policy):
                continue
            needs = needs_of(state, policy, now)
            skip = crc32(doc.id.encode()) % spread if spread else 0
            choice = picking.choose(needs, pool, self.roster.holders(doc.id), policy, skip=skip)
            self._observer.decided(self.clock.monotonic() - begin)
            if choice is None:
                self.backlog |= picking.queues_behind(state)
                continue
            # Each at an instant of their own: among agents who are equal otherwise, these are asked last, and in order.
            at = now + timedelta(microseconds=len(picks))
            pick = picking.pick(needs, choice, doc.version, pool, policy, now, at)
            pool.put(pick.claimed)
            if pick.lighter:
                self.shares.lighter.add(doc.id)
            picks.append((doc, pick))
        return picks

    def _without_gone_target(self, doc: Document[TicketState], policy: RoutingPolicy) -> TicketState:
        assert doc.state is not None
        if doc.state.target is not None:
            agent = self.roster.pool.agents.get(doc.state.target.agent)
            if agent is None or agent.removed_at is not None:
                self._apply(doc, transfers.fall_back(doc.state, agent, policy))
        return doc.state

    def _say_who_is_waited_for(self, docs: Iterable[Document[TicketState]], policy: RoutingPolicy) -> None:
        """Say of those who still wait for the agent they were transferred to that they do."""
        for doc in docs:
            state = doc.state
            if state is not None and state.phase == "waiting" and state.target is not None:
                try:
                    self._apply(doc, transfers.wait(state, self.roster.pool.agents.get(state.target.agent), policy))
                except (TransientError, TooLarge) as fault:
                    log.warning("could not record that a ticket waits for an agent", ticket=doc.id, fault=str(fault))

    def _apply(self, doc: Document[TicketState], decision: Decision[TicketState] | None) -> None:
        if decision is None or doc.state is None:
            return
        self.documents.apply(doc, decision, cause=doc.state.cause)

    def _give(self, doc: Document[TicketState], pick: Pick) -> None:
        assert doc.state is not None
        decision = picking.assigned(doc.state, pick, self.clock.now())
        try:
            self.documents.apply(doc, decision, cause=doc.state.cause)
            self._given[doc.id] = pick
        except (TransientError, TooLarge) as fault:
            log.warning("could not record an assignment; its claim is left to the reconciler", fault=str(fault))

    # -- after the tickets were written ------------------------------------------------------------------------------

    async def settle(self, won: Iterable[Document[TicketState]], lost: Iterable[Document[TicketState]]) -> None:
        """Give up the claims that the write of these tickets made needless. What fails is the reconciler's."""
        free = Releases()
        for doc in won:
            if doc.state is None:
                continue
            if doc.id in self.shares.lighter and doc.state.agent is not None:
                lighter = Release(doc.version, self.claims.weigh(doc.state, doc.state.agent))
                free.setdefault(doc.state.agent, {})[doc.id] = lighter
            self.shares.lighter.discard(doc.id)
            gone = self._left.pop(doc.id, set()) | {a for a in doc.state.left if a in self.roster.holders(doc.id)}
            for agent_id in gone - {doc.state.agent}:
                free.setdefault(agent_id, {})[doc.id] = Release(doc.version)
            self._count(doc.state, self._given.pop(doc.id, None))
        unsure = []
        for doc in lost:
            self._given.pop(doc.id, None)
            self.shares.lighter.discard(doc.id)
            unsure += [(agent_id, doc.id) for agent_id in self.roster.holders(doc.id)]
        try:
            if free:
                await self.claims.release(free)
            if unsure:
                await self.claims.look_at(unsure, fence=False)
        except TransientError as fault:
            log.warning("claims not released, left to the reconciler", fault=str(fault))

    def _count(self, state: TicketState, given: Pick | None) -> None:
        if given is not None and state.assigned_at is not None and state.waiting_since is not None:
            waited = (state.assigned_at - state.waiting_since).total_seconds()
            self._observer.assigned(state.queue or "", given.reason, max(0.0, waited))

    # -- changes that no record of a topic brought -------------------------------------------------------------------

    async def work(
        self,
        ids: Iterable[str],
        decide: Callable[[TicketState], Decision[TicketState] | None],
    ) -> int:
        """Change tickets, give agents to those that wait, write, publish; returns how many were written."""

        def edit(doc: Document[TicketState]) -> None:
            self._apply(doc, decide(doc.state) if doc.state is not None else None)

        async def write(docs: Sequence[Document[TicketState]]) -> Saved[TicketState]:
            return await self.serve([doc for doc in docs if doc.changed])

        return len(await self.documents.edit(ids, edit, write=write, on_fault=_skip, attempts=ROUNDS))

    async def serve(self, docs: Sequence[Document[TicketState]]) -> Saved[TicketState]:
        """Give agents to tickets at hand, and write those that changed."""
        await self.assign(docs, overtake=True)
        saved = await self.documents.write([doc for doc in docs if doc.changed])
        await self.settle(saved.won, saved.lost)
        return saved


def _skip(ticket: str, fault: Exception) -> None:
    """Leave a ticket as it is that cannot be changed now, and go on with the others."""
    foreseen = isinstance(fault, TransientError | TooLarge)
    log.warning("a ticket could not be changed", ticket=ticket, fault=str(fault), exc_info=None if foreseen else fault)
