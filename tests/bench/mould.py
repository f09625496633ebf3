"""Many documents out of few: stored samples as bytes, cast again under new ids, inserted in bulk. Knows no service."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from random import Random
from typing import Any, TypeVar

from bson import encode
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient, WriteConcern
from pymongo.collection import Collection

from kit.base.ids import uuid7
from kit.protocol.record import partition_of

T = TypeVar("T")
CHUNK = 2_000
Batch = tuple[str, str, list[RawBSONDocument]]
"""Database, collection, documents."""
_PARTITION = b"\x10partition\x00"


class Mould:
    """One document whose ids are exchanged for others of the same length: no encoding anew, so thousands a second."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self._raw = encode(row)
        found = self._raw.find(_PARTITION)
        self._partition = found + len(_PARTITION) if found >= 0 else None

    def cast(self, ids: Mapping[bytes, bytes], partition: int) -> RawBSONDocument:
        """Return the document under other ids; a home partition, where it has one, becomes this one."""
        raw = self._raw
        if self._partition is not None:
            raw = raw[: self._partition] + struct.pack("<i", partition) + raw[self._partition + 4 :]
        for old, new in ids.items():
            raw = raw.replace(old, new)
        return RawBSONDocument(raw)


class Sample:
    """All documents of one ticket. The first id is the ticket's, a UUIDv7; the others are stable ids."""

    def __init__(self, ids: Sequence[str], rows: Iterable[tuple[str, str, Mapping[str, Any]]]) -> None:
        """`rows`: database, collection, document."""
        self._ids = [i.encode() for i in ids]
        self._moulds = [(database, collection, Mould(row)) for database, collection, row in rows]

    def cast(self, random: Random, partitions: int) -> Iterator[tuple[str, str, RawBSONDocument]]:
        """Yield the same documents for another ticket."""
        ticket, *others = self._ids
        fresh = uuid7().encode()
        ids = {ticket: fresh} | {other: stable(random, len(other)) for other in others}
        partition = partition_of(fresh, partitions)
        for database, collection, mould in self._moulds:
            yield database, collection, mould.cast(ids, partition)


def stable(random: Random, length: int) -> bytes:
    """Return an id that is as random as a stable one, and as long."""
    return f"{random.getrandbits(4 * length):0{length}x}".encode()


def tickets(samples: Sequence[Sample], count: int, partitions: int) -> Iterator[Batch]:
    """Yield all documents of so many tickets, the samples in turn."""
    random = Random(count)
    waiting: dict[tuple[str, str], list[RawBSONDocument]] = {}
    for number in range(count):
        for database, collection, row in samples[number % len(samples)].cast(random, partitions):
            rows = waiting.setdefault((database, collection), [])
            rows.append(row)
            if len(rows) >= CHUNK:
                yield database, collection, rows
                waiting[database, collection] = []
    yield from ((database, collection, rows) for (database, collection), rows in waiting.items() if rows)


def chunks(database: str, collection: str, rows: Iterable[RawBSONDocument]) -> Iterator[Batch]:
    """Yield the documents of one collection."""
    source = iter(rows)
    while chunk := list(islice(source, CHUNK)):
        yield database, collection, chunk


async def fill(url: str, batches: Iterator[Batch]) -> None:
    """Store them, without waiting for a majority: nobody relies on them yet."""
    filled: set[tuple[str, str]] = set()
    with MongoClient[Any](url, retryWrites=False) as client:

        def one() -> bool:
            for database, collection, rows in islice(batches, 1):
                into = client.get_database(database, write_concern=WriteConcern(w=1))[collection]
                into.insert_many(rows, ordered=False)
                filled.add((database, collection))
                return True
            return False

        while await _whole(one):
            pass
        for database, collection in sorted(filled):
            await _whole(partial(_first_look, client[database][collection]))


def _first_look(collection: Collection[Any]) -> None:
    """Ask each index for what is not there, however long it takes.

    The MongoDB-compatible server reads a whole collection into memory when it is first asked after an index was made,
    and once more for each one who asks meanwhile. Services would give up after some seconds, ask again, and so fill its
    memory.
    """
    for index in list(collection.list_indexes()):
        collection.find_one({next(iter(index["key"])): "not there"})


async def _whole(work: Callable[[], T]) -> T:
    """Do it in a thread; who cancels waits for its end, or it would write into what is being dropped."""
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await working
        raise
