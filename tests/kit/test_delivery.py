"""One outcome for each record of a batch: whatever fails, nothing of a subject overtakes what came before it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import REGISTRY

from contracts.dlq import DeadLetter
from contracts.envelope import Event
from kit.base.errors import TransientError
from kit.protocol.deadletter import DeadLetters
from kit.protocol.delivery import PATIENCE, ROUNDS, Delivery
from kit.protocol.document import MISSING_CAP, Decision, Document, Kind
from kit.protocol.handling import Handling, Incoming
from kit.protocol.outbox import Documents
from kit.protocol.ports import Outgoing
from kit.protocol.record import Place, Record, place
from tests.clearing import ClearedAtOnce
from tests.fake_clock import FakeClock
from tests.kit.fake_store import Contested
from tests.kit.raw import Raw
from tests.kit.simulation.records import Poke, poke

START = datetime(2026, 3, 1, tzinfo=UTC)


def loaded(state: Mapping[str, Any]) -> dict[str, Any]:
    if state.get("newer"):
        raise ValueError("what a newer replica has written")
    return dict(state)


KIND: Kind[dict[str, Any]] = Kind("docs", "/deskbus/test", "out", load=loaded, dump=dict, home_topic="in")


def record(offset: int, *parts: str, partition: int = 0) -> Raw:
    """A record about several documents: each part is `document` or `document:fault`."""
    return Raw("in", partition, offset, json.dumps(parts).encode())


class Publisher:
    """Confirms everything, unless it is deaf, and keeps what it was given."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []
        self.deaf = False

    async def partitions(self, _: str) -> int:
        return 4

    async def send_runs(self, runs: Sequence[Sequence[Outgoing]]) -> list[int]:
        if self.deaf:
            return [0] * len(runs)
        self.sent += [each for run in runs for each in run]
        return [len(run) for run in runs]


class Notes(Handling[dict[str, Any]]):
    """Notes the offset of each record in the documents that it is about, once."""

    def expand(self, record: Record) -> Sequence[Incoming]:
        parts = [part.partition(":") for part in json.loads(record.value or b"")]
        if any(fault == "unreadable for now" for _, _, fault in parts):
            raise TransientError("unreadable for now")
        return [Incoming(record, doc_id=name, value=fault) for name, _, fault in parts]

    async def locate(self, items: list[Incoming]) -> Mapping[str, Document[dict[str, Any]]]:
        if any(item.value == "bug" for item in items):
            raise RuntimeError("a bug that shows before anything is decided")
        return {}

    def decide(self, state: dict[str, Any] | None, item: Incoming, now: datetime) -> Decision[dict[str, Any]]:
        if item.value == "poison":
            raise ValueError("poison")
        if item.value == "waits":
            raise TransientError("waits")
        offsets = (state or {"offsets": []})["offsets"]
        return Decision({"offsets": [*offsets, item.record.offset]} if item.record.offset not in offsets else None)


class Rig:
    """One replica's delivery over a store in memory."""

    def __init__(self, **limits: Any) -> None:
        self.store, self.sender, clock = Contested(), Publisher(), FakeClock(START)
        self.documents = ClearedAtOnce(KIND, self.store, self.sender, clock)
        letters = DeadLetters("dlq", "test", self.sender)
        self.delivery = Delivery(self.documents, Notes(), letters, **limits)

    async def handle(self, *records: Raw) -> set[Place]:
        return await self.delivery.handle(records)

    async def offsets(self, doc_id: str) -> list[int]:
        doc = (await self.documents.load([doc_id]))[doc_id]
        return [] if doc.state is None else list(doc.state["offsets"])

    def letters(self) -> int:
        return sum(each.topic == "dlq" for each in self.sender.sent)


class Pokes(Handling[dict[str, Any]]):
    """Notes the number of each event; for the second one of T it reads another document first, if a test names one."""

    def __init__(self, documents: Documents[dict[str, Any]]) -> None:
        self.documents, self.reads = documents, ""
        self.incomplete: list[int] = []

    async def before_write(self, docs: Sequence[Document[dict[str, Any]]]) -> None:
        assert all(doc.state is not None for doc in docs)
        if self.reads and any(doc.id == "T" and doc.state and 2 in doc.state["offsets"] for doc in docs):
            assert (await self.documents.load([self.reads]))[self.reads].state is not None

    async def after_write(self, won: Sequence[Document[Any]], lost: Sequence[Document[Any]]) -> None:
        assert all(doc.state is not None for doc in (*won, *lost))

    def decide(self, state: dict[str, Any] | None, item: Incoming, now: datetime) -> Decision[dict[str, Any]]:
        assert item.event is not None
        self.incomplete += [item.event.sequence] * item.incomplete
        return Decision({"offsets": [*(state or {"offsets": []})["offsets"], item.event.sequence]})


