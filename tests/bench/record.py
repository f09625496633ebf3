"""What was measured, as files: each part keeps its own machine and time, so that parts of several runs may be together.

What is measured and how it looks is not here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

MARKS = ("<!-- measured -->", "<!-- /measured -->")


def merged(before: Mapping[str, Any], now: Mapping[str, Any], parts: Iterable[str]) -> dict[str, Any]:
    """Return all parts in order, those of now before older ones; what does not say how it was taken is dropped."""
    both = {**before, **now}
    return {part: both[part] for part in parts if part in both and "taken" in both[part]}


def kept(file: Path, parts: Iterable[str]) -> dict[str, Any]:
    """Read the parts that a file has."""
    return merged(json.loads(file.read_text(encoding="utf-8")), {}, parts) if file.exists() else {}


def keep(file: Path, now: Mapping[str, Any], parts: Iterable[str]) -> None:
    """Put these parts into a file beside those that it has."""
    names = list(parts)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(merged(kept(file, names), now, names), indent=1) + "\n", encoding="utf-8")


def show(page: Path, table: str, marks: tuple[str, str] = MARKS) -> None:
    """Put the table between the marks of a page."""
    page.write_text(between(page.read_text(encoding="utf-8"), table, marks), encoding="utf-8")


def between(text: str, table: str, marks: tuple[str, str] = MARKS) -> str:
    """Return the text with the table between its marks."""
    before, _, rest = text.partition(marks[0])
    return f"{before}{marks[0]}\n{table}\n{marks[1]}{rest.partition(marks[1])[2]}"
