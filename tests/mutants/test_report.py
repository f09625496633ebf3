"""What a run of mutants is turned into: rooms, survivors with their reasons, and the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.mutants import report
from tests.mutants.report import Room, Survivor
from tests.mutants.score import Result

DIFF = """--- services/sla/core/targets.py
+++ services/sla/core/targets.py
@@ -2,4 +2,4 @@
 def _after(mark: str, target_ms: int) -> int:
-        return target_ms // 100
+        return target_ms / 100
"""
SURVIVED = Survivor("services/sla/core/targets.py", "return target_ms // 100", "return target_ms / 100")
EXPLAINED = Survivor(SURVIVED.file, SURVIVED.old, SURVIVED.new, "all are whole hundreds")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in (
        ("REASONS", "[]"),
        ("RECORD", "{}"),
        ("PAGE", "before\n<!-- mutants -->\nold\n<!-- /mutants -->\nafter\n"),
    ):
        (tmp_path / name).write_text(text, "utf-8")
        monkeypatch.setattr(report, name, tmp_path / name)
    return tmp_path


def test_mutants_are_counted_by_room_and_survivors_shown(files: Path) -> None:
    names = [f"services.sla.core.targets.x__after__mutmut_{n}" for n in range(4)]
    tested = dict.fromkeys(names, Result.KILLED) | {
        names[3]: Result.SURVIVED,
        "kit.timers.x_a__mutmut_1": Result.KILLED,
    }
    every = [*tested, "services.sla.core.hours.x_b__mutmut_1", "kit.outbox.x_c__mutmut_1"]
    rooms = report.by_room(tested, {names[3]: DIFF}, every)
    assert rooms == {"sla": Room(4, 3, (SURVIVED,), 5), "kit": Room(1, 1, (), 2)}
    assert rooms["sla"].score == 75
    assert list(report.shown(rooms["sla"].survivors)) == [f"{SURVIVED.file}\n  - {SURVIVED.old}\n  + {SURVIVED.new}"]


def test_a_survivor_has_the_reason_that_was_given_for_that_change(files: Path) -> None:
    others = [
        Survivor(SURVIVED.file, SURVIVED.old, "return 0", "no"),
        Survivor("x.py", SURVIVED.old, SURVIVED.new, "no"),
    ]
    (files / "REASONS").write_text(json.dumps([vars(one) for one in (*others, EXPLAINED)]), "utf-8")
    assert report.survivor(DIFF) == EXPLAINED
    assert list(report.shown([EXPLAINED])) == []


def test_a_record_keeps_other_rooms_and_shows_all_of_them(files: Path) -> None:
    again = Survivor("services/sla/core/clocks.py", "a", "b", EXPLAINED.why)
    report.record({"sla": Room(10, 7, (SURVIVED, EXPLAINED, again), 12)}, "2026-11-25")
    report.record({"kit": Room(4, 4, (), 4)}, "2026-11-26")
    page = (files / "PAGE").read_text("utf-8")
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    assert "old" not in page
    assert "| sla | 12 | 10 | 7 | 70.0 % | 2 of 3 | 2026-11-25 |" in page
    assert "| kit | 4 | 4 | 4 | 100.0 % | 0 of 0 | 2026-11-26 |" in page
    assert page.count("| all are whole hundreds | 2 | `clocks.py`, `targets.py` |") == 1


def test_the_committed_page_shows_the_committed_results() -> None:
    text = report.PAGE.read_text("utf-8")
    assert text.partition(report.MARKS[0] + "\n")[2].partition(report.MARKS[1])[0] == report.page()


def test_every_reason_is_one() -> None:
    assert all(one.why for one in report.reasons())
