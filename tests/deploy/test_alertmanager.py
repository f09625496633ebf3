"""The sample configuration of Alertmanager: valid, no secrets, and every alert goes where its severity belongs."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.check.context import Context, Failed
from deploy.check.files import RECEIVERS, alert_labels, check_amtool
from deploy.check.live import impatient, routed_here


@pytest.fixture(scope="module")
def sample(root: Path) -> Path:
    return root / "deploy" / "alertmanager" / "alertmanager.yml"


@pytest.fixture(scope="module")
def document(sample: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(sample.read_text("utf-8"))
    return found


def test_amtool_routes_every_alert_by_its_severity(root: Path) -> None:
    if shutil.which("amtool") is None:
        pytest.skip("needs amtool (Debian: prometheus-alertmanager)")
    with Context(root) as context:
        check_amtool(context)


def test_an_alert_that_goes_elsewhere_is_found(root: Path, tmp_path: Path, sample: Path) -> None:
    if shutil.which("amtool") is None:
        pytest.skip("needs amtool (Debian: prometheus-alertmanager)")
    for folder in ("alertmanager", "prometheus/rules"):
        shutil.copytree(root / "deploy" / folder, tmp_path / "deploy" / folder)
    text = sample.read_text("utf-8").replace('severity="page"]\n      receiver', 'severity="pages"]\n      receiver')
    (tmp_path / "deploy" / "alertmanager" / "alertmanager.yml").write_text(text)
    with (
        Context(tmp_path) as context,
        pytest.raises(Failed, match=r"\(page\) goes to tickets, not to pager"),
    ):
        check_amtool(context)


def test_receivers_read_their_keys_from_files(document: dict[str, Any]) -> None:
    assert {each["name"] for each in document["receivers"]} == set(RECEIVERS.values())
    for receiver in document["receivers"]:
        text = yaml.safe_dump(receiver)
        assert re.findall(r"\w+_file: (.*)", text), receiver["name"]
        assert (
            re.findall(r"(?m)^\s*(?:- )?(?:routing_key|service_key|api_url|password|credentials|bearer_token):", text)
            == []
        )


def test_what_inhibits_and_is_inhibited_are_alerts(root: Path, document: dict[str, Any]) -> None:
    alerts = {labels["alertname"] for labels in alert_labels(root / "deploy" / "prometheus" / "rules")}
    named = []
    for rule in document["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            name, operator, value = re.fullmatch(r'(\w+)(=~|!=|=)"(.*)"', matcher).groups()  # type: ignore[union-attr]
            if name == "alertname":
                parts = [value] if operator != "=~" else re.split(r"\|(?![^(]*\))", value)
                named += [(part, sum(re.fullmatch(part, alert) is not None for alert in alerts)) for part in parts]
    assert len(named) > 8
    assert [part for part, count in named if count == 0] == []


def test_the_copies_for_a_live_check_say_what_the_originals_say(root: Path, tmp_path: Path, sample: Path) -> None:
    rules = root / "deploy" / "prometheus" / "rules"
    copies = impatient(rules, tmp_path)
    assert [file.name for file in copies] == sorted(file.name for file in rules.glob("*.yml"))

    def said(folder: Path) -> list[tuple[str, str]]:
        groups = [g for file in sorted(folder.glob("*.yml")) for g in yaml.safe_load(file.read_text())["groups"]]
        return [(rule.get("alert", rule.get("record")), rule["expr"]) for group in groups for rule in group["rules"]]

    assert said(tmp_path) == said(rules)
    routed = routed_here(sample, "http://127.0.0.1:1")
    original = yaml.safe_load(sample.read_text("utf-8"))
    assert [each["receiver"] for each in routed["route"]["routes"]] == [
        each["receiver"] for each in original["route"]["routes"]
    ]
    assert routed["inhibit_rules"] == original["inhibit_rules"]


def test_promtool_accepts_the_copies(root: Path, tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool (Debian: prometheus)")
    copies = impatient(root / "deploy" / "prometheus" / "rules", tmp_path)
    subprocess.run(["promtool", "check", "rules", *map(str, copies)], check=True, capture_output=True)
