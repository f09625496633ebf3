"""What people read: log lines, described events, and the demo's board."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from rich.console import Console

from cli.contents import message_ids
from cli.demo.board import Board
from cli.describe import describe
from cli.reading import TopicRecord
from cli.running import compact
from contracts import corpus, topics
from contracts.envelope import Event
from contracts.inbound import InboundRecord

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def _lines() -> list[TopicRecord]:
    return [
        TopicRecord(topics.TOPIC_OF[example.type], 0, 0, b"k", example.value, [], 0)
        for example in corpus.examples()
        if topics.TOPIC_OF[example.type] not in {topics.INBOUND, topics.COMMAND}
    ]


@pytest.mark.parametrize("line", _lines(), ids=lambda line: line.topic)
def test_a_committed_example_of_an_event_is_described_in_one_line(line: TopicRecord) -> None:
    described = describe(line)
    assert described.kind != "unreadable"
    assert described.words
    assert "\n" not in str(described)


def test_a_record_that_cannot_be_read_is_described_all_the_same() -> None:
    assert describe(TopicRecord(topics.TICKETS, 3, 9, None, b"{", [], 0)).kind == "unreadable"


def test_the_board_takes_every_committed_example_and_counts_a_resend_once() -> None:
    board = Board()
    lines = _lines()
    taken = [event for line in [*lines, *lines] if (event := board.feed(line)) is not None]
    assert len(taken) == len({Event.parse(line.value or b"").id for line in lines})
    console = Console(width=150, record=True)
    console.print(board.render(NOW, "t"))
    assert "tickets" in console.export_text()


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (
            '{"at":"2026-11-21T12:00:00.123456Z","level":"warning","message":"late","service":"sla","lag":3}',
            ("warning", "12:00:00.123", "late lag=3"),
        ),
        ("Traceback (most recent call last):", ("info", "", "Traceback (most recent call last):")),
        ("[1]", ("info", "", "[1]")),
    ],
)
def test_a_log_line_is_shown_short_and_what_is_no_json_as_it_is(raw: str, shown: tuple[str, str, str]) -> None:
    assert compact(raw) == shown


def _record(channel: str, body: bytes) -> InboundRecord:
    return InboundRecord(receipt="r", channel=channel, account="a", key="k", received_at=NOW, body=body, size=len(body))


BODIES: list[tuple[str, bytes, list[str] | None]] = [
    ("webhook", b'{"id":"1"}', ["1"]),
    ("telegram", b'{"message":{"message_id":7,"from":{"is_bot":false},"chat":{"id":-1},"text":"x"}}', ["-1:7"]),
    ("telegram", b'{"message":{"message_id":7,"from":{"is_bot":false},"chat":{"id":-1},"new":1}}', None),
    ("slack", b'{"event":{"type":"message","channel":"C1","ts":"1.2","user":"U1"}}', ["C1:1.2"]),
    ("slack", b'{"event":{"type":"message","channel":"C1","ts":"1.2","user":"U1","bot_id":"B1"}}', []),
    ("zalo", b'{"event_name":"user_send_text","message":{"msg_id":"m1"}}', ["m1"]),
    ("zalo", b'{"event_name":"user_seen_message","message":{"msg_ids":["m1"]}}', []),
    ("telegram", b'{"channel_post":{"message_id":7}}', []),
    ("webhook", b'{"type":"status","message_id":"1"}', []),
    ("line", b'{"events":[{"type":"follow"},{"type":"message","message":{"id":"7"}}]}', ["7"]),
    ("line", b'{"events":[]}', []),
    ("whatsapp", b'{"entry":[{"changes":[{"value":{"messages":[{"id":"w","type":"text"}]}}]}]}', ["w"]),
    ("whatsapp", b'{"entry":[{"changes":[{"value":{"statuses":[{"id":"w"}]}}]}]}', []),
    ("whatsapp", b'{"entry":[{"changes":[{"value":{"messages":[{"id":"w","type":"reaction"}]}}]}]}', []),
    ("sms", b"MessageSid=SM1&Body=x", ["SM1"]),
    ("sms", b"MessageSid=SM1&MessageStatus=sent", []),
    ("email", b"Message-ID: <1@x>\r\n\r\nhello", ["<1@x>"]),
    ("email", b"Subject: x\r\n\r\nhello", None),
    ("amazon", b"Message-ID: <2@x>\r\n\r\nhello", ["<2@x>"]),
    ("sms", b"MessageSid=SM1&Body=&NumMedia=1", ["SM1"]),
    ("webhook", b"[]", None),
    ("webhook", b"[" * 100_000, None),
    ("pigeon", b"x", None),
]
"""Channel, body, the ids of the messages in it. tests/ingest/channels/test_every_channel.py has a body of each."""


@pytest.mark.parametrize(("channel", "body", "found"), BODIES)
def test_the_ids_in_a_record_are_found_or_it_is_said_that_nobody_can_tell(
    channel: str, body: bytes, found: list[str] | None
) -> None:
    assert message_ids(_record(channel, body)) == found


def test_the_example_records_of_the_door_are_described() -> None:
    for record in corpus.inbound_examples():
        line = TopicRecord(topics.INBOUND, 0, 0, b"k", record.body, record.to_headers(), 0)
        assert describe(line).kind == f"inbound {record.channel}"
