"""Records by document, in a file on disk: a service's whole history does not fit into memory, one document's does.

Rule: the file holds what customers wrote, so it has no name, and is gone with the process however that ends.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from types import TracebackType
from typing import Self

from cli.reading import TopicRecord
from cli.standstill import Refused
from contracts.topics import COMMAND

_TABLE = """
CREATE TABLE records (
  doc TEXT NOT NULL, said INTEGER NOT NULL, id TEXT, topic TEXT NOT NULL, partition INTEGER NOT NULL,
  offset INTEGER NOT NULL, at INTEGER NOT NULL, key BLOB, value BLOB, headers TEXT NOT NULL, place TEXT NOT NULL
)
"""
_COLUMNS = "topic, partition, offset, key, value, headers, at"


def unnamed() -> sqlite3.Connection:
    """Open a database in a file of the temporary folder that has no name, for this process alone."""
    database = sqlite3.connect("")  # SQLite removes the file as soon as it is open
    database.execute("PRAGMA synchronous=OFF")
    database.execute("PRAGMA journal_mode=OFF")
    return database


@contextmanager
def room() -> Iterator[None]:
    """Say what to do where the temporary folder is full; what was written so far goes with the next run."""
    try:
        yield
    except sqlite3.Error as error:
        reason = f"the temporary folder cannot take the records: {error}; set TMPDIR, and run it again"
        raise Refused([reason]) from error


@dataclass
class History:
    """All records about one document."""

    doc: str
    heard: list[tuple[str, TopicRecord]] = field(default_factory=list)
    """With the full name of the topic."""
    said: list[TopicRecord] = field(default_factory=list)


class Spool:
    """Written once, then read by document."""

    def __init__(self) -> None:
        """Make the file, in TMPDIR if that is set. Raises sqlite3.Error, as all methods do, where there is no room."""
        self._database = unnamed()
        self._database.execute(_TABLE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._database.close()

    def hear(self, doc: str, cause: str | None, place: str, record: TopicRecord) -> None:
        """Add a record that the service consumed; `cause` is the id by which events name it, `place` its topic."""
        self._add(doc, 0, cause, place, record)

    def say(self, doc: str, cause: str | None, place: str, record: TopicRecord) -> None:
        """Add an event that the service published."""
        self._add(doc, 1, cause, place, record)

    def _add(self, doc: str, said: int, identifier: str | None, place: str, record: TopicRecord) -> None:
        headers = json.dumps([(name, (raw or b"").hex()) for name, raw in record.headers])
        where = record.topic, record.partition, record.offset, record.timestamp_ms
        row = (doc, said, identifier, *where, record.key, record.value, headers, place)
        self._database.execute(f"INSERT INTO records VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608

    def answered(self) -> dict[tuple[str, int], int]:
        """Return by full topic and partition the offset of the last record that an event names as its cause.

        A caller may use the same id for commands about several documents, so an event of the command's own must.
        """
        self._database.execute("CREATE INDEX IF NOT EXISTS causes ON records (id) WHERE said = 1")
        rows = self._database.execute(
            "SELECT place, partition, MAX(offset) FROM records AS heard WHERE said = 0 AND EXISTS"
            " (SELECT 1 FROM records AS own WHERE own.said = 1 AND own.id = heard.id"
            " AND (own.doc = heard.doc OR heard.topic <> ?)) GROUP BY place, partition",
            (COMMAND,),
        )
        return {(place, partition): offset for place, partition, offset in rows}

    def knows(self, doc: str) -> bool:
        """Whether there is a record about the document."""
        self._database.execute("CREATE INDEX IF NOT EXISTS docs ON records (doc)")
        return self._database.execute("SELECT 1 FROM records WHERE doc = ? LIMIT 1", (doc,)).fetchone() is not None

    def histories(self) -> Iterator[History]:
        """Yield the documents one after the other; of each topic the records in order."""
        rows = self._database.execute(f"SELECT doc, said, place, {_COLUMNS} FROM records ORDER BY doc, rowid")  # noqa: S608
        for doc, found in groupby(rows, key=lambda row: row[0]):
            history = History(doc)
            for _, said, place, *values in found:
                record = _record(values)
                if said:
                    history.said.append(record)
                else:
                    history.heard.append((place, record))
            yield history


def _record(values: Sequence[object]) -> TopicRecord:
    topic, partition, offset, key, value, headers, at = values
    pairs = [(name, bytes.fromhex(raw)) for name, raw in json.loads(str(headers))]
    return TopicRecord(topic, partition, offset, key, value, pairs, at)  # type: ignore[arg-type]
