"""The demo's live view as a picture: the moment of a run that shows most."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Awaitable, Mapping
from html import unescape
from typing import Any

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.terminal_theme import MONOKAI

from cli.demo.run import DemoRun
from kit.base.kafka_settings import KafkaSettings

COLUMNS, LINES = 126, 28
_TEXT = re.compile(r'(<text [^>]*)textLength="([\d.]+)"([^>]*)>([^<]*)</text>')
#: Rich's own names fonts of a content network, which a picture in a page may not load.
_FORMAT = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<title>The live view of make demo</title>
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', 'Noto Sans Mono CJK KR', 'Noto Sans Thai', monospace;
  font-size: {char_height}px; line-height: {line_height}px;
}}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: arial, sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


class FilmedDemo(DemoRun):
    """A run that keeps what its live view showed."""

    def __init__(self, environ: Mapping[str, str], settings: KafkaSettings, *, as_lines: bool) -> None:
        super().__init__(environ, settings, as_lines=as_lines)
        self.best = 0
        self.shows: RenderableType = ""

    async def _while_showing(self, work: Awaitable[bool], begin: float) -> bool:
        running = asyncio.ensure_future(work)
        while not running.done():
            clocks = sum(row.due_at is not None for row in list(self.board.rows.values())[-LINES:])
            worth = 3 * len({each.kind for each in self.board.notable}) + min(clocks, 8)
            if worth >= self.best:
                title = f"Deskbus demo, {self.clock.monotonic() - begin:.0f} s"
                self.best, self.shows = worth, self.board.render(self.clock.now(), title, LINES)
            await asyncio.wait([running], timeout=0.25)
        return running.result()

    def picture(self) -> str:
        """Return the view as SVG."""
        return svg(self.shows)


def svg(shown: Any) -> str:
    """Return what a terminal would show."""
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor", markup=False,
        emoji=False, highlight=False,
    )  # fmt: skip
    console.print(shown)
    drawn = console.export_svg(title="make demo", theme=MONOKAI, code_format=_FORMAT, unique_id="demo")
    return _TEXT.sub(_as_wide_as_its_cells, drawn)


def _as_wide_as_its_cells(found: re.Match[str]) -> str:
    """Rich makes a text as wide as it has characters; in Korean they take two cells each, in Thai some take none."""
    before, length, between, said = found.groups()
    shown = unescape(said)
    cell = float(length) / max(1, len(shown))
    return f'{before}textLength="{cell * cell_len(shown):g}"{between}>{said}</text>'
