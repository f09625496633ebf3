"""Records that are no events: raw messages and dead letters, to Kafka and back."""

import contextlib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import topics
from contracts.corpus import inbound_examples
from contracts.dlq import PREFIX, DeadLetter, original_headers
from contracts.inbound import HttpRequest, InboundRecord

(WHATSAPP,) = inbound_examples()
NOON = datetime(2026, 11, 20, 12, 0, 0, 120_000, tzinfo=UTC)


def raw(**changes: Any) -> InboundRecord:
    fields = {"receipt": "r1", "channel": "line", "account": "a", "key": "k", "received_at": NOON, "size": 3}
    return InboundRecord(**{**fields, **changes})


def letter(**changes: Any) -> DeadLetter:
    fields = {
        "service": "sla", "handler": "tickets", "error_type": "ValueError", "error": "data.ticket: missing", "at": NOON,
        "topic": "deskbus.tickets.v1", "partition": 3, "offset": 17,
    }  # fmt: skip
    return DeadLetter(**{**fields, **changes})


@pytest.mark.parametrize(
    "record",
    [
        raw(body=b"\xff\x00"),
        raw(claim="gridfs:1", size=9_000_000, verified=True, traceparent="00-a-b-01"),
        raw(account="กล่องจดหมาย", http=HttpRequest(url="https://x.example/?a=b", query={"a": "ข"}, headers={"h": "v"})),
        WHATSAPP,
    ],
)
def test_a_raw_message_survives_kafka(record: InboundRecord) -> None:
    assert InboundRecord.from_kafka(record.body, record.to_headers()) == record


def test_a_raw_message_is_a_cloud_event_in_binary_mode() -> None:
    headers = dict(WHATSAPP.to_headers())
    assert {"ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_subject"} <= headers.keys()
    assert headers["ce_time"] == b"2026-11-20T08:30:00.105Z"


@pytest.mark.parametrize(
    ("header", "value"),
    [("ce_id", b""), ("ce_time", b"noon"), ("ce_type", b"other"), ("deskbus_size", b"-1"), ("deskbus_http", b"{")],
)
def test_a_raw_message_with_a_bad_header_is_refused(header: str, value: bytes) -> None:
    headers = [(name, value if name == header else kept) for name, kept in WHATSAPP.to_headers()]
    with pytest.raises(ValueError, match=r"^\w+: "):
        InboundRecord.from_kafka(b"", headers)


names = st.sampled_from([*dict(WHATSAPP.to_headers()), "x", f"{PREFIX}at", f"{PREFIX}offset"])


@given(st.binary(max_size=20) | st.none(), st.lists(st.tuples(names, st.binary(max_size=20))))
def test_arbitrary_headers_raise_nothing_but_value_error(value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
    good = [(name, kept) for name, kept in WHATSAPP.to_headers() if name not in dict(headers)]
    for read in (
        lambda: InboundRecord.from_kafka(value, [*good, *headers]),
        lambda: DeadLetter.from_kafka(value, value, [*letter().to_headers(), *headers]),
    ):
        with contextlib.suppress(ValueError):
            read()


@pytest.mark.parametrize(
    "dead",
    [
        letter(),
        letter(key=b"k", value=b"\xff\xfe", original_headers=(("ce_id", b"\xff"), ("ce_id", b"twice")), attempts=5),
        letter(source="/deskbus/ingest", subject="t1", sequence=4, doc_id="t1"),
    ],
)
def test_a_dead_letter_survives_kafka(dead: DeadLetter) -> None:
    assert DeadLetter.from_kafka(dead.key, dead.value, dead.to_headers()) == dead


def test_a_replay_sends_the_original_headers_only() -> None:
    kept = (("ce_id", b"r1"), ("traceparent", b"t"))
    assert original_headers(letter(original_headers=kept).to_headers()) == list(kept)


def test_a_letter_that_dies_twice_tells_the_second_death_once() -> None:
    first = letter()
    again = letter(error="still missing", original_headers=tuple(first.to_headers()))
    read = DeadLetter.from_kafka(None, None, again.to_headers())
    assert (read.error, read.original_headers) == ("still missing", ())


@pytest.mark.parametrize("error", ["\ud800", "ก" * 100_000, "\x00"])
def test_no_error_text_keeps_a_letter_out(error: str) -> None:
    read = DeadLetter.from_kafka(None, None, letter(error=error).to_headers())
    assert read.error


def test_our_headers_fit_into_what_dead_letter_topics_allow_more() -> None:
    longest = dict.fromkeys(("service", "handler", "error_type", "error", "topic", "source", "subject"), "ก" * 100000)
    ours = letter(**longest, doc_id="x" * 100_000, sequence=2**53 - 1).to_headers()
    assert sum(len(name) + len(text) for name, text in ours) + 1024 < topics.DLQ_EXTRA_BYTES
