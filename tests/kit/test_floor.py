"""What a document no longer knows of is not taken in silence: a replay of it comes back with the reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contracts.dlq import REPLAY_OF, DeadLetter
from kit.protocol.document import MISSING_CAP, Document, Kind, Seen, fields, read
from tests.kit.raw import Raw
from tests.kit.test_delivery import Rig, event, poked

__all__ = ["poked"]
SOURCE = "/deskbus/ingest"
KIND: Kind[dict[str, int]] = Kind("docs", "/deskbus/test", "out", load=dict, dump=dict)


@pytest.mark.parametrize(
    ("taken", "floor"),
    [
        ([1, 2, 5], 0),
        ([7, 8], 6),
        ([1, MISSING_CAP + 2], 0),
        ([1, MISSING_CAP + 3], 2),
        ([1, 3, MISSING_CAP + 4], 2),
        ([1, MISSING_CAP + 2, MISSING_CAP + 4], 2),
        ([7, MISSING_CAP + 8, 9], 6),
    ],
)
def test_the_floor_is_the_highest_number_that_was_passed_by_for_good(taken: list[int], floor: int) -> None:
    doc: Document[dict[str, int]] = Document("T")
    for sequence in taken:
        doc.take(SOURCE, sequence)
    assert doc.seen[SOURCE].floor == floor
    again = read(KIND, {"_id": "T", "version": 1, **fields(KIND, doc, 0)})
    assert again.seen == doc.seen
    assert [n for n in range(12) if again.is_below_floor(SOURCE, n)] == list(range(floor + 1))


def test_a_dead_letter_beyond_what_is_remembered_gives_up_the_oldest() -> None:
    seen = Seen.before(1)
    for sequence in range(1, MISSING_CAP + 3):
        seen.take(sequence, dead=True)
    assert (seen.floor, min(seen.missing), len(seen.missing)) == (2, 3, MISSING_CAP)


def test_a_document_that_was_stored_without_a_floor_has_none() -> None:
    stored = {"_id": "T", "version": 1, "seen": {SOURCE: {"upto": 3, "missing": [2]}}}
    assert read(KIND, stored).seen == {SOURCE: Seen(3, {2})}


def replayed(sequence: int, subject: str = "T") -> Raw:
    return replace(event(sequence, subject), headers=[(REPLAY_OF, b"0/1")])


async def test_a_replay_below_the_floor_is_refused_and_comes_back_with_the_reason(poked: Rig) -> None:
    last = MISSING_CAP + 3
    assert await poked.handle(event(last), event(2)) == set(), "2 was given up; as a redelivery it is passed over"
    assert poked.letters() == 1
    assert await poked.handle(*(replayed(n) for n in (2, 3, 4, last))) == set()
    assert await poked.offsets("T") == [1, 4, last]
    letters = [DeadLetter.from_kafka(e.key, e.value, e.headers) for e in poked.sender.sent if e.topic == "dlq"]
    why = "floor: T no longer knows which events of /deskbus/ingest up to 3 it has handled, this is"
    assert [(each.sequence, each.error) for each in letters[1:]] == [(2, f"{why} 2"), (3, f"{why} 3")]
    assert await poked.handle(replayed(4), replayed(last)) == set()
    assert poked.letters() == 3, "what is known to be handled needs no letter"


async def test_a_replay_of_what_was_before_the_first_event_is_refused_too(poked: Rig) -> None:
    assert await poked.handle(event(2, "U"), replayed(1, "U"), event(1, "U")) == set()
    assert (await poked.offsets("U"), poked.letters()) == ([2], 1)


async def test_refused_replays_stop_nothing(poked: Rig) -> None:
    await poked.handle(event(500, "U"))
    assert await poked.handle(*(replace(replayed(n, "U"), offset=n) for n in range(1, 400))) == set()
    assert (poked.letters(), poked.delivery.stopped) == (399, None)