BUG = record(9, "X:bug", partition=1)


@pytest.mark.parametrize("rest", [(), (BUG,)], ids=["whole", "one by one"])
async def test_what_follows_on_a_document_that_waits_waits_too(rest: Sequence[Raw]) -> None:
    rig, first, second = Rig(), record(1, "T:waits"), record(2, "T", "U")
    assert await rig.handle(first, second, record(3, "V"), *rest) == {place(first), place(second)}
    assert [await rig.offsets(name) for name in "TUV"] == [[], [2], [3]]


@pytest.mark.parametrize("rest", [(), (BUG,)], ids=["whole", "one by one"])
async def test_what_was_lost_too_often_is_not_overtaken(rest: Sequence[Raw]) -> None:
    rig, first, second = Rig(), record(1, "T"), record(2, "T")
    rig.store.loses["T"] = ROUNDS
    assert await rig.handle(first, second, record(3, "V"), *rest) == {place(first), place(second)}
    assert await rig.offsets("V") == [3]
    assert await rig.handle(first, second) == set()
    assert await rig.offsets("T") == [1, 2]


async def test_a_lost_document_keeps_its_order_though_one_of_its_records_waits_for_another() -> None:
    rig, first, second = Rig(), record(1, "T", "U:waits"), record(2, "T")
    rig.store.loses["T"] = 1
    assert await rig.handle(first, second) == {place(first)}
    assert await rig.offsets("T") == [1, 2]


async def test_nothing_overtakes_a_record_of_which_nobody_knows_yet_whose_it_is() -> None:
    rig, first, second = Rig(), record(1, "T:unreadable for now"), record(2, "T")
    assert await rig.handle(first, second, record(3, "V", partition=1)) == {place(first), place(second)}
    assert [await rig.offsets(name) for name in "TV"] == [[], [3]]


async def test_a_dead_record_is_one_letter_though_its_document_was_lost() -> None:
    rig = Rig()
    rig.store.loses["T"] = 2
    assert await rig.handle(record(1, "T"), record(2, "T:poison"), record(3, "T")) == set()
    assert await rig.offsets("T") == [1, 3]
    assert rig.letters() == 1


async def test_a_record_that_is_given_up_is_one_letter_though_its_document_was_lost() -> None:
    rig = Rig(attempts=2)
    assert await rig.handle(record(2, "T:waits")) == {("in", 0, 2)}
    rig.store.loses["T"] = 2
    assert await rig.handle(record(1, "T"), record(2, "T:waits")) == set()
    assert await rig.offsets("T") == [1]
    assert rig.letters() == 1


async def test_a_part_that_waits_is_not_given_up_for_a_dead_one_and_there_is_one_letter() -> None:
    rig = Rig(attempts=3)
    for _ in range(2):
        assert await rig.handle(record(1, "T:poison", "U:waits", "V")) == {("in", 0, 1)}
        assert rig.letters() == 1
    assert await rig.offsets("V") == [1]
    assert await rig.handle(record(1, "T:poison", "U", "V")) == set()
    assert await rig.offsets("U") == [1]
    assert rig.letters() == 1
    assert await rig.handle(record(1, "T:poison")) == set()
    assert rig.letters() == 2, "what was done and comes again is another matter"


async def test_tries_are_counted_once_a_batch_however_it_is_handled() -> None:
    rig = Rig(attempts=3)
    for _ in range(2):
        assert await rig.handle(record(1, "T:waits"), BUG) == {("in", 0, 1)}
    assert rig.letters() == 2, "of the bug, in both batches"
    assert await rig.handle(record(1, "T:waits")) == set()
    assert rig.letters() == 3


def event(sequence: int, subject: str = "T") -> Raw:
    return Raw("in", 0, sequence, poke(sequence, subject=subject))


