"""Records that cannot be read and those that a hook fails on: one letter each, and a hole for the number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from contracts.dlq import DeadLetter
from contracts.envelope import Event, Head
from kit.protocol.document import Decision, Document
from kit.protocol.handling import Incoming
from kit.protocol.ports import Outgoing
from kit.protocol.record import Unread, place
from tests.kit.raw import Raw
from tests.kit.simulation.records import Poke
from tests.kit.test_delivery import BUG, Pokes, Rig, counted, event, record

SOURCE = "/deskbus/ingest"


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    """T has taken its first event."""
    monkeypatch.setattr(Event, "known_types", {**Event.known_types, Poke.type: Poke})
    made = Rig()
    made.delivery.handling = Pokes(made.documents)
    assert await made.handle(event(1)) == set()
    return made


def unread(offset: int, sequence: int | None) -> Unread:
    """What the client library could not read; with a number its headers say where the event stands."""
    head = None
    if sequence is not None:
        head = Head(id=f"e{sequence}", source=SOURCE, subject="T", sequence=sequence, type=Poke.type)
    return Unread("in", 0, offset, "not UTF-8", head=head)


def letters(rig: Rig) -> list[DeadLetter]:
    return [DeadLetter.from_kafka(e.key, e.value, e.headers) for e in rig.sender.sent if e.topic == "dlq"]


async def test_what_cannot_be_read_is_a_letter_that_says_which_event_it_was() -> None:
    rig = Rig()
    assert await rig.delivery.handle([unread(7, 1)]) == set()
    (letter,) = letters(rig)
    assert (letter.offset, letter.error) == (7, "not UTF-8")
    assert (letter.source, letter.subject, letter.sequence) == (SOURCE, "T", 1)


async def test_what_cannot_be_read_at_all_is_a_letter_too() -> None:
    rig = Rig()
    assert await rig.delivery.handle([unread(7, None)]) == set()
    (letter,) = letters(rig)
    assert (letter.offset, letter.error, letter.sequence) == (7, "not UTF-8", None)


async def test_what_cannot_be_read_leaves_a_hole_that_its_replay_fills(rig: Rig) -> None:
    assert await rig.delivery.handle([unread(2, 2), event(3)]) == set()
    assert await rig.offsets("T") == [1, 3]
    assert await rig.handle(event(2)) == set()
    assert await rig.offsets("T") == [1, 3, 2]


async def broken(*_: object) -> None:
    raise RuntimeError("a bug")


def upto(rig: Rig, doc: str) -> int:
    reached: int = rig.store.rows["docs"][doc]["seen"][SOURCE]["upto"]
    return reached


@pytest.mark.parametrize("readable", [True, False])
async def test_a_number_that_a_hook_fails_on_is_passed_by(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, readable: bool
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(rig.delivery.handling, "before_write", broken)
        assert await rig.delivery.handle([event(2) if readable else unread(2, 2)]) == set()
    assert (upto(rig, "T"), len(letters(rig))) == (2, 1)
    assert await rig.offsets("T") == [1]
    assert await rig.handle(event(2)) == set(), "and replayed"
    assert await rig.offsets("T") == [1, 2]


class Elsewhere(Pokes):
    """Events about a ticket are its queue's: Q."""

    async def locate(self, items: list[Incoming]) -> Mapping[str, Document[dict[str, Any]]]:
        for item in items:
            item.doc_id = "Q"
        return {}

    async def before_write(self, docs: Sequence[Document[dict[str, Any]]]) -> None:
        raise RuntimeError("a bug")


async def test_the_hole_is_in_the_document_whose_the_event_is() -> None:
    rig = Rig()
    rig.delivery.handling = Elsewhere(rig.documents)
    assert await rig.handle(event(1)) == set()
    assert set(rig.store.rows["docs"]) == {"Q"}
    assert upto(rig, "Q") == 1


async def test_an_event_of_a_type_that_the_service_does_not_read_counts_as_seen(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.delivery.handling, "event_types", frozenset(), raising=False)
    monkeypatch.setattr(rig.delivery.handling, "decide", lambda *_: Decision())
    assert await rig.handle(event(2)) == set()
    assert rig.store.rows["docs"]["T"]["seen"][SOURCE]["upto"] == 2


async def test_what_a_bug_in_a_hook_stops_is_unforeseen() -> None:
    made, before = Rig(), counted("unforeseen_faults")
    assert await made.handle(BUG) == set()
    assert (made.letters(), counted("unforeseen_faults") - before) == (1, 1)


async def test_records_whose_letters_are_not_all_confirmed_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made, records = Rig(), [record(1, "T:poison"), record(2, "U:poison")]

    async def first_only(runs: Sequence[Sequence[Outgoing]]) -> list[int]:
        return [1] + [0] * (len(runs) - 1)

    with monkeypatch.context() as patched:
        patched.setattr(made.sender, "send_runs", first_only)
        assert await made.handle(*records) == {place(each) for each in records}
    assert await made.handle(*records) == set()
    assert made.letters() == 2


async def test_a_letter_keeps_its_record_as_it_was() -> None:
    made = Rig()
    headers: list[Any] = [("null", None), ("trace", b"1")]  # Kafka allows a header without a value
    assert await made.handle(Raw("in", 0, 1, b'["T:poison"]', key=b"T", headers=headers)) == set()
    (sent,) = made.sender.sent
    assert (sent.key, sent.value) == (b"T", b'["T:poison"]')
    letter = DeadLetter.from_kafka(sent.key, sent.value, sent.headers)
    assert letter.original_headers == (("null", b""), ("trace", b"1"))
