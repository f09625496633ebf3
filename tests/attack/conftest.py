"""A whole system for the attacks that go through real doors, Kafka and workers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.system.rig import System, system


@pytest.fixture
async def deskbus(environment: dict[str, str], topics: str, tmp_path: Path) -> AsyncIterator[System]:
    """Nothing runs yet."""
    async with system(environment, tmp_path / "logs") as made:
        yield made
