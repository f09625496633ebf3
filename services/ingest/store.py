"""How tickets and contacts are stored and loaded, and the indexes they need. No business rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from contracts import topics
from contracts.commands import Template
from contracts.contacts import Contact
from contracts.ticket import ContactRef, Direction, Message, Status, Ticket
from kit.mongo import MongoStore, Row
from kit.protocol.document import Kind
from kit.protocol.ports import Store
from services.ingest.blobs import BLOBS
from services.ingest.core.commands import SOURCE
from services.ingest.core.contacts import ContactState
from services.ingest.core.messages import ReplyToken
from services.ingest.core.state import MESSAGES, TAKEN, Answer, Pending, TicketState, taken_id

TICKETS = "tickets"
CONTACTS = "contacts"
THREADS = "threads"
EARLY = "early_reports"
UPLOADS = "uploads"
EXPIRE_SECONDS = 3600
CONTACTS_SOURCE = f"{SOURCE}/contacts"

_SKILLS = ("required_skills", "preferred_skills")


def dump_ticket(state: TicketState) -> dict[str, Any]:
    """Return a ticket's state in its stored form."""
    return {
        "ticket": None if state.ticket is None else _dump_public(state.ticket),
        "taken": list(state.taken),
        "commands": list(state.commands),
        "participants": list(state.participants),
        "proven": list(state.proven),
        "unanswered": list(state.unanswered),
        "answered": [
            {"message": a.message, "given_at": a.given_at, "sent_at": a.sent_at, "questions": list(a.questions)}
            for a in state.answered
        ],
        "reopened": list(state.reopened),
        "closes_at": state.closes_at,
        "pending": [_dump_pending(pending) for pending in state.pending],
        "send_at": state.send_at,
        "receipts": dict(state.receipts),
        "answers": state.answers,
        "references": list(state.references),
        "conversation": state.conversation,
        "reply_token": state.reply_token and {"token": state.reply_token.token, "until": state.reply_token.until},
    }


def _dump_public(ticket: Ticket) -> dict[str, Any]:
    fields = ticket.model_dump(exclude_none=True)
    fields["status"], fields["priority"] = ticket.status.value, ticket.priority.value
    for name in _SKILLS:  # operators choose the names of skills, and a field name in MongoDB must not contain a dot
        fields[name] = [[skill, level] for skill, level in fields[name].items()]
    return fields


def _dump_pending(pending: Pending) -> dict[str, Any]:
    return {
        "message": pending.message.model_dump(mode="json", exclude_none=True),
        "command": pending.command,
        "asked_at": pending.asked_at,
        "next_at": pending.next_at,
        "attempts": pending.attempts,
        "begun": pending.uncertain,
        "doubtful": pending.doubtful,
        "html": pending.html,
        "template": None if pending.template is None else pending.template.model_dump(mode="json"),
        "status": None if pending.status is None else pending.status.value,
        "into": pending.into,
        "contact": None if pending.contact is None else pending.contact.model_dump(mode="json", exclude_none=True),
        "lost": pending.lost,
    }


def load_ticket(raw: Mapping[str, Any]) -> TicketState:
    """Return a ticket's state from its stored form."""
    return TicketState(
        ticket=None if raw["ticket"] is None else _load_public(raw["ticket"]),
        taken=tuple(raw["taken"]),
        stored=len(raw["taken"]),
        commands=tuple(raw["commands"]),
        participants=tuple(raw["participants"]),
        proven=tuple(raw.get("proven", ())),
        unanswered=tuple(raw["unanswered"]),
        answered=tuple(Answer(**{**a, "questions": tuple(a["questions"])}) for a in raw.get("answered", ())),
        reopened=tuple(raw["reopened"]),
        closes_at=raw["closes_at"],
        pending=tuple(_load_pending(pending) for pending in raw["pending"]),
        receipts=dict(raw["receipts"]),
        answers=raw["answers"],
        references=tuple(raw["references"]),
        conversation=raw["conversation"],
        reply_token=ReplyToken(**raw["reply_token"]) if raw.get("reply_token") else None,
    )


def _load_public(raw: Mapping[str, Any]) -> Ticket:
    return Ticket.model_validate({**raw, **{name: dict(raw.get(name, ())) for name in _SKILLS}})