class Reasons(Notes):
    """Fails with the words that the record brings."""

    def decide(self, state: dict[str, Any] | None, item: Incoming, now: datetime) -> Decision[dict[str, Any]]:
        if item.value == "waits":
            raise TransientError("not now")
        raise ValueError(item.value)


async def test_a_letter_says_why_when_and_after_how_many_tries() -> None:
    rig = Rig(attempts=3)
    rig.delivery.handling = Reasons()
    await rig.handle(record(1, "T:no such thing"))
    for _ in range(3):
        await rig.handle(record(2, "T:waits"))
    await rig.handle(record(3, "T:" + "x" * 5000))
    await rig.handle(record(4, "T:\ud800"))
    letters = [DeadLetter.from_kafka(each.key, each.value, each.headers) for each in rig.sender.sent]
    assert [(letter.offset, letter.attempts, letter.at) for letter in letters] == [
        (1, 1, START), (2, 3, START), (3, 1, START), (4, 1, START)
    ]  # fmt: skip
    assert [letter.error for letter in letters[:2]] == ["ValueError: no such thing", "given up: not now"]
    assert len(letters[2].error) == 2000
    assert letters[3].error == "ValueError: ?"
    assert {letter.sequence for letter in letters} == {None}


async def test_a_record_after_one_that_was_given_up_has_all_its_tries() -> None:
    rig = Rig(attempts=2)
    for _ in range(2):
        await rig.handle(record(1, "T:waits"))
    assert rig.letters() == 1
    assert await rig.handle(record(1, "T:waits")) == {("in", 0, 1)}, "as when the topic was made anew"


@pytest.fixture
async def poked(monkeypatch: pytest.MonkeyPatch) -> Rig:
    """T has taken its first event."""
    monkeypatch.setattr(Event, "known_types", {**Event.known_types, Poke.type: Poke})
    rig = Rig(attempts=2)
    rig.delivery.handling = Pokes(rig.documents)
    assert await rig.handle(event(1)) == set()
    return rig


def counted(name: str) -> float:
    return REGISTRY.get_sample_value(f"deskbus_{name}_total") or 0.0


async def test_more_missing_than_is_remembered_is_a_dead_letter_and_stalls_nothing(poked: Rig) -> None:
    gaps = counted("sequence_gaps")
    last = MISSING_CAP + 3
    assert await poked.handle(event(last), event(last + 1)) == set()
    assert await poked.offsets("T") == [1, last + 1]
    assert poked.letters() == 1
    (letter,) = [DeadLetter.from_kafka(e.key, e.value, e.headers) for e in poked.sender.sent if e.topic == "dlq"]
    assert (letter.source, letter.subject, letter.sequence) == ("/deskbus/ingest", "T", last)
    assert letter.error.startswith("gap: more than 1000 earlier events of /deskbus/ingest")
    assert counted("sequence_gaps") == gaps + MISSING_CAP + 1
    assert await poked.handle(event(last), event(last - 1), event(2)) == set(), "replayed, late, and given up"
    assert await poked.offsets("T") == [1, last + 1, last, last - 1]


async def test_a_decision_knows_whether_others_of_its_source_are_missing(poked: Rig) -> None:
    await poked.handle(event(2), event(4), event(5))
    await poked.handle(event(3), event(6))
    assert isinstance(poked.delivery.handling, Pokes)
    assert poked.delivery.handling.incomplete == [4, 5, 3]


async def test_a_source_that_is_met_late_is_no_gap_and_counted_apart(poked: Rig) -> None:
    gaps, late = counted("sequence_gaps"), counted("first_seen_late")
    assert await poked.handle(event(5000, "U"), event(5001, "U"), event(1, "V")) == set()
    assert await poked.offsets("U") == [5000, 5001]
    assert poked.letters() == 0
    assert (counted("sequence_gaps"), counted("first_seen_late")) == (gaps, late + 1)


@pytest.fixture
async def aged(poked: Rig) -> Rig:
    """T has then been written by a newer replica; it has something to say still."""
    rig = poked
    row = rig.store.rows["docs"]["T"]
    row["state"] = {"newer": True}
    row["outbox"] = [{"id": "e1", "sequence": 1, "at": START, "event": b"{}"}]
    return rig


async def test_what_does_not_load_waits_and_stops_no_other(aged: Rig) -> None:
    assert await aged.handle(event(2), event(1, "U"), event(3)) == {("in", 0, 2), ("in", 0, 3)}
    assert await aged.offsets("U") == [1]
    aged.store.rows["docs"]["T"]["state"] = {"offsets": [1]}
    assert await aged.handle(event(2), event(3)) == set()
    assert await aged.offsets("T") == [1, 2, 3]


