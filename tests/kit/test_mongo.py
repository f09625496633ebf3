"""One store suite, two servers: the fake that other tests use must not lie about the real one."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import ReadPreference
from pymongo.errors import BulkWriteError, NotPrimaryError, OperationFailure, ProtocolError, PyMongoError

from kit.base.errors import TransientError
from kit.base.ids import uuid7
from kit.mongo import MongoStore, _passing
from kit.mongo_client import MongoConnection
from kit.protocol.ports import Guarded, WriteOutcome
from tests.kit.both_stores import BOTH, Store, drop, one_of

AT = datetime(2026, 3, 1, 12, 0, 0, 123000, tzinfo=UTC)
NAME = "things"


@pytest.fixture(params=BOTH)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with one_of(request, "kit") as made:
        yield made


def guarded(doc_id: str, version: int, outbox: Sequence[str] = (), **values: Any) -> Guarded:
    return Guarded(doc_id, version, values, [{"id": e, "at": AT, "event": b"{}"} for e in outbox])


async def one(store: Store, doc_id: str) -> dict[str, Any]:
    (row,) = await store.fetch(NAME, [doc_id])
    return row


async def test_document_comes_back_as_it_was_written(store: Store) -> None:
    values = {"state": {"text": "ไทย", "none": None, "list": [1, {"a": 2}]}, "due": AT}
    assert await store.write(NAME, [guarded("a", 0, ["e1", "e2"], **values)]) == WriteOutcome()
    row = await one(store, "a")
    assert (row["version"], row["state"], row["due"]) == (1, values["state"], AT)
    assert row["due"].tzinfo is not None
    assert [(e["id"], e["at"], bytes(e["event"])) for e in row["outbox"]] == [("e1", AT, b"{}"), ("e2", AT, b"{}")]


BROKEN = OperationFailure("WT_PANIC: WiredTiger library panic", 1)


def bulk(*codes: int) -> BulkWriteError:
    return BulkWriteError({"writeErrors": [{"index": n, "code": code} for n, code in enumerate(codes)]})


@pytest.mark.parametrize(
    "trouble",
    [
        BROKEN,
        OperationFailure("disk full", 14031),
        NotPrimaryError("not primary"),
        ProtocolError("an answer that is none"),
        bulk(11000, 14031),
    ],
)
def test_a_server_in_trouble_of_its_own_is_waited_for(trouble: PyMongoError) -> None:
    with pytest.raises(TransientError), _passing():
        raise trouble


@pytest.mark.parametrize("fault", [OperationFailure("bad value", 2), bulk(11000), bulk(11000, 17419)])
def test_what_a_document_is_to_blame_for_is_not_tried_again(fault: PyMongoError) -> None:
    with pytest.raises(type(fault)), _passing():
        raise fault


async def test_fetch_gives_only_what_is_there(store: Store) -> None:
    await store.write(NAME, [guarded("a", 0), guarded("b", 0)])
    assert {row["_id"] for row in await store.fetch(NAME, ["a", "b", "c", "a"])} == {"a", "b"}
    assert await store.fetch("nothing", ["a"]) == []


async def test_guard_names_each_loser_and_lets_the_others_win(store: Store) -> None:
    await store.write(NAME, [guarded("a", 0, by=1), guarded("b", 0, by=1)])
    outcome = await store.write(
        NAME, [guarded("a", 0, by=2), guarded("b", 1, by=2), guarded("c", 0, by=2), guarded("a2", 0, by=2)]
    )
    assert outcome == WriteOutcome(lost=frozenset({"a"}))
    rows = {row["_id"]: (row["version"], row["by"]) for row in await store.fetch(NAME, ["a", "b", "c", "a2"])}
    assert rows == {"a": (1, 1), "b": (2, 2), "c": (1, 2), "a2": (1, 2)}


async def test_loser_pushes_nothing_into_the_outbox(store: Store) -> None:
    await store.write(NAME, [guarded("a", 0, ["e1"])])
    await store.write(NAME, [guarded("a", 0, ["bad"])])
    await store.write(NAME, [guarded("a", 1, ["e2"])])
    await store.write(NAME, [guarded("a", 1, ["bad"])])
    assert [e["id"] for e in (await one(store, "a"))["outbox"]] == ["e1", "e2"]


async def test_clearing_takes_exactly_the_confirmed_and_moves_no_version(store: Store) -> None:
    await store.write(NAME, [guarded("a", 0, ["e1", "e2", "e3"]), guarded("b", 0, ["e1"]), guarded("c", 0)])
    await store.clear(NAME, {"a": ["e1", "e3", "unknown"], "c": ["e1"], "nobody": ["e1"]})
    a, b, c = sorted(await store.fetch(NAME, ["a", "b", "c", "nobody"]), key=lambda row: row["_id"])
    assert ([e["id"] for e in a["outbox"]], a["version"]) == (["e2"], 1)
    assert [e["id"] for e in b["outbox"]] == ["e1"]
    assert c.get("outbox", []) == []


async def test_stale_finds_documents_by_their_oldest_entry(store: Store) -> None:
    await store.ensure_outbox_indexes(NAME)
    old = {"id": "e1", "at": AT - timedelta(minutes=1), "event": b""}
    new = {"id": "e2", "at": AT, "event": b""}
    await store.write(
        NAME,
        [
            Guarded("both", 0, {}, [old, new]),
            Guarded("new", 0, {}, [new]),
            Guarded("none", 0, {}),
            Guarded("old", 0, {}, [old]),
        ],
    )
    found = {row["_id"] for row in await store.stale(NAME, AT, 10)}
    assert found == {"both", "old"}
    assert len(await store.stale(NAME, AT, 1)) == 1
    await store.clear(NAME, {"both": ["e1"], "old": ["e1"]})
    assert await store.stale(NAME, AT, 10) == []


async def test_stale_of_some_partitions_passes_by_a_backlog_of_others(store: Store) -> None:
    await store.ensure_outbox_indexes(NAME)
    entry = {"id": "e1", "at": AT - timedelta(minutes=1), "event": b""}
    await store.write(NAME, [Guarded(str(n), 0, {"partition": n % 4}, [entry]) for n in range(8)])
    found = await store.stale(NAME, AT, 2, partitions=[3])
    assert {row["_id"] for row in found} == {"3", "7"}
    assert {*found[0]} == {"_id", "outbox"}, "a sweeper needs no more, and a state may be large"
    assert await store.stale(NAME, AT, 2, partitions=[]) == []


async def test_tally_counts_by_fields_on_the_server(store: Store) -> None:
    rows = [
        {"_id": str(n), "state": {"kind": "odd" if n % 2 else "even", "at": AT + timedelta(seconds=n)}}
        for n in range(5)
    ]
    rows += [{"_id": "none", "state": {"at": AT}}, {"_id": "null", "state": {"kind": None}}]
    await store.insert(NAME, rows)
    found = await store.tally(NAME, {"_id": {"$ne": "0"}}, ["state.kind", "state.other"], "state.at")
    assert sorted((row["by"][0] or "", row["by"][1], row["count"], row["least"]) for row in found) == [
        ("", None, 2, AT),
        ("even", None, 2, AT + timedelta(seconds=2)),
        ("odd", None, 2, AT + timedelta(seconds=1)),
    ]
    assert await store.tally(NAME, {"_id": "nobody"}, ["state.kind"], "state.at") == []


async def test_due_gives_the_longest_due_of_the_own_partitions_first(store: Store) -> None:
    await store.ensure_outbox_indexes(NAME)
    minute = timedelta(minutes=1)
    await store.write(
        NAME,
        [
            guarded("now", 0, due=AT, partition=1),
            guarded("late", 0, due=AT - minute, partition=2),
            guarded("later", 0, due=AT - 2 * minute, partition=1),
            guarded("future", 0, due=AT + minute, partition=1),
            guarded("foreign", 0, due=AT - minute, partition=3),
            guarded("never", 0, due=None, partition=1),
        ],
    )
    assert [row["_id"] for row in await store.due(NAME, [1, 2], AT, 10)] == ["later", "late", "now"]
    assert [row["_id"] for row in await store.due(NAME, [1, 2], AT, 1)] == ["later"]
    assert await store.due(NAME, [], AT, 10) == []


async def test_find_compares_sorts_limits_and_projects(store: Store) -> None:
    rows = [
        {"_id": str(n), "n": n, "state": {"tags": [f"t{n}", "all"], "kind": "odd" if n % 2 else "even"}}
        for n in range(6)
    ]
    assert await store.insert(NAME, rows) == set()

    async def ids(query: dict[str, Any], **options: Any) -> list[str]:
        return [row["_id"] for row in await store.find(NAME, query, sort=[("n", 1)], **options)]

    assert await ids({"state.kind": "odd"}) == ["1", "3", "5"]
    assert await ids({"n": {"$gte": 2, "$lt": 4}}) == ["2", "3"]
    assert await ids({"state.tags": "t3"}) == ["3"]
    assert await ids({"state.kind": {"$in": ["odd"]}, "n": {"$ne": 3}}) == ["1", "5"]
    assert await ids({}, limit=2) == ["0", "1"]
    assert await ids({"missing": None}, limit=1) == ["0"]
    await store.insert(NAME, [{"_id": "9", "rows": [{"n": 7}, {"n": 8}]}])
    assert await ids({"rows.0.n": 7}) == ["9"]
    assert await ids({"rows.1.n": 7}) == await ids({"rows.2.n": 8}) == []
    assert await ids({"rows.n": 8}) == ["9"]
    (row,) = await store.find(NAME, {"rows.n": 8}, projection={"rows.n": 1})
    assert row == {"_id": "9", "rows": [{"n": 7}, {"n": 8}]}
    by_kind = await store.find(NAME, {"_id": {"$ne": "9"}}, sort=[("state.kind", 1), ("n", -1)])
    assert [row["_id"] for row in by_kind] == ["4", "2", "0", "5", "3", "1"]
    assert await store.find(NAME, {"n": 1}, projection=["n"]) == [{"_id": "1", "n": 1}]
    await store.insert(NAME, [{"_id": "8", "a": {"b": {"c": 1, "d": 2, "e": 3}}}])
    assert await store.find(NAME, {"_id": "8"}, projection=["a.b.c", "a.b.d"]) == [
        {"_id": "8", "a": {"b": {"c": 1, "d": 2}}}
    ]


async def test_insert_leaves_what_is_there_and_names_it(store: Store) -> None:
    assert await store.insert(NAME, [{"_id": "a", "by": 1}]) == set()
    assert await store.insert(NAME, [{"_id": "a", "by": 2}, {"_id": "b", "by": 2}]) == {"a"}
    assert {row["_id"]: row["by"] for row in await store.fetch(NAME, ["a", "b"])} == {"a": 1, "b": 2}
    assert await store.insert(NAME, []) == set()


async def test_a_field_is_removed_from_the_documents_that_have_it(store: Store) -> None:
    await store.insert(NAME, [{"_id": each, "by": 1, "at": AT} for each in "abc"])
    await store.unset(NAME, ["a", "b", "none"], "at")
    await store.unset(NAME, ["a"], "at")
    assert {row["_id"] for row in await store.fetch(NAME, ["a", "b", "c"]) if "at" in row} == {"c"}
    assert await one(store, "a") == {"_id": "a", "by": 1}


@pytest.mark.stack
async def test_indexes_are_made_once_and_uniqueness_holds(mongo: str) -> None:
    store = MongoStore(mongo, f"kit_{uuid7()[-12:]}")
    try:
        for _ in range(2):
            await store.ensure_indexes(NAME, ["state.number", ("at", -1)], unique=True)
        assert await store.insert(NAME, [{"_id": "a", "state": {"number": 1}, "at": AT}]) == set()
        assert await store.insert(NAME, [{"_id": "b", "state": {"number": 1}, "at": AT}]) == {"b"}
    finally:
        await drop(store)
        store.close()


async def test_a_closed_store_is_no_fault_of_what_is_written(unused_tcp_port: int) -> None:
    store = MongoStore(f"mongodb://127.0.0.1:{unused_tcp_port}", "kit", away_after_ms=50)
    store.close()
    with pytest.raises(TransientError):
        await store.fetch(NAME, ["a"])
    assert await store.write(NAME, [guarded("a", 0)]) == WriteOutcome(unknown=True)


async def test_server_that_is_away_is_a_fault_that_may_pass(unused_tcp_port: int) -> None:
    store = MongoStore(f"mongodb://127.0.0.1:{unused_tcp_port}", "kit", away_after_ms=50)
    try:
        for attempt in (store.ping(), store.fetch(NAME, ["a"]), store.insert(NAME, [{"_id": "a"}])):
            with pytest.raises(TransientError):
                await attempt
        assert await store.write(NAME, [guarded("a", 0)]) == WriteOutcome(unknown=True)
    finally:
        store.close()


async def test_a_connection_string_cannot_weaken_what_is_read_and_written() -> None:
    """An old document from a secondary would make every guarded write lose."""
    url = "mongodb://127.0.0.1:1/?readPreference=secondaryPreferred&w=1&journal=false&readConcernLevel=local"
    connection = MongoConnection(url, "kit", away_after_ms=100)
    database = connection.database()
    assert database.read_preference == ReadPreference.PRIMARY
    assert database.read_concern.level == "majority"
    assert (database.write_concern.document["w"], database.write_concern.document["j"]) == ("majority", True)
