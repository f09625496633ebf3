"""What Kafka tells of ingest's documents, in a file on disk: the whole history does not fit into memory.

Written once, in the order of the topics; then read by ticket, by contact, and by time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from types import TracebackType
from typing import Self

from cli.spool import unnamed
from contracts.contacts import ContactUpdated
from contracts.envelope import Command, Event
from contracts.tickets import MessageReceived, TicketOpened
from services.ingest.core.contacts import contact_id, identity_claim
from services.ingest.core.restored import Arrived, Claimed, Detail

Place = tuple[str, int, int]
"""Full topic, partition, offset."""

_TABLES = """
CREATE TABLE said (ticket TEXT, sequence INTEGER, value BLOB, PRIMARY KEY (ticket, sequence)) WITHOUT ROWID;
CREATE TABLE asked (ticket TEXT, at INTEGER, place TEXT, partition INTEGER, offset INTEGER, value BLOB);
CREATE TABLE causes (id TEXT, ticket TEXT, PRIMARY KEY (id, ticket)) WITHOUT ROWID;
CREATE TABLE answered (place TEXT, partition INTEGER, offset INTEGER, id TEXT, ticket TEXT);
CREATE TABLE took (ticket TEXT, message TEXT, PRIMARY KEY (message, ticket)) WITHOUT ROWID;
CREATE TABLE links (earlier TEXT, value BLOB);
CREATE TABLE details (message TEXT, receipt TEXT, detail TEXT, PRIMARY KEY (message, receipt)) WITHOUT ROWID;
CREATE TABLE forwards (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE contacts (contact TEXT, sequence INTEGER, value BLOB, PRIMARY KEY (contact, sequence)) WITHOUT ROWID;
CREATE TABLE identities (claim TEXT, contact TEXT, at REAL);
CREATE TABLE arrived (at REAL, ticket TEXT, message TEXT, contact TEXT, detail TEXT, opens INT, linked INT, mail INT);
CREATE TABLE sent (at REAL, anchor TEXT, ticket TEXT, message TEXT, tried INT);
CREATE TABLE claims (anchor TEXT PRIMARY KEY, ticket TEXT, message TEXT, places TEXT, tried INT) WITHOUT ROWID;
"""
_INDEXES = """
CREATE INDEX asked_by_ticket ON asked (ticket);
CREATE INDEX links_by_ticket ON links (earlier);
"""


@dataclass(frozen=True, slots=True)
class ClaimedRow:
    """A claim as it is to be stored."""

    anchor: str
    ticket: str
    message: str | None
    places: str | None
    tried: bool
    """False if nothing tells whether ingest claimed it."""


class IngestHistory:
    """Records of ingest's topics by what they are about, and the claims that follow from them."""

    def __init__(self) -> None:
        """Make the file; it is gone with the process."""
        self._database = unnamed()
        self._database.executescript(_TABLES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._database.close()

    def _put(self, table: str, *values: object, verb: str = "INSERT") -> bool:
        marks = ", ".join("?" * len(values))
        return self._database.execute(f"{verb} INTO {table} VALUES ({marks})", values).rowcount > 0

    def _has(self, query: str, *values: object) -> bool:
        return self._database.execute(query, values).fetchone() is not None

    # -- reading topics ------------------------------------------------------------------------------------------

    def say(self, event: Event, value: bytes) -> None:
        """Add an event of a ticket; one that is on the topic twice counts once."""
        if not self._put("said", event.subject, event.sequence, value, verb="INSERT OR IGNORE"):
            return
        for cause in {event.causationid, getattr(event.data, "command_id", None)} - {None}:
            self._put("causes", cause, event.subject, verb="INSERT OR IGNORE")
        data = event.data
        if isinstance(data, TicketOpened | MessageReceived) and data.message is not None:
            self._put("took", event.subject, data.message.id, verb="INSERT OR IGNORE")
        if isinstance(data, TicketOpened) and data.ticket.linked_to is not None and data.message is not None:
            self._put("links", data.ticket.linked_to, value)

    def ask(self, command: Command, place: Place, at_ms: int, value: bytes, *, forward: bool) -> None:
        """Add a command that was not given up."""
        topic, partition, offset = place
        self._put("asked", command.subject, at_ms, topic, partition, offset, value)
        self._put("answered", topic, partition, offset, command.id, command.subject)
        if forward:
            self._put("forwards", command.id, verb="INSERT OR IGNORE")

    def hear(self, receipt: str, place: Place) -> None:
        """Note a raw message's place."""
        self._put("answered", *place, receipt, None)

    def detail(self, message: str, receipt: str, detail: Detail) -> None:
        """Add what a raw message tells."""
        self._put("details", message, receipt, json.dumps(detail.dump()), verb="INSERT OR IGNORE")

    def contact(self, event: Event, value: bytes) -> None:
        """Add an event of a contact."""
        self._put("contacts", event.subject, event.sequence, value, verb="INSERT OR IGNORE")
        if isinstance(event.data, ContactUpdated):
            for identity in event.data.contact.identities:
                if contact_id(identity) != event.subject:
                    self._put("identities", identity_claim(identity), event.subject, event.time.timestamp())

    # -- reading by ticket ---------------------------------------------------------------------------------------

    def index(self) -> None:
        """Make the indexes. Called once all topics are read."""
        self._database.executescript(_INDEXES)

    def took(self, message: str, ticket: str | None = None) -> bool:
        """Whether a ticket took the message, or any did."""
        if ticket is None:
            return self._has("SELECT 1 FROM took WHERE message = ?", message)
        return self._has("SELECT 1 FROM took WHERE message = ? AND ticket = ?", message, ticket)

    def was_forwarded(self, command: str) -> bool:
        """Whether the command of a forward is on the topic."""
        return self._has("SELECT 1 FROM forwards WHERE id = ?", command)

    def is_ticket(self, ticket: str) -> bool:
        """Whether there is an event of the ticket, or a command to it."""
        return self._has("SELECT 1 FROM said WHERE ticket = ?", ticket) or self._has(
            "SELECT 1 FROM asked WHERE ticket = ?", ticket
        )

    def is_contact(self, contact: str) -> bool:
        """Whether there is an event of the contact."""
        return self._has("SELECT 1 FROM contacts WHERE contact = ?", contact)

    def detail_of(self, message: str, receipt: str | None) -> Detail | None:
        """Return what the raw record tells, preferably of this receipt: copies of a message are alike."""
        query = "SELECT detail FROM details WHERE message = ? ORDER BY receipt = ? DESC LIMIT 1"
        row = self._database.execute(query, (message, receipt)).fetchone()
        return None if row is None else Detail.load(json.loads(row[0]))

    def answered(self) -> dict[tuple[str, int], int]:
        """Return by full topic and partition the offset of the last record that an event names as its cause.

        A caller may use the same id for commands to several tickets, so an event of the command's own ticket must.
        """
        rows = self._database.execute(
            "SELECT place, partition, MAX(offset) FROM answered AS heard WHERE EXISTS (SELECT 1 FROM causes WHERE"
            " causes.id = heard.id AND causes.ticket = COALESCE(heard.ticket, causes.ticket)) GROUP BY place, partition"
        )
        return {(place, partition): offset for place, partition, offset in rows}

    def first_asked(self) -> datetime | None:
        """Return when the oldest command was written that is left."""
        (first,) = self._database.execute("SELECT MIN(at) FROM asked").fetchone()
        return None if first is None else _instant(first / 1000)

    def tickets(self) -> Iterator[str]:
        """Yield the ids of all tickets, of those to which only commands were sent as well."""
        yield from self._strings("SELECT ticket FROM said UNION SELECT ticket FROM asked ORDER BY 1")

    def events(self, ticket: str) -> list[Event]:
        """Return the events of a ticket, in order."""
        rows = self._database.execute("SELECT value FROM said WHERE ticket = ? ORDER BY sequence", (ticket,))
        return [Event.parse(value) for (value,) in rows]

    def links(self, ticket: str) -> list[Event]:
        """Return the events that opened tickets linked to this one."""
        rows = self._database.execute("SELECT value FROM links WHERE earlier = ?", (ticket,))
        return [Event.parse(value) for (value,) in rows]

    def commands(self, ticket: str) -> list[tuple[Place, datetime, bytes]]:
        """Return the commands to a ticket in order, none with a time before the one ahead in its partition."""
        query = "SELECT place, partition, offset, at, value FROM asked WHERE ticket = ? ORDER BY rowid"
        latest: dict[tuple[str, int], int] = {}
        found = []
        for place, partition, offset, at, value in self._database.execute(query, (ticket,)):
            lane = place, partition
            latest[lane] = max(at, latest.get(lane, at))
            found.append(((place, partition, offset), _instant(latest[lane] / 1000), value))
        return sorted(found, key=lambda each: each[1])

    def _strings(self, query: str) -> Iterator[str]:
        for (value,) in self._database.execute(query):
            yield value

    # -- what tickets leave for others ---------------------------------------------------------------------------

    def leave(self, arrived: Sequence[Arrived], claims: Sequence[Claimed]) -> None:
        """Keep what follows from a ticket for its threads and contacts."""
        for a in arrived:
            values = a.message, a.contact, json.dumps(a.detail.dump()), a.opens, a.linked, a.mail
            self._put("arrived", a.at.timestamp(), a.ticket, *values)
        for c in claims:
            self._put("sent", c.at.timestamp(), c.anchor, c.ticket, c.message, c.tried)

    def arrivals(self) -> Iterator[Arrived]:
        """Yield the customers' messages as they were taken."""
        query = "SELECT * FROM arrived ORDER BY at, rowid"
        for at, ticket, message, contact, detail, opens, linked, mail in self._database.execute(query):
            known = Detail.load(json.loads(detail))
            flags = {"opens": bool(opens), "linked": bool(linked), "mail": bool(mail)}
            yield Arrived(_instant(at), ticket, message, contact, known, **flags)

    def sent(self) -> Iterator[Claimed]:
        """Yield the other claims in order."""
        query = "SELECT * FROM sent ORDER BY at, rowid"
        for at, anchor, ticket, message, tried in self._database.execute(query):
            yield Claimed(_instant(at), anchor, ticket, message, bool(tried))

    def people(self) -> Iterator[tuple[str, Event, list[tuple[str, str]]]]:
        """Yield each contact with the last event, and with the (ticket, topic) of the messages, in order."""
        self._database.execute("CREATE INDEX arrived_by_contact ON arrived (contact, at)")
        rows = self._database.execute("SELECT contact, value FROM contacts ORDER BY contact, sequence")
        for contact, found in groupby(rows, key=lambda row: row[0]):
            *_, (_, value) = found
            query = "SELECT ticket, json_extract(detail, '$.topic') FROM arrived WHERE contact = ? ORDER BY at, rowid"
            yield contact, Event.parse(value), list(self._database.execute(query, (contact,)))

    def strangers(self) -> int:
        """Return how many people wrote whose contact has no event left."""
        query = "SELECT COUNT(DISTINCT contact) FROM arrived WHERE contact NOT IN (SELECT contact FROM contacts)"
        (count,) = self._database.execute(query).fetchone()
        return int(count)

    # -- claims --------------------------------------------------------------------------------------------------

    def claim(
        self, anchor: str, ticket: str, message: str | None = None, places: str | None = None, *, tried: bool = True
    ) -> ClaimedRow:
        """Claim an anchor unless it is claimed; return the claim that holds."""
        self._put("claims", anchor, ticket, message, places, tried, verb="INSERT OR IGNORE")
        return self._row(anchor)

    def claim_anew(self, anchor: str, ticket: str, places: str | None = None) -> None:
        """Claim an anchor, whoever had it."""
        self._put("claims", anchor, ticket, None, places, True, verb="INSERT OR REPLACE")

    def claimed(self, anchor: str) -> ClaimedRow | None:
        """Return the claim of an anchor."""
        return self._row(anchor) if self._has("SELECT 1 FROM claims WHERE anchor = ?", anchor) else None

    def _row(self, anchor: str) -> ClaimedRow:
        return ClaimedRow(*self._database.execute("SELECT * FROM claims WHERE anchor = ?", (anchor,)).fetchone())

    def claims(self) -> Iterator[ClaimedRow]:
        """Yield all claims of anchors."""
        for row in self._database.execute("SELECT * FROM claims"):
            yield ClaimedRow(*row)

    def identities(self) -> Iterator[tuple[str, str]]:
        """Yield the claims of further identities, each with its contact: the first who had it."""
        yield from self._database.execute(
            "SELECT claim, contact FROM (SELECT claim, contact, MIN(at) FROM identities GROUP BY claim)"
        )


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
