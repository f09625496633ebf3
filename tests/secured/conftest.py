"""One broker for all modules, with the topics and users of one installation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.topics import create_topics
from tests.secured.broker import Secured, secured

PREFIX = "shop."


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """All users may do what they need in the installation `shop.`, and nothing in `other.`."""
    made = secured(tmp_path_factory.mktemp("broker"))
    made.server.start()
    try:
        made.server.wait_ready()
        asyncio.run(_fill(made))
        yield made
    finally:
        made.server.stop()


async def _fill(made: Secured) -> None:
    for prefix in (PREFIX, "other."):
        await create_topics(made.keepers, prefix, 1)
    await made.admit(PREFIX)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a test keeps the credentials that it rotates."""
    return tmp_path
