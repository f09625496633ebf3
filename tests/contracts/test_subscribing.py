"""An inbox applies each event once, whatever Kafka repeats and wherever the subscriber dies."""

import json
import logging
import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import corpus
from contracts.envelope import Event
from contracts.subscribing import Delivery, Gap, Inbox, compare
from contracts.topics import TOPICS

OPENED = json.loads(corpus.examples("deskbus.ticket.opened.v1")[0].value)


def value(sequence: int, subject: str = "t1", **changes: object) -> bytes:
    return json.dumps({**OPENED, "subject": subject, "sequence": sequence, **changes}).encode()


@pytest.fixture
def db() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    Inbox().create(connection)
    return connection


@pytest.mark.parametrize(
    ("last", "sequence", "expected"),
    [
        (None, 1, Delivery.NEXT),
        (None, 7, Delivery.NEXT),
        (6, 7, Delivery.NEXT),
        (7, 7, Delivery.SEEN),
        (8, 7, Delivery.SEEN),
        (5, 7, Delivery.GAP),
        (1, 7, Delivery.GAP),
    ],
)
def test_an_event_is_next_seen_or_behind_a_gap(last: int | None, sequence: int, expected: Delivery) -> None:
    assert compare(Event.parse(value(sequence)), last) is expected


@pytest.mark.parametrize("topic", [t for t in TOPICS if t.sources and t.types], ids=lambda t: t.name)
def test_only_sources_without_gap_free_sequences_may_skip_numbers(topic) -> None:  # type: ignore[no-untyped-def]
    event = Event.parse(value(7, source=topic.sources[0]))
    assert compare(event, 5) is (Delivery.GAP if topic.sequenced else Delivery.NEXT)


def test_what_comes_twice_is_taken_once(db: sqlite3.Connection) -> None:
    inbox = Inbox()
    taken = [event.sequence for n in (1, 1, 2, 1, 2, 3) if (event := inbox.take(db, value(n)))]
    assert taken == [1, 2, 3]


def test_sources_and_subjects_are_counted_apart(db: sqlite3.Connection) -> None:
    inbox = Inbox()
    assert inbox.take(db, value(1))
    assert inbox.take(db, value(1, "t2"))
    assert inbox.take(db, value(1, source="/deskbus/sla"))
    assert inbox.take(db, value(1)) is None


def test_a_rolled_back_effect_comes_again(db: sqlite3.Connection) -> None:
    inbox = Inbox()
    with pytest.raises(ZeroDivisionError), db:
        assert inbox.take(db, value(1))
        raise ZeroDivisionError
    with db:
        assert inbox.take(db, value(1))


def test_a_gap_is_reported_once_and_the_event_is_applied(db: sqlite3.Connection) -> None:
    gaps: list[Gap] = []
    inbox = Inbox(on_gap=gaps.append)
    assert [bool(inbox.take(db, value(n))) for n in (1, 4, 4, 2)] == [True, True, False, False]
    assert [str(gap) for gap in gaps] == [f"events 2 to 3 of {OPENED['source']} about t1 are missing"]


def test_a_gap_is_logged_unless_told_otherwise(db: sqlite3.Connection, caplog: pytest.LogCaptureFixture) -> None:
    inbox = Inbox()
    with caplog.at_level(logging.WARNING):
        inbox.take(db, value(1))
        inbox.take(db, value(3))
    assert [record.getMessage() for record in caplog.records] == [
        f"events 2 to 2 of {OPENED['source']} about t1 are missing"
    ]


def test_an_unknown_type_is_skipped_and_leaves_no_gap(db: sqlite3.Connection) -> None:
    gaps: list[Gap] = []
    inbox = Inbox(on_gap=gaps.append)
    assert inbox.take(db, value(1))
    assert inbox.take(db, value(2, type="deskbus.ticket.painted.v1", data={"colour": "red"})) is None
    assert inbox.take(db, value(3))
    assert gaps == []


@pytest.mark.parametrize("bad", [b"", b"[]", b"{}", value(0), value(1, specversion="2.0"), value(1, data={})])
def test_what_is_no_event_is_refused_and_changes_nothing(db: sqlite3.Connection, bad: bytes) -> None:
    with pytest.raises(ValueError):
        Inbox().take(db, bad)
    assert db.execute("select count(*) from deskbus_inbox").fetchone() == (0,)


