"""A run of mutants ends within its bounds, and being late is told apart from tests that notice too little."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mutants import __main__ as program
from tests.mutants import report

ROOT = Path(__file__).resolve().parents[2]
NAMES = [f"kit.protocol.timers.x_a__mutmut_{n}" for n in range(10)]
DIFF = "--- kit/protocol/timers.py\n+++ kit/protocol/timers.py\n@@ -1 +1 @@\n-a = 1\n+a = 2\n"
MUTMUT = """
import json, sys, time
from pathlib import Path

case, results = sys.argv[1], Path(sys.argv[2])
command, names = sys.argv[3], sys.argv[4:]
if command == "diffs":
    print(json.dumps(dict.fromkeys(json.load(sys.stdin), {diff!r})))
    sys.exit(0)
preparing = names == ["no mutant of this name"]
if preparing and case == "never ready" or not preparing and case == "never tests":
    time.sleep(600)
file = results / "kit" / "protocol" / "timers.py.meta"
codes = json.loads(file.read_text())["exit_code_by_key"]
if not preparing and case == "fails":
    sys.exit("the tests fail without a mutant")
for n, name in enumerate(names):
    if not preparing:
        codes[name] = int(case.startswith("few") and n % 2 == 0 or case.startswith("all"))
        file.write_text(json.dumps({{"exit_code_by_key": codes}}))
        if case.endswith("and slow") and n == 3:
            time.sleep(600)
sys.exit(1 if preparing else 0)
"""
"""Stands for mutmut: it has made the mutants, or tests them, as the case says."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs the program over a mutmut that behaves as named; the results of an earlier run are there."""
    results = tmp_path / "mutants"
    (results / "kit" / "protocol").mkdir(parents=True)
    codes = dict.fromkeys(NAMES, 1)
    (results / "kit" / "protocol" / "timers.py.meta").write_text(json.dumps({"exit_code_by_key": codes}), "utf-8")
    script = tmp_path / "mutmut.py"
    script.write_text(MUTMUT.format(diff=DIFF), "utf-8")
    monkeypatch.setattr(program, "RESULTS", results)
    monkeypatch.setattr(program, "ROOT", tmp_path)
    monkeypatch.setattr(program, "LOG", tmp_path / "log" / "mutants.log")
    monkeypatch.setattr(report, "reasons", list)

    def go(case: str, *options: str) -> int:
        monkeypatch.setattr(program, "_PROGRAM", (sys.executable, str(script), case, str(results)))
        monkeypatch.setattr(sys, "argv", ["mutants", *options])
        begin = time.monotonic()
        code = program.main()
        assert time.monotonic() - begin < 60, "it keeps its bounds"
        return code

    return go


@pytest.mark.parametrize(
    ("case", "code", "told"),
    [
        ("all", 0, "10 of 10 mutants killed"),
        ("all and slow", 0, "4 of 4 mutants killed, 6 not reached"),
        ("few", 1, "5 of 10 mutants killed"),
        ("few and slow", 1, "2 of 4 mutants killed, 6 not reached"),
        ("fails", 2, "the tests fail without a mutant"),
        ("never tests", 3, "out of time: no mutant was tested within 1 s"),
        ("never ready", 3, "out of time: the mutants were not ready after 1 s"),
    ],
)
def test_the_exit_code_tells_too_few_from_too_late(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str], case: str, code: int, told: str
) -> None:
    bound = {"never ready": ("--prepare-seconds", "1"), "never tests": ("--seconds", "1")}.get(case, ())
    if case.endswith("and slow"):
        bound = ("--seconds", "8")
    assert run(case, *bound) == code
    assert told in capsys.readouterr().out


def _git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("changed", "code", "told"),
    [("docs/a.md", 0, "no file that is mutated has changed"), ("kit/protocol/timers.py", 1, "5 of 10 mutants killed")],
)
def test_a_branch_that_changes_nothing_that_is_mutated_ends_at_once(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: str, code: int, told: str
) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    _git(tmp_path, "init", "-q", "-b", "trunk")
    _git(tmp_path, "add", "pyproject.toml")
    _git(tmp_path, "commit", "-q", "-m", "first")
    _git(tmp_path, "checkout", "-q", "-b", "branch")
    (tmp_path / changed).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / changed).write_text("new", "utf-8")
    _git(tmp_path, "add", changed)
    _git(tmp_path, "commit", "-q", "-m", "second")
    assert run("few", "--changed", "--base", "trunk") == code
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(
    ("mutants", "status"), [(0, 0), (1, 1), (2, 2), (3, 0), (124, 0), (137, 0), (143, 143)], ids=str
)
def test_ci_fails_for_mutants_that_live_and_not_for_want_of_time(tmp_path: Path, mutants: int, status: int) -> None:
    done = _ci(tmp_path, mutants)
    assert done.returncode == status, done.stderr
    assert ("no verdict" in done.stdout) == (mutants in {3, 124, 137})
    assert done.stdout.splitlines()[-1] == "===== 1 passed in 0.01s ====="


def test_ci_tests_no_mutants_where_the_tests_fail(tmp_path: Path) -> None:
    done = _ci(tmp_path, 3, tests=1)
    assert done.returncode == 1
    assert "mutants were tested" not in done.stdout


def _ci(folder: Path, mutants: int, tests: int = 0) -> subprocess.CompletedProcess[str]:
    """Run what CI runs over a make and a Python that do nothing but end as told."""
    for name, text in (
        ("bin/make", f'[ "$1" != test ] || {{ echo "===== 1 passed in 0.01s ====="; exit {tests}; }}'),
        (
            ".venv/bin/python",
            f'case "$*" in *tests.mutants*) echo "mutants were tested: $*"; exit {mutants};; esac',
        ),
    ):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(f"#!/bin/sh\n{text}\n", "utf-8")
        (folder / name).chmod(0o755)
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", folder / ".ci")
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "DESKBUS_MONGO": "mongodb://nowhere"}
    return subprocess.run(
        ["bash", ".ci/run"], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
