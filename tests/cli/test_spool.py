"""A spool gives back what was put in, by document and in order, and knows what was answered."""

from __future__ import annotations

from cli.reading import TopicRecord
from cli.spool import History, Spool
from contracts.topics import COMMAND


def record(offset: int, topic: str = "in", partition: int = 0, **content: bytes | None) -> TopicRecord:
    headers = [("kind", b"\xff"), ("empty", b"")]
    return TopicRecord(
        topic, partition, offset, content.get("key", b"k"), content.get("value", b"{}"), headers, 1_000 + offset
    )


def test_histories_come_by_document_each_topic_in_its_order() -> None:
    with Spool() as spool:
        spool.hear("b", None, "x.in", record(7))
        spool.hear("a", "e1", "x.in", record(3, partition=1))
        spool.say("b", "e0", "x.out", record(9, "out"))
        spool.hear("a", "e2", "x.retry", record(1, "retry"))
        spool.hear("b", None, "x.in", record(8))
        spool.hear("a", None, "x.in", record(2, value=None, key=None))
        found = list(spool.histories())
    assert found == [
        History(
            "a",
            [
                ("x.in", record(3, partition=1)),
                ("x.retry", record(1, "retry")),
                ("x.in", record(2, value=None, key=None)),
            ],
        ),
        History("b", [("x.in", record(7)), ("x.in", record(8))], [record(9, "out")]),
    ]


def test_the_last_record_of_each_partition_that_an_event_names_is_answered() -> None:
    with Spool() as spool:
        for partition, offset, cause in ((0, 5, "e5"), (0, 9, "e9"), (0, 7, "e7"), (1, 2, "e2"), (1, 3, None)):
            spool.hear("a", cause, "x.in", record(offset, partition=partition))
        spool.hear("a", "e5", "old.in", record(40))
        for cause in ("e5", "e7", "e2", None):
            spool.say("b", cause, "x.out", record(99, "out"))
        assert spool.answered() == {("x.in", 0): 7, ("x.in", 1): 2, ("old.in", 0): 40}


def test_a_command_is_answered_by_an_event_about_its_own_document() -> None:
    with Spool() as spool:
        for offset, doc in enumerate(("a", "b")):
            spool.hear(doc, "once", COMMAND, record(offset, COMMAND))
        spool.say("a", "once", "x.out", record(9, "out"))
        assert spool.answered() == {(COMMAND, 0): 0}


def test_what_is_only_said_answers_nothing() -> None:
    with Spool() as spool:
        spool.say("a", "e1", "x.out", record(4, "out"))
        assert spool.answered() == {}