def test_two_processes_that_take_the_same_first_event_get_one_row(db: sqlite3.Connection) -> None:
    """Neither saw a row to update: the database refuses the second one."""
    assert Inbox().take(db, value(1))
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("insert into deskbus_inbox select * from deskbus_inbox")


def test_a_cursor_is_closed_whatever_happens() -> None:
    closed: list[bool] = []

    class Broken:
        rowcount = 0

        def cursor(self) -> "Broken":
            return self

        def execute(self, statement: str, parameters: object = ()) -> object:
            raise ZeroDivisionError

        def fetchone(self) -> object: ...

        def close(self) -> None:
            closed.append(True)

    for work in (Inbox().create, lambda connection: Inbox().take(connection, value(1))):
        with pytest.raises(ZeroDivisionError):
            work(Broken())
    assert closed == [True, True]


def test_two_processes_that_take_the_same_event_apply_it_once(tmp_path: Path) -> None:
    """The second one read before the first one wrote, as in a rebalance."""
    first, second = (sqlite3.connect(tmp_path / "store.db") for _ in range(2))
    inbox = Inbox()
    inbox.create(first)
    with first:
        assert inbox.take(first, value(1))

    class Late:
        """A cursor whose read is as old as the first process' last commit."""

        def __init__(self) -> None:
            self.cursor_ = second.cursor()

        def cursor(self) -> "Late":
            return self

        @property
        def rowcount(self) -> int:
            return self.cursor_.rowcount

        def execute(self, statement: str, parameters: object = ()) -> object:
            self.cursor_.execute(statement, parameters)  # type: ignore[arg-type]
            if statement.startswith("select"):
                self.row = self.cursor_.fetchone()
                with first:
                    assert inbox.take(first, value(2))
            return self

        def fetchone(self) -> object:
            return self.row

        def close(self) -> None:
            self.cursor_.close()

    assert inbox.take(Late(), value(2)) is None


@pytest.mark.parametrize("table", ["", "1a", "a b", "seen; drop table x", "x)"])
def test_a_table_has_a_plain_name(table: str) -> None:
    with pytest.raises(ValueError, match="not the name of a table"):
        Inbox(table=table)


def test_a_driver_with_other_placeholders_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"named.*qmark, format, pyformat"):
        Inbox(paramstyle="named")


def test_drivers_like_psycopg_get_their_placeholders() -> None:
    said: list[tuple[str, object]] = []

    class Recorder:
        rowcount = 1

        def cursor(self) -> "Recorder":
            return self

        def execute(self, statement: str, parameters: object = ()) -> object:
            said.append((statement, parameters))
            return None

        def fetchone(self) -> object:
            return (1,)

        def close(self) -> None: ...

    assert Inbox(paramstyle="pyformat", table="crm.inbox").take(Recorder(), value(2))
    assert all(s.count("%s") == len(p) and "?" not in s and "crm.inbox" in s for s, p in said)  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7), st.booleans()), max_size=12))
def test_every_event_is_applied_once_and_in_order_over_crashes(lives: list[tuple[int, int, bool]]) -> None:
    """Oracle: the log itself. A life begins at any offset already reached, and ends after or within a transaction."""
    log = [(subject, n) for n in range(1, 5) for subject in ("a", "b")]
    db = sqlite3.connect(":memory:")
    inbox = Inbox(on_gap=lambda gap: pytest.fail(str(gap)))
    inbox.create(db)
    db.execute("create table effects (subject text, sequence integer)")
    reached = 0
    for back, records, within in [*lives, (8, 8, False)]:
        start = max(0, reached - back)
        for offset, (subject, n) in enumerate(log[start : start + records], start):
            with suppress(ZeroDivisionError), db:
                if event := inbox.take(db, value(n, subject)):
                    db.execute("insert into effects values (?, ?)", (event.subject, event.sequence))
                if within and offset == start + records - 1:
                    raise ZeroDivisionError
                reached = max(reached, offset + 1)
    assert reached == len(log)
    effects = db.execute("select subject, sequence from effects order by rowid").fetchall()
    assert sorted(effects) == sorted(log)
    assert all([n for s, n in effects if s == subject] == [1, 2, 3, 4] for subject in ("a", "b"))
