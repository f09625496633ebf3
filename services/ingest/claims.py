"""What a batch knows about threads while it assigns messages to tickets: claims, tickets and their writers. No IO."""

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
    """The ticket that an anchor belongs to. `previous` is the conversation's preceding ticket."""

    anchor: str
    version: int
    ticket: str
    previous: str | None = None
    message: str | None = None
    #: The contact whose message made the claim, and whether the sender was authenticated. Until the ticket is stored,
    #: nothing else is known about its participants.
    contact: str | None = None
    proven: bool = False
    #: Id of the mail that this claim assigns to the ticket, whichever replica handles it.
    places: str | None = None
    #: Whether that mail is admitted for good. False until the ticket is stored, since its participants are unknown.
    final: bool = False

    @classmethod
    def for_message(
        cls, anchor: str, version: int, ticket: str, arrival: Arrival, previous: str | None = None
    ) -> Claim:
        """Return a claim made by a message. The claim of a mail's own id also assigns the mail to the ticket."""
        places = arrival.id if arrival.placement is not None and anchor == arrival.anchors[0] else None
        proven = is_proven(arrival.inbound)
        return cls(anchor, version, ticket, previous, contact=arrival.contact_id, proven=proven, places=places)

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Claim:
        """Return the claim stored in `row`."""
        fields: dict[str, Any] = {name: row.get(name) for name in ("previous", "message", "contact", "places")}
        fields |= {name: row.get(name, False) for name in ("proven", "final")}
        return cls(row["_id"], row["version"], row["ticket"], **fields)

    def fields(self) -> dict[str, Any]:
        """Return the stored fields except anchor and version."""
        return {
            "ticket": self.ticket, "previous": self.previous, "message": self.message, "contact": self.contact,
            "proven": self.proven, "places": self.places, "final": self.final,
        }  # fmt: skip

    def row(self) -> dict[str, Any]:
        """Return the claim as it is stored, with anchor and version."""
        return {"_id": self.anchor, "version": self.version, **self.fields()}


class LookupNeeded(Exception):
    """A claim or ticket must be read before the message can be assigned."""


class ClaimPending(Exception):
    """A claim must be written before the message can be assigned."""


