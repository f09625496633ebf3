"""Grafana's JSON of a dashboard, made with Grafana's own SDK. Which panels there are is not decided here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef, GridPos

from deploy.dashboards.model import WIDTHS, Dashboard, Panel, Unit

#: Grafana mounts the first; Helm can read files of the chart only.
FOLDERS = ("deploy/grafana/dashboards", "deploy/helm/deskbus/files/dashboards")
#: How the description of a panel ends that needs more than our own services.
EMPTY = "empty without it."
_UNITS: dict[Unit, str] = {"per_second": "ops", "per_minute": "opm"}
_HEIGHTS = {True: 4, False: 7}
_SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")


def outputs(dashboards: Sequence[Dashboard]) -> dict[Path, str]:
    """Return the files of these dashboards, by their path in the repository."""
    return {Path(folder) / f"{each.uid}.json": encode(each) for folder in FOLDERS for each in dashboards}


def encode(made: Dashboard) -> str:
    """Return a dashboard as JSON."""
    built = (
        dashboard.Dashboard(made.title)
        .uid(made.uid)
        .description(made.about)
        .tags(["deskbus", "generated"])
        .readonly()
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
    )
    y, identifier = 0, 0
    for row in made.rows:
        if row.title:
            identifier += 1
            built.with_row(dashboard.Row(row.title).id(identifier).grid_pos(GridPos(h=1, w=24, x=0, y=y)))
            y += 1
        width, height = WIDTHS[len(row.panels)], _HEIGHTS[row.panels[0].number]
        for column, panel in enumerate(row.panels):
            identifier += 1
            place = GridPos(h=height, w=width, x=column * width, y=y)
            built.with_panel(_panel(panel).id(identifier).grid_pos(place))
        y += height
    return JSONEncoder(sort_keys=True, indent=1).encode(built.build()) + "\n"


def _panel(panel: Panel) -> stat.Panel | timeseries.Panel:
    about = panel.about
    if panel.exporter:
        about = f"{about} Needs {panel.exporter}; {EMPTY}".strip()
    made: stat.Panel | timeseries.Panel
    if panel.number:
        made = stat.Panel().graph_mode(kinds.BigValueGraphMode.AREA).color_mode(kinds.BigValueColorMode.NONE)
        made.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    else:
        legend = common.VizLegendOptions().display_mode(kinds.LegendDisplayMode.LIST)
        made = (
            timeseries.Panel()
            .min(0)
            .fill_opacity(10)
            .show_points(kinds.VisibilityMode.NEVER)
            .legend(legend.placement(kinds.LegendPlacement.BOTTOM).show_legend(True))
            .tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.DESCENDING))
        )
    made.title(panel.title).unit(_UNITS.get(panel.unit, panel.unit)).datasource(_SOURCE)
    if about:
        made.description(about)
    for letter, query in zip("ABCDEFGH", panel.queries, strict=False):
        target = prometheus.Dataquery().expr(query.expr).ref_id(letter)
        made.with_target(target.legend_format(query.legend) if query.legend else target)
    return made
