"""What is asked of MongoDB: few batch methods over one database, so that another driver is little work.

Rule: plain finds and bulk writes only, every wait bounded, and an unreachable server raises `TransientError`.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson
from bson.codec_options import CodecOptions
from pymongo import InsertOne, UpdateMany, UpdateOne, WriteConcern
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    ExecutionTimeout,
    InvalidOperation,
    OperationFailure,
    ProtocolError,
    WaitQueueTimeoutError,
    WriteConcernError,
)

from kit.base import tracing
from kit.base.errors import TransientError
from kit.mongo_client import Collection, MongoConnection, Row
from kit.protocol.ports import Guarded, WriteOutcome

__all__ = ["MongoRefused", "MongoStore", "Row", "Sort"]
Sort = Sequence[tuple[str, int]]

_DUPLICATE = 11000
_TLS_FAULT = re.compile(r"\[SSL: [A-Z0-9_]+\][^(\n]*")
# What a statement or its documents are to blame for, by MongoDB's error_codes.yml. Every other code is the server's own
# trouble (not primary, disk full, broken within, no rights yet, and what no list of ours would be complete in): waiting
# loses nothing, while records that are taken for bad would be put aside by the hundred.
_OUR_FAULT = frozenset({
    2,  # BadValue
    9,  # FailedToParse
    14,  # TypeMismatch
    22,  # InvalidBSON
    28,  # PathNotViable
    40,  # ConflictingUpdateOperators
    52,  # DollarPrefixedFieldName
    56,  # EmptyFieldName
    57,  # DottedFieldName
    59,  # CommandNotFound
    66,  # ImmutableField
    67,  # CannotCreateIndex
    72,  # InvalidOptions
    73,  # InvalidNamespace
    85,  # IndexOptionsConflict
    86,  # IndexKeySpecsConflict
    121,  # DocumentValidationFailure
    10334,  # BSONObjectTooLarge
    _DUPLICATE,
    17280,  # KeyTooLong
    17419,  # the document would become too large
    17420,  # the document is too large
})  # fmt: skip
# The server does not believe us, or does not let us: somebody is changing a password, or rights are not there yet.
_REFUSED = frozenset({
    11,  # UserNotFound
    13,  # Unauthorized
    18,  # AuthenticationFailed
    8000,  # AtlasError: "bad auth"
})  # fmt: skip


class MongoRefused(TransientError):
    """The server refuses the credentials, or what their user wants to do."""


@contextlib.contextmanager
def _passing() -> Iterator[None]:
    try:
        yield
    except (ConnectionFailure, ProtocolError, WaitQueueTimeoutError, ExecutionTimeout, WriteConcernError) as error:
        tls = _TLS_FAULT.search(str(error))
        raise TransientError(f"MongoDB is unavailable: {tls[0] if tls else type(error).__name__}") from error
    except InvalidOperation as error:  # of what this file does, only a closed client makes it: a process that leaves
        raise TransientError("the MongoDB client is closed") from error
    except BulkWriteError as error:
        if error.details.get("writeConcernErrors") or not _codes(error) <= _OUR_FAULT:
            raise TransientError("MongoDB did not confirm a write") from error
        raise
    except OperationFailure as error:
        if error.code in _REFUSED:
            raise MongoRefused(_refusal(error.code)) from error
        if error.code not in _OUR_FAULT:
            raise TransientError(f"MongoDB cannot answer at the moment: code {error.code}") from error
        raise


def _refusal(code: int | None) -> str:
    if code == 13:
        return "MongoDB does not let this user do that (code 13): it needs readWrite on the service's own database"
    return f"MongoDB refuses the user name, password or certificate (code {code})"


def _codes(error: BulkWriteError) -> set[int]:
    return {fault.get("code", 0) for fault in error.details.get("writeErrors", ())}


def _duplicates(error: BulkWriteError, ids: Sequence[str]) -> frozenset[str]:
    """Name the losers; raise where the failure is, or may be, something else than a duplicate `_id`."""
    if error.details.get("writeConcernErrors") or _codes(error) != {_DUPLICATE}:
        raise error
    return frozenset(ids[fault["index"]] for fault in error.details["writeErrors"])


class MongoStore:
    """One service's database."""

    def __init__(self, address: str | Path, database: str, *, away_after_ms: int = 3_000) -> None:
        """Connect on first use: a service must come up, and its door answer, while the server is away.

        `address` is a connection string, or a file that contains it. Raises InvalidConnectionString or
        InvalidCertificate.
        """
        self._connection = MongoConnection(address, database, away_after_ms=away_after_ms)

    def _collection(self, name: str) -> Collection:
        return self._connection.collection(name)

    @contextlib.contextmanager
    def _passing(self) -> Iterator[None]:
        try:
            with _passing():
                yield
        except MongoRefused as fault:
            self._connection.refused(str(fault))
            raise

    @contextlib.contextmanager
    def _asking(self, command: str, collection: str) -> Iterator[None]:
        """Ask on behalf of the span at hand. What the server answers, and with which ids, is not an attribute."""
        known = {"db.system.name": "mongodb", "db.operation.name": command, "db.collection.name": collection}
        with tracing.within(f"{command} {collection}", "client", known), self._passing():
            yield

    def close(self) -> None:
        """Let go of all connections."""
        self._connection.close()

    async def ping(self) -> None:
        """Raise TransientError unless the server answers."""
        with self._passing():
            await self._connection.database().command("ping")

    # --- Documents of the outbox. ---

    async def fetch(self, collection: str, ids: Sequence[str]) -> list[Row]:
        """Load documents by id, as a majority has them; for no id nobody is asked."""
        if not ids:
            return []
        with self._asking("find", collection):
            return await self._collection(collection).find({"_id": {"$in": list(ids)}}).to_list(None)

    async def write(self, collection: str, writes: Sequence[Guarded]) -> WriteOutcome:
        """Write all, each behind its guard.

        A new document is an insert, any other an upsert: a guard that does not match turns into an insert too, which
        the unique `_id` refuses, and the refusal names the loser; matched counts would say only how many lost.
        (Documents are never deleted, so an insert never succeeds by mistake.)
        """
        if not writes:
            return WriteOutcome()
        ids = [write.id for write in writes]
        try:
            with self._asking("bulk_write", collection):
                try:
                    await self._collection(collection).bulk_write([_operation(w) for w in writes], ordered=False)
                except BulkWriteError as error:
                    return WriteOutcome(lost=_duplicates(error, ids))
        except TransientError:
            return WriteOutcome(unknown=True)
        return WriteOutcome()

    async def clear(self, collection: str, confirmed: Mapping[str, Sequence[str]]) -> None:
        """Take confirmed entries out of outboxes: without guard or version, so that nobody loses a race to it."""
        if not confirmed:
            return
        # One statement for all: ids of events are unique, so each document loses exactly its own. A statement for each
        # document costs the server several times as much.
        entries = [entry for ids in confirmed.values() for entry in ids]
        pull = UpdateMany({"_id": {"$in": list(confirmed)}}, {"$pull": {"outbox": {"id": {"$in": entries}}}})
        # One that is undone by a failover is published again under the same id: nothing to wait for.
        relaxed = self._collection(collection).with_options(write_concern=WriteConcern(w=1))
        with self._passing():
            await relaxed.bulk_write([pull])

    async def stale(
        self, collection: str, older_than: datetime, limit: int, *, partitions: Sequence[int] | None = None
    ) -> list[Row]:
        """Ids and outboxes of documents with an entry from before that instant, of all partitions or of these."""
        own = {} if partitions is None else {"partition": {"$in": list(partitions)}}
        query = {"outbox.at": {"$lt": older_than}, **own}
        return await self.find(collection, query, limit=limit, projection=["outbox"])

    async def due(self, collection: str, partitions: Sequence[int], until: datetime, limit: int) -> list[Row]:
        """Ids, instants and partitions of documents due until then, of those partitions, the longest due first."""
        query = {"due": {"$lte": until}, "partition": {"$in": list(partitions)}}
        return await self.find(collection, query, sort=[("due", 1)], limit=limit, projection=["due", "partition"])

    # --- Anything else. ---

    async def find(
        self,
        collection: str,
        query: Mapping[str, Any],
        *,
        sort: Sort | None = None,
        limit: int = 100,
        projection: Mapping[str, Any] | Sequence[str] | None = None,
    ) -> list[Row]:
        """Documents that match, at most `limit`."""
        with self._asking("find", collection):
            cursor = self._collection(collection).find(dict(query), projection, limit=limit)
            if sort:
                cursor = cursor.sort(list(sort))
            return await cursor.to_list(limit)

    async def tally(self, collection: str, query: Mapping[str, Any], by: Sequence[str], least: str) -> list[Row]:
        """Count what matches by the values of some fields, on the server: rows of `by`, `count` and `least`.

        `least` names a field; the row has its lowest value in the group. A field that is not there counts as None.
        """
        names = {f"by{number}": {"$ifNull": [f"${path}", None]} for number, path in enumerate(by)}
        group = {"_id": names, "count": {"$sum": 1}, "least": {"$min": f"${least}"}}
        with self._asking("aggregate", collection):
            rows = (
                await self._collection(collection).aggregate([{"$match": dict(query)}, {"$group": group}]).to_list(None)
            )
        return [
            {"by": [row["_id"].get(name) for name in names], "count": row["count"], "least": row["least"]}
            for row in rows
        ]

    async def insert(self, collection: str, documents: Sequence[Mapping[str, Any]]) -> set[str]:
        """Insert those that are not there; returns the ids of those that were, and stay as they are."""
        if not documents:
            return set()
        with self._asking("bulk_write", collection):
            try:
                await self._collection(collection).bulk_write([InsertOne(dict(d)) for d in documents], ordered=False)
            except BulkWriteError as error:
                return set(_duplicates(error, [d["_id"] for d in documents]))
        return set()

    async def empty(self, collection: str) -> None:
        """Delete all documents of a collection."""
        with self._passing():
            await self._collection(collection).delete_many({})

    async def set_each(self, collection: str, field: str, values: Mapping[str, Any]) -> None:
        """Set a field of documents, to a value for each, without guard or version: while nobody else writes them."""
        if not values:
            return
        with self._passing():
            changes = [UpdateOne({"_id": i}, {"$set": {field: value}}) for i, value in values.items()]
            await self._collection(collection).bulk_write(changes, ordered=False)

    async def unset(self, collection: str, ids: Sequence[str], field: str) -> None:
        """Remove a field from documents; one that is not there is no fault."""
        with self._passing():
            await self._collection(collection).update_many({"_id": {"$in": list(ids)}}, {"$unset": {field: ""}})

    async def ensure_indexes(
        self,
        collection: str,
        keys: Sequence[str | tuple[str, int]],
        *,
        unique: bool = False,
        partial: Mapping[str, Any] | None = None,
        expire_seconds: int | None = None,
    ) -> None:
        """Make one index over these keys if it is not there."""
        options: dict[str, Any] = {"unique": True} if unique else {}
        if partial is not None:
            options["partialFilterExpression"] = dict(partial)
        if expire_seconds is not None:
            options["expireAfterSeconds"] = expire_seconds
        with self._passing():
            pairs = [(key, 1) if isinstance(key, str) else key for key in keys]
            await self._collection(collection).create_index(pairs, **options)

    async def ensure_outbox_indexes(self, collection: str) -> None:
        """Make the two indexes that every collection of the outbox needs: for the sweeper and for the timers."""
        await self.ensure_indexes(collection, ["outbox.at"])
        await self.ensure_indexes(collection, ["due", "partition"])


def as_stored(row: Mapping[str, Any]) -> Row:
    """Return a document as it would come back from the server: milliseconds, lists for tuples."""
    return bson.decode(bson.encode(row), CodecOptions(tz_aware=True, tzinfo=UTC))


def _operation(write: Guarded) -> InsertOne[Row] | UpdateOne:
    values: Row = {**write.set, "version": write.version + 1}
    outbox = [dict(entry) for entry in write.push_outbox]
    if write.version == 0:
        return InsertOne({"_id": write.id, **values, "outbox": outbox} if outbox else {"_id": write.id, **values})
    change: Row = {"$set": values}
    if outbox:
        change["$push"] = {"outbox": {"$each": outbox}}
    return UpdateOne({"_id": write.id, "version": write.version}, change, upsert=True)
