"""Logs: one JSON object a line, with the event's ids and without secrets, whoever logs."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kit.base import logging as kit_logging
from kit.base import tracing


@dataclass
class Traced:
    id: str = "routing:t1:3"
    correlationid: str | None = "ingest:t1:1"
    causationid: str | None = None
    traceparent: str | None = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Lines:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def configure(self) -> None:
        """In the test itself: pytest gives its set-up phase another stdout."""
        kit_logging.configure("routing")

    def read(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._capsys.readouterr().out.splitlines()]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    yield Lines(capsys)
    structlog.configure(**before)
    kit_logging.clear_event()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_line_carries_the_ids_of_the_event_at_hand(lines: Lines) -> None:
    lines.configure()
    log = structlog.get_logger("x")
    kit_logging.bind_event(Traced())
    log.info("ticket assigned", agent="a1")
    kit_logging.clear_event()
    log.info("idle")
    first, second = lines.read()
    assert first | {"at": ""} == {
        "at": "",
        "message": "ticket assigned",
        "level": "info",
        "service": "routing",
        "agent": "a1",
        "event": "routing:t1:3",
        "correlation": "ingest:t1:1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
    }
    assert first["at"].endswith("Z")
    assert "event" not in second


def test_next_event_leaves_nothing_of_the_last(lines: Lines) -> None:
    lines.configure()
    kit_logging.bind_event(Traced())
    kit_logging.bind_event(Traced(id="routing:t2:1", correlationid=None, traceparent=None))
    structlog.get_logger("x").info("next")
    (line,) = lines.read()
    assert (line["event"], line.keys() & {"correlation", "trace"}) == ("routing:t2:1", set())


def test_secrets_are_masked_however_deep(lines: Lines) -> None:
    lines.configure()
    structlog.get_logger("x").warning(
        "refused",
        bot_token="hunter2",
        headers={"Authorization": "hunter2", "X-Line-Signature": "hunter2", "list": [{"password": "hunter2"}]},
        url="mongodb://me:hunter2@host/db",
        kept="tea",
    )
    logging.getLogger("aiokafka").error("failed", extra={"api_key": "hunter2"})
    out = lines.read()
    assert "hunter2" not in str(out)
    assert (out[0]["kept"], out[0]["url"]) == ("tea", "mongodb://***@host/db")


def test_libraries_log_in_the_same_form(lines: Lines) -> None:
    lines.configure()
    try:
        raise ValueError("bad")
    except ValueError:
        logging.getLogger("uvicorn.error").exception("in %s", "uvicorn")
    (line,) = lines.read()
    assert (line["message"], line["logger"], line["service"]) == ("in uvicorn", "uvicorn.error", "routing")
    assert "ValueError: bad" in line["exception"]


def test_lines_below_the_level_are_not_written(lines: Lines) -> None:
    lines.configure()
    structlog.get_logger("x").debug("noise")
    logging.getLogger("aiokafka").info("noise")
    assert lines.read() == []


async def test_lines_name_the_span_at_hand(lines: Lines) -> None:
    lines.configure()
    tracing.start("routing", InMemorySpanExporter())
    log = structlog.get_logger("x")
    with tracing.span("x") as span:
        log.info("at hand")
    log.info("idle")
    await tracing.stop(1)
    first, second = lines.read()
    assert span.traceparent is not None
    assert [first["trace_id"], first["span_id"]] == span.traceparent.split("-")[1:3]
    assert "trace_id" not in second


def test_a_library_that_repeats_itself_is_heard_once_a_minute_and_counted(lines: Lines) -> None:
    lines.configure()
    log, now = logging.getLogger("aiokafka.cluster"), 1_000.0

    def say(topic: str, after: float) -> None:
        record = log.makeRecord(log.name, logging.ERROR, __file__, 1, "Topic %s not found", (topic,), None)
        record.created = now + after
        log.handle(record)

    for tenth in range(1200):
        say("a", tenth / 10)
    say("b", 5)
    say("a", 130)
    said = [(line["message"], line.get("repeated")) for line in lines.read()]
    assert said == [
        ("Topic a not found", None),
        ("Topic a not found", 599),
        ("Topic b not found", None),
        ("Topic a not found", 599),
    ]


def test_other_faults_with_the_same_words_are_heard(lines: Lines) -> None:
    lines.configure()
    for fault in ("first", "second", "second"):
        try:
            raise ValueError(fault)
        except ValueError:
            logging.getLogger("library").exception("failed")
    assert ["first" in line["exception"] for line in lines.read()] == [True, False]


def test_what_was_said_is_not_remembered_without_end() -> None:
    repeats = kit_logging.Repeats()
    for number in range(2 * kit_logging._MOST_SAID):
        assert repeats.filter(logging.makeLogRecord({"name": "x", "msg": str(number), "created": 1.0}))
    assert len(repeats._said) == kit_logging._MOST_SAID