def _load_pending(raw: Mapping[str, Any]) -> Pending:
    return Pending(
        message=Message.model_validate(raw["message"]),
        command=raw["command"],
        asked_at=raw["asked_at"],
        next_at=raw["next_at"],
        attempts=raw["attempts"],
        uncertain=raw.get("begun", raw["attempts"]),
        doubtful=raw.get("doubtful", False),
        html=raw["html"],
        template=None if raw.get("template") is None else Template.model_validate(raw["template"]),
        status=None if raw["status"] is None else Status(raw["status"]),
        into=raw["into"],
        contact=None if raw["contact"] is None else ContactRef.model_validate(raw["contact"]),
        lost=raw.get("lost", False),
    )


def dump_contact(state: ContactState) -> dict[str, Any]:
    """Return a contact's state in its stored form."""
    return {
        "contact": state.contact.model_dump(exclude_none=True),
        "tickets": [list(each) for each in state.tickets],
    }


def load_contact(raw: Mapping[str, Any]) -> ContactState:
    """Return a contact's state from its stored form."""
    tickets = tuple((ticket, topic) for ticket, topic in raw["tickets"])
    return ContactState(Contact.model_validate(raw["contact"]), tickets)


def _due(state: TicketState) -> datetime | None:
    return state.closes_at


#: The replica that owns the ticket's partition of the commands topic runs its timers and sends its replies.
TICKET_KIND: Kind[TicketState] = Kind(
    collection=TICKETS,
    source=SOURCE,
    topic=topics.TICKETS,
    load=load_ticket,
    dump=dump_ticket,
    due=_due,
    to_send=lambda state: len(state.pending),
    home_topic=topics.COMMAND,
)
CONTACT_KIND: Kind[ContactState] = Kind(
    collection=CONTACTS,
    source=CONTACTS_SOURCE,
    topic=topics.CONTACTS,
    load=load_contact,
    dump=dump_contact,
    home_topic=topics.COMMAND,
)


async def ensure_indexes(store: MongoStore) -> None:
    """Create the indexes that ingest needs."""
    for collection in (TICKETS, CONTACTS):
        await store.ensure_outbox_indexes(collection)
    await store.ensure_indexes(TICKETS, ["state.send_at", "partition", "state.ticket.account"])
    await store.ensure_indexes(TICKETS, ["state.ticket.status", ("_id", -1)])
    await store.ensure_indexes(TICKETS, ["state.ticket.contact.id"])
    await store.ensure_indexes(TICKETS, ["state.ticket.merged_into"])
    await store.ensure_indexes(MESSAGES, ["ticket", "at"])
    await store.ensure_indexes(MESSAGES, ["message"])
    named = "body.attachments.ref"
    await store.ensure_indexes(MESSAGES, [named], partial={named: {"$exists": True}})
    await store.ensure_indexes(EARLY, ["anchor"])
    await store.ensure_indexes(EARLY, ["at"], expire_seconds=EXPIRE_SECONDS)
    await store.ensure_indexes(UPLOADS, ["expires"], expire_seconds=0)
    await store.ensure_indexes(BLOBS, ["expires"], expire_seconds=0)


async def only_taken(store: Store, rows: Sequence[Row]) -> list[Row]:
    """Return message documents without those customers' messages that their ticket has not taken.

    A message's document is written before the ticket. If the ticket's write conflicts, and the message is then assigned
    to another ticket, the document remains. The rows must contain `ticket`, `message` and `body.direction`.
    """
    names = sorted({row["ticket"] for row in rows})
    if not names:
        return []
    # Read tickets before TAKEN: an id is added to TAKEN before the ticket drops it, so this order misses none.
    tickets = await store.find(TICKETS, {"_id": {"$in": names}}, limit=len(names), projection=["state.taken"])
    taken = {
        taken_id(ticket["_id"], each) for ticket in tickets for each in (ticket.get("state") or {}).get("taken", ())
    }
    unsure = {_taken_id(row) for row in rows if row["body"]["direction"] == Direction.IN.value} - taken
    refused = unsure - {row["_id"] for row in await store.fetch(TAKEN, sorted(unsure))}
    return [row for row in rows if _taken_id(row) not in refused]


def _taken_id(row: Row) -> str:
    return taken_id(row["ticket"], row["message"])


def public_message(row: Mapping[str, Any]) -> Message:
    """Return the message of a message document, with its full text if the published one was truncated."""
    message = Message.model_validate(row["body"])
    whole = row.get("whole")
    return message if whole is None else message.model_copy(update={"text_full": whole})
