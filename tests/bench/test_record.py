"""Parts of several runs stand together, each with what it was taken on; the page keeps all that is not the table."""

import json
from pathlib import Path

import pytest

from tests.bench import record
from tests.bench.__main__ import arguments
from tests.bench.parts import PARTS

NAMES = ("decision", "tickets", "door")


def part(at: str) -> dict[str, object]:
    return {"taken": {"at": at}}


def test_a_part_measured_again_replaces_itself_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "bench" / "latest.json"
    record.keep(file, {"door": part("noon"), "decision": part("noon")}, NAMES)
    record.keep(file, {"door": part("evening")}, NAMES)

    assert json.loads(file.read_text()) == {"decision": part("noon"), "door": part("evening")}
    assert list(record.kept(file, NAMES)) == ["decision", "door"]


def test_figures_that_do_not_say_how_they_were_taken_are_not_kept() -> None:
    assert record.merged({"door": {"ratio": 1}, "machine": {"cores": 2}}, {"tickets": part("noon")}, NAMES) == {
        "tickets": part("noon")
    }


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    page = f"# Head\n{record.MARKS[0]}\nold\n{record.MARKS[1]}\nprose\n"
    assert record.between(page, "new") == f"# Head\n{record.MARKS[0]}\nnew\n{record.MARKS[1]}\nprose\n"


def test_parts_are_selected_by_name_with_commas_or_spaces() -> None:
    assert arguments(["--only", "door,clocks", "stored"]).only == {"door", "clocks", "stored"}
    assert arguments([]).only == PARTS.keys()
    with pytest.raises(SystemExit):
        arguments(["--only", "doors"])


def test_full_takes_the_numbers_of_the_goals_and_a_size_that_is_named_wins() -> None:
    given = arguments(["--full", "--tickets", "77"])
    assert (given.armed, given.tickets) == (1_000_000, 77)
    assert 100 * (given.stored + given.beside // 2) == 1_000_000
