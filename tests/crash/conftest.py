"""What campaigns need of the machine."""

from __future__ import annotations

import pytest

from deploy.local.mongo import choose


@pytest.fixture(autouse=True)
def _quick_store(request: pytest.FixtureRequest) -> None:
    """A campaign writes thousands of documents; on the server from pip it alone would take half of all tests' time."""
    if request.node.get_closest_marker("slow") and choose() == "pip":
        pytest.skip("needs mongod, or the server that `make server` builds: the one from pip is ten times slower")
