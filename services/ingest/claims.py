"""What a batch knows of threads while its messages are placed: claims, tickets, and who writes to which. No IO."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from kit.base.ids import uuid7
from kit.mongo import Row
from kit.protocol.document import Document
from services.ingest.core.arrivals import Arrival
from services.ingest.core.state import TicketState
from services.ingest.core.threading import is_proven, may_join, same_account_and_brand


@dataclass(frozen=True, slots=True)
class Claim:
    """Which ticket an anchor belongs to. `previous` is the ticket that the conversation had before."""

    anchor: str
    version: int
    ticket: str
    previous: str | None = None
    message: str | None = None
    #: Contact whose message made the claim, and whether they were proven: all that is known of a ticket not stored yet.
    contact: str | None = None
    proven: bool = False
    #: The mail whose place this is: it goes to this ticket, whichever replica handles it.
    places: str | None = None
    #: Whether the mail is admitted to the ticket for good. It is not while the ticket is not stored: who will take part
    #: in it is not known.
    final: bool = False

    @classmethod
    def made(cls, anchor: str, version: int, ticket: str, arrival: Arrival, previous: str | None = None) -> Claim:
        """Make a claim for a message. One of a mail's own id is its place too."""
        places = arrival.id if arrival.place is not None and anchor == arrival.anchors[0] else None
        proven = is_proven(arrival.inbound)
        return cls(anchor, version, ticket, previous, contact=arrival.contact_id, proven=proven, places=places)

    @classmethod
    def read(cls, row: dict[str, Any]) -> Claim:
        """Read a stored claim."""
        fields: dict[str, Any] = {name: row.get(name) for name in ("previous", "message", "contact", "places")}
        fields |= {name: row.get(name, False) for name in ("proven", "final")}
        return cls(row["_id"], row["version"], row["ticket"], **fields)

    def fields(self) -> dict[str, Any]:
        """Return what is stored besides anchor and version."""
        return {
            "ticket": self.ticket, "previous": self.previous, "message": self.message, "contact": self.contact,
            "proven": self.proven, "places": self.places, "final": self.final,
        }  # fmt: skip

    def row(self) -> dict[str, Any]:
        """Return the claim as it is stored."""
        return {"_id": self.anchor, "version": self.version, **self.fields()}


class Unknown(Exception):
    """Something has to be looked up before the message can be placed."""


class Wait(Exception):
    """An earlier message of the batch claims what this one needs."""


