"""Every alert is about a metric that exists, has its runbook, and is tested both ways; promtool runs those tests."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.reference import DOCS

_METRIC = re.compile(r"\bdeskbus_[a-z0-9_]+")
_SECTIONS = ("## What it means", "## Impact", "## Diagnosis", "## Fix")


@pytest.fixture(scope="module")
def prometheus(root: Path) -> Path:
    return root / "deploy" / "prometheus"


@pytest.fixture(scope="module")
def alerts(prometheus: Path) -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load((prometheus / "rules" / "alerts.yml").read_text("utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def known_metrics() -> set[str]:
    """Names as they are scraped: a histogram is three series."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", (DOCS / "metrics.md").read_text("utf-8"), re.MULTILINE)
    parts = {f"{name}_{part}" for name, kind in rows if kind == "histogram" for part in ("bucket", "sum", "count")}
    return parts | {name for name, kind in rows if kind != "histogram"}


def test_rules_speak_only_of_metrics_that_exist(prometheus: Path) -> None:
    used = set()
    for file in (prometheus / "rules").glob("*.yml"):
        for group in yaml.safe_load(file.read_text("utf-8"))["groups"]:
            for rule in group["rules"]:
                used |= set(_METRIC.findall(re.sub(r"service:\w+(:\w+)*", "", rule["expr"])))
    assert used
    assert used - known_metrics() == set()


def test_every_alert_says_how_urgent_it_is_and_where_to_read_on(alerts: dict[str, dict[str, Any]], root: Path) -> None:
    for name, rule in alerts.items():
        assert rule["labels"]["severity"] in {"page", "ticket"}, name
        assert {"summary", "description"} <= set(rule["annotations"]), name
        runbook = root / rule["annotations"]["runbook"]
        assert runbook.name == f"{name}.md"
        text = runbook.read_text("utf-8")
        assert text.startswith(f"# {name}\n"), name
        assert [section for section in _SECTIONS if f"\n{section}\n" not in text] == [], name


def test_every_runbook_belongs_to_an_alert(alerts: dict[str, dict[str, Any]], root: Path) -> None:
    assert {file.stem for file in (root / "docs" / "runbooks").glob("*.md")} == set(alerts)


def test_every_alert_is_fired_once_and_kept_quiet_once(alerts: dict[str, dict[str, Any]], prometheus: Path) -> None:
    cases = yaml.safe_load((prometheus / "tests" / "alerts.test.yml").read_text("utf-8"))["tests"]
    fired: set[str] = set()
    quiet: set[str] = set()
    for case in cases:
        for check in case["promql_expr_test"]:
            name = re.search(r'alertname="(\w+)"', check["expr"])
            assert name is not None, case["name"]
            (fired if check["exp_samples"] else quiet).add(name[1])
    assert fired == set(alerts)
    assert quiet == set(alerts)


def test_promtool_finds_rules_and_their_tests_in_order(prometheus: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed; it comes with Prometheus (Debian: apt-get install prometheus)")
    for command in (["check", "config", "prometheus.yml"], ["test", "rules", "tests/alerts.test.yml"]):
        done = subprocess.run(["promtool", *command], cwd=prometheus, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_runbooks_look_for_in_the_log_is_logged(root: Path) -> None:
    code = "".join(file.read_text("utf-8") for room in ("kit", "services") for file in (root / room).rglob("*.py"))
    lines = [
        (file.name, line)
        for file in sorted((root / "docs" / "runbooks").glob("*.md"))
        for line in re.findall(r"in the log: ([^\n]*)", file.read_text("utf-8"))
    ]
    named = [(name, words) for name, line in lines for words in re.findall(r'"([^"]+)"', line)]
    assert len(named) > 8
    assert [(name, words) for name, words in named if words not in code] == []
