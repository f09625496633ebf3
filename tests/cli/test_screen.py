"""What strangers wrote is shown and never obeyed, wherever the command line prints it."""

from __future__ import annotations

import io
import json
import unicodedata
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import screen, table
from cli.collector import Report
from cli.demo.board import Board
from cli.describe import describe
from cli.letters import Found
from cli.reading import TopicRecord
from cli.running import compact, show
from cli.screen import clean
from contracts import corpus, topics
from contracts.dlq import DeadLetter
from contracts.envelope import Event

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
#: Title, colour, clear, clipboard, overwritten line, line ends, right to left; and rich's markup.
NASTY = "\x1b]0;owned\x07\x1b[31m\x1b[2J\x9b1m\x1b]52;c;cm0gLXJm\x07\rOK\n\u2028\u202e\x00[/x][bold]:smile:"
OBEYED = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def obeyed(text: str) -> set[str]:
    """What of a text a terminal would act on, but for the line ends and colours of our own tables."""
    return {each for each in text if each != "\n" and unicodedata.category(each) in OBEYED}


@given(st.text(), st.booleans())
def test_nothing_that_a_terminal_obeys_is_left(text: str, lines: bool) -> None:
    kept = "\u200c\u200d" + ("\n\t" if lines else "")
    assert {each for each in clean(text, lines=lines) if unicodedata.category(each) in OBEYED} <= set(kept)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("สวัสดีครับ Zażółć 안녕 👩‍💻", "สวัสดีครับ Zażółć 안녕 👩‍💻"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("invoice\u202efdp.exe", "invoice\\u202efdp.exe"),
        ("\u009b2J\ud800", "\\x9b2J\\ud800"),
    ],
)
def test_text_stays_as_it_is_and_control_characters_become_escapes(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_lines_stay_lines_where_there_may_be_several_and_a_bare_return_is_none() -> None:
    assert clean("a\r\nb\tc\rd", lines=True) == "a\nb\tc\\rd"


def printed(renderable: Any) -> str:
    """What our console writes for it into something that is no terminal."""
    out = io.StringIO()
    console = screen.console(out)
    console.width = 400
    console.print(renderable)
    return out.getvalue()


def letter(**fields: Any) -> DeadLetter:
    whole = {
        "service": "ingest", "handler": NASTY, "error_type": NASTY, "error": NASTY, "at": NOW, "topic": NASTY,
        "partition": 1, "offset": 7, "subject": NASTY, "source": NASTY, "key": NASTY.encode(), "value": NASTY.encode(),
        "original_headers": (("ce_id", NASTY.encode()), (NASTY, NASTY.encode())), **fields,
    }  # fmt: skip
    return DeadLetter.model_validate(whole)


def test_a_list_of_letters_survives_what_a_stranger_wrote_into_the_reason() -> None:
    text = printed(table.letters_table([Found("0/1", letter(), replayed=False)]))
    assert "[/x][bold]:smile:" in text
    assert obeyed(text) == set()


def test_a_letter_is_shown_without_obeying_it() -> None:
    text = "\n".join(table.letter_lines(Found("0/1", letter(), replayed=False)))
    assert "\\x1b]0;owned" in text
    assert obeyed(text) == set()


def test_a_reason_with_line_ends_cannot_pass_for_other_fields_of_its_letter() -> None:
    lines = list(table.letter_lines(Found("0/1", letter(error="x\nreplayed: yes", value=b""), replayed=False)))
    assert [line for line in lines if "\n" in line] == []


def test_an_audit_shows_ids_that_strangers_chose() -> None:
    report = Report()
    report.faults["unreadable records"].append(NASTY)
    report.open["tickets without a clock"].append(NASTY)
    text = printed(table.audit_table(report, settled=True))
    assert text.count("[/x][bold]:smile:") == 2
    assert obeyed(text) == set()


def poisoned(document: Any, path: str = "") -> Any:
    """The document with something nasty at the end of every text that may say anything."""
    if isinstance(document, dict):
        return {name: poisoned(value, name) for name, value in document.items()}
    if isinstance(document, list):
        return [poisoned(value, path) for value in document]
    fixed = path in {"specversion", "type", "currency", "amount", "status", "priority", "old", "new", "direction"}
    instant = isinstance(document, str) and document[:4].isdigit() and document.endswith("Z")
    return document + NASTY if isinstance(document, str) and not fixed and not instant else document


def poisoned_lines() -> list[TopicRecord]:
    return [
        TopicRecord(topics.TOPIC_OF[e.type], 0, 0, b"k", json.dumps(poisoned(json.loads(e.value))).encode(), [], 0)
        for e in corpus.examples()
    ]


@pytest.mark.parametrize("line", poisoned_lines(), ids=lambda line: line.topic)
def test_every_event_and_command_is_told_in_one_line_that_commands_nothing(line: TopicRecord) -> None:
    described = describe(line)
    assert described.kind != "unreadable", described.words
    assert obeyed(str(described)) == set()
    assert "\n" not in str(described)


def test_records_that_are_no_events_are_told_so() -> None:
    view = letter()
    lines = [
        TopicRecord(topics.dlq("ingest"), 0, 0, view.key, view.value, view.to_headers(), 0),
        *(
            TopicRecord(topics.INBOUND, 0, 0, b"k", record.body, record.to_headers(), 0)
            for record in (r.model_copy(update={"account": NASTY, "channel": NASTY}) for r in corpus.inbound_examples())
        ),
        TopicRecord(topics.TICKETS, 0, 0, None, json.dumps({"type": NASTY}).encode(), [], 0),
    ]
    assert [obeyed(str(describe(line))) for line in lines] == [set()] * len(lines)


@pytest.mark.parametrize("topic", [topics.COMMAND, topics.TICKETS])
def test_a_type_that_is_not_named_like_ours_is_described_too(topic: str) -> None:
    example = json.loads(corpus.examples("deskbus.ticket.opened.v1")[0].value) | {"type": "x", "data": 1}
    assert describe(TopicRecord(topic, 0, 0, None, json.dumps(example).encode(), [], 0)).kind != "unreadable"


@pytest.mark.parametrize("timestamp", [-1, 2**62, -(2**62)])
def test_a_record_with_an_impossible_time_is_described_too(timestamp: int) -> None:
    assert describe(TopicRecord(topics.TICKETS, 0, 0, None, b"{", [], timestamp)).kind == "unreadable"


@given(st.binary(max_size=60), st.sampled_from([topic.name for topic in topics.TOPICS]))
def test_whatever_lies_on_a_topic_is_described_in_one_line(value: bytes, topic: str) -> None:
    assert "\n" not in str(describe(TopicRecord(topic, 0, 0, None, value, [("ce_type", value)], 0)))


def test_the_board_shows_what_strangers_wrote() -> None:
    board = Board()
    for line in poisoned_lines():
        if line.topic != topics.COMMAND:
            board.feed(line)
    assert board.rows
    text = printed(board.render(NOW, "t"))
    assert "\\x1b]0;owned" in text
    assert obeyed(text) == set()


def test_a_service_s_log_is_shown_without_obeying_it() -> None:
    entry = {"at": NASTY, "level": "error", "message": NASTY, "who": NASTY, "exception": f"Traceback\n{NASTY}"}
    for raw in (json.dumps(entry), NASTY):
        _, at, text = compact(raw)
        assert obeyed(at + text) == set()
    out = io.StringIO()
    replica = SimpleNamespace(name="ingest-1", service="ingest")
    show(screen.console(out), cast("Any", replica), io.BytesIO(json.dumps(entry).encode() + b"\n"))
    assert "[/x][bold]:smile:" in out.getvalue()
    assert obeyed(out.getvalue()) == set()


def test_what_is_said_goes_to_stdout_and_what_is_wrong_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    screen.say("a\x1b")
    screen.say("b\x1b", error=True)
    assert capsys.readouterr() == ("a\\x1b\n", "b\\x1b\n")


def test_the_examples_that_are_poisoned_here_are_events_still() -> None:
    parsed = [Event.parse(line.value or b"") for line in poisoned_lines() if line.topic == topics.TICKETS]
    assert all(event.known for event in parsed)


@pytest.mark.parametrize("width", [80, None])
def test_what_is_copied_from_the_list_of_letters_stands_in_one_piece(
    width: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a pipe, where there is no width: a receipt that is broken over lines is found by no grep."""
    monkeypatch.delenv("COLUMNS", raising=False)
    receipt = "01a21648-ab55-7124-89fc-34e41c71bc11"
    headers = (("ce_id", receipt.encode()),)
    told = letter(error="priority: Input should be 'low'", topic=topics.INBOUND, original_headers=headers)
    found = Found("0/1", told, replayed=False)
    out = io.StringIO()
    console = screen.console(out)
    console.width = width or console.width
    console.print(table.letters_table([found]))
    assert receipt in out.getvalue()
    if width is None:
        assert any(receipt in line and "'low'" in line for line in out.getvalue().splitlines())