@dataclass(slots=True)
class View:
    """The claims and tickets that a batch has read, and what its own messages change about them."""

    docs: dict[str, Document[TicketState]] = field(default_factory=dict)
    claims: dict[str, Claim | None] = field(default_factory=dict)
    tickets: dict[str, TicketState | None] = field(default_factory=dict)
    holders: dict[str, set[str]] = field(default_factory=dict)
    taken: set[tuple[str, str]] = field(default_factory=set)
    """(Ticket, message): TAKEN says that the ticket took the message."""
    active: dict[str, datetime] = field(default_factory=dict)
    writers: dict[str, dict[str, bool]] = field(default_factory=dict)
    """Ticket -> contacts who write to it in this batch, and whether they are authenticated."""
    proposed: dict[str, Claim] = field(default_factory=dict)
    fresh: dict[str, Claim] = field(default_factory=dict)
    need_claims: set[str] = field(default_factory=set)
    need_tickets: set[str] = field(default_factory=set)
    holders_stale: bool = False
    """Claims were read after `holders`, which must therefore be read again."""

    def add_claims(self, anchors: Iterable[str], found: Mapping[str, Row]) -> None:
        """Record which of the anchors are claimed, and request the tickets of the claims."""
        for anchor in anchors:
            self.claims[anchor] = claim = Claim.from_row(found[anchor]) if anchor in found else None
            self.holders_stale = self.holders_stale or claim is not None
            if claim is not None and claim.ticket not in self.tickets:
                self.need_tickets.add(claim.ticket)

    def add_holders(self, holders: Iterable[Row]) -> None:
        """Record which tickets already have which messages, and request these tickets."""
        for row in holders:
            self.holders.setdefault(row["message"], set()).add(row["ticket"])
            if row["taken"]:
                self.taken.add((row["ticket"], row["message"]))
            if row["ticket"] not in self.tickets:
                self.need_tickets.add(row["ticket"])

    def claim(self, anchor: str) -> Claim | None:
        """Return the claim of an anchor, or None. Raises ClaimPending or LookupNeeded."""
        if anchor in self.proposed:
            raise ClaimPending
        if anchor not in self.claims:
            self.need_claims.add(anchor)
            raise LookupNeeded
        return self.claims[anchor]

    def ticket(self, ticket_id: str) -> TicketState | None:
        """Return the state of a ticket, or None if it is not stored. Raises LookupNeeded."""
        if ticket_id not in self.tickets:
            self.need_tickets.add(ticket_id)
            raise LookupNeeded
        return self.tickets[ticket_id]

    def propose(self, anchor: str, version: int, previous: str | None, arrival: Arrival) -> ClaimPending:
        """Propose a claim for a new ticket. Return the ClaimPending to raise: the message waits for the write."""
        self.proposed[anchor] = Claim.for_message(anchor, version, uuid7(), arrival, previous)
        return ClaimPending()

    def placement(self, arrival: Arrival) -> Claim | None:
        """Return the claim that assigns this mail to a ticket, or None. It may be the claim of the mail's own id."""
        assert arrival.placement is not None
        place, own = self.claim(arrival.placement), self.claim(arrival.anchors[0])
        return place or (own if own is not None and own.places == arrival.id else None)

    def propose_placement(self, arrival: Arrival, found: Claim) -> ClaimPending:
        """Propose the claim that assigns a mail to a ticket. Return the ClaimPending to raise.

        If the mail's own id is claimed in this batch, that claim is written first: while it is free, another replica
        could use it to assign the same mail.
        """
        assert arrival.placement is not None
        own, before = arrival.anchors[0], self.claims[arrival.placement]
        if own in self.fresh:
            self.proposed[own] = replace(self.fresh.pop(own), version=0)
        else:
            claim = Claim.for_message(
                arrival.placement, before.version if before else 0, found.ticket, arrival, found.previous
            )
            self.proposed[arrival.placement] = replace(claim, places=arrival.id, final=arrival.admitted)
        return ClaimPending()

    def claim_unclaimed(self, arrival: Arrival, found: Claim) -> None:
        """Claim the mail's unclaimed anchors, so that a later mail that refers to one gets the same ticket."""
        for anchor in arrival.anchors:
            if self.claims.get(anchor) is None and anchor not in self.proposed:
                claim = Claim.for_message(anchor, 1, found.ticket, arrival)
                if claim.places is not None:
                    claim = replace(claim, previous=found.previous, final=arrival.admitted)
                self.claims[anchor] = self.fresh[anchor] = claim

    def active_at(self, ticket_id: str, state: TicketState | None) -> datetime | None:
        """Return when somebody last wrote on a ticket, including messages of this batch; None if unknown."""
        known = [at for at in (self.active.get(ticket_id), state and state.active_at) if at]
        return max(known, default=None)

    def survivor(self, ticket: str) -> tuple[str, TicketState | None]:
        """Follow merges to the surviving ticket. This ends, since a merge always leads to an older ticket."""
        state = self.ticket(ticket)
        while state is not None and state.ticket is not None and state.ticket.merged_into is not None:
            ticket = state.ticket.merged_into
            state = self.ticket(ticket)
        return ticket, state

    def is_stored(self, ticket: str) -> bool:
        """Whether the ticket has been opened and stored."""
        state = self.ticket(ticket)
        return state is not None and state.ticket is not None

    def matches_account(self, ticket: str, arrival: Arrival) -> bool:
        """Whether the ticket exists and belongs to the account and brand that the mail was sent to."""
        state = self.ticket(ticket)
        return state is not None and state.ticket is not None and same_account_and_brand(state.ticket, arrival.inbound)

    def admits(self, claim: Claim, arrival: Arrival) -> bool:
        """Whether the sender may join the claimed ticket."""
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
