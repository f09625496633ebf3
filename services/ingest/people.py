"""Contacts: find the sender of each message, and update the contact's document. The rules are in `core/contacts.py`."""

from __future__ import annotations

import asyncio
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

MAX_ROUNDS = 10


class People:
    """Finds and updates the contacts of a batch."""

    def __init__(self, store: Store, documents: Documents[ContactState], clock: Clock) -> None:
        self._store, self._documents, self._clock = store, documents, clock
        self._unpublished: list[Document[ContactState]] = []
        self._loaded: dict[str, Document[ContactState]] = {}
        self._publishing: asyncio.Task[None] | None = None

    def claims(self, arrivals: Sequence[Arrival]) -> set[str]:
        """Return the ids of the claims that may assign the senders' identities to contacts."""
        return {identity_claim(i) for arrival in arrivals for i in arrival.inbound.sender.identities}

    async def load(self, arrivals: Sequence[Arrival]) -> None:
        """Read the contacts whose id is made from one of the senders' identities; most senders are among them."""
        self._unpublished = []  # left over from a batch that failed: it is read again, or the sweeper publishes them
        self._loaded = await self._documents.load(
            contact_id(i) for arrival in arrivals for i in arrival.inbound.sender.identities
        )

    async def identify(self, arrivals: Sequence[Arrival], claims: Mapping[str, Row]) -> None:
        """Set `contact_id` to the contact known by one of the identities, else a new one. `claims`: the stored ones."""
        known = {claim: row["contact"] for claim, row in claims.items() if "contact" in row}
        existing = {doc.id for doc in self._loaded.values() if doc.version}
        people = await self._people(arrivals, known)
        fresh = []
        for arrival in arrivals:
            identities = arrival.inbound.sender.identities
            arrival.contact_id = _contact_of(identities, known, existing, people)
            people.setdefault(arrival.contact_id, set()).update(map(identity_key, identities))
            for identity in identities:
                claim = identity_claim(identity)
                if contact_id(identity) != arrival.contact_id and claim not in known:
                    known[claim] = arrival.contact_id
                    fresh.append({"_id": claim, "version": 1, "contact": arrival.contact_id})
        if fresh:
            await self._store.insert(THREADS, fresh)

    async def _people(self, arrivals: Sequence[Arrival], known: Mapping[str, str]) -> dict[str, set[str]]:
        """Return contact -> identity keys, of the loaded contacts and of those known by a sender's other identities."""
        others = (identity for arrival in arrivals for identity in arrival.inbound.sender.identities[1:])
        found = {known[claim] for claim in map(identity_claim, others) if claim in known}
        docs = self._loaded | await self._documents.load(sorted(found - self._loaded.keys()))
        states = {doc.id: doc.state for doc in docs.values()}
        return {i: set(map(identity_key, state.contact.identities)) for i, state in states.items() if state is not None}

    async def learn(self, arrivals: Sequence[tuple[Arrival, Cause | None]]) -> None:
        """Update the contacts' documents from messages with known tickets, and set the messages' `nth_contact`.

        Raises TransientError if other replicas change the same contacts at the same time too often.
        """
        waiting: dict[str, list[tuple[Arrival, Cause | None]]] = {}
        for arrival, cause in arrivals:
            waiting.setdefault(arrival.contact_id, []).append((arrival, cause))

        def learn(doc: Document[ContactState]) -> None:
            messages = [(a.inbound, a.ticket_id, about(a.inbound, a.defaults.brand)) for a, _ in waiting[doc.id]]
            decision = decide(doc.state, doc.id, messages, self._clock.now())
            self._documents.apply(doc, decision, cause=waiting[doc.id][0][1])

        held, self._loaded = self._loaded, {}
        won = await self._documents.edit(waiting, learn, write=self._documents.save, attempts=MAX_ROUNDS, held=held)
        self._unpublished += won.values()
        for doc in won.values():
            for arrival, _ in waiting.pop(doc.id):
                arrival.nth_contact = doc.state.nth(arrival.ticket_id) if doc.state else 1
        if waiting:
            raise TransientError("contacts were changed concurrently too often")

    def begin_to_publish(self) -> None:
        """Start publishing what `learn` has written: beside other documents, it leaves in the same request to Kafka."""
        if self._unpublished and self._publishing is None:
            self._publishing = asyncio.create_task(self._publish())

    async def publish(self) -> None:
        """Publish the events of the contacts that `learn` has written, and wait for those already on their way."""
        started, self._publishing = self._publishing, None
        if started is not None:
            await started
        await self._publish()

    async def _publish(self) -> None:
        unpublished, self._unpublished = self._unpublished, []
        await self._documents.try_publish(unpublished)


def _contact_of(
    identities: Sequence[Identity], known: Mapping[str, str], existing: Collection[str], people: Mapping[str, set[str]]
) -> str:
    """Return the contact known by the first identity that any contact has, else a new contact.

    Phone numbers are reassigned. If the sender's first identity is new, a contact with one of the other identities is a
    different person if it already has a different identity on the same channel and account.
    """
    first, keys = identities[0], set(map(identity_key, identities))
    for identity in identities:
        contact = known.get(identity_claim(identity))
        if contact is None and contact_id(identity) in existing:
            contact = contact_id(identity)
        if contact is None:
            continue
        same_channel = f"{first.channel}:{first.account or ''}:"
        if identity is first or not any(key.startswith(same_channel) for key in people.get(contact, set()) - keys):
            return contact
    return contact_id(first)
