"""Saving documents: what is published afterwards is what the store has acknowledged, in order and complete."""

from __future__ import annotations

import pytest

from contracts.envelope import Event
from kit.base.errors import TooLarge, TransientError
from kit.protocol.document import Decision
from kit.protocol.outbox import Documents
from tests.fake_clock import FakeClock
from tests.kit.fake_store import FakeStore
from tests.kit.test_outbox import KIND, START, Said, SlowSender, decided, rig


def sent(sender: SlowSender) -> list[tuple[str, int]]:
    events = [Event.parse(value or b"") for value in sender.sent]
    return [(event.subject, event.sequence) for event in events]


async def test_events_left_over_from_before_a_change_are_published_first() -> None:
    documents, sender, _ = rig()
    sender.go.set()
    await decided(documents, "T")
    doc = (await documents.load(["T"]))["T"]
    documents.apply(doc, Decision({}, [Said()]))
    await documents.publish((await documents.save([doc])).won)
    assert sent(sender) == [("T", 1), ("T", 2)]


async def test_a_document_without_changes_wins_beside_one_that_changes() -> None:
    documents, sender, _ = rig()
    sender.go.set()
    await decided(documents, "T")
    docs = await documents.load(["T", "U"])
    documents.apply(docs["U"], Decision({}, [Said()]))
    await documents.publish((await documents.save(list(docs.values()))).won)
    assert sent(sender) == [("T", 1), ("U", 1)]


async def test_nothing_counts_as_written_whose_outcome_is_unknown() -> None:
    store = FakeStore()
    store.lose_answers = 1
    documents = Documents(KIND, store, SlowSender(), FakeClock(START))
    counted: list[object] = []
    documents.watch(counted.append)
    doc = (await documents.load(["T"]))["T"]
    documents.apply(doc, Decision({}, [Said()]))
    with pytest.raises(TransientError):
        await documents.save([doc])
    assert not counted
    assert not doc.outbox


async def test_an_event_above_the_limit_of_the_installation_is_refused() -> None:
    documents = Documents(KIND, FakeStore(), SlowSender(), FakeClock(START), limit=2_000)
    doc = (await documents.load(["T"]))["T"]
    with pytest.raises(TooLarge):
        documents.apply(doc, Decision({}, [Said(text="x" * 2_000)]))
    assert not doc.changed
