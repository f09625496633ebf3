"""A whole system on the session's Kafka and MongoDB, with topics and databases of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.system.rig import System, system


@pytest.fixture
async def deskbus(environment: dict[str, str], topics: str, tmp_path: Path) -> AsyncIterator[System]:
    """Nothing runs yet: the test says how many replicas of what."""
    async with system(environment, tmp_path / "logs") as made:
        yield made
