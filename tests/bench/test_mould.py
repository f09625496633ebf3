"""What is cast from a sample is the sample under another ticket's ids."""

from datetime import UTC, datetime
from random import Random

from bson import decode

from kit.base.ids import stable_id, uuid7
from kit.protocol.record import partition_of
from tests.bench.mould import CHUNK, Mould, Sample, tickets

TICKET, CONTACT = uuid7(), stable_id("contact", "one")
AT = datetime(2026, 11, 1, tzinfo=UTC)


def sample() -> Sample:
    return Sample(
        [TICKET, CONTACT],
        [
            ("a", "tickets", {"_id": TICKET, "contact": CONTACT, "due": None, "at": AT, "partition": 9, "version": 3}),
            ("b", "escalations", {"_id": f"esc-{TICKET}", "partition": 9}),
            ("a", "contacts", {"_id": CONTACT, "tickets": [TICKET], "partition": None}),
        ],
    )


def test_all_documents_of_a_cast_are_about_one_new_ticket_and_one_new_contact() -> None:
    (_, _, first), (_, _, second), (_, _, third) = sample().cast(Random(1), 4)
    ticket, escalation, contact = (decode(row.raw) for row in (first, second, third))

    assert ticket["_id"] not in {TICKET, contact["_id"]}
    assert ticket["contact"] == contact["_id"] != CONTACT
    assert contact["tickets"] == [ticket["_id"]]
    assert escalation["_id"] == f"esc-{ticket['_id']}"


def test_a_cast_stands_in_the_partition_of_its_own_id_and_else_stays_as_it_was() -> None:
    seen = set()
    for _ in range(50):
        (_, _, first), (_, _, second), (_, _, third) = sample().cast(Random(1), 4)
        ticket = decode(first.raw)
        partition = partition_of(ticket["_id"].encode(), 4)
        assert ticket["partition"] == decode(second.raw)["partition"] == partition
        assert decode(third.raw)["partition"] is None
        assert (ticket["due"], ticket["at"], ticket["version"]) == (None, AT.replace(tzinfo=None), 3)
        seen.add(partition)
    assert seen == {0, 1, 2, 3}


def test_a_mould_has_the_length_that_its_document_had() -> None:
    row = {"_id": TICKET, "partition": 1}
    fresh = uuid7().encode()
    assert decode(Mould(row).cast({TICKET.encode(): fresh}, 2).raw) == {"_id": fresh.decode(), "partition": 2}


def test_batches_hold_every_ticket_once_and_no_batch_is_too_large() -> None:
    count = CHUNK + 7
    stored: dict[tuple[str, str], list[str]] = {}
    for database, collection, rows in tickets([sample(), sample()], count, 4):
        assert len(rows) <= CHUNK
        stored.setdefault((database, collection), []).extend(row["_id"] for row in rows)
    assert stored.keys() == {("a", "tickets"), ("a", "contacts"), ("b", "escalations")}
    assert [len(set(ids)) for ids in stored.values()] == [count] * 3
