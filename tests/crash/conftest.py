"""Requirements of campaigns on the machine."""

from __future__ import annotations

import pytest

from deploy.local.mongo import choose


@pytest.fixture(autouse=True)
def _quick_store(request: pytest.FixtureRequest) -> None:
    """Skip campaigns on the slow server from pip, where they would take half of the time of all tests."""
    if request.node.get_closest_marker("slow") and choose() == "pip":
        pytest.skip("needs mongod, or the server that `make server` builds: the one from pip is ten times slower")
