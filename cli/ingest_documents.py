"""How ingest's restored documents are stored, and in what they may differ from those that ingest stored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime

from cli.ingest_history import ClaimedRow
from cli.rebuild import differing
from contracts.ticket import Direction
from kit.mongo import Row
from kit.protocol.document import Document
from services.ingest.claims import Claim
from services.ingest.core.contacts import TICKETS_CAP, ContactState, replaces
from services.ingest.core.restored import Restored
from services.ingest.core.state import TicketState

_ATTEMPTS = ("attempts", "begun", "doubtful", "next_at", "asked_at", "lost")
"""Of a message that waits to be sent: nothing in Kafka tells of them."""
_GUESSED = ("references", "conversation")


def ticket_document(ticket: str, restored: Restored) -> Document[TicketState]:
    """Return a ticket's document."""
    document: Document[TicketState] = Document(ticket, emitted=restored.emitted, inserts=restored.inserts, changed=True)
    document.state = restored.state
    return document


def contact_state(state: ContactState, messages: Iterable[tuple[str, str]]) -> ContactState:
    """Return a contact with its tickets, given the (ticket, topic) of its messages in order."""
    tickets = dict(state.tickets)
    for ticket, topic in messages:
        if ticket not in tickets or replaces(topic, tickets[ticket]):
            tickets[ticket] = topic
    return ContactState(state.contact, tuple(tickets.items())[-TICKETS_CAP:])


def claim_row(claimed: ClaimedRow) -> Row:
    """Return a claim as it is stored. Its ticket is stored too, so nobody asks who made the claim."""
    claim = Claim(claimed.anchor, 1, claimed.ticket, message=claimed.message, places=claimed.places, final=True)
    return claim.row()


def differ_in_tickets(mine: Row, stored: Row, *, guesses: Collection[str], since: datetime | None) -> list[str]:
    """Compare tickets. `guesses`: those of which something was guessed. `since`: the oldest command in Kafka."""
    old = since is None or (_created(mine) or since) < since
    commands = {name for row in (mine, stored) for name in _state(row).get("commands", ())}
    both = commands & set(_state(mine).get("commands", ())) & set(_state(stored).get("commands", ()))

    def known(row: Row) -> Row:
        state = {name: value for name, value in _state(row).items() if name not in {"send_at", "reply_token"}}
        guessed = ((state.get("ticket") or {}).get("id")) in guesses
        if guessed:
            state = {name: value for name, value in state.items() if name not in _GUESSED}
            state["answered"] = [{**each, "given_at": None} for each in state.get("answered", ())]
        taken = min(len(set(_state(each).get("taken", ()))) for each in (mine, stored))
        state["taken"] = sorted(list(dict.fromkeys(state.get("taken", ())))[-taken:]) if taken else []
        state["commands"] = sorted(both if old else set(state.get("commands", ())))
        state["pending"] = [
            {name: value for name, value in each.items() if name not in _ATTEMPTS} for each in state.get("pending", ())
        ]
        return {**row, "state": state}

    return differing(known(mine), known(stored))


def differ_in_contacts(
    mine: Row, stored: Row, *, is_ticket: Callable[[str], bool], guesses: Collection[str]
) -> list[str]:
    """Compare contacts, without tickets that Kafka knows nothing of any more, and topics that were guessed."""

    def known(row: Row) -> Row:
        tickets = [
            [ticket, None if ticket in guesses else topic]
            for ticket, topic in _state(row).get("tickets", ())
            if is_ticket(ticket)
        ]
        return {**row, "state": {**_state(row), "tickets": tickets}}

    return differing(known(mine), known(stored))


def comparable(row: Row) -> Row:
    """Return a message's row without the instant of one that we sent: the row is kept from the first of several
    attempts to write the ticket, the event is of the last.
    """
    body = row.get("body") or {}
    if body.get("direction") != Direction.OUT.value:
        return row
    return {**row, "at": None, "body": {name: value for name, value in body.items() if name != "sent_at"}}


def _state(row: Row) -> Row:
    state: Row = row.get("state") or {}
    return state


def _created(row: Row) -> datetime | None:
    created: datetime | None = (_state(row).get("ticket") or {}).get("created_at")
    return created
