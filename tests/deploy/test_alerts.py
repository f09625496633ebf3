"""Every alert is about a metric that exists, has its runbook, and is tested both ways; promtool runs those tests."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_client.utils import floatToGoString

from contracts.topics import SERVICES
from deploy.reference import DOCS, metric_rows

_METRIC = re.compile(r"\bdeskbus_[a-z0-9_]+")
Rule = dict[str, Any]
TESTS = ("alerts", "limits", "slo")


@pytest.fixture(scope="module")
def prometheus(root: Path) -> Path:
    return root / "deploy" / "prometheus"


@pytest.fixture(scope="module")
def rules(prometheus: Path) -> list[Rule]:
    groups = [g for file in (prometheus / "rules").glob("*.yml") for g in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="module")
def alerts(rules: list[Rule]) -> list[Rule]:
    return [rule for rule in rules if "alert" in rule]


def known_metrics() -> set[str]:
    """Names as they are scraped: a histogram is three series."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", (DOCS / "metrics.md").read_text("utf-8"), re.MULTILINE)
    parts = {f"{name}_{part}" for name, kind in rows if kind == "histogram" for part in ("bucket", "sum", "count")}
    return parts | {name for name, kind in rows if kind != "histogram"}


def test_rules_speak_only_of_metrics_that_exist(rules: list[Rule]) -> None:
    recorded = {rule["record"] for rule in rules if "record" in rule}
    used = set()
    for rule in rules:
        named = set(re.findall(r"\bslo:\w+:\w+", rule["expr"]))
        assert named <= recorded
        used |= set(_METRIC.findall(re.sub(r"\bslo:\w+:\w+", "", rule["expr"])))
    assert used
    assert used - known_metrics() == set()


def test_a_rule_about_a_latency_asks_for_a_bucket_that_exists(rules: list[Rule]) -> None:
    asked = {pair for rule in rules for pair in re.findall(r'(deskbus_\w+)_bucket\{le="([^"]+)"\}', rule["expr"])}
    assert len(asked) > 3
    metric_rows()  # imports the metrics of all services
    bounds = {
        (name, floatToGoString(bound))  # type: ignore[no-untyped-call]
        for metric in set(REGISTRY._collector_to_names)
        for name in [getattr(metric, "_name", "")]
        for bound in getattr(metric, "_kwargs", {}).get("buckets", ())
    }
    assert asked - bounds == set()


def test_every_alert_says_how_urgent_it_is_and_where_to_read_on(alerts: list[Rule], root: Path) -> None:
    for rule in alerts:
        name = rule["alert"]
        assert rule["labels"]["severity"] in {"page", "ticket"} or name == "DeskbusWatchdog", name
        assert {"summary", "description"} <= set(rule["annotations"]), name
        assert (root / rule["annotations"]["runbook"]).name == f"{name}.md"


def test_every_alert_has_a_runbook_and_every_runbook_an_alert(alerts: list[Rule], root: Path) -> None:
    assert {file.stem for file in (root / "docs" / "runbooks").glob("*.md")} == {rule["alert"] for rule in alerts}


def test_every_alert_is_fired_once_and_kept_quiet_once(alerts: list[Rule], prometheus: Path) -> None:
    fired: set[tuple[str, str, str]] = set()
    quiet: set[str] = set()
    for file in (prometheus / "tests").glob("*.test.yml"):
        for case in yaml.safe_load(file.read_text("utf-8"))["tests"]:
            for check in case["promql_expr_test"]:
                name = re.search(r'alertname="(\w+)"', check["expr"])
                assert name is not None, case["name"]
                if not check["exp_samples"]:
                    quiet.add(name[1])
                for sample in check["exp_samples"]:
                    labels = dict(re.findall(r'(\w+)="([^"]*)"', sample["labels"]))
                    fired.add((name[1], labels["severity"], labels.get("burn", "")))
    door = "DeskbusSloDoorAvailability"  # one objective stands for all, as its rules are generated like the others'
    of_all = {(r["alert"], r["labels"]["severity"], r["labels"].get("burn", "")) for r in alerts}
    assert {each for each in of_all if each[0] == door or not each[2]} <= fired
    assert {name for name, _, _ in fired} == {name for name, _, _ in of_all}
    assert quiet == {rule["alert"] for rule in alerts} - {"DeskbusWatchdog"}


def test_an_alert_names_its_service_so_that_a_service_that_is_gone_can_silence_it(prometheus: Path) -> None:
    unnamed = set()
    for file in (prometheus / "tests").glob("*.test.yml"):
        for case in yaml.safe_load(file.read_text("utf-8"))["tests"]:
            for sample in (each for check in case["promql_expr_test"] for each in check["exp_samples"]):
                labels = dict(re.findall(r'(\w+)="([^"]*)"', sample["labels"]))
                if "service" not in labels:
                    unnamed.add(labels["alertname"])
    assert unnamed == {"DeskbusWatchdog"}


def test_targets_name_their_service_as_a_process_that_is_down_does_not(prometheus: Path) -> None:
    document = yaml.safe_load((prometheus / "prometheus.yml").read_text("utf-8"))
    (scrape,) = (each for each in document["scrape_configs"] if each["job_name"] == "deskbus")
    assert scrape["honor_labels"], "else Prometheus renames the label of the metrics"
    named = {
        target.split(":")[0]: of["labels"]["service"] for of in scrape["static_configs"] for target in of["targets"]
    }
    assert named == {service: service for service in SERVICES}


@pytest.mark.parametrize(
    "arguments",
    [["check", "config", "prometheus.yml"], *(["test", "rules", f"tests/{name}.test.yml"] for name in TESTS)],
    ids=["config", *TESTS],
)
def test_promtool_finds_rules_and_their_tests_in_order(prometheus: Path, arguments: list[str]) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool (Debian: prometheus)")
    done = subprocess.run(["promtool", *arguments], cwd=prometheus, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_of_tests_is_left_out(prometheus: Path) -> None:
    assert sorted(f"{name}.test.yml" for name in TESTS) == sorted(
        file.name for file in (prometheus / "tests").iterdir()
    )
