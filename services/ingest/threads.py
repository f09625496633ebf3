"""Assign messages to tickets by claims, so that every replica and every redelivery chooses the same ticket.

A claim is a document `{_id: anchor, version, ticket, …}` whose version guards its writes: the first writer wins, and
the others read what it wrote. This module chooses the ticket; the core decides what happens to it.
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
from services.ingest.claims import Claim, ClaimPending, LookupNeeded, View
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
"""(Channel, account) -> the policy of its tickets."""
MAX_ROUNDS = 50
"""Maximum number of consecutive rounds that assign none of a batch's messages, but only read or write claims."""


class Threads:
    """Assigns a batch's messages to tickets."""

    def __init__(self, store: Store, documents: Documents[TicketState], policy_of: PolicyOf) -> None:
        self._store, self._documents, self._policy_of = store, documents, policy_of

    async def find_holders(self, arrivals: Sequence[Arrival]) -> list[Row]:
        """Return which tickets have these messages, as rows of `ticket`, `message` and `taken` (TAKEN lists it)."""
        wanted = sorted({arrival.id for arrival in arrivals})
        if not wanted:
            return []
        rows = await self._store.find(
            MESSAGES, {"message": {"$in": wanted}}, limit=10 * len(wanted), projection={"ticket": 1, "message": 1}
        )
        ids = [taken_id(row["ticket"], row["message"]) for row in rows]
        sure = {row["_id"] for row in await self._store.fetch(TAKEN, ids)} if ids else set()
        return [{**row, "taken": each in sure} for row, each in zip(rows, ids, strict=True)]

    async def assign_tickets(
        self, arrivals: Sequence[Arrival], found: Mapping[str, Row], holders: Sequence[Row]
    ) -> dict[str, Document[TicketState]]:
        """Set `ticket_id`, `linked_to` and `thread` of messages whose contacts are known. Return the tickets read.

        `found` are the stored claims of their anchors, `holders` is the result of `find_holders`. Raises TransientError
        if other replicas change the same threads at the same time.
        """
        view = View()
        view.add_claims({each for arrival in arrivals for each in arrival.claims}, found)
        view.add_holders(holders)
        pending = list(arrivals)
        fruitless = 0
        while pending:
            unassigned = self._round(view, pending)
            await self._write_claims(view)
            await self._look_up_missing(view, unassigned)
            # Rounds with progress do not count: a batch may have any number of senders who answer the same mail, and
            # these are assigned one per round.
            fruitless = fruitless + 1 if len(unassigned) == len(pending) else 0
            if fruitless == MAX_ROUNDS:
                raise TransientError("threads were changed concurrently too often")
            pending = unassigned
        existed = await self._store.insert(THREADS, [claim.row() for claim in view.fresh.values()])
        if any(view.fresh[anchor].places is not None for anchor in existed):
            # Another replica is handling a copy of the mail, or an answer to it, and has claimed its id.
            raise TransientError("two replicas chose a ticket for a mail at the same time")
        return view.docs

    async def known(self, anchors: Iterable[str]) -> dict[str, Claim]:
        """Return those of the anchors' claims that exist."""
        rows = await self._store.fetch(THREADS, sorted(set(anchors)))
        return {row["_id"]: Claim.from_row(row) for row in rows}

    async def tickets(self, ids: Sequence[str]) -> dict[str, Ticket | None]:
        """Return the stored tickets; None for ids without one."""
        docs = await self._documents.load(ids)
        return {doc.id: None if doc.state is None else doc.state.ticket for doc in docs.values()}

    async def claim_sent(self, channel: str, account: str, channel_id: str, ticket: str, message: str) -> None:
        """Claim the id of a message that we send, so that answers and delivery reports find its ticket."""
        anchor = message_anchor(channel, account, channel_id)
        await self._store.insert(THREADS, [Claim(anchor, 1, ticket, message=message).row()])

    # -- one round over the unassigned messages ------------------------------------------------------------------

    def _round(self, view: View, arrivals: Sequence[Arrival]) -> list[Arrival]:
        unassigned: list[Arrival] = []
        blocked: set[str] = set()
        for arrival in arrivals:
            if blocked.isdisjoint(arrival.anchors):  # messages that may share a thread are assigned in order
                try:
                    self._assign(view, arrival)
                    continue
                except (LookupNeeded, ClaimPending):
                    pass
            unassigned.append(arrival)
            blocked.update(arrival.anchors)
        return unassigned

    def _assign(self, view: View, arrival: Arrival) -> None:
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
            view.claim_unclaimed(arrival, claim)
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
            # The ticket's first message is in this batch and may have to be retried, so it cannot have a successor yet.
            arrival.too_early = True
            return Claim(anchor, claim.version, ticket, claim.previous)
        raise view.propose(anchor, claim.version, ticket, arrival)

    def _by_mail(self, view: View, arrival: Arrival, policy: TicketPolicy) -> Claim:
        """Return the claim that assigns this mail to a ticket, or choose a ticket by its thread and claim that.

        Participants of a ticket change, so two replicas that handle the same mail may choose differently: the first to
        claim decides. An assignment to a ticket that is not stored yet is preliminary, since another sender's message
        may open that ticket. Then this mail's sender is checked against its participants, and the mail assigned anew.
        """
        place = view.placement(arrival)
        if place is not None and (place.final or not view.is_stored(place.ticket)):
            arrival.admitted = place.final
            return self._follow(view, place, arrival, policy)
        found = self._by_thread(view, arrival, policy)
        if view.claim(arrival.anchors[0]) is None:
            return found  # its own id is unclaimed: `claim_unclaimed` claims it, which assigns the mail
        raise view.propose_placement(arrival, found)

    def _by_thread(self, view: View, arrival: Arrival, policy: TicketPolicy) -> Claim:
        """Choose a ticket by signed address, then headers and shared ancestors, then a ticket token in the subject.

        The words of the subject never count.
        """
        mail = arrival.inbound.mail
        assert mail is not None
        if mail.ticket_by_address and view.matches_account(mail.ticket_by_address, arrival):
            return self._join(view, Claim("", 0, mail.ticket_by_address), arrival, policy)
        refused: str | None = None
        for anchor in arrival.anchors:
            claim = view.claim(anchor)
            if claim is None:
                continue
            if view.admits(claim, arrival):
                return self._join(view, claim, arrival, policy)
            refused = refused or claim.ticket
        if mail.ticket_by_subject and view.matches_account(mail.ticket_by_subject, arrival):
            named = view.ticket(mail.ticket_by_subject)
            if named is not None and may_name_ticket(named.people, arrival.contact_id, arrival.inbound):
                return self._join(view, Claim("", 0, mail.ticket_by_subject), arrival, policy)
            refused = refused or mail.ticket_by_subject
        if refused is not None:
            return self._separate_ticket(view, refused, arrival, policy)
        raise view.propose(root_anchor(arrival.inbound), 0, None, arrival)

    def _join(self, view: View, claim: Claim, arrival: Arrival, policy: TicketPolicy) -> Claim:
        arrival.admitted = view.is_stored(claim.ticket)
        return self._follow(view, claim, arrival, policy)

    def _separate_ticket(self, view: View, ticket: str, arrival: Arrival, policy: TicketPolicy) -> Claim:
        """Choose a separate ticket for a sender who may not join `ticket`; it takes all that they write in this thread.

        It is linked to `ticket` unless that belongs to another brand or is not stored yet, and may never be.
        """
        anchor = separate_anchor(ticket, arrival.inbound.brand, arrival.contact_id)
        claim = view.claim(anchor)
        if claim is None:
            raise view.propose(anchor, 0, ticket if view.matches_account(ticket, arrival) else None, arrival)
        arrival.admitted = True
        return self._follow(view, claim, arrival, policy)

    def _follow(self, view: View, claim: Claim, arrival: Arrival, policy: TicketPolicy) -> Claim:
        """Follow merges and successors of closed tickets to the ticket that takes the message."""
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
        view.add_claims(wanted, {row["_id"]: row for row in await self._store.fetch(THREADS, wanted)})

    async def _look_up_missing(self, view: View, pending: Sequence[Arrival]) -> None:
        """Read missing claims, then tickets, then holders, which are read again after every claim or ticket.

        The order matters. Holders after tickets: an id is added to TAKEN before the ticket drops it. Holders after
        claims: a conversation gets its next ticket only once the previous one is stored, so after reading the claim of
        the next ticket, a message of the previous one is found.
        """
        claims, view.need_claims = view.need_claims, set()
        if claims:
            await self._look_up(view, claims)
        tickets, view.need_tickets = view.need_tickets - view.tickets.keys(), set()
        unplaced, view.holders_stale = pending if view.holders_stale or tickets else (), False
        loaded = await self._documents.load(sorted(tickets))
        holders = await self.find_holders(unplaced)
        view.docs.update(loaded)
        view.tickets.update({ticket: loaded[ticket].state for ticket in tickets})
        view.add_holders(holders)

    async def _write_claims(self, view: View) -> None:
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
