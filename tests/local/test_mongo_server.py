"""Whatever MongoDB server the local stack chose: it must do what kit asks of one, or it must not be chosen."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import ASCENDING, DeleteOne, IndexModel, InsertOne, MongoClient, UpdateOne, WriteConcern
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError
from pymongo.read_concern import ReadConcern

from deploy.local import MongoServer, free_port
from tests.conftest import Prefix

Rows = Collection[dict[str, Any]]


def open_rows(client: MongoClient[dict[str, Any]], database: str) -> Rows:
    chosen = client.get_database(
        database, write_concern=WriteConcern("majority", j=True), read_concern=ReadConcern("majority")
    )
    return chosen["rows"]


@pytest.fixture
def rows(mongo: str, prefix: Prefix) -> Iterator[Rows]:
    with MongoClient[dict[str, Any]](mongo, retryWrites=False) as client:
        yield open_rows(client, f"{prefix.mongo}_probe")


def create(key: str, **fields: Any) -> UpdateOne:
    return UpdateOne({"_id": key, "version": 0}, {"$set": {"version": 1, **fields}}, upsert=True)


def refused(rows: Rows, writes: list[Any]) -> list[tuple[int, int]]:
    with pytest.raises(BulkWriteError) as caught:
        rows.bulk_write(writes, ordered=False)
    return [(error["index"], error["code"]) for error in caught.value.details["writeErrors"]]


def test_a_lost_guard_names_the_loser_and_the_others_are_written(rows: Rows) -> None:
    rows.bulk_write([create("a"), create("b")], ordered=False)
    again = UpdateOne({"_id": "b", "version": 1}, {"$set": {"version": 2}}, upsert=True)

    assert refused(rows, [create("a", n=1), again, create("c")]) == [(0, 11000)]
    assert {row["_id"]: row["version"] for row in rows.find()} == {"a": 1, "b": 2, "c": 1}


def test_a_unique_index_refuses_the_second(rows: Rows) -> None:
    rows.create_indexes([IndexModel([("anchor", ASCENDING)], unique=True, sparse=True)])

    assert refused(rows, [InsertOne({"_id": 1, "anchor": "x"}), InsertOne({"_id": 2, "anchor": "x"})]) == [(1, 11000)]
    rows.bulk_write([InsertOne({"_id": 3}), InsertOne({"_id": 4})])
    assert rows.count_documents({}) == 3


def test_operators_reach_into_the_document(rows: Rows) -> None:
    rows.bulk_write([create("a", seen={"src": {"upto": 3}}, state={"due": 5, "x": 1})])
    entries = [{"id": "e1", "at": 1}, {"id": "e2", "at": 2}]
    rows.bulk_write([UpdateOne({"_id": "a"}, {"$push": {"outbox": {"$each": entries}}, "$max": {"holds.t": 7}})])
    rows.bulk_write(
        [
            UpdateOne(
                {"_id": "a"},
                {
                    "$pull": {"outbox": {"id": {"$in": ["e1"]}}},
                    "$max": {"holds.t": 3},
                    "$inc": {"n": 2},
                    "$unset": {"state.x": ""},
                    "$set": {"seen.src.upto": 4},
                },
            )
        ]
    )

    assert rows.find_one({"_id": "a"}) == {
        "_id": "a",
        "version": 1,
        "seen": {"src": {"upto": 4}},
        "state": {"due": 5},
        "outbox": [{"id": "e2", "at": 2}],
        "holds": {"t": 7},
        "n": 2,
    }


def test_finds_look_into_arrays_and_keep_order_and_limit(rows: Rows) -> None:
    rows.create_indexes([IndexModel([("outbox.at", ASCENDING)])])
    rows.bulk_write([create(str(n), outbox=[{"id": "e", "at": n}], state={"due": n}) for n in range(9)], ordered=False)

    old = rows.find({"outbox.at": {"$lt": 6}}, {"_id": 1}).sort("state.due", -1).limit(2)
    assert [row["_id"] for row in old] == ["5", "4"]
    some = rows.find({"_id": {"$in": ["1", "3", "nobody"]}}, {"version": 1}).sort("_id", 1)
    assert list(some) == [{"_id": "1", "version": 1}, {"_id": "3", "version": 1}]
    rows.bulk_write([DeleteOne({"_id": "1"})])
    assert rows.count_documents({"state.due": {"$lte": 3}}) == 3


@pytest.mark.stack
@pytest.mark.timeout(180)
def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    server = MongoServer(tmp_path / "mongo", free_port())
    server.start()
    try:
        server.wait_ready()
        # Closing looks for the killed server once more, so the search is short.
        with MongoClient[dict[str, Any]](server.address, serverSelectionTimeoutMS=2000) as client:
            rows = open_rows(client, "kept")
            for batch in range(20):
                rows.bulk_write([create(f"{batch}-{n}") for n in range(20)], ordered=False)
            server.kill()
        server.start()
        server.wait_ready()
        with MongoClient[dict[str, Any]](server.address) as client:
            assert open_rows(client, "kept").count_documents({}) == 400
    finally:
        server.kill()
