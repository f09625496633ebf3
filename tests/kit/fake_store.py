"""A store in memory that behaves like kit.mongo.MongoStore; tests/kit/test_mongo.py holds both to it."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import bson
from bson.codec_options import CodecOptions

from kit.base.errors import TransientError
from kit.protocol.ports import Guarded, WriteOutcome

Row = dict[str, Any]
_CODEC: CodecOptions[Row] = CodecOptions(tz_aware=True, tzinfo=UTC)

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "$in": lambda value, wanted: value in wanted,
    "$nin": lambda value, wanted: value not in wanted,
    "$ne": lambda value, wanted: bool(value != wanted),
    "$lt": lambda value, wanted: type(value) is type(wanted) and value < wanted,
    "$lte": lambda value, wanted: type(value) is type(wanted) and value <= wanted,
    "$gt": lambda value, wanted: type(value) is type(wanted) and value > wanted,
    "$gte": lambda value, wanted: type(value) is type(wanted) and value >= wanted,
    "$exists": lambda value, wanted: (value is not None) == wanted,
    "$regex": lambda value, wanted: isinstance(value, str) and re.search(wanted, value) is not None,
}


def copied(row: Mapping[str, Any]) -> Row:
    """What BSON makes of it: milliseconds, lists for tuples, no shared references."""
    return bson.decode(bson.encode(row), _CODEC)


def values_at(row: Any, path: str) -> list[Any]:
    """The values a dotted path reaches, through arrays."""
    step, _, rest = path.partition(".")
    if isinstance(row, list):
        if step.isdigit():
            return [value for entry in row[int(step) :][:1] for value in (values_at(entry, rest) if rest else [entry])]
        return [value for entry in row for value in values_at(entry, path)]
    if not isinstance(row, dict) or step not in row:
        return []
    value = row[step]
    if rest:
        return values_at(value, rest)
    return [value, *value] if isinstance(value, list) else [value]


def matches(row: Row, query: Mapping[str, Any]) -> bool:
    for path, wanted in query.items():
        if path in {"$or", "$and"}:
            if not (any if path == "$or" else all)(matches(row, part) for part in wanted):
                return False
            continue
        found = values_at(row, path) or [None]
        conditions = wanted if isinstance(wanted, dict) and any(k.startswith("$") for k in wanted) else None
        if conditions is None:
            if wanted not in found:
                return False
        elif not all(any(COMPARE[name](value, operand) for value in found) for name, operand in conditions.items()):
            return False
    return True


def projected(row: Mapping[str, Any], paths: Sequence[str]) -> Row:
    """The fields of a row that these dotted paths name; arrays are taken whole."""
    below: dict[str, list[str]] = {}
    for path in paths:
        step, _, rest = path.partition(".")
        below.setdefault(step, []).append(rest)
    return {
        step: projected(row[step], rests) if isinstance(row[step], dict) and all(rests) else row[step]
        for step, rests in below.items()
        if step in row
    }


class FakeStore:
    """Collections as dicts. `away` plays a server that is gone, `lose_answers` one whose answers do not arrive."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Row]] = {}
        self.away = False
        self.lose_answers = 0
        self.writes = 0

    def _collection(self, name: str) -> dict[str, Row]:
        if self.away:
            raise TransientError("the fake is away")
        return self.rows.setdefault(name, {})

    async def ping(self) -> None:
        self._collection("")

    def close(self) -> None:
        pass

    async def fetch(self, collection: str, ids: Sequence[str]) -> list[Row]:
        rows = self._collection(collection)
        return [copied(rows[i]) for i in dict.fromkeys(ids) if i in rows]

    async def write(self, collection: str, writes: Sequence[Guarded]) -> WriteOutcome:
        try:
            rows = self._collection(collection)
        except TransientError:
            return WriteOutcome(unknown=True)
        lost = set()
        for write in writes:
            row = rows.get(write.id)
            if row is not None and row.get("version") != write.version:
                lost.add(write.id)
                continue
            row = row or {"_id": write.id}
            row |= {**write.set, "version": write.version + 1}
            if write.push_outbox:
                row["outbox"] = [*row.get("outbox", ()), *write.push_outbox]
            rows[write.id] = copied(row)
            self.writes += 1
        if self.lose_answers:
            self.lose_answers -= 1
            return WriteOutcome(unknown=True)
        return WriteOutcome(lost=frozenset(lost))

    async def clear(self, collection: str, confirmed: Mapping[str, Sequence[str]]) -> None:
        rows = self._collection(collection)
        for doc_id, entries in confirmed.items():
            if doc_id in rows and "outbox" in rows[doc_id]:
                rows[doc_id]["outbox"] = [e for e in rows[doc_id]["outbox"] if e["id"] not in entries]

    async def stale(
        self, collection: str, older_than: datetime, limit: int, *, partitions: Sequence[int] | None = None
    ) -> list[Row]:
        own = {} if partitions is None else {"partition": {"$in": list(partitions)}}
        query = {"outbox.at": {"$lt": older_than}, **own}
        return await self.find(collection, query, limit=limit, projection=["outbox"])

    async def due(self, collection: str, partitions: Sequence[int], until: datetime, limit: int) -> list[Row]:
        query = {"due": {"$lte": until}, "partition": {"$in": list(partitions)}}
        return await self.find(collection, query, sort=[("due", 1)], limit=limit, projection=["due", "partition"])

    async def find(
        self,
        collection: str,
        query: Mapping[str, Any],
        *,
        sort: Sequence[tuple[str, int]] | None = None,
        limit: int = 100,
        projection: Any = None,
    ) -> list[Row]:
        found = [copied(row) for row in self._collection(collection).values() if matches(row, query)]
        for path, direction in reversed(sort or ()):
            found.sort(key=lambda row: _order(values_at(row, path)), reverse=direction < 0)
        names = [name for name, wanted in projection.items() if wanted] if isinstance(projection, dict) else projection
        if names:
            found = [projected(row, ["_id", *names]) for row in found]
        return found[:limit]

    async def tally(self, collection: str, query: Mapping[str, Any], by: Sequence[str], least: str) -> list[Row]:
        groups: dict[tuple[Any, ...], list[Row]] = {}
        for row in await self.find(collection, query, limit=10**9):
            groups.setdefault(tuple(_first(row, path) for path in by), []).append(row)
        lowest = {key: [v for row in rows if (v := _first(row, least)) is not None] for key, rows in groups.items()}
        return [
            {"by": list(key), "count": len(rows), "least": min(lowest[key], default=None)}
            for key, rows in groups.items()
        ]

    async def insert(self, collection: str, documents: Sequence[Mapping[str, Any]]) -> set[str]:
        rows = self._collection(collection)
        existed = set()
        for document in documents:
            if document["_id"] in rows:
                existed.add(document["_id"])
            else:
                rows[document["_id"]] = copied(document)
        return existed

    async def ensure_indexes(self, collection: str, keys: Sequence[Any], **options: Any) -> None:
        self._collection(collection)

    async def ensure_outbox_indexes(self, collection: str) -> None:
        self._collection(collection)

    async def unset(self, collection: str, ids: Sequence[str], field: str) -> None:
        rows = self._collection(collection)
        for doc_id in ids:
            rows.get(doc_id, {}).pop(field, None)


class Contested(FakeStore):
    """Another process writes a document just before this one does, as often as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.loses: Counter[str] = Counter()

    async def write(self, collection: str, writes: Sequence[Guarded]) -> WriteOutcome:
        for each in writes:
            if self.loses[each.id] > 0:
                self.loses[each.id] -= 1
                await super().write(collection, [Guarded(each.id, each.version, {})])
        return await super().write(collection, writes)


def _first(row: Row, path: str) -> Any:
    return next(iter(values_at(row, path)), None)


def _order(values: list[Any]) -> tuple[bool, Any]:
    return (True, values[0]) if values and values[0] is not None else (False, 0)
