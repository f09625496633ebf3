"""Contacts in the store: whose message it is, and what their document learns from it. The rules are `core.contacts`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from contracts.contacts import Identity
from kit.base.clock import Clock
from kit.base.errors import TransientError
from kit.mongo import Row
from kit.protocol.document import Cause, Document
from kit.protocol.outbox import Documents
from kit.protocol.ports import Store
from services.ingest.core.arrivals import Arrival
from services.ingest.core.contacts import ContactState, about, contact_id, decide, identity_claim
from services.ingest.core.messages import identity_key
from services.ingest.store import THREADS

ROUNDS = 10


class People:
    """Finds and teaches contacts, a batch at a time."""

    def __init__(self, store: Store, documents: Documents[ContactState], clock: Clock) -> None:
        self._store, self._documents, self._clock = store, documents, clock
        self._talking: list[Document[ContactState]] = []
        self._loaded: dict[str, Document[ContactState]] = {}

    def claims(self, arrivals: Sequence[Arrival]) -> set[str]:
        """Return the claims that say who the senders are."""
        return {identity_claim(i) for arrival in arrivals for i in arrival.inbound.sender.identities}

    async def load(self, arrivals: Sequence[Arrival]) -> None:
        """Read the contacts that are first known by one of the senders' identities: most senders are one of them."""
        self._talking = []  # of a batch that was not finished: it comes again, and the sweeper is there
        self._loaded = await self._documents.load(
            contact_id(i) for arrival in arrivals for i in arrival.inbound.sender.identities
        )

    async def identify(self, arrivals: Sequence[Arrival], claims: Mapping[str, Row]) -> None:
        """Set `contact_id`: who is known by any of the identities, else somebody new. `claims` are the stored ones."""
        known = {claim: row["contact"] for claim, row in claims.items() if "contact" in row}
        existing = {doc.id for doc in self._loaded.values() if doc.version}
        people = await self._people(arrivals, known)
        fresh = []
        for arrival in arrivals:
            own = arrival.inbound.sender.identities
            arrival.contact_id = _whose(own, known, existing, people)
            people.setdefault(arrival.contact_id, set()).update(map(identity_key, own))
            for identity in own:
                claim = identity_claim(identity)
                if contact_id(identity) != arrival.contact_id and claim not in known:
                    known[claim] = arrival.contact_id
                    fresh.append({"_id": claim, "version": 1, "contact": arrival.contact_id})
        if fresh:
            await self._store.insert(THREADS, fresh)

    async def _people(self, arrivals: Sequence[Arrival], known: Mapping[str, str]) -> dict[str, set[str]]:
        """Return the identities of contacts whom senders may be by another identity than their first."""
        others = (identity for arrival in arrivals for identity in arrival.inbound.sender.identities[1:])
        found = {known[claim] for claim in map(identity_claim, others) if claim in known}
        docs = self._loaded | await self._documents.load(sorted(found - self._loaded.keys()))
        states = {doc.id: doc.state for doc in docs.values()}
        return {i: set(map(identity_key, state.contact.identities)) for i, state in states.items() if state is not None}

    async def learn(self, arrivals: Sequence[tuple[Arrival, Cause | None]]) -> None:
        """Write what the contacts' documents learn, and set `nth_contact` of messages whose tickets are known."""
        waiting: dict[str, list[tuple[Arrival, Cause | None]]] = {}
        for arrival, cause in arrivals:
            waiting.setdefault(arrival.contact_id, []).append((arrival, cause))

        def learn(doc: Document[ContactState]) -> None:
            said = [(a.inbound, a.ticket_id, about(a.inbound, a.defaults.brand)) for a, _ in waiting[doc.id]]
            decision = decide(doc.state, doc.id, said, self._clock.now())
            self._documents.apply(doc, decision, cause=waiting[doc.id][0][1])

        held, self._loaded = self._loaded, {}
        won = await self._documents.edit(waiting, learn, write=self._documents.save, attempts=ROUNDS, held=held)
        self._talking += won.values()
        for doc in won.values():
            for arrival, _ in waiting.pop(doc.id):
                arrival.nth_contact = doc.state.nth(arrival.ticket_id) if doc.state else 1
        if waiting:
            raise TransientError("contacts were changed concurrently too often")

    async def publish(self) -> None:
        """Say what has been learnt."""
        talking, self._talking = self._talking, []
        await self._documents.say(talking)


def _whose(
    identities: Sequence[Identity], known: Mapping[str, str], existing: Collection[str], people: Mapping[str, set[str]]
) -> str:
    """Return who is known by the first of the identities that anybody is known by, else a new contact.

    A phone number may go on to somebody else. So whoever has a first identity that is new, and shares another with a
    contact who has yet another one of the same channel and account, is not that contact.
    """
    first, own = identities[0], set(map(identity_key, identities))
    for identity in identities:
        contact = known.get(identity_claim(identity))
        if contact is None and contact_id(identity) in existing:
            contact = contact_id(identity)
        if contact is None:
            continue
        alike = f"{first.channel}:{first.account or ''}:"
        if identity is first or not any(key.startswith(alike) for key in people.get(contact, set()) - own):
            return contact
    return contact_id(first)
