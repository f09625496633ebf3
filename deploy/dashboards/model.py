"""What a dashboard is, without Grafana: rows of panels, each with queries. A row's panels share its width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Panels of a row, and how many of Grafana's 24 columns each gets.
WIDTHS = {1: 24, 2: 12, 3: 8, 4: 6, 6: 4}
#: Grafana's name for the window of a rate that suits the scrape interval and the width of the panel.
RATE = "$__rate_interval"
Unit = Literal["short", "s", "percentunit", "bytes", "per_second", "per_minute"]


@dataclass(frozen=True)
class Query:
    """A PromQL expression, and the name of its series in the legend (`{{label}}` stands for a label's value)."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """Series over time, or one number with the series behind it."""

    title: str
    queries: tuple[Query, ...]
    unit: Unit = "short"
    about: str = ""
    """What it means, and when it is bad: Grafana shows it on demand."""
    number: bool = False
    exporter: str = ""
    """The exporter whose metrics it uses, where they are not our own; without it, the panel stays empty."""


@dataclass(frozen=True)
class Row:
    """Panels side by side, with a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    """One dashboard. `uid` is its address in Grafana, and the name of its file."""

    uid: str
    title: str
    about: str
    rows: tuple[Row, ...]

    def panels(self) -> list[Panel]:
        """Return all panels."""
        return [panel for row in self.rows for panel in row.panels]


def graph(
    title: str, *queries: Query | tuple[str, str], unit: Unit = "short", about: str = "", exporter: str = ""
) -> Panel:
    """Return a panel with series over time."""
    return Panel(
        title, tuple(q if isinstance(q, Query) else Query(*q) for q in queries), unit, about, exporter=exporter
    )


def number(title: str, expr: str, unit: Unit = "short", about: str = "") -> Panel:
    """Return a panel with one number."""
    return Panel(title, (Query(expr),), unit, about, number=True)


def rate(metric: str, by: str = "", where: str = "", *, seconds: int = 1) -> str:
    """Return the rate of a counter per `seconds`, summed by some labels."""
    times = f" * {seconds}" if seconds > 1 else ""
    return f"sum{_by(by)}(rate({metric}{_where(where)}[{RATE}])){times}"


def grown(metric: str, by: str = "") -> str:
    """Return by how much a counter grew within an hour. Unlike `increase`, it counts what a new series began with.

    A label's first value makes a series, and a rare event may be the only one: `increase` would not see it.
    """
    return f"sum{_by(by)}(({metric} - {metric} offset 1h >= 0) or {metric})"


def quantile(share: float, histogram: str, by: str = "", where: str = "") -> str:
    """Return a quantile of a histogram."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}_bucket{_where(where)}[{RATE}])))"


def quantiles(histogram: str, where: str = "", shares: tuple[float, ...] = (0.5, 0.95)) -> tuple[Query, ...]:
    """Return the median and a high quantile of a histogram."""
    return tuple(Query(quantile(share, histogram, where=where), f"p{share * 100:g}") for share in shares)


def _by(labels: str) -> str:
    return f" by ({labels}) " if labels else ""


def _where(matchers: str) -> str:
    return f"{{{matchers}}}" if matchers else ""
