"""Claims: which ticket a message goes to, so that whoever handles it, and however often, it is one and the same.

A claim is a document `{_id: anchor, version, ticket, …}` written behind its version: the first writer wins, the others
read what it wrote. Nothing is decided about the ticket here, only whose message it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from contracts.ticket import Ticket
from kit.base.errors import TransientError
from kit.mongo import Row
from kit.protocol.document import Document
from kit.protocol.outbox import Documents
from kit.protocol.ports import Guarded, Store
from services.ingest.claims import Claim, Unknown, View, Wait
from services.ingest.core.arrivals import Arrival
from services.ingest.core.policy import TicketPolicy
from services.ingest.core.state import MESSAGES, TAKEN, TicketState, taken_id
from services.ingest.core.threading import (
    continues_ticket,
    is_proven,
    may_name_ticket,
    message_anchor,
    root_anchor,
    separate_anchor,
    successor_anchor,
)
from services.ingest.store import THREADS

PolicyOf = Callable[[str, str], TicketPolicy]
"""Channel and account -> what holds for its tickets."""
ROUNDS = 50
"""Looks that may place none of a batch's messages; such a one learns something, or waits for a lost claim."""


class Threads:
    """Places messages."""

    def __init__(self, store: Store, documents: Documents[TicketState], policy_of: PolicyOf) -> None:
        self._store, self._documents, self._policy_of = store, documents, policy_of

    async def find_holders(self, arrivals: Sequence[Arrival]) -> list[Row]:
        """Return which tickets have which of these messages, and whether TAKEN says that they took them (`taken`)."""
        wanted = sorted({arrival.id for arrival in arrivals})
        if not wanted:
            return []
        rows = await self._store.find(
            MESSAGES, {"message": {"$in": wanted}}, limit=10 * len(wanted), projection={"ticket": 1, "message": 1}
        )
        ids = [taken_id(row["ticket"], row["message"]) for row in rows]
        sure = {row["_id"] for row in await self._store.fetch(TAKEN, ids)} if ids else set()
        return [{**row, "taken": each in sure} for row, each in zip(rows, ids, strict=True)]

    async def place(
        self, arrivals: Sequence[Arrival], found: Mapping[str, Row], holders: Sequence[Row]
    ) -> dict[str, Document[TicketState]]:
        """Set `ticket_id`, `linked_to` and `thread` of messages whose contacts are known.

        `found` are the claims there are of their anchors, and `holders` what `find_holders` says. Returns the tickets
        that had to be read.
        """
        view = View()
        view.take({each for arrival in arrivals for each in arrival.claims}, found)
        view.hold(holders)
        waiting = list(arrivals)
        fruitless = 0
        while waiting:
            left = self._round(view, waiting)
            await self._claim(view)
            await self._learn(view, left)
            # Strangers who answer one mail are placed one after another, however many a batch has of them.
            fruitless = fruitless + 1 if len(left) == len(waiting) else 0
            if fruitless == ROUNDS:
                raise TransientError("threads were changed concurrently too often")
            waiting = left
        existed = await self._store.insert(THREADS, [claim.row() for claim in view.fresh.values()])
        if any(view.fresh[anchor].places is not None for anchor in existed):
            # Another replica has the same mail, and knew other ancestors of it, or has an answer to it.
            raise TransientError("two replicas chose a ticket for a mail at the same time")
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

    def _round(self, view: View, arrivals: Sequence[Arrival]) -> list[Arrival]:
        left: list[Arrival] = []
        behind: set[str] = set()
        for arrival in arrivals:
            if behind.isdisjoint(arrival.anchors):  # what may be of one thread is placed in its order
                try:
                    self._place(view, arrival)
                    continue
                except (Unknown, Wait):
                    pass
            left.append(arrival)
            behind.update(arrival.anchors)
        return left

    def _place(self, view: View, arrival: Arrival) -> None:
        policy = self._policy_of(arrival.inbound.channel, arrival.inbound.account)
        for holder in sorted(view.holders.get(arrival.id, ())):
            state = view.ticket(holder)
            arrival.taken = (holder, arrival.id) in view.taken
            if arrival.taken or (state is not None and arrival.id in state.taken):
                arrival.ticket_id = holder
                return
        mail = arrival.inbound.mail
        claim = self._by_conversation(view, arrival, policy) if mail is None else self._by_mail(view, arrival, policy)
        arrival.ticket_id, arrival.linked_to = claim.ticket, claim.previous
        if mail is not None:
            view.adopt(arrival, claim)
        arrival.thread = (mail.ancestors or (mail.message_id,))[-1] if mail else arrival.inbound.conversation
        if not arrival.inbound.automated or view.ticket(claim.ticket) is None:
            writers = view.writers.setdefault(claim.ticket, {})
            writers[arrival.contact_id] = writers.get(arrival.contact_id, False) or is_proven(arrival.inbound)
        earlier = view.active.get(claim.ticket)
        view.active[claim.ticket] = max(earlier, arrival.received_at) if earlier else arrival.received_at

    def _by_conversation(self, view: View, arrival: Arrival, policy: TicketPolicy) -> Claim:
        (anchor,) = arrival.anchors
        claim = view.claim(anchor)
        if claim is None:
            raise view.propose(anchor, 0, None, arrival)
        ticket, state = view.survivor(claim.ticket)
        if continues_ticket(state, arrival.inbound, arrival.received_at, policy, view.active_at(ticket, state)):
            return Claim(anchor, claim.version, ticket, claim.previous)
        if state is None:
            # Its first message is in this batch and may yet come again: nothing follows a ticket that is not stored.
            arrival.too_early = True
            return Claim(anchor, claim.version, ticket, claim.previous)
        raise view.propose(anchor, claim.version, ticket, arrival)

    def _by_mail(self, view: View, arrival: Arrival, policy: TicketPolicy) -> Claim:
        """Go where the mail's place is claimed; else look for its place, and claim it.

        Who takes part in a ticket changes, so two replicas that have the same mail may judge it differently: the first
        to claim a place for it decides. A place in a ticket that is not stored yet holds until a message has opened
        that ticket, which may be anybody's; then the mail is judged, and claims its place anew.
        """
        place = view.place(arrival)
        if place is not None and (place.final or not view.is_stored(place.ticket)):
            arrival.admitted = place.final
            return self._follow(view, place, arrival, policy)
        found = self._by_thread(view, arrival, policy)
        if view.claim(arrival.anchors[0]) is None:
            return found  # its own id is free, and `adopt` makes the place of it
        raise view.settle(arrival, found)

    def _by_thread(self, view: View, arrival: Arrival, policy: TicketPolicy) -> Claim:
        """Go through the order of threading: address, headers, shared ancestors, subject; never the subject alone."""
        mail = arrival.inbound.mail
        assert mail is not None
        if mail.ticket_by_address and view.is_near(mail.ticket_by_address, arrival):
            return self._enter(view, Claim("", 0, mail.ticket_by_address), arrival, policy)
        refused: str | None = None
        for anchor in arrival.anchors:
            claim = view.claim(anchor)
            if claim is None:
                continue
            if view.admits(claim, arrival):
                return self._enter(view, claim, arrival, policy)
            refused = refused or claim.ticket
        if mail.ticket_by_subject and view.is_near(mail.ticket_by_subject, arrival):
            named = view.ticket(mail.ticket_by_subject)
            if named is not None and may_name_ticket(named.people, arrival.contact_id, arrival.inbound):
                return self._enter(view, Claim("", 0, mail.ticket_by_subject), arrival, policy)
            refused = refused or mail.ticket_by_subject
        if refused is not None:
            return self._aside(view, refused, arrival, policy)
        raise view.propose(root_anchor(arrival.inbound), 0, None, arrival)

    def _enter(self, view: View, claim: Claim, arrival: Arrival, policy: TicketPolicy) -> Claim:
        arrival.admitted = view.is_stored(claim.ticket)
        return self._follow(view, claim, arrival, policy)

    def _aside(self, view: View, ticket: str, arrival: Arrival, policy: TicketPolicy) -> Claim:
        """Give the sender a ticket of their own beside the one that they may not join, the same for all they write.

        It is linked to that one, unless that one is another brand's or not stored yet: then it may never be.
        """
        anchor = separate_anchor(ticket, arrival.inbound.brand, arrival.contact_id)
        claim = view.claim(anchor)
        if claim is None:
            raise view.propose(anchor, 0, ticket if view.is_near(ticket, arrival) else None, arrival)
        arrival.admitted = True
        return self._follow(view, claim, arrival, policy)

    def _follow(self, view: View, claim: Claim, arrival: Arrival, policy: TicketPolicy) -> Claim:
        """Go on to the ticket that takes the message: the survivor of a merge, or what came after a closed one."""
        while True:
            ticket, state = view.survivor(claim.ticket)
            if continues_ticket(state, arrival.inbound, arrival.received_at, policy):
                return Claim(claim.anchor, claim.version, ticket, claim.previous)
            anchor = successor_anchor(ticket)
            after = view.claim(anchor)
            if after is None:
                raise view.propose(anchor, 0, ticket, arrival)
            claim = after

    # -- reading and writing -------------------------------------------------------------------------------------

    async def _look_up(self, view: View, anchors: Iterable[str]) -> None:
        wanted = sorted(set(anchors))
        view.take(wanted, {row["_id"]: row for row in await self._store.fetch(THREADS, wanted)})

    async def _learn(self, view: View, waiting: Sequence[Arrival]) -> None:
        """Read what is missing. Who has the messages is asked after the claims, and again after each newer claim.

        It is asked after the tickets are read: a message that a ticket lets go of is in TAKEN before.
        A conversation goes on to another ticket only once the one before is stored, so whoever sees the claim of the
        later one, and asks then, also finds the message in the earlier one.
        """
        claims, view.need_claims = view.need_claims, set()
        if claims:
            await self._look_up(view, claims)
        tickets, view.need_tickets = view.need_tickets - view.tickets.keys(), set()
        asked, view.newer = waiting if view.newer or tickets else (), False
        loaded = await self._documents.load(sorted(tickets))
        holders = await self.find_holders(asked)
        view.docs.update(loaded)
        view.tickets.update({ticket: loaded[ticket].state for ticket in tickets})
        view.hold(holders)

    async def _claim(self, view: View) -> None:
        proposed, view.proposed = view.proposed, {}
        if not proposed:
            return
        writes = [Guarded(claim.anchor, claim.version, claim.fields()) for claim in proposed.values()]
        outcome = await self._store.write(THREADS, writes)
        if outcome.unknown:
            raise TransientError("the outcome of claiming a thread is unknown")
        for anchor, claim in proposed.items():
            if anchor not in outcome.lost:
                view.claims[anchor] = replace(claim, version=claim.version + 1)
                view.tickets.setdefault(claim.ticket, None)
                view.docs.setdefault(claim.ticket, Document(claim.ticket))  # its id is as new as the claim
        if outcome.lost:
            await self._look_up(view, outcome.lost)