@dataclass(slots=True)
class View:
    """What a batch knows so far: claims and tickets that were looked up, and what its own messages change in them."""

    docs: dict[str, Document[TicketState]] = field(default_factory=dict)
    claims: dict[str, Claim | None] = field(default_factory=dict)
    tickets: dict[str, TicketState | None] = field(default_factory=dict)
    holders: dict[str, set[str]] = field(default_factory=dict)
    taken: set[tuple[str, str]] = field(default_factory=set)
    """Tickets and messages that they have taken, and may no longer remember."""
    active: dict[str, datetime] = field(default_factory=dict)
    writers: dict[str, dict[str, bool]] = field(default_factory=dict)
    """Ticket -> contacts whose messages of this batch take part in it, and whether they are proven."""
    proposed: dict[str, Claim] = field(default_factory=dict)
    fresh: dict[str, Claim] = field(default_factory=dict)
    need_claims: set[str] = field(default_factory=set)
    need_tickets: set[str] = field(default_factory=set)
    newer: bool = False
    """Claims were read later than the holders of the messages."""

    def take(self, anchors: Iterable[str], found: Mapping[str, Row]) -> None:
        """Note which of the anchors are claimed, and that their tickets must be known."""
        for anchor in anchors:
            self.claims[anchor] = claim = Claim.read(found[anchor]) if anchor in found else None
            self.newer = self.newer or claim is not None
            if claim is not None and claim.ticket not in self.tickets:
                self.need_tickets.add(claim.ticket)

    def hold(self, holders: Iterable[Row]) -> None:
        """Note which tickets have which messages, and that these tickets must be known."""
        for row in holders:
            self.holders.setdefault(row["message"], set()).add(row["ticket"])
            if row["taken"]:
                self.taken.add((row["ticket"], row["message"]))
            if row["ticket"] not in self.tickets:
                self.need_tickets.add(row["ticket"])

    def claim(self, anchor: str) -> Claim | None:
        if anchor in self.proposed:
            raise Wait
        if anchor not in self.claims:
            self.need_claims.add(anchor)
            raise Unknown
        return self.claims[anchor]

    def ticket(self, ticket_id: str) -> TicketState | None:
        if ticket_id not in self.tickets:
            self.need_tickets.add(ticket_id)
            raise Unknown
        return self.tickets[ticket_id]

    def propose(self, anchor: str, version: int, previous: str | None, arrival: Arrival) -> Wait:
        """Ask for a claim to be written; the message waits for what comes of it."""
        self.proposed[anchor] = Claim.made(anchor, version, uuid7(), arrival, previous)
        return Wait()

    def place(self, arrival: Arrival) -> Claim | None:
        """Return the claim that says where a mail goes, if there is one. The mail may have made that of its own id."""
        assert arrival.place is not None
        place, own = self.claim(arrival.place), self.claim(arrival.anchors[0])
        return place or (own if own is not None and own.places == arrival.id else None)

    def settle(self, arrival: Arrival, found: Claim) -> Wait:
        """Ask for a mail's place to be claimed; the mail waits for what comes of it.

        The claim of its own id is stored before: were it still free, another replica could take that one for the place.
        """
        assert arrival.place is not None
        own, before = arrival.anchors[0], self.claims[arrival.place]
        if own in self.fresh:
            self.proposed[own] = replace(self.fresh.pop(own), version=0)
        else:
            claim = Claim.made(arrival.place, before.version if before else 0, found.ticket, arrival, found.previous)
            self.proposed[arrival.place] = replace(claim, places=arrival.id, final=arrival.admitted)
        return Wait()

    def adopt(self, arrival: Arrival, found: Claim) -> None:
        """Note ids that nobody has claimed: a later mail that names one, also if we never saw it, comes here."""
        for anchor in arrival.anchors:
            if self.claims.get(anchor) is None and anchor not in self.proposed:
                claim = Claim.made(anchor, 1, found.ticket, arrival)
                if claim.places is not None:
                    claim = replace(claim, previous=found.previous, final=arrival.admitted)
                self.claims[anchor] = self.fresh[anchor] = claim

    def active_at(self, ticket_id: str, state: TicketState | None) -> datetime | None:
        known = [at for at in (self.active.get(ticket_id), state and state.active_at) if at]
        return max(known, default=None)

    def survivor(self, ticket: str) -> tuple[str, TicketState | None]:
        """Follow merges; they lead to ever older tickets, so they end."""
        state = self.ticket(ticket)
        while state is not None and state.ticket is not None and state.ticket.merged_into is not None:
            ticket = state.ticket.merged_into
            state = self.ticket(ticket)
        return ticket, state

    def is_stored(self, ticket: str) -> bool:
        """Whether a message has opened the ticket."""
        state = self.ticket(ticket)
        return state is not None and state.ticket is not None

    def is_near(self, ticket: str, arrival: Arrival) -> bool:
        """Whether there is such a ticket, of the account and the brand that the mail came to."""
        state = self.ticket(ticket)
        return state is not None and state.ticket is not None and same_account_and_brand(state.ticket, arrival.inbound)

    def admits(self, claim: Claim, arrival: Arrival) -> bool:
        """Whether the sender may join a ticket of the thread."""
        state, writers = self.ticket(claim.ticket), self.writers.get(claim.ticket, {})
        people, proven = set(writers), {contact for contact, sure in writers.items() if sure}
        if state is None or state.ticket is None:
            if claim.contact is not None:
                people.add(claim.contact)
                proven |= {claim.contact} if claim.proven else set()
            return not people or may_join(people, proven, arrival.contact_id, arrival.inbound)
        if not same_account_and_brand(state.ticket, arrival.inbound):
            return False
        for each in (state, self.survivor(claim.ticket)[1]):
            if each is not None:
                people |= each.people
                proven |= set(each.proven)
        return may_join(people, proven, arrival.contact_id, arrival.inbound)
