"""Reads values.yaml with its comments: what each key is for, in the order of the file."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

_MARK = "# --"
_KEY = re.compile(r"^( *)(?:- )?([A-Za-z][\w.]*):")


class Entry(NamedTuple):
    """A key of values.yaml: its path, its default and its description, possibly empty."""

    path: tuple[str, ...]
    default: Any
    description: str

    @property
    def is_group(self) -> bool:
        """Whether the key only holds other keys."""
        return isinstance(self.default, dict) and bool(self.default)


def entries(text: str) -> Iterator[Entry]:
    """Yield the keys of a values file that stand on lines of their own, in order."""
    values = yaml.safe_load(text)
    path: list[tuple[int, str]] = []
    said: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            if stripped.startswith(_MARK):
                said = [stripped.removeprefix(_MARK).strip()]
            elif said:
                said.append(stripped.removeprefix("#").strip())
            continue
        if not stripped:
            said = []
        found = _KEY.match(line)
        if found is None or stripped.startswith("- "):
            continue
        indent = len(found[1])
        path = [part for part in path if part[0] < indent]
        path.append((indent, found[2]))
        names = tuple(name for _, name in path)
        yield Entry(names, _at(values, names), " ".join(said))
        said = []


def _at(values: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        values = values[name]
    return values
