"""Dead letters go back as they came, once."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner

from cli.__main__ import app
from cli.letters import ORIGIN, Choice, Found, find, replay
from cli.reading import Line, read
from contracts import topics
from contracts.dlq import DeadLetter

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
        if choice.holds(Line(topics.dlq("ingest"), 0, offset, b"k", b"", (), 0), _letter(receipt, error))
    ]
    assert chosen == receipts


async def test_a_letter_goes_back_as_it_came_says_which_it_was_and_is_known_to_have_been_replayed(
    kafka: str, topics: str
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    for receipt, error in LETTERS:
        letter = _letter(receipt, error)
        topic = f"{topics}deskbus.ingest.dlq.v1"
        await producer.send_and_wait(topic, letter.value, letter.key, headers=letter.to_headers(), partition=0)
    await producer.stop()

    found = await find(kafka, "ingest", Choice(receipt="r2"), prefix=topics)
    assert await replay(kafka, "ingest", found, prefix=topics) == 1
    (line,) = [line async for line in read(kafka, [RETRY], prefix=topics)]
    assert (line.key, line.value) == (b"k", b"r2")
    assert list(line.headers) == [("ce_id", b"r2"), *HEADERS[1:], (ORIGIN, b"0/1")]
    everything = await find(kafka, "ingest", Choice(), prefix=topics)
    assert [each.replayed for each in everything] == [False, True, False]

    # It failed again: the new letter carries the old mark, which must not go back with it.
    again = found[0].letter.model_copy(update={"original_headers": tuple(line.headers)})
    await replay(kafka, "ingest", [Found("0/3", again, replayed=False)], prefix=topics)
    *_, last = [line async for line in read(kafka, [RETRY], prefix=topics)]
    assert [raw for name, raw in last.headers if name == ORIGIN] == [b"0/3"]


@pytest.mark.parametrize("arguments", [["dlq", "replay", "ingest"], ["dlq", "list", "billing"]])
def test_a_replay_of_nothing_in_particular_and_an_unknown_service_are_refused(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == 2
