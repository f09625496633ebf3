"""SVG's few shapes as text. Coordinates are rounded; everything that is written is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

INK, FAINT, RULE, CARD, PAGE = "#1f2430", "#5b6472", "#dfe3ea", "#ffffff", "#f4f6f9"
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


def page(width: float, height: float, shapes: Iterable[str], title: str, *, defs: str = "") -> str:
    """Return a picture with a background of its own; `title` is what a screen reader says."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" font-family="{_FONT}">'
    )
    back = box(0, 0, width, height, fill=PAGE, line=RULE, round_by=10)
    return "\n".join([head, f"<title>{escape(title)}</title>", defs, back, *shapes, "</svg>\n"])


def box(
    x: float, y: float, width: float, height: float, *, fill: str = CARD, line: str = RULE, round_by: float = 6
) -> str:
    """Return a rectangle."""
    at = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{round_by:g}"'
    return f'<rect {at} fill="{fill}" stroke="{line}"/>'


def text(
    x: float,
    y: float,
    said: str,
    *,
    size: float = 12,
    fill: str = INK,
    bold: bool = False,
    anchor: str = "start",
) -> str:
    """Return one line of text; `y` is its base line."""
    weight = ' font-weight="600"' if bold else ""
    look = f'font-size="{size:g}" fill="{fill}" text-anchor="{anchor}"{weight}'
    return f'<text x="{x:g}" y="{y:g}" {look}>{escape(said)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, *, stroke: str = RULE, width: float = 1, more: str = "") -> str:
    """Return a straight line."""
    at = f'x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"'
    return f'<line {at} stroke="{stroke}" stroke-width="{width:g}"{more}/>'


def polyline(points: Iterable[tuple[float, float]], stroke: str) -> str:
    """Return a line through points."""
    at = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{at}" fill="none" stroke="{stroke}" stroke-width="1.6" stroke-linejoin="round"/>'
