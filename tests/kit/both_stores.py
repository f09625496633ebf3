"""A store for tests that run over both servers: the fake that other tests use, and the real one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kit.base.ids import uuid7
from kit.mongo import MongoStore
from tests.kit.fake_store import FakeStore

Store = MongoStore | FakeStore

BOTH = ["fake", pytest.param("real", marks=pytest.mark.stack)]
"""Parameters of a fixture that yields `one_of`."""


async def drop(store: MongoStore) -> None:
    """Drop the store's database."""
    database = store._connection.database()
    await database.client.drop_database(database.name)


@asynccontextmanager
async def one_of(request: pytest.FixtureRequest, name: str) -> AsyncIterator[Store]:
    """Yield the store that the fixture's parameter names; a real one has its own database, dropped afterwards."""
    if request.param == "fake":
        yield FakeStore()
        return
    real = MongoStore(request.getfixturevalue("mongo"), f"{name}_{uuid7()[-12:]}")
    yield real
    await drop(real)
    real.close()
