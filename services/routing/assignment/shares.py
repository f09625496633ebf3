"""Claims that weigh what their tickets do: a ticket takes another share of its agent when its status changes.

Rules, by their names in the model of the protocol: more is claimed before the ticket says that it weighs more
(wake-claims); less is given up after it, and only below the version of the ticket (release-stamped).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from contracts.assignments import UnassignReason
from kit.base.clock import Clock
from kit.protocol.document import Decision, Document
from kit.protocol.outbox import Documents
from services.routing.assignment.claims import ROUNDS, Claims
from services.routing.core import agents, tickets
from services.routing.core.policy import RoutingPolicy
from services.routing.core.state import TicketState
from services.routing.store.roster import Roster


class Shares:
    """The shares of tickets that agents have."""

    def __init__(self, documents: Documents[TicketState], claims: Claims, roster: Roster, clock: Clock) -> None:
        self.lighter: set[str] = set()
        """Tickets that take less of their agent than their claim, once they are written."""
        self._documents, self._claims, self._roster, self._clock = documents, claims, roster, clock

    async def fit(self, docs: Iterable[Document[TicketState]], policy: RoutingPolicy) -> None:
        """Fit the claims of tickets whose status weighs another share now: more before they are written, less after.

        Those that we owe an answer, and whose agent has no room for them any more, wait for anybody; others stay.
        """
        heavier: list[Document[TicketState]] = []
        for doc in docs:
            state = doc.state
            if state is None or state.agent is None or not doc.changed:
                continue
            share = policy.share(state.facts.channel, state.status)
            if share > state.share:
                heavier.append(doc)
            elif share < state.share:
                self._apply(doc, Decision(replace(state, share=share)))
                self.lighter.add(doc.id)
        if heavier:
            async with self._claims.lock:
                await self._keep(heavier, policy)

    async def _keep(self, docs: Sequence[Document[TicketState]], policy: RoutingPolicy) -> None:
        now, left = self._clock.now(), list(docs)
        for number in range(ROUNDS):
            claimed: dict[str, str] = {}
            for doc in left:
                assert doc.state is not None
                agent = self._roster.pool.agents.get(doc.state.agent or "")
                if agent is None:
                    continue
                own = agent.claims[doc.id].weight if doc.id in agent.claims else 0.0
                weight = self._claims.weigh(doc.state, agent.profile.id)
                if agent.has_room(weight - own):
                    self._roster.pool.put(agents.renew(agent, doc.id, doc.version, weight, now))
                    claimed[doc.id] = agent.profile.id
            won = await self._claims.make(list(claimed.values())) if claimed else set[str]()
            kept = [doc for doc in left if claimed.get(doc.id) in won]
            for doc in kept:
                assert doc.state is not None
                share = policy.share(doc.state.facts.channel, doc.state.status)
                self._apply(doc, Decision(replace(doc.state, share=share)))
            left = [doc for doc in left if doc not in kept]
            if not left:
                return
            if number == 0:  # there may be room that this process has not heard of
                await self._roster.reload({doc.state.agent for doc in left if doc.state and doc.state.agent})
        for doc in left:
            assert doc.state is not None
            assert doc.state.agent is not None
            gone = tickets.evict(doc.state, doc.state.agent, UnassignReason.AGENT_FULL, now, policy, all_work=False)
            self._apply(doc, gone)

    def _apply(self, doc: Document[TicketState], decision: Decision[TicketState] | None) -> None:
        if decision is not None and doc.state is not None:
            self._documents.apply(doc, decision, cause=doc.state.cause)
