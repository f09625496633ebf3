"""Claims: which ticket a message goes to, so that whoever handles it, and however often, it is one and the same.

A claim is a document `{_id: anchor, version, ticket, previous}` written behind its version: the first writer wins, the
others read what he wrote. Nothing is decided about the ticket here, only whose message it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from contracts.ticket import Ticket
from kit.document import Document
from kit.errors import Passing
from kit.ids import uuid7
from kit.mongo import Guarded, Row
from kit.outbox import Documents, Store
from services.ingest.core.arrivals import Arrival
from services.ingest.core.policy import TicketPolicy
from services.ingest.core.state import MESSAGES, TicketState
from services.ingest.core.threading import (
    goes_on,
    message_anchor,
    root_anchor,
    successor_anchor,
)
from services.ingest.store import THREADS

PolicyOf = Callable[[str, str], TicketPolicy]
"""Channel and account -> what holds for its tickets."""
ROUNDS = 50
"""Looks that one batch may take; each one places a message, learns something, or waits for a lost claim."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Which ticket an anchor belongs to. `previous` is the ticket that the conversation had before."""

    anchor: str
    version: int
    ticket: str
    previous: str | None = None
    message: str | None = None

    @classmethod
    def read(cls, row: dict[str, Any]) -> Claim:
        """Read a stored claim."""
        return cls(row["_id"], row["version"], row["ticket"], row.get("previous"), row.get("message"))

    def row(self) -> dict[str, Any]:
        """Return the claim as it is stored."""
        fields = {"ticket": self.ticket, "previous": self.previous, "message": self.message}
        return {"_id": self.anchor, "version": self.version, **fields}


class _Unknown(Exception):
    """Something has to be looked up before the message can be placed."""


class _Wait(Exception):
    """An earlier message of the batch claims what this one needs."""


@dataclass(slots=True)
class _View:
    """What a batch knows so far: claims and tickets that were looked up, and what its own messages change in them."""

    docs: dict[str, Document[TicketState]] = field(default_factory=dict)
    claims: dict[str, Claim | None] = field(default_factory=dict)
    tickets: dict[str, TicketState | None] = field(default_factory=dict)
    holders: dict[str, set[str]] = field(default_factory=dict)
    active: dict[str, datetime] = field(default_factory=dict)
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
            if row["ticket"] not in self.tickets:
                self.need_tickets.add(row["ticket"])

    def claim(self, anchor: str) -> Claim | None:
        if anchor in self.proposed:
            raise _Wait
        if anchor not in self.claims:
            self.need_claims.add(anchor)
            raise _Unknown
        return self.claims[anchor]

    def ticket(self, ticket_id: str) -> TicketState | None:
        if ticket_id not in self.tickets:
            self.need_tickets.add(ticket_id)
            raise _Unknown
        return self.tickets[ticket_id]

    def propose(self, anchor: str, version: int, previous: str | None) -> _Wait:
        """Ask for a claim to be written; the message waits for what comes of it."""
        self.proposed[anchor] = Claim(anchor, version, uuid7(), previous)
        return _Wait()

    def adopt(self, anchors: Iterable[str], ticket_id: str) -> None:
        """Note ids that nobody has claimed: a later mail that names one, also if we never saw it, comes here."""
        for anchor in anchors:
            if self.claims.get(anchor) is None and anchor not in self.proposed:
                self.claims[anchor] = self.fresh[anchor] = Claim(anchor, 1, ticket_id)

    def active_at(self, ticket_id: str, state: TicketState | None) -> datetime | None:
        known = [at for at in (self.active.get(ticket_id), state and state.active_at) if at]
        return max(known, default=None)


