"""Contacts in the store: whose message it is, and what their document learns from it. The rules are `core.contacts`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from contracts.contacts import Identity
from kit.clock import Clock
from kit.document import Cause, Document
from kit.errors import Passing
from kit.outbox import Documents, Store
from services.ingest.core.arrivals import Arrival
from services.ingest.core.contacts import ContactState, contact_id, decide, identity_claim
from services.ingest.store import THREADS

ROUNDS = 10
log = structlog.get_logger(__name__)


class People:
    """Finds and teaches contacts, a batch at a time."""

    def __init__(self, store: Store, documents: Documents[ContactState], clock: Clock) -> None:
        self._store, self._documents, self._clock = store, documents, clock
        self._talking: list[Document[ContactState]] = []

    async def identify(self, arrivals: Sequence[Arrival]) -> None:
        """Set `contact_id`: who is known by any of the identities, else somebody new."""
        self._talking = []  # of a batch that was not finished: it comes again, and the sweeper is there
        identities = {i: None for arrival in arrivals for i in arrival.inbound.sender.identities}
        if not identities:
            return
        several = any(len(arrival.inbound.sender.identities) > 1 for arrival in arrivals)
        claims, docs = await asyncio.gather(
            self._store.fetch(THREADS, [identity_claim(identity) for identity in identities]),
            self._documents.load(contact_id(identity) for identity in identities) if several else _nothing(),
        )
        known = {row["_id"]: row["contact"] for row in claims}
        existing = {doc.id for doc in docs.values() if doc.version}
        fresh = []
        for arrival in arrivals:
            own = arrival.inbound.sender.identities
            arrival.contact_id = _whose(own, known, existing)
            for identity in own:
                claim = identity_claim(identity)
                if contact_id(identity) != arrival.contact_id and claim not in known:
                    known[claim] = arrival.contact_id
                    fresh.append({"_id": claim, "version": 1, "contact": arrival.contact_id})
        if fresh:
            await self._store.insert(THREADS, fresh)

    async def learn(self, arrivals: Sequence[tuple[Arrival, Cause | None]]) -> None:
        """Write what the contacts' documents learn, and set `nth_contact` of messages whose tickets are known."""
        waiting: dict[str, list[tuple[Arrival, Cause | None]]] = {}
        for arrival, cause in arrivals:
            waiting.setdefault(arrival.contact_id, []).append((arrival, cause))
        for _ in range(ROUNDS):
            if not waiting:
                return
            docs = await self._documents.load(waiting)
            for doc in docs.values():
                pairs = [(arrival.inbound, arrival.ticket_id) for arrival, _ in waiting[doc.id]]
                decision = decide(doc.state, doc.id, pairs, self._clock.now())
                self._documents.apply(doc, decision, cause=waiting[doc.id][0][1])
            saved = await self._documents.save(list(docs.values()))
            for doc in saved.won:
                for arrival, _ in waiting.pop(doc.id):
                    arrival.nth_contact = doc.state.nth(arrival.ticket_id) if doc.state else 1
            self._talking += saved.won
        raise Passing("contacts change faster than they can be read")

    async def publish(self) -> None:
        """Say what has been learnt. What is not confirmed now is left to the sweeper: it is written."""
        talking, self._talking = self._talking, []
        try:
            await self._documents.publish(talking)
        except Passing as fault:
            log.info("left to the sweeper", fault=str(fault))


async def _nothing() -> dict[str, Document[ContactState]]:
    return {}


def _whose(identities: Sequence[Identity], known: dict[str, str], existing: set[str]) -> str:
    for identity in identities:
        if (claimed := known.get(identity_claim(identity))) is not None:
            return claimed
    for identity in identities:
        if contact_id(identity) in existing:
            return contact_id(identity)
    return contact_id(identities[0])
