"""Who our customers are: what a contact learns from messages. Whose message it is, is found elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from contracts.contacts import Contact, ContactUpdated, Identity
from contracts.ticket import CustomerFacts
from kit.document import Decision
from kit.ids import stable_id
from services.ingest.core.messages import InboundMessage, identity_key

#: Tickets that a contact remembers, to count the next one.
TICKETS_CAP = 200


@dataclass(frozen=True, slots=True)
class ContactState:
    """A contact, and the tickets they opened: `counted` is how many, `tickets` the latest of them."""

    contact: Contact
    tickets: tuple[str, ...] = ()
    counted: int = 0

    def nth(self, ticket_id: str) -> int:
        """Which one of theirs this ticket is, from 1."""
        if ticket_id not in self.tickets:
            return max(1, self.counted)
        return self.counted - len(self.tickets) + self.tickets.index(ticket_id) + 1


def contact_id(identity: Identity) -> str:
    """Return the id of the contact who is first known by this identity."""
    return stable_id("contact", identity_key(identity))


def identity_claim(identity: Identity) -> str:
    """Return the claim's id for an identity that was learnt besides the first."""
    return stable_id("identity", identity_key(identity))


def decide(
    state: ContactState | None, contact: str, messages: Sequence[tuple[InboundMessage, str]], now: datetime
) -> Decision[ContactState]:
    """Take what messages (each with its ticket) tell about their sender; nothing new changes nothing."""
    before = state
    for message, ticket in messages:
        state = _learn(state, contact, message, now)
        if ticket not in state.tickets:
            tickets = (*state.tickets, ticket)[-TICKETS_CAP:]
            state = replace(state, tickets=tickets, counted=state.counted + 1)
    if state is None or state == before:
        return Decision()
    changed = _changed(before, state)
    if not changed:
        return Decision(state)
    state = replace(state, contact=state.contact.model_copy(update={"updated_at": now}))
    return Decision(state, [ContactUpdated(contact=state.contact, changed=changed)])


def _learn(state: ContactState | None, contact: str, message: InboundMessage, now: datetime) -> ContactState:
    sender = message.sender
    if state is None:
        new = Contact(
            id=contact,
            name=sender.name,
            language=sender.language,
            identities=sender.identities,
            customer=message.customer or CustomerFacts(),
            created_at=now,
            updated_at=now,
        )
        return ContactState(new)
    known = state.contact
    keys = {identity_key(identity) for identity in known.identities}
    more = tuple(identity for identity in sender.identities if identity_key(identity) not in keys)
    update = {
        "name": sender.name or known.name,
        "language": sender.language or known.language,
        "identities": (*known.identities, *more),
        "customer": message.customer or known.customer,
    }
    return replace(state, contact=known.model_copy(update=update))


def _changed(before: ContactState | None, after: ContactState) -> tuple[str, ...]:
    names = ("name", "language", "identities", "customer")
    if before is None:
        return names
    return tuple(name for name in names if getattr(before.contact, name) != getattr(after.contact, name))
