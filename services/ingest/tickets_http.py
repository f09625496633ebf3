"""Read tickets over REST: one with its thread, or a filtered list with pages. Tickets are changed by commands only."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, Field

from contracts.ticket import Message, Priority, Status, Ticket
from kit.doors.http import Problem, Router
from kit.protocol.outbox import Documents
from kit.protocol.ports import Store
from services.ingest.core.state import MESSAGES, TicketState
from services.ingest.store import TICKETS, only_taken, public_message
from services.ingest.visibility import Reader, reaches, within

THREAD_LIMIT = 1_000
MERGED_LIMIT = 50


class ThreadEntry(BaseModel):
    """One entry of a ticket's thread, oldest first."""

    kind: str = Field(description="message, note, failed (did not go out), or waiting (to be sent).")
    ticket_id: str = Field(description="Ticket that it was written on: this one, or one that was merged into it.")
    delivery: str | None = Field(None, description="How far our message got: delivered, read, delayed, bounced.")
    message: Message


class TicketWithThread(BaseModel):
    """A ticket and its conversation."""

    ticket: Ticket
    thread: list[ThreadEntry]
    truncated: bool = Field(default=False, description="The thread is longer than what is here: the newest are.")


class TicketPage(BaseModel):
    """A page of tickets, the newest first."""

    tickets: list[Ticket]
    next: str | None = Field(None, description="Cursor of the next page; nothing on the last one.")


class Filter(BaseModel, extra="forbid"):
    """Conditions, all of which must hold."""

    status: list[Status] = Field([], description="Tickets in any of these statuses.")
    channel: str | None = None
    account: str | None = None
    brand: str | None = None
    marketplace: str | None = None
    country: str | None = None
    priority: Priority | None = None
    tag: str | None = None
    contact: str | None = Field(None, description="Contact id.")
    order_ref: str | None = None
    limit: int = Field(50, ge=1, le=200)
    cursor: str | None = None

    def query(self) -> dict[str, Any]:
        """Return the MongoDB query for the conditions."""
        wanted = {
            "channel": self.channel,
            "account": self.account,
            "brand": self.brand,
            "market.marketplace": self.marketplace,
            "market.country": self.country,
            "priority": None if self.priority is None else self.priority.value,
            "tags": self.tag,
            "contact.id": self.contact,
            "order_ref": self.order_ref,
        }
        query: dict[str, Any] = {f"state.ticket.{name}": value for name, value in wanted.items() if value is not None}
        if self.status:
            query["state.ticket.status"] = {"$in": [status.value for status in self.status]}
        # Documents that only record refused commands to an unknown id have version 0.
        query["state.ticket.version"] = {"$gt": 0}
        if self.cursor is not None:
            query["_id"] = {"$lt": read_cursor(self.cursor)}
        return query


def cursor_after(ticket: Ticket) -> str:
    """Return an opaque cursor for the page after a ticket."""
    return base64.urlsafe_b64encode(ticket.id.encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> str:
    """Return the ticket id in a cursor. Raises Problem 400 if it is not one of ours."""
    try:
        ticket_id = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (ValueError, binascii.Error):
        ticket_id = ""
    if not (ticket_id and ticket_id.isprintable()):
        raise Problem(400, "Invalid cursor", "Use `next` of the previous page")
    return ticket_id


def tickets_router(documents: Documents[TicketState], store: Store) -> Router:
    """Return the routes for reading tickets."""
    router = Router(tags=["tickets"])

    @router.get("/v1/tickets/{ticket_id}")
    async def ticket(ticket_id: str, caller: Reader) -> TicketWithThread:
        """One ticket with its thread."""
        doc = (await documents.load([ticket_id]))[ticket_id]
        if doc.state is None or doc.state.ticket is None or not reaches(caller, doc.state.ticket):
            raise Problem(404, "Unknown ticket")
        query = within(caller, {"state.ticket.merged_into": ticket_id})
        merged = await store.find(TICKETS, query, limit=MERGED_LIMIT, projection={"_id": 1})
        wanted = {"ticket": {"$in": [ticket_id, *(row["_id"] for row in merged)]}}
        rows = await store.find(MESSAGES, wanted, sort=[("at", -1), ("_id", -1)], limit=THREAD_LIMIT + 1)
        return TicketWithThread(
            ticket=doc.state.ticket,
            thread=_thread(doc.state, await only_taken(store, rows[:THREAD_LIMIT])),
            truncated=len(rows) > THREAD_LIMIT,
        )

    @router.get("/v1/tickets")
    async def tickets(wanted: Annotated[Filter, Query()], caller: Reader) -> TicketPage:
        """List tickets, newest first. A limited token sees only tickets of its brands and accounts."""
        docs = await documents.find(within(caller, wanted.query()), sort=[("_id", -1)], limit=wanted.limit + 1)
        found = [doc.state.ticket for doc in docs if doc.state is not None and doc.state.ticket is not None]
        page = found[: wanted.limit]
        return TicketPage(tickets=page, next=cursor_after(page[-1]) if len(found) > wanted.limit else None)

    return router


def _thread(state: TicketState, rows: list[dict[str, Any]]) -> list[ThreadEntry]:
    """Return the entries, oldest first. A message forwarded after a merge is stored twice and listed once."""
    entries: dict[str, ThreadEntry] = {}
    for row in reversed(rows):
        entries[row["message"]] = ThreadEntry(
            kind=row["kind"],
            ticket_id=row["ticket"],
            delivery=state.receipts.get(row["message"]),
            message=public_message(row),
        )
    waiting = (pending for pending in state.pending if pending.into is None and state.ticket is not None)
    for pending in waiting:
        ticket_id = state.ticket.id if state.ticket is not None else ""
        entries[pending.message.id] = ThreadEntry(kind="waiting", ticket_id=ticket_id, message=pending.message)
    return list(entries.values())
