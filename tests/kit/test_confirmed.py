"""Confirmed entries: none is sent again, and all of them leave the stored outboxes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from kit.base.errors import TransientError
from kit.protocol import confirmed
from kit.protocol.confirmed import CLEARED, Confirmed
from kit.protocol.document import OUTBOX_CAP, Decision
from kit.protocol.outbox import Documents
from tests.fake_clock import FakeClock
from tests.kit.fake_store import FakeStore, copied
from tests.kit.test_outbox import KIND, START, Said, SlowSender, decided, rig


async def test_confirmed_entries_that_leave_later_are_not_said_again_in_the_meantime() -> None:
    sender, clock = SlowSender(), FakeClock(START)
    documents = Documents(KIND, FakeStore(), sender, clock)
    sender.go.set()
    await decided(documents, "T")
    for _ in range(2):
        assert await documents.publish((await documents.load(["T"])).values()) == {"T"}
    assert len(sender.sent) == 1
    assert len((await documents.load(["T"]))["T"].outbox) == 1
    await documents.clear()
    assert (await documents.load(["T"]))["T"].outbox == []


async def test_entries_that_could_not_be_cleared_are_not_sent_again_however_many_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(confirmed, "REMEMBERED", 1)
    documents, sender, _ = rig()
    sender.go.set()
    for name in "TUV":
        await decided(documents, name)
    for _ in range(2):
        assert await documents.publish((await documents.load("TUV")).values()) == {"T", "U", "V"}
    assert len(sender.sent) == 3


async def test_what_a_document_had_when_it_was_loaded_is_not_sent_again_after_it_was_cleared() -> None:
    documents, sender, _ = rig()
    sender.go.set()
    await decided(documents, "T")
    early, late = await documents.load(["T"]), await documents.load(["T"])
    await documents.publish(early.values())
    await documents.clear()
    assert await documents.publish(late.values()) == {"T"}
    assert len(sender.sent) == 1


async def test_only_the_latest_entries_are_remembered_once_they_have_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirmed, "REMEMBERED", 2)
    known = Confirmed()

    async def pulled(_: Mapping[str, Sequence[str]]) -> None:
        """Take them all."""

    known.add("T", ["T:1", "T:2", "T:3", "T:4"])
    known.add("U", ["U:1"])
    await known.clear(pulled)
    assert [entry for entry in ("T:1", "T:2", "T:3", "T:4", "U:1") if entry in known] == ["T:4", "U:1"]


async def test_entries_that_are_back_in_the_store_leave_again_unsaid() -> None:
    """A failover may roll back the statement that cleared them."""
    store, sender, clock = FakeStore(), SlowSender(), FakeClock(START)
    documents = Documents(KIND, store, sender, clock)
    sender.go.set()
    await decided(documents, "T")
    before = copied(store.rows["docs"]["T"])
    await documents.publish((await documents.load(["T"])).values())
    await documents.clear()
    store.rows["docs"]["T"] = before
    await documents.publish((await documents.load(["T"])).values())
    await documents.clear()
    assert (await documents.load(["T"]))["T"].outbox == []
    assert len(sender.sent) == 1


async def test_entries_that_could_not_leave_leave_at_the_next_try() -> None:
    store, sender, clock = FakeStore(), SlowSender(), FakeClock(START)
    documents = Documents(KIND, store, sender, clock)
    sender.go.set()
    await decided(documents, "T")
    await documents.publish((await documents.load(["T"])).values())
    store.away = True
    with pytest.raises(TransientError):
        await documents.clear()
    store.away = False
    await documents.clear()
    assert (await documents.load(["T"]))["T"].outbox == []


async def test_after_a_long_outage_entries_leave_one_by_one_at_first() -> None:
    documents, store = await owing(3)
    store.away = True
    for _ in range(CLEARED.bit_length() + 1):
        with pytest.raises(TransientError):
            await documents.clear()
    store.away = False
    store.statements.clear()
    async with asyncio.timeout(5):
        await documents.clear()
    assert store.statements == [1, 2]
    assert store.left() == 0


async def owing(count: int, entries: int = 1) -> tuple[Documents[dict[str, Any]], Clearing]:
    """Documents whose confirmed entries are to leave the store."""
    store, sender = Clearing(), SlowSender()
    documents = Documents(KIND, store, sender, FakeClock(START))
    sender.go.set()
    docs = await documents.load([f"T{n}" for n in range(count)])
    for doc in docs.values():
        documents.apply(doc, Decision({}, [Said()] * entries))
    await documents.publish((await documents.save(list(docs.values()))).won)
    return documents, store


class Clearing(FakeStore):
    """Notes how many entries each statement clears. What is too much for it times out, and happens all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.statements: list[int] = []
        self.too_much = 10**9

    async def clear(self, collection: str, confirmed: Mapping[str, Sequence[str]]) -> None:
        self.statements.append(sum(len(entries) for entries in confirmed.values()))
        await super().clear(collection, confirmed)
        if self.statements[-1] > self.too_much:
            raise TransientError("timed out")

    def left(self) -> int:
        return sum(len(row["outbox"]) for row in self.rows["docs"].values())


async def test_what_is_confirmed_leaves_in_statements_of_a_bounded_size() -> None:
    documents, store = await owing(3, entries=OUTBOX_CAP)
    await documents.clear()
    full, rest = divmod(3 * OUTBOX_CAP, CLEARED)
    assert store.statements == [CLEARED] * full + [rest] * (rest > 0)
    assert store.left() == 0


async def test_after_a_time_out_less_is_cleared_at_once_and_nothing_is_owed_twice() -> None:
    documents, store = await owing(CLEARED)
    store.too_much = CLEARED // 4
    for _ in range(2):
        with pytest.raises(TransientError):
            await documents.clear()
        await documents.publish((await documents.load([f"T{n}" for n in range(CLEARED)])).values())
    store.too_much = 10**9
    await documents.clear()
    assert store.statements[:3] == [CLEARED, CLEARED // 2, CLEARED // 4]
    assert sum(store.statements[2:]) == CLEARED
    assert store.left() == 0


async def test_statements_grow_again_once_the_store_takes_them() -> None:
    documents, store = await owing(2, entries=OUTBOX_CAP)
    store.too_much = 0
    with pytest.raises(TransientError):
        await documents.clear()
    store.too_much = 10**9
    await documents.clear()
    assert store.statements[:4] == [CLEARED, CLEARED // 2, CLEARED, CLEARED]
    assert store.left() == 0
