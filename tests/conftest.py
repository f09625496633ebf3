"""Kafka, MongoDB and names of one's own for tests. Fixtures that know a service stay in that service's folder.

A test that takes `kafka`, `mongo`, `topics` or `environment` is marked `stack` by itself. The servers are those that
the environment names, else a stack that lives as long as the test session.
"""

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings
from pymongo import MongoClient

from cli.topics import create_topics, delete_topics
from deploy.local import Stack, free_port
from deploy.local.stack import DATA, Addresses

_NEEDS_STACK = {"kafka", "mongo", "topics", "environment"}
_PARTITIONS = 4
_STACK = pytest.StashKey[Stack]()
_ADDRESSES = pytest.StashKey[Addresses]()

# A busy machine is slow, not wrong.
settings.register_profile("deskbus", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
# For mutation tests, each of which runs hundreds of times: few examples, the same ones each time.
settings.register_profile("mutants", settings.get_profile("deskbus"), max_examples=20, derandomize=True, database=None)
settings.load_profile(os.environ.get("DESKBUS_HYPOTHESIS", "deskbus"))

# Plain tracebacks in captured logs: pretty ones take seconds each.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


@dataclass(frozen=True)
class Prefix:
    """What keeps one test's topics and databases apart from all others: `topics` goes before topic names."""

    topics: str
    mongo: str


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _NEEDS_STACK & set(getattr(item, "fixturenames", ())):
            item.add_marker("stack")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the servers here and not in a fixture: fetching them once may take longer than a test's time limit."""
    if session.config.option.collectonly or not any(item.get_closest_marker("stack") for item in session.items):
        return
    stack = Stack(DATA / f"test-{os.getpid()}", free_port(), free_port())
    session.config.stash[_STACK] = stack
    session.config.stash[_ADDRESSES] = stack.up()


def pytest_unconfigure(config: pytest.Config) -> None:
    stack = config.stash.get(_STACK, None)
    if stack is not None:
        stack.discard()


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config) -> str:
    """Bootstrap servers."""
    return pytestconfig.stash[_ADDRESSES].kafka


@pytest.fixture(scope="session")
def mongo(pytestconfig: pytest.Config) -> str:
    """Connection string."""
    return pytestconfig.stash[_ADDRESSES].mongo


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> Iterator[Prefix]:
    """Unique to the test; its databases are dropped afterwards."""
    name = f"t{secrets.token_hex(5)}"
    yield Prefix(topics=f"{name}.", mongo=name)
    if "mongo" in request.fixturenames:
        with MongoClient[dict[str, object]](request.getfixturevalue("mongo")) as client:
            for database in client.list_database_names():
                if database.startswith(f"{name}_"):
                    client.drop_database(database)


@pytest.fixture
async def topics(kafka: str, prefix: Prefix) -> AsyncIterator[str]:
    """All topics of the contracts exist under the test's prefix, which is the fixture's value."""
    await create_topics(kafka, prefix.topics, _PARTITIONS)
    yield prefix.topics
    await delete_topics(kafka, prefix.topics)


@pytest.fixture
def environment(kafka: str, mongo: str, prefix: Prefix) -> dict[str, str]:
    """What a service process is started with, beside what is its own."""
    return {
        "DESKBUS_KAFKA": kafka,
        "DESKBUS_MONGO": mongo,
        "DESKBUS_TOPIC_PREFIX": prefix.topics,
        "DESKBUS_MONGO_PREFIX": prefix.mongo,
    }


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return Path(__file__).resolve().parents[1]
