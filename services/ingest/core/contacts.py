"""What messages tell about their contact: names, identities, tickets. `people.py` finds whose message it is."""

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

#: Maximum number of tickets remembered per contact, to count repeated contacts about one order or topic.
TICKETS_CAP = 200
ORDER = "order:"
_REPLY_PREFIXES = re.compile(
    r"^(?:\s|\[#[^\]]*\]|(?:re|aw|odp|fwd?|wg|pd|sv|vs|tr|rv|res|enc|답장|전달|ตอบ|ส่งต่อ|回复|回覆|转发|轉寄|返信)"
    r"\s*(?:\[\d+\])?\s*[:\uff1a])+",
    re.IGNORECASE,
)
"""Prefixes that mail programs put before the subject of replies and forwards, repeated or not, and ticket tokens."""


@dataclass(frozen=True, slots=True)
class ContactState:
    """A contact, and the latest tickets they opened as (ticket id, topic); the topic is "" where unknown."""

    contact: Contact
    tickets: tuple[tuple[str, str], ...] = ()

    def nth(self, ticket_id: str) -> int:
        """Return the position, from 1, of the ticket among the contact's tickets about the same order or topic.

        Return 1 if the topic is unknown: two chats without an order need not be about the same thing.
        """
        about = dict(self.tickets).get(ticket_id, "")
        alike = [ticket for ticket, topic in self.tickets if topic == about]
        return alike.index(ticket_id) + 1 if about else 1


def about(message: InboundMessage, brand: str | None) -> str:
    """Return the topic of a ticket that this message opens: its order, else its tags, else its subject, else "".

    Topics are per brand, since brands number orders independently. `brand` is the default for messages without one.
    """
    brand = message.brand or brand or ""
    if message.order_ref:
        return ORDER + stable_id("order", brand, message.order_ref.strip().casefold())
    if message.tags:
        return "topic:" + stable_id("tags", brand, *sorted(tag.strip().casefold() for tag in message.tags))
    subject = " ".join(_REPLY_PREFIXES.sub("", message.subject or "").casefold().split())
    return "topic:" + stable_id("subject", brand, subject) if subject else ""


def contact_id(identity: Identity) -> str:
    """Return the id of a contact whose first identity is this one."""
    return stable_id("contact", identity_key(identity))


def identity_claim(identity: Identity) -> str:
    """Return the id of the claim that assigns a further identity to a contact."""
    return stable_id("identity", identity_key(identity))


def decide(
    state: ContactState | None, contact: str, messages: Sequence[tuple[InboundMessage, str, str]], now: datetime
) -> Decision[ContactState]:
    """Learn from messages, given as (message, ticket id, topic). Emit ContactUpdated only if the contact has changed.

    A later message may replace a ticket's topic by its order.
    """
    before = state
    for message, ticket, topic in messages:
        state = _learn(state, contact, message, now)
        known = dict(state.tickets)
        if ticket not in known or replaces(topic, known[ticket]):
            known[ticket] = topic
            state = replace(state, tickets=tuple(known.items())[-TICKETS_CAP:])
    if state is None or state == before:
        return Decision()
    changed = _changed(before, state)
    if not changed:
        return Decision(state)
    state = replace(state, contact=state.contact.model_copy(update={"updated_at": now}))
    return Decision(state, [ContactUpdated(contact=state.contact, changed=changed)])


def replaces(topic: str, known: str) -> bool:
    """Whether a later message's topic replaces that of its ticket: an order does, unless one is known."""
    return topic.startswith(ORDER) and not known.startswith(ORDER)


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
