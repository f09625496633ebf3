"""Commits on an interval: not one for each batch, none for what has gone, and none that is owed at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError

from kit.kafka.commits import Commits
from tests.fake_clock import FakeClock
from tests.kit.test_outbox import START

ONE, TWO = TopicPartition("in", 0), TopicPartition("in", 1)


class Client:
    """Plays the client library's side of the group."""

    def __init__(self) -> None:
        self.mine = {ONE, TWO}
        self.committed: list[dict[TopicPartition, tuple[int, str]]] = []
        self.refuses = False

    async def commit(self, positions: Mapping[TopicPartition, tuple[int, str]]) -> None:
        if self.refuses:
            raise CommitFailedError
        self.committed.append(dict(positions))


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


@pytest.fixture
def commits(client: Client, clock: FakeClock) -> Commits:
    return Commits(cast("Any", lambda: client), lambda: client.mine, clock, 0.2)


async def test_positions_of_several_batches_are_one_commit(commits: Commits, client: Client, clock: FakeClock) -> None:
    commits.note({ONE: (1, "")})
    await commits.flush_due()
    clock.advance(0.19)
    commits.note({ONE: (5, ""), TWO: (2, "")})
    await commits.flush_due()
    assert client.committed == []
    clock.advance(0.01)
    await commits.flush_due()
    assert client.committed == [{ONE: (5, ""), TWO: (2, "")}]


async def test_with_no_interval_each_batch_is_committed(client: Client, clock: FakeClock) -> None:
    commits = Commits(cast("Any", lambda: client), lambda: client.mine, clock, 0.0)
    for offset in (1, 2):
        commits.note({ONE: (offset, "")})
        await commits.flush_due()
    assert client.committed == [{ONE: (1, "")}, {ONE: (2, "")}]


async def test_nothing_to_commit_asks_nobody(commits: Commits, client: Client, clock: FakeClock) -> None:
    clock.advance(10)
    await commits.flush_due()
    await commits.flush()
    assert client.committed == []


async def test_what_is_owed_is_committed_when_asked_for(commits: Commits, client: Client) -> None:
    commits.note({ONE: (1, "")})
    await commits.flush()
    await commits.flush()
    assert client.committed == [{ONE: (1, "")}]


async def test_a_commit_that_is_asked_for_begins_the_interval_anew(
    commits: Commits, client: Client, clock: FakeClock
) -> None:
    commits.note({ONE: (1, "")})
    clock.advance(0.2)
    await commits.flush()
    commits.note({ONE: (2, "")})
    clock.advance(0.1)
    await commits.flush_due()
    assert client.committed == [{ONE: (1, "")}]


async def test_positions_of_partitions_that_have_gone_are_not_committed(commits: Commits, client: Client) -> None:
    commits.note({ONE: (1, ""), TWO: (2, "")})
    client.mine = {TWO}
    await commits.flush()
    assert client.committed == [{TWO: (2, "")}]


async def test_positions_from_before_partitions_moved_are_forgotten(commits: Commits, client: Client) -> None:
    commits.note({ONE: (1, "")})
    commits.clear()
    await commits.flush()
    assert client.committed == []


async def test_a_commit_that_is_refused_stops_nothing(commits: Commits, client: Client) -> None:
    client.refuses = True
    commits.note({ONE: (1, "")})
    await commits.flush()
    client.refuses = False
    commits.note({ONE: (3, "")})
    await commits.flush()
    assert client.committed == [{ONE: (3, "")}]
