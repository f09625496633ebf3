"""Timers: which documents fire when, with several partitions of which some are behind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from kit.clock import FakeClock
from kit.document import Decision, Kind
from kit.outbox import Documents
from kit.producer import Outgoing, partition_of
from kit.timers import Ticker
from tests.kit.fake_store import FakeStore

START = datetime(2026, 3, 1, tzinfo=UTC)
KIND: Kind[dict[str, Any]] = Kind(
    "docs", "/deskbus/test", "out", load=dict, dump=dict, home_topic="in", due=lambda state: state["due"]
)
PARTITIONS = 2


class Wire:
    """A broker that takes everything."""

    async def send_runs(self, runs: Sequence[Sequence[Outgoing]]) -> list[int]:
        return [len(run) for run in runs]

    async def partitions(self, topic: str) -> int:
        return PARTITIONS


class Positions:
    """All partitions are ours; those in `behind` have records that are not handled."""

    def __init__(self) -> None:
        self.behind: set[int] = set()

    def owned(self, topic: str) -> list[int]:
        return list(range(PARTITIONS))

    async def reached_end(self, topics: Iterable[str], partitions: Iterable[int]) -> set[int]:
        return set(partitions) - self.behind


def names(partition: int, count: int) -> list[str]:
    ids = (f"t{n}" for n in range(1000))
    return [doc_id for doc_id in ids if partition_of(doc_id.encode(), PARTITIONS) == partition][:count]


async def due_at(documents: Documents[dict[str, Any]], ids: Sequence[str], at: datetime) -> None:
    await documents.change_many(ids, lambda *_: Decision({"due": at}))


async def test_a_partition_that_is_behind_holds_up_no_other() -> None:
    clock, positions, fired = FakeClock(START), Positions(), list[str]()
    documents = Documents(KIND, FakeStore(), Wire(), clock)
    slow, quick = names(0, 5), names(1, 1)
    await due_at(documents, slow, START + timedelta(seconds=1))
    await due_at(documents, quick, START + timedelta(seconds=2))

    def fire(state: dict[str, Any], now: datetime) -> Decision[dict[str, Any]]:
        fired.append(state["due"].isoformat())
        return Decision({"due": None})

    ticker = Ticker(documents, positions, fire, clock, grace=timedelta(0), limit=3)
    positions.behind = {0}
    clock.set(START + timedelta(seconds=3))
    for _ in range(4):
        await ticker.tick()
    assert fired == [(START + timedelta(seconds=2)).isoformat()]
    positions.behind = set()
    for _ in range(4):
        await ticker.tick()
    assert len(fired) == 1 + len(slow)
