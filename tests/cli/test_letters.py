"""Dead letters go back as they came, once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner, Result

from cli.__main__ import app
from cli.letters import MAX_GROUPS, Choice, Found, find, groups, replay
from cli.reading import TopicRecord, read
from contracts import topics
from contracts.dlq import REPLAY_OF, DeadLetter, Headers
from contracts.topics import MAX_DLQ_BYTES, MAX_MESSAGE_BYTES

T0 = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
RETRY = topics.retry("ingest")
HEADERS = (("ce_id", b"r1"), ("deskbus_channel", b"whatsapp"))


def _letter(receipt: str, error: str) -> DeadLetter:
    return DeadLetter(
        service="ingest", handler="inbound", error_type="Unreadable", error=error, at=T0, topic=topics.INBOUND,
        partition=1, offset=7, key=b"k", value=receipt.encode(),
        original_headers=(("ce_id", receipt.encode()), *HEADERS[1:]),
    )  # fmt: skip


LETTERS = [("r1", "Unreadable: no JSON"), ("r2", "Unreadable: no id"), ("r3", "TypeError: oops")]


@pytest.mark.parametrize(
    ("choice", "receipts"),
    [
        (Choice(), ["r1", "r2", "r3"]),
        (Choice(reason="unreadable"), ["r1", "r2"]),
        (Choice(receipt="r3"), ["r3"]),
        (Choice(places=frozenset(["0/1"])), ["r2"]),
        (Choice(reason="oops", receipt="r1"), []),
    ],
)
def test_letters_are_chosen_by_every_condition_given(choice: Choice, receipts: list[str]) -> None:
    chosen = [
        receipt
        for offset, (receipt, error) in enumerate(LETTERS)
        if choice.holds(TopicRecord(topics.dlq("ingest"), 0, offset, b"k", b"", (), 0), _letter(receipt, error))
    ]
    assert chosen == receipts


def test_letters_are_counted_by_what_they_are_about_and_by_reason_without_what_is_particular() -> None:
    mail = {"original_headers": (("deskbus_channel", b"email"),)}
    event = {"original_headers": (), "topic": "deskbus.ticket.v1", "source": "/deskbus/ingest"}
    letters = [
        _letter("r1", "TypeError: oops"),
        *(_letter("r", f"Unreadable: no 'field{n}' in {n} bytes of m-{n}7\nmore {n}") for n in range(3)),
        *(_letter("r", "email: a mail without a sender").model_copy(update=mail) for _ in range(2)),
        _letter("r", f"email: not for <{T0}@x>").model_copy(update=mail),
        *(_letter("r", "given up: T0 is away").model_copy(update=event) for _ in range(4)),
        _letter("r", "").model_copy(update=event),
    ]
    inbound = "deskbus.inbound.v1"
    assert list(groups(letters)) == [
        (4, "deskbus.ticket.v1 /deskbus/ingest", "given up: … is away"),
        (3, f"{inbound} whatsapp", "Unreadable: no … in … bytes of …"),
        (2, f"{inbound} email", "email: a mail without a sender"),
        (1, f"{inbound} email", "email: not for …"),
        (1, f"{inbound} whatsapp", "TypeError: oops"),
        (1, "deskbus.ticket.v1 /deskbus/ingest", "Unreadable"),
    ]


def test_reasons_that_all_differ_fill_no_screen() -> None:
    words = [f"{a}{b}" for a in "abcdefghij" for b in "abcdefghij"]
    told = list(groups(_letter("r", f"{word}: {word * 100}") for word in [*words, *words[:MAX_GROUPS]]))
    assert len(told) == MAX_GROUPS + 1
    assert told[-1] == (80, "elsewhere", "80 other reasons")
    assert max(len(where) + len(why) for _, where, why in told) <= 200


async def test_a_letter_goes_back_as_it_came_says_which_it_was_and_is_known_to_have_been_replayed(
    kafka: str, topics: str
) -> None:
    await _written(kafka, topics, *(_letter(receipt, error) for receipt, error in LETTERS))

    found = (await find(kafka, "ingest", Choice(receipt="r2"), prefix=topics)).letters
    assert await replay(kafka, "ingest", found, prefix=topics) == []
    (line,) = [line async for line in read(kafka, [RETRY], prefix=topics)]
    assert (line.key, line.value) == (b"k", b"r2")
    assert list(line.headers) == [("ce_id", b"r2"), *HEADERS[1:], (REPLAY_OF, b"0/1")]
    everything = (await find(kafka, "ingest", Choice(), prefix=topics)).letters
    assert [each.replayed for each in everything] == [False, True, False]

    # It failed again: the new letter carries the old mark, which must not go back with it.
    again = found[0].letter.model_copy(update={"original_headers": tuple(line.headers)})
    await replay(kafka, "ingest", [Found("0/3", again, replayed=False)], prefix=topics)
    *_, last = [line async for line in read(kafka, [RETRY], prefix=topics)]
    assert [raw for name, raw in last.headers if name == REPLAY_OF] == [b"0/3"]


async def test_letters_of_one_record_are_one_and_go_back_once(kafka: str, topics: str) -> None:
    """A replica that dies before it commits leaves a letter behind, and the next one writes another."""
    mixed, other = _letter("r1", "Unreadable: no id"), _letter("r1", "Unreadable: no id")
    later = mixed.model_copy(update={"at": T0 + timedelta(minutes=1)})
    other = other.model_copy(update={"offset": 8})  # the provider sent it again: a record of its own
    await _written(kafka, topics, mixed, later, other)

    found = (await find(kafka, "ingest", Choice(), prefix=topics)).letters
    assert [(each.place, each.copies, each.letter.at) for each in found] == [("0/0", ("0/1",), T0), ("0/2", (), T0)]
    by_copy = (await find(kafka, "ingest", Choice(places=frozenset(["0/1"])), prefix=topics)).letters
    assert [each.place for each in by_copy] == ["0/0"]
    sent = await asyncio.to_thread(_cli, kafka, topics, "replay", "ingest", "--offset", "0/1")
    assert "1 sent to" in sent.output
    again = await asyncio.to_thread(_cli, kafka, topics, "replay", "ingest", "--all")
    assert "1 sent to deskbus.ingest.retry.v1, 1 skipped: replayed before" in again.output
    shown = await asyncio.to_thread(_cli, kafka, topics, "show", "ingest", "0/1")
    assert "copies: 0/1" in shown.output


def _cli(kafka: str, prefix: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["dlq", *arguments, "--kafka", kafka, "--prefix", prefix])


async def test_no_letter_holds_up_the_others(kafka: str, topics: str) -> None:
    """One of a record that nothing could read (no key, no value), one as large as a record may be, and no letter."""
    empty = _letter("r0", "Unreadable: [/x] \x1b[2J").model_copy(update={"key": None, "value": None})
    large = _letter("r1", "TypeError: oops").model_copy(update={"value": b"x" * (MAX_MESSAGE_BYTES - 200)})
    await _written(kafka, topics, empty, large)
    await _send(kafka, topics, None, b"no letter", [("deskbus_dlq_at", b"\x1b[2J")])
    await _written(kafka, topics, _letter("r2", "TypeError: oops"))

    listed = await asyncio.to_thread(_cli, kafka, topics, "list", "ingest")
    assert listed.exit_code == 0, listed.output
    assert all(told in listed.output for told in ("0/0", "0/1", "0/3", "[/x] \\x1b[2J", "skipped: 0/2"))
    assert "\x1b" not in listed.output
    assert "     2  deskbus.inbound.v1 whatsapp  TypeError: oops\n" in listed.output
    shown = await asyncio.to_thread(_cli, kafka, topics, "show", "ingest", "0/0")
    assert (shown.exit_code, "\x1b" in shown.output) == (0, False)

    sent = await asyncio.to_thread(_cli, kafka, topics, "replay", "ingest", "--all")
    assert sent.exit_code == 0, sent.output
    assert "3 sent to deskbus.ingest.retry.v1" in sent.output
    lines = [line async for line in read(kafka, [RETRY], prefix=topics)]
    marks = {dict(line.headers)[REPLAY_OF]: (line.key, line.value) for line in lines}
    assert marks == {b"0/0": (None, None), b"0/1": (b"k", large.value), b"0/3": (b"k", b"r2")}


async def test_a_letter_that_kafka_refuses_is_named_and_holds_up_none_behind_it(kafka: str, topics: str) -> None:
    await _written(kafka, topics, _letter("r1", "TypeError: oops"), _letter("r2", "TypeError: oops"))
    first, second = (await find(kafka, "ingest", Choice(), prefix=topics)).letters
    too_large = first.letter.model_copy(update={"value": b"x" * (MAX_DLQ_BYTES + 1)})
    refused = Found("0/0", too_large, replayed=False)
    assert await replay(kafka, "ingest", [refused, second], prefix=topics) == [refused]
    assert [line.value async for line in read(kafka, [RETRY], prefix=topics)] == [b"r2"]


async def _written(kafka: str, prefix: str, *letters: DeadLetter) -> None:
    for letter in letters:
        await _send(kafka, prefix, letter.key, letter.value, letter.to_headers())


async def _send(kafka: str, prefix: str, key: bytes | None, value: bytes | None, headers: Headers) -> None:
    """Write a dead letter's record to the first partition."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka, max_batch_size=2 * MAX_DLQ_BYTES)
    await producer.start()
    try:
        batch = producer.create_batch()
        assert batch.append(timestamp=None, key=key, value=value, headers=headers)
        batch.close()
        await (await producer.send_batch(batch, f"{prefix}deskbus.ingest.dlq.v1", partition=0))
    finally:
        await producer.stop()


@pytest.mark.parametrize("arguments", [["dlq", "replay", "ingest"], ["dlq", "list", "billing"]])
def test_a_replay_of_nothing_in_particular_and_an_unknown_service_are_refused(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == 2
