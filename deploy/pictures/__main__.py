"""`python -m deploy.pictures`: draws docs/pictures/ from the code and from one run of the demo under a Prometheus."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

from deploy.dashboards import DASHBOARDS
from deploy.dashboards.live import Seen, Series, watched_demo
from deploy.pictures import charts, screen, system

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "pictures"
NOTE = "The services run make demo; windows of an hour are half a minute here."


def main() -> int:
    """Draw all pictures; return the exit code."""
    binary = shutil.which("prometheus")
    if binary is None:
        print("deploy.pictures: prometheus is not on PATH (Debian: apt-get install prometheus)", file=sys.stderr)
        return 1
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "system.svg").write_text(system.draw(), "utf-8")
    with (
        tempfile.TemporaryDirectory(prefix="deskbus-pictures-") as folder,
        watched_demo(os.environ, Path(binary), Path(folder), screen.FilmedDemo) as seen,
    ):
        assert isinstance(seen.demo, screen.FilmedDemo)
        (FOLDER / "demo.svg").write_text(seen.demo.picture(), "utf-8")
        for dashboard in DASHBOARDS:
            drawn = charts.draw(dashboard, partial(_ask, seen), (seen.start, seen.end), NOTE)
            (FOLDER / f"{dashboard.uid}.svg").write_text(drawn, "utf-8")
    print("\n".join(str(path) for path in sorted(FOLDER.glob("*.svg"))))
    return 0


def _ask(seen: Seen, expr: str) -> list[Series]:
    """Return what an expression had, without the prefix of the demo's topics."""
    return [
        Series({name: value.removeprefix(seen.demo.prefix) for name, value in series.labels.items()}, series.points)
        for series in seen.over(expr)
    ]


if __name__ == "__main__":
    sys.exit(main())
