"""The harness of `make deploy-check` runs every check, reports each, and fails if one did. Checks are made up here."""

import re
import sys
from pathlib import Path

import pytest

from deploy.check import tools
from deploy.check.__main__ import CHECKS
from deploy.check.context import Context, Failed
from deploy.check.harness import Check, main, run_check
from deploy.check.prove import BREAKAGES
from deploy.check.tools import MissingTool, Tool


def passes(context: Context) -> None:
    """Nothing is wrong."""


def fails(context: Context) -> None:
    """Something is wrong."""
    raise Failed("the probe has no path\nin sla.yaml")


def breaks(context: Context) -> None:
    """The check itself is wrong."""
    raise ZeroDivisionError("by zero")


def absent() -> Path:
    raise MissingTool("drill is not on PATH (Debian: apt-get install drill)")


@pytest.fixture
def drill(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool that is not here and cannot be had."""
    monkeypatch.setitem(tools.TOOLS, "drill", Tool(find=lambda: None, get=absent))


def test_all_checks_run_although_one_fails_and_the_exit_code_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    code = main([Check("first", fails), Check("second", breaks), Check("third", passes)], [])
    said = capsys.readouterr().out
    assert code == 1
    assert re.findall(r"(?m)^(\w+) +(ok|failed) +[\d.]+ s$", said) == [
        ("first", "failed"),
        ("second", "failed"),
        ("third", "ok"),
    ]
    assert "    the probe has no path\n    in sla.yaml\n" in said
    assert "    ZeroDivisionError: by zero\n" in said
    assert said.endswith("1 ok, 2 failed, 0 left out\nfailed: first, second\n")


def test_only_the_named_checks_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([Check("first", fails), Check("second", passes)], ["second"]) == 0
    assert "first" not in capsys.readouterr().out


def test_an_unknown_name_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([Check("first", passes)], ["fist"])
    assert "no such check: fist" in capsys.readouterr().err


def test_a_quick_run_leaves_out_what_is_slow_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([Check("slow", fails, slow=True), Check("quick", passes)], ["--quick"]) == 0
    assert capsys.readouterr().out.endswith("1 ok, 0 failed, 1 left out\nleft out: slow\n")


@pytest.mark.usefixtures("drill")
def test_a_missing_tool_fails_a_full_run_with_what_to_install() -> None:
    outcome = run_check(Check("hole", passes, ("drill",)), Context())
    assert (outcome.verdict, outcome.reason) == ("failed", "drill is not on PATH (Debian: apt-get install drill)")


@pytest.mark.usefixtures("drill")
def test_a_missing_tool_is_left_out_of_a_quick_run() -> None:
    outcome = run_check(Check("hole", passes, ("drill",)), Context(quick=True))
    assert (outcome.verdict, outcome.reason) == (
        "left out",
        "drill is not here; `python -m deploy.check.tools drill` gets it",
    )


def test_a_program_that_fails_fails_the_check_with_the_end_of_what_it_said() -> None:
    script = "import sys; print('\\n'.join(str(n) for n in range(100))); sys.exit(1)"
    with Context() as context, pytest.raises(Failed, match=r"failed \(1\):\n60\n(.|\n)*\n99$"):
        context.run([sys.executable, "-c", script])


def test_a_program_that_does_not_end_fails_the_check() -> None:
    with Context() as context, pytest.raises(Failed, match="has not ended after 0 s"):
        context.run([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.2)


def test_what_checks_leave_behind_is_gone_after_the_run() -> None:
    with Context() as context:
        (context.work / "chart").mkdir()
    assert not context.work.exists()


def test_nothing_that_a_check_starts_or_writes_reaches_the_next_one() -> None:
    ended: list[str] = []

    def starts(context: Context) -> None:
        """Start something."""
        (context.work / "server").mkdir()
        context.stack.callback(ended.append, "server")

    def starts_too(context: Context) -> None:
        """Start it again."""
        assert ended == ["server"]
        starts(context)

    with Context() as context:
        assert [run_check(Check("one", run), context).verdict for run in (starts, starts_too)] == ["ok", "ok"]


def test_what_checks_share_is_made_once_and_lives_as_long_as_the_run() -> None:
    made = []

    def server(run: Context) -> Path:
        made.append(run.work)
        return run.work

    with Context() as context:
        checks = [Check("one", lambda own: None if own.once("server", server).exists() else fails(own))] * 2
        assert [run_check(check, context).verdict for check in checks] == ["ok", "ok"]
        assert made == [context.work]


def test_what_checks_share_and_cannot_be_made_is_not_tried_again() -> None:
    tried = []

    def server(run: Context) -> None:
        tried.append(run)
        raise Failed("no server")

    with Context() as context:
        checks = [Check("one", lambda own: own.once("server", server))] * 2
        assert [run_check(check, context).reason for check in checks] == ["no server", "no server"]
    assert len(tried) == 1


def test_every_check_has_a_name_of_its_own_a_summary_and_tools_that_are_known() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert check.summary.endswith("."), check.name
        assert set(check.needs) <= set(tools.TOOLS), check.name


def test_every_check_was_seen_to_fail_and_the_readme_says_on_what(root: Path) -> None:
    readme = (root / "deploy" / "README.md").read_text("utf-8")
    table = readme.split("## What each check has caught")[1].split("\n## ")[0]
    rows = re.findall(r"(?m)^\| `([\w-]+)` \| (.+) \|$", table)
    assert {name for name, _ in rows} == {check.name for check in CHECKS}
    assert [breakage for breakage in BREAKAGES if (breakage.check, breakage.what) not in rows] == []


def test_every_breakage_still_finds_what_it_breaks(root: Path) -> None:
    for breakage in BREAKAGES:
        assert breakage.old in (root / breakage.file).read_text("utf-8"), breakage
