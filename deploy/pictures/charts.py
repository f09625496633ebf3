"""Draws a dashboard as Grafana would lay it out, from what a Prometheus answered. The picture says that it is drawn."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence

from deploy.dashboards.live import Points, Series
from deploy.dashboards.model import Dashboard, Panel, Row, Unit
from deploy.pictures import drawing
from deploy.pictures.drawing import FAINT, RULE

COLOURS = ("#3b7dd8", "#e0752d", "#3a9b5c", "#b8409c", "#c9a100", "#7a5cc9", "#d14545", "#2aa3a3")
WIDTH, MARGIN, GAP = 1180.0, 20.0, 12.0
_NUMBER, _GRAPH, _HEAD = 84.0, 190.0, 28.0
_LEGEND = 6
"""Series that a legend names."""
Ask = Callable[[str], Sequence[Series]]
Span = tuple[float, float]


def draw(dashboard: Dashboard, ask: Ask, span: Span, note: str) -> str:
    """Return the picture; `ask` answers an expression for `span`, `note` says what was running."""
    shapes = [
        drawing.text(MARGIN, 36, dashboard.title, size=20, bold=True),
        drawing.text(MARGIN, 57, f"Drawn by make pictures, not a screenshot of Grafana. {note}", size=12, fill=FAINT),
    ]
    y = 72.0
    for row in _shown(dashboard):
        if row.title:
            shapes.append(drawing.text(MARGIN, y + 18, row.title, size=14, bold=True))
            y += _HEAD
        width = (WIDTH - 2 * MARGIN + GAP) / len(row.panels) - GAP
        height = _NUMBER if row.panels[0].number else _GRAPH
        for column, panel in enumerate(row.panels):
            x = MARGIN + column * (width + GAP)
            shapes.append(drawing.box(x, y, width, height))
            shapes += (_number if panel.number else _graph)(panel, ask, span, x, y, width, height)
        y += height + GAP
    return drawing.page(WIDTH, y + 8, shapes, dashboard.title)


def _shown(dashboard: Dashboard) -> Iterator[Row]:
    """Leave out what needs an exporter of its own."""
    return (row for row in dashboard.rows if not any(panel.exporter for panel in row.panels))


def _number(panel: Panel, ask: Ask, span: Span, x: float, y: float, width: float, height: float) -> Iterator[str]:
    found = [series.points for query in panel.queries for series in ask(query.expr)]
    values = [value for _, value in found[0] if math.isfinite(value)] if found else []
    if len(values) > 1 and max(values) > 0:
        top = y + height * 0.62
        yield _curve(found[0], x + 1, top, width - 2, y + height - 4 - top, max(values), "#bcd3f2", span)
    yield drawing.text(x + 12, y + 22, panel.title, size=12, fill=FAINT)
    shown = amount(values[-1], panel.unit, 0) if values else "–"
    yield drawing.text(x + 12, y + 52, shown, size=24, bold=True)


def _graph(panel: Panel, ask: Ask, span: Span, x: float, y: float, width: float, height: float) -> Iterator[str]:
    named = [(_name(query.legend, series), series.points) for query in panel.queries for series in ask(query.expr)]
    named.sort(key=lambda each: -max((v for _, v in each[1] if math.isfinite(v)), default=0.0))
    yield drawing.text(x + 12, y + 22, panel.title, size=13, bold=True)
    left, top, wide, high = x + 58, y + 36, width - 70, height - 78
    values = [value for _, points in named for _, value in points if math.isfinite(value)]
    step = _step(max(values, default=0.0))
    most = step * 4
    for tick in range(5):
        at = top + high - high * tick / 4
        yield drawing.line(left, at, left + wide, at, stroke=RULE)
        yield drawing.text(left - 6, at + 4, amount(step * tick, panel.unit, step), size=10, fill=FAINT, anchor="end")
    for number, (_, points) in enumerate(named):
        yield _curve(points, left, top, wide, high, most, COLOURS[number % len(COLOURS)], span)
    yield from _legend([name for name, _ in named], x + 12, y + height - 22, width - 24)
    if not named:
        yield drawing.text(left + wide / 2, top + high / 2, "nothing yet", size=12, fill=FAINT, anchor="middle")


def _legend(names: Sequence[str], x: float, y: float, width: float) -> Iterator[str]:
    """Name the largest series in up to two lines."""
    at, base = x, y
    shown = names[:_LEGEND]
    more = [f"and {len(names) - len(shown)} more"] if len(names) > len(shown) else []
    for number, name in enumerate([*shown, *more]):
        named = name if len(name) <= 30 else f"{name[:29]}…"
        wide = 16 + 6.1 * len(named)
        if at + wide > x + width:
            if base > y:
                return
            at, base = x, base + 15
        if number < len(shown):
            yield drawing.box(at, base - 5, 9, 4, fill=COLOURS[number % len(COLOURS)], line="none", round_by=1)
        yield drawing.text(at + 13, base, named, size=11, fill=FAINT)
        at += wide + 8


def _curve(
    points: Points, x: float, y: float, width: float, height: float, most: float, colour: str, span: Span
) -> str:
    start, end = span
    scaled = [
        (x + width * (at - start) / (end - start), y + height - height * min(max(value, 0.0), most) / most)
        for at, value in points
        if math.isfinite(value)
    ]
    return drawing.polyline(scaled, colour) if scaled else ""


def _name(legend: str, series: Series) -> str:
    return re.sub(r"{{(\w+)}}", lambda found: series.labels.get(found[1], ""), legend).strip()


def _step(most: float) -> float:
    """Return a quarter of the axis: 1, 2, 2.5 or 5 times a power of ten."""
    if most <= 0:
        return 0.25
    power: float = 10.0 ** math.floor(math.log10(most / 4))
    return next(nice * power for nice in (1, 2, 2.5, 5, 10) if nice * power * 4 >= most * 0.999)


def amount(value: float, unit: Unit, step: float) -> str:
    """Return a value with its unit, as exact as the axis needs."""
    match unit:
        case "s":
            return _seconds(value)
        case "percentunit":
            return f"{value * 100:,.0f} %" if abs(value) >= 10 else f"{value * 100:.3g} %"
        case "bytes":
            return f"{value / 1e6:.3g} MB"
        case "per_second":
            return f"{value:.3g}/s"
        case "per_minute":
            return f"{value:.3g}/min"
    return f"{value:.0f}" if step == 0 else f"{value:.3g}"


def _seconds(value: float) -> str:
    if value >= 120:
        return f"{value / 60:.3g} min"
    return f"{value * 1000:.3g} ms" if 0 < value < 1 else f"{value:.3g} s"
