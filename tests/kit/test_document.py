"""The rules of a document as a value: taking events once, numbering what is emitted, refusing what does not fit."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.envelope import Event
from contracts.payload import Payload
from kit.base.errors import Full, TooLarge, Unloadable
from kit.protocol import document
from kit.protocol.document import MISSING_CAP, OUTBOX_CAP, Cause, Decision, Document, Kind, Seen

NOW = datetime(2026, 3, 1, tzinfo=UTC)
KIND: Kind[dict[str, Any]] = Kind("docs", "/deskbus/test", "out", load=dict, dump=dict)


class Said(Payload):
    """What the documents of these tests emit."""

    type: ClassVar[str] = "deskbus.test.said.v1"
    text: str = ""


def test_an_event_is_taken_once() -> None:
    seen = Seen()
    assert not seen.has(1)
    assert seen.take(1) == 0
    assert seen.has(1)


def test_a_gap_is_counted_once_and_its_events_are_still_taken() -> None:
    seen = Seen()
    assert seen.take(4) == 3
    assert [n for n in range(1, 6) if not seen.has(n)] == [1, 2, 3, 5]
    assert seen.take(2) == 0
    assert seen.missing == {1, 3}


def test_a_dead_letter_is_passed_by_and_taken_when_it_is_replayed() -> None:
    seen = Seen()
    seen.take(1)
    assert seen.take(2, dead=True) == 0
    assert seen.take(3) == 0
    assert not seen.has(2)
    seen.take(2)
    assert seen.has(2)
    assert seen.missing == set()


def test_a_document_lacks_what_a_gap_or_a_dead_letter_left_out_until_it_comes() -> None:
    doc: Document[Any] = Document("T")
    assert not doc.lacks("/deskbus/sla", 5)
    doc.take("/deskbus/sla", 5)
    assert [doc.lacks("/deskbus/sla", 6), doc.lacks("/deskbus/sla", 7)] == [False, True]
    doc.take("/deskbus/sla", 6, dead=True)
    assert [doc.lacks("/deskbus/sla", number) for number in (6, 7)] == [True, True]
    assert not doc.lacks("/deskbus/ingest", 1)
    doc.take("/deskbus/sla", 7)
    doc.take("/deskbus/sla", 6)
    assert not doc.lacks("/deskbus/sla", 8)


def test_of_missing_numbers_the_newest_are_remembered_and_the_oldest_are_given_up() -> None:
    seen = Seen()
    assert not seen.overflows(MISSING_CAP + 1)
    assert seen.overflows(MISSING_CAP + 2)
    assert seen.take(MISSING_CAP + 6) == MISSING_CAP + 5
    assert seen.missing == set(range(6, MISSING_CAP + 6))
    assert seen.has(5)


def test_what_is_missing_already_counts_towards_what_is_remembered() -> None:
    seen = Seen()
    seen.take(601)
    assert not seen.overflows(1002)
    assert seen.overflows(1003)
    assert not seen.overflows(5), "one of the missing"
    seen.take(1201)
    assert len(seen.missing) == MISSING_CAP
    assert not seen.overflows(1202)
    assert seen.overflows(1203)


def test_dead_letters_beyond_what_is_remembered_give_up_the_oldest() -> None:
    seen = Seen()
    for number in range(1, MISSING_CAP + 2):
        seen.take(number, dead=True)
    assert seen.has(1)
    assert len(seen.missing) == MISSING_CAP
    assert not seen.has(2)
    assert not seen.has(MISSING_CAP + 1)


def test_a_number_beyond_all_measure_costs_no_memory() -> None:
    seen = Seen()
    assert seen.take(10**15) == 10**15 - 1
    assert len(seen.missing) == MISSING_CAP


def test_a_source_is_taken_from_its_first_event_on() -> None:
    doc: Document[dict[str, Any]] = Document("T")
    assert not doc.overflows("/deskbus/ingest", 5000)
    assert doc.take("/deskbus/ingest", 5000) == 0
    assert doc.has_seen("/deskbus/ingest", 4999)
    assert doc.take("/deskbus/sla", 70, dead=True) == 0
    assert doc.has_seen("/deskbus/sla", 69)
    assert not doc.has_seen("/deskbus/sla", 70)
    assert doc.take("/deskbus/ingest", 5002) == 1
    assert doc.overflows("/deskbus/ingest", 7000)


@given(st.lists(st.integers(1, 30)))
def test_whatever_the_order_each_number_is_new_exactly_once(numbers: list[int]) -> None:
    seen, taken = Seen(), list[int]()
    for n in numbers:
        if not seen.has(n):
            seen.take(n)
            taken.append(n)
    assert sorted(taken) == sorted(set(numbers))
    assert seen.missing == set(range(1, max(numbers, default=0))) - set(numbers)


def test_events_are_numbered_without_a_gap_and_fixed_when_they_enter() -> None:
    doc: Document[dict[str, Any]] = Document("T")
    for text in "ab":
        document.apply(KIND, doc, Decision({"last": text}, [Said(text=text)]), now=NOW, cause=None, limit=10_000)
    events = [Event.parse(e.event) for e in doc.fresh]
    assert [(e.id, e.sequence, e.subject) for e in events] == [("test:T:1", 1, "T"), ("test:T:2", 2, "T")]


def test_an_event_names_its_cause_and_keeps_the_trace() -> None:
    doc: Document[dict[str, Any]] = Document("T")
    cause = Cause("ingest:T:9", "first", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    document.apply(KIND, doc, Decision(None, [Said()]), now=NOW, cause=cause, limit=10_000)
    event = Event.parse(doc.fresh[0].event)
    assert (event.causationid, event.correlationid, event.traceparent) == (cause.id, "first", cause.traceparent)


def test_an_event_above_the_limit_is_refused_and_changes_nothing() -> None:
    doc: Document[dict[str, Any]] = Document("T")
    with pytest.raises(TooLarge):
        document.apply(KIND, doc, Decision({"x": 1}, [Said(), Said(text="x" * 999)]), now=NOW, cause=None, limit=900)
    assert (doc.state, doc.emitted, doc.fresh, doc.changed) == (None, 0, [], False)


def test_a_full_outbox_takes_no_more() -> None:
    doc: Document[dict[str, Any]] = Document("T")
    document.apply(KIND, doc, Decision(None, [Said()] * OUTBOX_CAP), now=NOW, cause=None, limit=10_000)
    with pytest.raises(Full):
        document.apply(KIND, doc, Decision(None, [Said()]), now=NOW, cause=None, limit=10_000)


def test_a_decision_of_more_events_than_an_outbox_takes_is_no_matter_of_waiting() -> None:
    doc: Document[dict[str, Any]] = Document("T")
    with pytest.raises(TooLarge, match="one decision has 1001 events, at most 1000 are allowed"):
        document.apply(KIND, doc, Decision({"x": 1}, [Said()] * (OUTBOX_CAP + 1)), now=NOW, cause=None, limit=10_000)
    assert (doc.state, doc.emitted, doc.fresh, doc.changed) == (None, 0, [], False)


def test_a_document_whose_state_does_not_load_keeps_it_and_refuses_decisions() -> None:
    raw: dict[str, Any] = {"_id": "T", "version": 3, "state": 7, "emitted": 2, "seen": {}}
    doc = document.read(KIND, raw)
    doc.take("/deskbus/ingest", 1)
    assert document.fields(KIND, doc, 2) == {"seen": {"/deskbus/ingest": {"upto": 1, "missing": []}}, "emitted": 2}
    for decision in (Decision({"x": 1}), Decision(None, [Said()])):
        with pytest.raises(Unloadable):
            document.apply(KIND, doc, decision, now=NOW, cause=None, limit=10_000)


def test_a_document_comes_back_as_it_was_stored() -> None:
    doc: Document[dict[str, Any]] = Document("T")
    doc.take("/deskbus/in.gest$", 3)
    document.apply(KIND, doc, Decision({"x": 1}, [Said()]), now=NOW, cause=None, limit=10_000)
    raw: dict[str, Any] = {"_id": "T", "version": 1, "outbox": [e.dump() for e in doc.fresh]} | document.fields(
        KIND, doc, 2
    )
    again = document.read(KIND, raw)
    assert (again.state, again.seen, again.emitted, again.outbox) == (doc.state, doc.seen, 1, doc.fresh)
    assert not any("." in source or "$" in source for source in raw["seen"])


def test_a_document_keeps_the_trace_of_what_it_published_or_has_to_send() -> None:
    def after(decision: Decision[list[str]], traceparent: str | None) -> str | None:
        document.apply(sending, doc, decision, now=NOW, cause=Cause("e", "e", traceparent), limit=1_000)
        return doc.trace

    sending: Kind[list[str]] = Kind("docs", "/deskbus/test", "out", load=list, dump=dict, to_send=len)  # type: ignore[arg-type]
    doc: Document[list[str]] = Document("d1")
    published = Decision(["reply"], events=[Said()])
    assert after(Decision([]), "nothing follows") is None
    assert after(published, "first") == "first"
    assert after(Decision([]), "sent") == "first"
    assert after(Decision(["another"]), "second") == "second"
    assert after(published, None) == "second"
    assert after(Decision(), "third") == "second"
