"""Large bodies come back whole, and expire or stay; over the fake store and the real one."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from kit.base.errors import TransientError
from kit.base.ids import uuid7
from kit.mongo import MongoStore
from services.ingest import blobs
from services.ingest.store import ensure_indexes
from tests.kit.both_stores import BOTH, Store, drop, one_of
from tests.kit.fake_store import FakeStore

AT = datetime(2026, 3, 1, 12, 0, 0, 123000, tzinfo=UTC)


@pytest.fixture(params=BOTH)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with one_of(request, "kit") as made:
        yield made


@pytest.mark.parametrize("size", [0, 1, blobs.SIZE, 1_300_001])
async def test_a_body_comes_back_whole_whatever_its_size(store: Store, size: int) -> None:
    body = (bytes(range(256)) * (size // 256 + 1))[:size]
    await blobs.put(store, "blob", body)
    await blobs.put(store, "blob", body)  # a retry of the same is no fault
    assert await blobs.get(store, "blob") == body
    assert await blobs.get(store, "other") is None


async def test_a_body_that_lost_a_chunk_is_not_given_out() -> None:
    store = FakeStore()
    await blobs.put(store, "blob", bytes(blobs.SIZE + 1))
    del store.rows[blobs.BLOBS]["blob:1"]
    with pytest.raises(TransientError, match="incomplete"):
        await blobs.get(store, "blob")


@pytest.mark.parametrize("size", [1, 1_300_001])
async def test_a_body_that_is_to_expire_may_be_kept_for_good(store: Store, size: int) -> None:
    body = b"x" * size
    await blobs.put(store, "kept", body, expires=AT)
    await blobs.put(store, "let go", body, expires=AT)
    await blobs.put(store, "let go", body, expires=AT + timedelta(days=1))  # one that is there stays as it is
    await blobs.keep(store, "kept")
    await blobs.keep(store, "let go of long ago")
    for name, expires in (("kept", None), ("let go", AT)):
        rows = await store.find(blobs.BLOBS, {"_id": {"$gte": name, "$lt": f"{name};"}})
        assert rows
        assert {row.get("expires") for row in rows} == {expires}
        assert await blobs.get(store, name) == body


@pytest.mark.stack
async def test_what_expires_is_deleted_by_the_server(mongo: str) -> None:
    store = MongoStore(mongo, f"kit_{uuid7()[-12:]}")
    try:
        await ensure_indexes(store)
        indexes = await store._connection.collection(blobs.BLOBS).index_information()
        assert indexes["expires_1"]["expireAfterSeconds"] == 0
    finally:
        await drop(store)
        store.close()
