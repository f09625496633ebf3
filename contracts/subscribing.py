"""For subscribers: apply each event once, however often Kafka delivers it. No Kafka client and no database of its own.

Rule: what was applied is stored in the transaction of the effect, so that a crash loses both or neither. Commit the
offset after that transaction.
"""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from contracts.envelope import Event
from contracts.topics import TOPICS

__all__ = ["Cursor", "Delivery", "Gap", "Inbox", "compare"]

log = logging.getLogger(__name__)

_WITH_GAPS = frozenset(source for topic in TOPICS if not topic.sequenced for source in topic.sources)
"""Sources whose topics lose events by design, such as a compacted topic."""
_PLACEHOLDERS = {"qmark": "?", "format": "%s", "pyformat": "%s"}


class Delivery(StrEnum):
    """How an event relates to those already applied."""

    NEXT = "next"
    SEEN = "seen"
    GAP = "gap"


def compare(event: Event, last: int | None) -> Delivery:
    """Compare an event with the last sequence number applied of its source and subject; None if there is none.

    Skip an event that is SEEN. Apply one that is NEXT or a GAP; a GAP means that events before it were lost. The first
    event of a subject is never a gap: a subscriber may begin anywhere, and Kafka deletes old events.
    """
    if last is None or event.sequence == last + 1:
        return Delivery.NEXT
    if event.sequence <= last:
        return Delivery.SEEN
    return Delivery.NEXT if event.source in _WITH_GAPS else Delivery.GAP


@dataclass(frozen=True)
class Gap:
    """Events that never came: those after sequence number `last` and before `event`."""

    event: Event
    last: int

    def __str__(self) -> str:
        first, final = self.last + 1, self.event.sequence - 1
        return f"events {first} to {final} of {self.event.source} about {self.event.subject} are missing"


class Cursor(Protocol):
    """What is used of a cursor of Python's database API (PEP 249)."""

    @property
    def rowcount(self) -> int:
        """How many rows the last statement changed."""

    def execute(self, statement: str, parameters: Sequence[Any] = ..., /) -> object:
        """Execute a statement."""

    def fetchone(self) -> Any:
        """Return the next row, or None."""

    def close(self) -> None:
        """Close the cursor."""


class Connection(Protocol):
    """What is used of a connection of Python's database API (PEP 249)."""

    def cursor(self) -> Cursor:
        """Return a new cursor."""


def _log_gap(gap: Gap) -> None:
    log.warning("%s", gap)


class Inbox:
    """What a subscriber has applied, in a table of its own database.

    Works with drivers of Python's database API, such as sqlite3, psycopg and PyMySQL. With another kind of database,
    store the last sequence number per source and subject yourself and use `compare`.
    """

    def __init__(
        self, *, table: str = "deskbus_inbox", paramstyle: str = "qmark", on_gap: Callable[[Gap], None] = _log_gap
    ) -> None:
        """`paramstyle` is that of your driver (`sqlite3.paramstyle`). `on_gap` is called for lost events."""
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", table):
            raise ValueError(f"{table!r} is not the name of a table")
        if paramstyle not in _PLACEHOLDERS:
            raise ValueError(f"paramstyle {paramstyle!r} is not supported; use one of: {', '.join(_PLACEHOLDERS)}")
        self._on_gap = on_gap
        mark = _PLACEHOLDERS[paramstyle]
        where = f"where source = {mark} and subject = {mark}"
        self._create = (
            f"create table if not exists {table} (source varchar(250) not null, subject varchar(250) not null,"
            " sequence bigint not null, primary key (source, subject))"
        )
        # The only part that is not a constant is the table's name, checked above.
        self._select = f"select sequence from {table} {where}"  # noqa: S608
        self._update = f"update {table} set sequence = {mark} {where} and sequence < {mark}"  # noqa: S608
        self._insert = f"insert into {table} (source, subject, sequence) values ({mark}, {mark}, {mark})"  # noqa: S608

    def create(self, connection: Connection) -> None:
        """Create the table if it does not exist."""
        cursor = connection.cursor()
        try:
            cursor.execute(self._create)
        finally:
            cursor.close()

    def take(self, connection: Connection, value: bytes | str) -> Event | None:
        """Return the event to apply now, in the connection's open transaction; None if there is nothing to do.

        There is nothing to do if the event was applied before, or if this version does not know its type. Raises
        ValueError if the value is not an event. If another process takes the same event at the same time, one of them
        gets None or the database's integrity error: let that error roll the transaction back and read the event again.
        """
        event = Event.parse(value)
        cursor = connection.cursor()
        try:
            last = self._advance(cursor, event)
        finally:
            cursor.close()
        if last is not None and last >= event.sequence:
            return None
        if last is not None and compare(event, last) is Delivery.GAP:
            self._on_gap(Gap(event, last))
        return event if event.known else None

    def _advance(self, cursor: Cursor, event: Event) -> int | None:
        """Record the event unless it was recorded; return the sequence number before it, or its own if it was."""
        place = (event.source, event.subject)
        cursor.execute(self._select, place)
        row = cursor.fetchone()
        if row is None:
            cursor.execute(self._insert, (*place, event.sequence))
            return None
        last = int(row[0])
        if event.sequence <= last:
            return last
        cursor.execute(self._update, (event.sequence, *place, event.sequence))
        return last if cursor.rowcount else event.sequence
