"""Pictures are what the code draws, load nothing from elsewhere, and say that they are drawn."""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from contracts.topics import SERVICES
from deploy.dashboards import DASHBOARDS
from deploy.dashboards.live import Series
from deploy.dashboards.model import Dashboard, Panel, Query, Row, Unit
from deploy.pictures import charts, screen, system
from services.ingest.channels import CHANNELS
from services.notify.sinks import SINKS

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    return root / "docs" / "pictures"


def texts(drawn: str) -> list[str]:
    return ["".join(each.itertext()) for each in ET.fromstring(drawn).iter(f"{SVG}text")]


def test_every_picture_is_there_and_loads_nothing(folder: Path) -> None:
    assert {path.stem for path in folder.glob("*")} == {"system", "demo", *(each.uid for each in DASHBOARDS)}
    for path in folder.glob("*.svg"):
        drawn = path.read_text("utf-8")
        assert texts(drawn), path.name
        assert set(re.findall(r"https?://[^\s\"')]+", drawn)) == {"http://www.w3.org/2000/svg"}, path.name


def test_the_system_is_drawn_as_it_is(folder: Path) -> None:
    drawn = system.draw()
    assert (folder / "system.svg").read_text("utf-8") == drawn, "run make pictures"
    said = " ".join(texts(drawn)).lower()
    assert [
        name for name in (*SERVICES, *(each.CHANNEL for each in CHANNELS.values()), *SINKS) if name not in said
    ] == []


def test_what_is_drawn_of_a_dashboard_says_so_and_has_every_panel(folder: Path) -> None:
    for dashboard in DASHBOARDS:
        said = texts((folder / f"{dashboard.uid}.svg").read_text("utf-8"))
        assert any("not a screenshot of Grafana" in each for each in said)
        assert [p.title for p in dashboard.panels() if not p.exporter and p.title not in said] == [], (
            "run make pictures"
        )


def test_lines_are_where_their_values_are() -> None:
    panel = Panel("Waiting", (Query("x", "{{queue}}"),))
    dashboard = Dashboard("uid", "Title", "", (Row("", (panel,)),))
    points = [(0.0, 0.0), (50.0, 4.0), (75.0, math.nan), (100.0, 2.0)]
    drawn = charts.draw(dashboard, lambda _: [Series({"queue": "thai <b>"}, points)], (0.0, 100.0), "Note.")
    (line,) = ET.fromstring(drawn).iter(f"{SVG}polyline")
    (x0, y0), (x1, y1), (x2, y2) = [tuple(map(float, at.split(","))) for at in line.attrib["points"].split()]
    assert x1 - x0 == pytest.approx(x2 - x1)
    assert y0 - y1 == pytest.approx(2 * (y0 - y2))
    assert "thai <b>" in texts(drawn)


def test_a_panel_without_series_says_so() -> None:
    dashboard = Dashboard("uid", "Title", "", (Row("", (Panel("Empty", (Query("x"),)),)),))
    assert "nothing yet" in texts(charts.draw(dashboard, lambda _: [], (0.0, 1.0), ""))


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.25, "s", "250 ms"), (0, "s", "0 s"), (90, "s", "90 s"), (600, "s", "10 min"), (0.5, "percentunit", "50 %"),
        (-199, "percentunit", "-19,900 %"),
        (1e8, "bytes", "100 MB"), (2.5, "per_second", "2.5/s"), (60, "per_minute", "60/min"), (7.0, "short", "7"),
    ],
)  # fmt: skip
def test_amounts_have_their_unit(value: float, unit: Unit, shown: str) -> None:
    assert charts.amount(value, unit, 0) == shown


def test_text_of_the_live_view_is_as_wide_as_its_cells() -> None:
    drawn = screen.svg("한국어 ab")
    widths = dict(re.findall(r'textLength="([\d.]+)"[^>]*>([^<]+)<', drawn))
    (width,) = [float(length) for length, said in widths.items() if "한" in said]
    assert width == pytest.approx(12.2 * 9)  # three syllables of two cells, and three others