async def test_what_does_not_load_for_long_is_a_dead_letter_and_nothing_of_its_document_is_lost(aged: Rig) -> None:
    for tries in range(2 * PATIENCE - 1):
        assert await aged.handle(event(2)) == {("in", 0, 2)}, tries
    assert await aged.handle(event(2)) == set()
    assert aged.letters() == 1
    row = aged.store.rows["docs"]["T"]
    assert row["state"] == {"newer": True}
    assert row["outbox"] == [], "it was said"
    row["state"] = {"offsets": [1]}
    assert await aged.handle(event(2)) == set(), "and replayed"
    assert await aged.offsets("T") == [1, 2]


async def test_what_a_hook_needs_and_does_not_load_stops_no_other(aged: Rig) -> None:
    aged.store.rows["docs"]["S"] = {**aged.store.rows["docs"]["T"], "_id": "S"}
    aged.store.rows["docs"]["T"]["state"] = {"offsets": [1]}
    assert isinstance(aged.delivery.handling, Pokes)
    aged.delivery.handling.reads = "S"
    first, second = event(2), Raw("in", 1, 1, poke(1, subject="U"))
    for tries in range(2 * PATIENCE - 1):
        assert await aged.handle(first, event(3), second) == {("in", 0, 2), ("in", 0, 3)}, tries
    assert await aged.offsets("U") == [1]
    assert aged.letters() == 0
    assert await aged.handle(first) == set()
    assert aged.letters() == 1


async def locating(_: object) -> Mapping[str, Document[dict[str, Any]]]:
    raise RuntimeError("a bug")


async def writing(_: object) -> None:
    raise RuntimeError("a bug")


@pytest.mark.parametrize(("hook", "bug"), [("locate", locating), ("before_write", writing)])
@pytest.mark.parametrize("faster", [False, True])
async def test_a_first_event_that_a_hook_fails_on_is_taken_when_it_is_replayed(
    poked: Rig, monkeypatch: pytest.MonkeyPatch, hook: str, bug: Any, faster: bool
) -> None:
    first = event(1, "U")
    with monkeypatch.context() as patched:
        patched.setattr(poked.delivery.handling, hook, bug)
        if faster:
            poked.store.loses["U"] = 1
            assert await poked.handle(first) == {place(first)}, (
                "another writer changed the document of a dead letter first"
            )
        assert await poked.handle(first) == set()
    assert poked.letters() == 1
    assert await poked.handle(event(2, "U")) == set()
    assert await poked.handle(first) == set()
    assert await poked.offsets("U") == [2, 1]


async def test_an_event_whose_effect_is_stored_leaves_no_hole_when_a_hook_fails_after_it(
    poked: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def after(*_: object) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(poked.delivery.handling, "after_write", after)
        assert await poked.handle(event(1, "U")) == set()
    assert await poked.handle(event(1, "U")) == set()
    assert await poked.offsets("U") == [1]


async def test_whoever_watches_is_not_told_of_what_does_not_load(aged: Rig) -> None:
    told: list[object] = []
    aged.documents.watch(lambda docs: told.extend(doc.state for doc in docs))
    unknown = Raw("in", 0, 2, poke(2, "ignored"))
    assert await aged.handle(unknown) == set()
    assert told == []
    assert aged.store.rows["docs"]["T"]["seen"]["/deskbus/ingest"]["upto"] == 2
    assert aged.store.rows["docs"]["T"]["state"] == {"newer": True}


async def test_a_service_is_told_of_what_was_written_although_it_cannot_be_published(
    poked: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = list[str]()

    async def unreachable(_: object) -> list[int]:
        raise TransientError("no broker")

    async def after(won: Sequence[Document[Any]], _: object) -> None:
        told.extend(doc.id for doc in won)

    monkeypatch.setattr(poked.delivery.handling, "after_write", after)
    monkeypatch.setattr(poked.sender, "send_runs", unreachable)
    monkeypatch.setattr(poked.delivery.handling, "decide", lambda *_: Decision({"offsets": []}, [Poke(kind="plain")]))
    assert len(await poked.handle(event(1, "U"))) == 1
    assert told == ["U"]
