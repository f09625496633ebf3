"""Dashboards show metrics that exist, by labels that they have; Prometheus can read every expression."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.dashboards import DASHBOARDS, expressions, grafana
from deploy.dashboards.model import Panel


def panels(*, exporters: bool) -> list[Any]:
    return [
        pytest.param(panel, id=f"{dashboard.uid}/{panel.title}")
        for dashboard in DASHBOARDS
        for panel in dashboard.panels()
        if exporters or not panel.exporter
    ]


@pytest.fixture(scope="module")
def labels() -> dict[str, set[str]]:
    """Every series as it is scraped, with its labels; what recording rules make has those that its expression keeps."""
    return expressions.known_series()


@pytest.mark.parametrize("panel", panels(exporters=False))
def test_a_panel_shows_what_exists(panel: Panel, labels: dict[str, set[str]]) -> None:
    for query in panel.queries:
        used = expressions.series(query.expr)
        assert used or re.fullmatch(r"vector\([\d.]+\)", query.expr), query.expr
        assert used - labels.keys() == set(), query.expr
        possible = set[str]().union(*(labels[name] for name in used)) | {"service", "instance"}
        assert expressions.labels(query.expr) - possible == set(), query.expr
        assert set(re.findall(r"{{(\w+)}}", query.legend)) <= possible, query.legend


@pytest.mark.parametrize("panel", panels(exporters=True))
def test_series_of_a_panel_can_be_told_apart(panel: Panel) -> None:
    for query in panel.queries:
        grouped = set(re.findall(r"\w+", " ".join(re.findall(r"\bby \(([^)]*)\)", query.expr)))) - {"le"}
        assert grouped <= set(re.findall(r"{{(\w+)}}", query.legend)) or panel.number, query.expr
    assert panel.number or len(panel.queries) == len({query.legend for query in panel.queries})


def test_every_metric_of_ours_is_found(labels: dict[str, set[str]]) -> None:
    assert labels["deskbus_ingest_arrivals_total"] == {"channel", "marketplace", "brand"}
    assert labels["deskbus_event_effect_seconds_bucket"] == {"le"}
    assert expressions.series('sum by (le) (rate(a_b{c="d_e"}[5m])) / on (x) group_left () z or vector(0)') == {
        "a_b",
        "z",
    }
    assert expressions.labels('sum by (le) (rate(a_b{c="d_e"}[5m])) / on (x) z') == {"le", "c", "x"}


def test_each_dashboard_is_written_where_grafana_and_the_chart_look(root: Path) -> None:
    for folder in grafana.FOLDERS:
        assert {path.stem for path in (root / folder).glob("*")} == {each.uid for each in DASHBOARDS}
    assert len({each.title for each in DASHBOARDS}) == len(DASHBOARDS)


def test_panels_do_not_overlap_and_have_ids_of_their_own(root: Path) -> None:
    for path in (root / grafana.FOLDERS[0]).glob("*.json"):
        panels: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        taken = set[tuple[int, int]]()
        for panel in panels:
            at = panel["gridPos"]
            cells = {(at.get("x", 0) + x, at.get("y", 0) + y) for x in range(at["w"]) for y in range(at["h"])}
            assert max(x for x, _ in cells) < 24
            assert not cells & taken, panel["title"]
            taken |= cells


def test_grafana_finds_the_dashboards_and_a_prometheus(root: Path) -> None:
    folder = root / "deploy" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text("utf-8"))["datasources"]
    scraped = yaml.safe_load((root / "deploy" / "prometheus" / "prometheus.yml").read_text("utf-8"))["global"]
    assert source["jsonData"]["timeInterval"] == scraped["scrape_interval"]
    (provider,) = yaml.safe_load((folder / "dashboards" / "deskbus.yml").read_text("utf-8"))["providers"]
    assert provider["options"]["path"] == "/etc/grafana/dashboards"


def test_prometheus_can_read_every_expression(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed; it comes with Prometheus (Debian: apt-get install prometheus)")
    rules = tmp_path / "rules.yml"
    rules.write_text(yaml.safe_dump(expressions.as_rules(DASHBOARDS)))
    done = subprocess.run(["promtool", "check", "rules", rules], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
