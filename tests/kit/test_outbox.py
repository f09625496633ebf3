"""Publishing by several tasks of one process, and sweeping among several: nothing is left, little is said twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from prometheus_client import REGISTRY

from contracts.envelope import Event
from contracts.payload import Payload
from kit.base.errors import TransientError, Unloadable
from kit.protocol import outbox
from kit.protocol.document import Cause, Decision, Document, Kind
from kit.protocol.outbox import Documents, Saved
from kit.protocol.ports import Outgoing
from tests.fake_clock import FakeClock
from tests.kit.fake_store import Contested, FakeStore

KIND: Kind[dict[str, Any]] = Kind("docs", "/deskbus/test", "out", load=dict, dump=dict, home_topic="in")
START = datetime(2026, 3, 1, tzinfo=UTC)


class Said(Payload):
    """What these documents emit."""

    type: ClassVar[str] = "deskbus.test.said.v1"
    text: str = ""


class SlowSender:
    """Confirms when it is told to."""

    def __init__(self) -> None:
        self.sent: list[bytes | None] = []
        self.go = asyncio.Event()

    async def partitions(self, _: str) -> int:
        return 4

    async def send_runs(self, runs: Sequence[Sequence[Outgoing]]) -> list[int]:
        await self.go.wait()
        self.sent += [record.value for run in runs for record in run]
        return [len(run) for run in runs]


def rig() -> tuple[Documents[dict[str, Any]], SlowSender, FakeClock]:
    sender, clock = SlowSender(), FakeClock(START)
    return Documents(KIND, FakeStore(), sender, clock), sender, clock


async def decided(documents: Documents[dict[str, Any]], doc_id: str) -> None:
    """A document whose event is stored and not yet published, as a crash leaves it."""
    docs = await documents.load([doc_id])
    documents.apply(docs[doc_id], Decision({}, [Said()]))
    await documents.save(list(docs.values()))


async def test_two_tasks_of_one_process_say_the_same_once() -> None:
    documents, sender, _ = rig()
    await decided(documents, "T")
    first, second = await documents.load(["T"]), await documents.load(["T"])
    tasks = [asyncio.create_task(documents.publish(docs.values())) for docs in (first, second)]
    sender.go.set()
    assert await asyncio.gather(*tasks) == [{"T"}, {"T"}]
    assert len(sender.sent) == 1
    await documents.clear()
    assert (await documents.load(["T"]))["T"].outbox == []


async def test_who_waits_for_its_turn_to_publish_shows_that_it_lives_with_each_wait_that_is_over() -> None:
    documents, sender, _ = rig()
    await decided(documents, "T")
    first, second = await documents.load(["T"]), await documents.load(["T"])
    beats: list[int] = []
    other = asyncio.create_task(documents.publish(first.values()))
    await asyncio.sleep(0)
    waits = asyncio.create_task(documents.publish(second.values(), lambda: beats.append(1)))
    await asyncio.sleep(0)
    assert not beats
    sender.go.set()
    await asyncio.gather(other, waits)
    assert len(beats) == 2, "the other's turn, and its own"


async def test_more_than_two_tasks_of_one_process_say_the_same_once() -> None:
    documents, sender, _ = rig()
    await decided(documents, "T")
    send, turns = sender.send_runs, list[int]()

    async def one_at_a_time(runs: Sequence[Sequence[Outgoing]]) -> list[int]:
        turns.append(1)
        assert sum(turns) == 1, "two tasks send at once"
        for _ in range(5):
            await asyncio.sleep(0)
        turns.append(-1)
        return [0 for _ in runs] if len(turns) < 4 else await send(runs)

    sender.send_runs = one_at_a_time  # type: ignore[method-assign]
    sender.go.set()
    docs = [await documents.load(["T"]) for _ in range(4)]
    await asyncio.gather(*(documents.publish(each.values()) for each in docs))
    assert len(sender.sent) == 1


async def test_who_waited_for_a_send_that_failed_sends_it_himself() -> None:
    documents, sender, _ = rig()
    await decided(documents, "T")
    docs = [await documents.load(["T"]) for _ in range(2)]
    send, failed = sender.send_runs, list[int]()

    async def fails_once(runs: Sequence[Sequence[Outgoing]]) -> list[int]:
        if failed:
            return await send(runs)
        await sender.go.wait()
        failed.append(1)
        return [0 for _ in runs]

    sender.send_runs = fails_once  # type: ignore[method-assign]
    tasks = [asyncio.create_task(documents.publish(each.values())) for each in docs]
    sender.go.set()
    assert await asyncio.gather(*tasks) == [set(), {"T"}]
    assert len(sender.sent) == 1


async def test_a_sweeper_leaves_to_others_what_they_own_until_they_must_be_gone() -> None:
    documents, sender, clock = rig()
    sender.go.set()
    await decided(documents, "T")
    home = documents.home_partition("T")
    assert home is not None
    documents.owned = lambda: {0, 1, 2, 3} - {home}
    clock.advance(10)
    await documents.sweep(timedelta(seconds=5))
    assert sender.sent == []
    clock.advance(25)
    await documents.sweep(timedelta(seconds=5))
    assert len(sender.sent) == 1


async def test_a_sweeper_publishes_what_its_own_partitions_left_behind() -> None:
    documents, sender, clock = rig()
    sender.go.set()
    await decided(documents, "T")
    documents.owned = lambda: {documents.home_partition("T") or 0}
    clock.advance(10)
    await documents.sweep(timedelta(seconds=5))
    assert len(sender.sent) == 1


async def test_a_sweeper_sees_its_own_behind_a_backlog_of_others() -> None:
    documents, sender, clock = rig()
    sender.go.set()
    names = [f"T{n}" for n in range(20)]
    for name in names:
        await decided(documents, name)
    mine = names[-1]
    documents.owned = lambda: {documents.home_partition(mine) or 0}
    others = [name for name in names if documents.home_partition(name) != documents.home_partition(mine)]
    clock.advance(10)
    await documents.sweep(timedelta(seconds=5), limit=len(others))
    assert len(sender.sent) == len(names) - len(others)


async def test_a_sweeper_reads_outboxes_only_and_one_that_cannot_be_read_stops_no_other() -> None:
    documents, sender, clock = rig()
    sender.go.set()
    for name in "TUV":
        await decided(documents, name)
    assert isinstance(documents.store, FakeStore)
    rows = documents.store.rows["docs"]
    rows["T"]["state"], rows["T"]["seen"] = 7, 7
    del rows["U"]["outbox"][0]["event"]
    clock.advance(10)
    await documents.sweep(timedelta(seconds=5))
    assert sorted(Event.parse(value or b"").subject for value in sender.sent) == ["T", "V"]


async def test_what_does_not_load_is_passed_over_and_refuses_to_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    documents, sender, _ = rig()
    sender.go.set()
    for name in "TU":
        await decided(documents, name)
    assert isinstance(documents.store, FakeStore)
    documents.store.rows["docs"]["T"]["state"] = 7
    assert [doc.id for doc in await documents.find({"version": 1}, sort=[("_id", 1)], limit=1)] == ["U"]
    with monkeypatch.context() as patched, pytest.raises(Unloadable, match="of docs cannot be loaded"):
        patched.setattr(outbox, "FAULTY", 1)
        await documents.find({})
    with pytest.raises(Unloadable, match="T cannot be loaded"):
        await documents.change("T", lambda _: Decision({}))
    assert documents.store.rows["docs"]["T"]["state"] == 7


async def test_who_counts_what_is_written_counts_each_once() -> None:
    documents, sender, _ = rig()
    sender.go.set()
    said: list[str] = []
    documents.watch(
        lambda docs: said.extend(event.text for doc in docs for event in doc.announced if isinstance(event, Said))
    )
    docs = [await documents.load(["T"]) for _ in range(2)]
    for text, each in zip("ab", docs, strict=True):
        documents.apply(each["T"], Decision({}, [Said(text=text)]))
    winner = docs[0]["T"]
    await documents.save([winner])
    await documents.save([docs[1]["T"]])
    assert said == ["a"], "the other one lost its guard, and will decide again"
    documents.apply(winner, Decision({}, [Said(text="c")]))
    await documents.save([winner])
    assert said == ["a", "c"]


async def test_who_watches_is_told_of_what_was_written_and_not_of_what_was_lost() -> None:
    documents, sender, _ = rig()
    sender.go.set()
    told: list[str] = []
    documents.watch(lambda docs: told.extend(doc.id for doc in docs))
    first, second = [await documents.load(["T"]) for _ in range(2)]
    for docs in (first, second):
        documents.apply(docs["T"], Decision({}, [Said()]))
        await documents.save(list(docs.values()))
    assert told == ["T"]


async def test_a_sweeper_leaves_what_is_fresh_and_takes_so_much_at_once() -> None:
    documents, sender, clock = rig()
    sender.go.set()
    for name in "TUVW":
        await decided(documents, name)
    await documents.sweep(timedelta(seconds=5))
    assert sender.sent == [], "who has decided it is about to publish it"
    clock.advance(7)
    assert await documents.sweep(timedelta(seconds=5), limit=1) == 1
    assert REGISTRY.get_sample_value("deskbus_outbox_oldest_seconds", {"collection": "docs"}) == pytest.approx(7)
    await documents.clear()
    documents.owned = list
    clock.advance(30)
    assert await documents.sweep(timedelta(seconds=5), limit=1) == 1
    await documents.clear()
    assert len(sender.sent) == 2
    documents.owned = None
    assert await documents.sweep(timedelta(seconds=5)) == 2
    await documents.clear()
    await documents.sweep(timedelta(seconds=5))
    assert REGISTRY.get_sample_value("deskbus_outbox_oldest_seconds", {"collection": "docs"}) == 0


async def test_a_change_keeps_its_cause_and_gives_up_after_so_many_lost_guards() -> None:
    store, sender = Contested(), SlowSender()
    documents = Documents(KIND, store, sender, FakeClock(START))
    sender.go.set()
    store.loses["T"] = 10
    with pytest.raises(TransientError, match="T was changed concurrently 10 times"):
        await documents.change("T", lambda _: Decision({}, [Said()]))
    assert sender.sent == []
    store.loses["T"] = 9
    doc = await documents.change("T", lambda _: Decision({"x": 1}, [Said()]), cause=Cause("c", "first"))
    assert doc.state == {"x": 1}
    (event,) = [Event.parse(value or b"") for value in sender.sent]
    assert (event.causationid, event.correlationid) == ("c", "first")


async def test_what_is_lost_is_edited_again_as_it_is_stored_by_then_and_at_most_so_often() -> None:
    store, sender = Contested(), SlowSender()
    documents = Documents(KIND, store, sender, FakeClock(START))
    sender.go.set()
    held = await documents.load(["T"])
    store.loses.update(T=1, U=2)
    edited: list[tuple[str, bool]] = []

    def edit(doc: Document[dict[str, Any]]) -> None:
        edited.append((doc.id, doc is held.get(doc.id)))
        documents.apply(doc, Decision({}, [Said()]))

    won = await documents.edit(["T", "U"], edit, attempts=2, held=held)
    assert edited == [("T", True), ("U", False), ("T", False), ("U", False)]
    assert (list(won), len(sender.sent)) == (["T"], 1)
    edited.clear()
    assert list(await documents.edit(["U"], edit)) == ["U"]
    assert list(await documents.edit([], edit)) == []
    assert edited == [("U", False)]


async def test_what_may_be_written_another_way_is_neither_saved_nor_said_here() -> None:
    documents, sender, _ = rig()
    sender.go.set()

    async def write(docs: Sequence[Document[dict[str, Any]]]) -> Saved[dict[str, Any]]:
        return Saved([doc for doc in docs if doc.id == "U"])

    won = await documents.edit(["T", "U"], lambda doc: documents.apply(doc, Decision({}, [Said()])), write=write)
    assert list(won) == ["U"]
    assert sender.sent == []
    assert [doc.version for doc in (await documents.load(["T", "U"])).values()] == [0, 0]