class Threads:
    """Places messages."""

    def __init__(self, store: Store, documents: Documents[TicketState], policy_of: PolicyOf) -> None:
        self._store, self._documents, self._policy_of = store, documents, policy_of

    async def find_holders(self, arrivals: Sequence[Arrival]) -> list[Row]:
        """Return which tickets have which of these messages already."""
        wanted = sorted({arrival.id for arrival in arrivals})
        if not wanted:
            return []
        return await self._store.find(
            MESSAGES, {"message": {"$in": wanted}}, limit=10 * len(wanted), projection={"ticket": 1, "message": 1}
        )

    async def place(
        self, arrivals: Sequence[Arrival], found: Mapping[str, Row], holders: Sequence[Row]
    ) -> dict[str, Document[TicketState]]:
        """Set `ticket_id`, `linked_to` and `thread` of messages whose contacts are known.

        `found` are the claims there are of their anchors, and `holders` what `find_holders` says. Returns the tickets
        that had to be read.
        """
        view = _View()
        view.take({anchor for arrival in arrivals for anchor in arrival.anchors}, found)
        view.hold(holders)
        waiting = list(arrivals)
        for _ in range(ROUNDS):
            waiting = self._round(view, waiting)
            await self._claim(view)
            await self._learn(view, waiting)
            if not waiting:
                break
        else:
            raise Passing("threads change faster than they can be read")
        await self._store.insert(THREADS, [claim.row() for claim in view.fresh.values()])
        return view.docs

    async def known(self, anchors: Iterable[str]) -> dict[str, Claim]:
        """Return the claims that there are."""
        rows = await self._store.fetch(THREADS, sorted(set(anchors)))
        return {row["_id"]: Claim.read(row) for row in rows}

    async def tickets(self, ids: Sequence[str]) -> dict[str, Ticket | None]:
        """Return tickets as they are now."""
        docs = await self._documents.load(ids)
        return {doc.id: None if doc.state is None else doc.state.ticket for doc in docs.values()}

    async def claim_sent(self, channel: str, account: str, channel_id: str, ticket: str, message: str) -> None:
        """Let answers to a message of ours, and reports about it, find their ticket."""
        anchor = message_anchor(channel, account, channel_id)
        await self._store.insert(THREADS, [Claim(anchor, 1, ticket, message=message).row()])

    # -- one round over what is not placed yet -------------------------------------------------------------------

    def _round(self, view: _View, arrivals: Sequence[Arrival]) -> list[Arrival]:
        left: list[Arrival] = []
        behind: set[str] = set()
        for arrival in arrivals:
            if behind.isdisjoint(arrival.anchors):  # what may be of one thread is placed in its order
                try:
                    self._place(view, arrival)
                    continue
                except (_Unknown, _Wait):
                    pass
            left.append(arrival)
            behind.update(arrival.anchors)
        return left

    def _place(self, view: _View, arrival: Arrival) -> None:
        policy = self._policy_of(arrival.inbound.channel, arrival.inbound.account)
        for holder in sorted(view.holders.get(arrival.id, ())):
            state = view.ticket(holder)
            if state is not None and arrival.id in state.taken:
                arrival.ticket_id = holder
                return
        mail = arrival.inbound.mail
        claim = self._by_conversation(view, arrival, policy) if mail is None else self._by_mail(view, arrival, policy)
        arrival.ticket_id, arrival.linked_to = claim.ticket, claim.previous
        if mail is not None:
            view.adopt(arrival.anchors, claim.ticket)
        arrival.thread = (mail.ancestors or (mail.message_id,))[-1] if mail else arrival.inbound.conversation
        earlier = view.active.get(claim.ticket)
        view.active[claim.ticket] = max(earlier, arrival.received_at) if earlier else arrival.received_at

    def _by_conversation(self, view: _View, arrival: Arrival, policy: TicketPolicy) -> Claim:
        (anchor,) = arrival.anchors
        claim = view.claim(anchor)
        if claim is None:
            raise view.propose(anchor, 0, None)
        ticket, state = _survivor(view, claim.ticket)
        if goes_on(state, arrival.inbound, arrival.received_at, policy, view.active_at(ticket, state)):
            return Claim(anchor, claim.version, ticket, claim.previous)
        if state is None:
            # Its first message is in this batch and may yet come again: nothing follows a ticket that is not stored.
            arrival.too_early = True
            return Claim(anchor, claim.version, ticket, claim.previous)
        raise view.propose(anchor, claim.version, ticket)

    def _by_mail(self, view: _View, arrival: Arrival, policy: TicketPolicy) -> Claim:
        """Go through the order of threading: address, headers, shared ancestors, subject; never the subject alone."""
        mail = arrival.inbound.mail
        assert mail is not None
        link: str | None = None
        if mail.ticket_by_address and _exists(view, mail.ticket_by_address):
            return self._follow(view, Claim("", 0, mail.ticket_by_address), arrival, policy)
        for anchor in arrival.anchors:
            if (claim := view.claim(anchor)) is not None:
                return self._follow(view, claim, arrival, policy)
        if mail.ticket_by_subject and _exists(view, mail.ticket_by_subject):
            named = view.ticket(mail.ticket_by_subject)
            if named is not None and arrival.contact_id in named.participants:
                return self._follow(view, Claim("", 0, mail.ticket_by_subject), arrival, policy)
            link = mail.ticket_by_subject
        raise view.propose(root_anchor(arrival.inbound), 0, link)

    def _follow(self, view: _View, claim: Claim, arrival: Arrival, policy: TicketPolicy) -> Claim:
        """Go on to the ticket that takes the message: the survivor of a merge, or what came after a closed one."""
        while True:
            ticket, state = _survivor(view, claim.ticket)
            if goes_on(state, arrival.inbound, arrival.received_at, policy):
                return Claim(claim.anchor, claim.version, ticket, claim.previous)
            anchor = successor_anchor(ticket)
            after = view.claim(anchor)
            if after is None:
                raise view.propose(anchor, 0, ticket)
            claim = after

    # -- reading and writing -------------------------------------------------------------------------------------

    async def _look_up(self, view: _View, anchors: Iterable[str]) -> None:
        wanted = sorted(set(anchors))
        view.take(wanted, {row["_id"]: row for row in await self._store.fetch(THREADS, wanted)})

    async def _learn(self, view: _View, waiting: Sequence[Arrival]) -> None:
        """Read what is missing. Who has the messages is asked after the claims, and again after each newer claim.

        A conversation goes on to another ticket only once the one before is stored, so whoever sees the claim of the
        later one, and asks then, also finds the message in the earlier one.
        """
        claims, view.need_claims = view.need_claims, set()
        if claims:
            await self._look_up(view, claims)
        tickets, view.need_tickets = view.need_tickets - view.tickets.keys(), set()
        asked, view.newer = waiting if view.newer or tickets else (), False
        loaded, holders = await asyncio.gather(self._documents.load(sorted(tickets)), self.find_holders(asked))
        view.docs.update(loaded)
        view.tickets.update({ticket: loaded[ticket].state for ticket in tickets})
        view.hold(holders)

    async def _claim(self, view: _View) -> None:
        proposed, view.proposed = view.proposed, {}
        if not proposed:
            return
        writes = [
            Guarded(claim.anchor, claim.version, {"ticket": claim.ticket, "previous": claim.previous, "message": None})
            for claim in proposed.values()
        ]
        outcome = await self._store.write(THREADS, writes)
        if outcome.unknown:
            raise Passing("whether a thread was claimed is not known")
        for anchor, claim in proposed.items():
            if anchor not in outcome.lost:
                view.claims[anchor] = Claim(anchor, claim.version + 1, claim.ticket, claim.previous)
                view.tickets.setdefault(claim.ticket, None)
                view.docs.setdefault(claim.ticket, Document(claim.ticket))  # its id is as new as the claim
        if outcome.lost:
            await self._look_up(view, outcome.lost)


def _survivor(view: _View, ticket: str) -> tuple[str, TicketState | None]:
    """Follow merges; they lead to ever older tickets, so they end."""
    state = view.ticket(ticket)
    while state is not None and state.ticket is not None and state.ticket.merged_into is not None:
        ticket = state.ticket.merged_into
        state = view.ticket(ticket)
    return ticket, state


def _exists(view: _View, ticket: str) -> bool:
    state = view.ticket(ticket)
    return state is not None and state.ticket is not None
