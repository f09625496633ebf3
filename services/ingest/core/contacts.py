"""Who our customers are: what a contact learns from messages. Whose message it is, is found elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from contracts.contacts import Contact, ContactUpdated, Identity
from contracts.ticket import CustomerFacts
from kit.base.ids import stable_id
from kit.protocol.document import Decision
from services.ingest.core.messages import InboundMessage, identity_key

#: Tickets that a contact remembers, to count the next one about the same.
TICKETS_CAP = 200
ORDER = "order:"
_ANSWERS = re.compile(
    r"^(?:\s|\[#[^\]]*\]|(?:re|aw|odp|fwd?|wg|pd|sv|vs|tr|rv|res|enc|답장|전달|ตอบ|ส่งต่อ|回复|回覆|转发|轉寄|返信)"
    r"\s*(?:\[\d+\])?\s*[:\uff1a])+",
    re.IGNORECASE,
)
"""What mail programs put before the subject of an answer or a forward, in any number, and tokens of tickets."""


@dataclass(frozen=True, slots=True)
class ContactState:
    """A contact, and the latest tickets they opened, each with what it is about ("" where that is not known)."""

    contact: Contact
    tickets: tuple[tuple[str, str], ...] = ()

    def nth(self, ticket_id: str) -> int:
        """Return which one this ticket is among theirs about its order, or without an order about its topic, from 1.

        A ticket about nothing known is a first one: two chats without an order need not be about the same thing.
        """
        about = dict(self.tickets).get(ticket_id, "")
        alike = [ticket for ticket, topic in self.tickets if topic == about]
        return alike.index(ticket_id) + 1 if about else 1


def about(message: InboundMessage, brand: str | None) -> str:
    """Return what a ticket is about that this message opens: its order; else the tags it came with; else its subject.

    `brand` is the account's, for messages that name none: numbers of orders and words are a brand's own. "" is nothing.
    """
    brand = message.brand or brand or ""
    if message.order_ref:
        return ORDER + stable_id("order", brand, message.order_ref.strip().casefold())
    if message.tags:
        return "topic:" + stable_id("tags", brand, *sorted(tag.strip().casefold() for tag in message.tags))
    subject = " ".join(_ANSWERS.sub("", message.subject or "").casefold().split())
    return "topic:" + stable_id("subject", brand, subject) if subject else ""


def contact_id(identity: Identity) -> str:
    """Return the id of the contact who is first known by this identity."""
    return stable_id("contact", identity_key(identity))


def identity_claim(identity: Identity) -> str:
    """Return the claim's id for an identity that was learnt besides the first."""
    return stable_id("identity", identity_key(identity))


def decide(
    state: ContactState | None, contact: str, messages: Sequence[tuple[InboundMessage, str, str]], now: datetime
) -> Decision[ContactState]:
    """Take what messages, each with its ticket and what that is `about`, tell of their sender; nothing new is no event.

    A later message of a ticket may name the order that it is about.
    """
    before = state
    for message, ticket, topic in messages:
        state = _learn(state, contact, message, now)
        known = dict(state.tickets)
        if ticket not in known or (topic.startswith(ORDER) and not known[ticket].startswith(ORDER)):
            known[ticket] = topic
            state = replace(state, tickets=tuple(known.items())[-TICKETS_CAP:])
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
