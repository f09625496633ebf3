"""`python -m contracts.compat`: refuses a schema change that an older reader or writer would trip over.

Compares contracts/schemas with the merge base with main, or with the commits before when this is main. Within a major
version both directions must work: yesterday's events are replayed to today's code, and today's reach subscribers that
were built yesterday. A change that is refused here needs a new type with the next major version.
"""

import argparse
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from contracts.generate import PACKAGE, SCHEMAS

ROOT = PACKAGE.parent
MAINS = ("origin/main", "main")
TOLD_ONLY = {"$schema", "$defs", "$ref", "title", "description", "examples", "x-open-enum", "deprecated"}
"""Keywords that no reader acts on, or that are followed rather than compared."""

Schema = dict[str, Any]
Schemas = dict[str, Schema]


def refusals(old: Schemas, new: Schemas) -> list[str]:
    """Why the new schemas are not compatible with the old ones; empty when they are."""
    faults = [f"{name}: the type disappears" for name in old if name not in new]
    for name in old:
        if name in new:
            faults += [f"{name}: {fault}" for fault in _compare(_Side(old[name]), _Side(new[name]), "")]
    return faults


class _Side:
    """A schema together with the document that its references point into."""

    def __init__(self, schema: Schema, root: Schema | None = None) -> None:
        self.root = schema if root is None else root
        while "$ref" in schema:
            target = self.root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
            schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
        self.schema = schema

    def at(self, schema: Schema) -> "_Side":
        return _Side(schema, self.root)


def _compare(old: _Side, new: _Side, path: str) -> Iterator[str]:
    here = path or "event"
    followed = {"properties", "required", "items", "additionalProperties", "anyOf", "enum"}
    for keyword in sorted((set(old.schema) | set(new.schema)) - TOLD_ONLY - followed):
        was, now = old.schema.get(keyword), new.schema.get(keyword)
        if (keyword in old.schema, was) != (keyword in new.schema, now):
            yield f"{here}: {keyword} changes from {json.dumps(was)} to {json.dumps(now)}"
    if (was_enum := old.schema.get("enum")) != (now_enum := new.schema.get("enum")):
        yield f"{here}: closed enum changes from {json.dumps(was_enum)} to {json.dumps(now_enum)}"
    gone_values = set(old.schema.get("x-open-enum", ())) - set(new.schema.get("x-open-enum", ()))
    if gone_values:
        yield f"{here}: open enum forgets {', '.join(sorted(gone_values))}"
    yield from _compare_properties(old, new, path)
    yield from _compare_options(old, new, path)
    for keyword in ("items", "additionalProperties"):
        yield from _compare_inner(old, new, keyword, path)


def _compare_properties(old: _Side, new: _Side, path: str) -> Iterator[str]:
    was, now = old.schema.get("properties", {}), new.schema.get("properties", {})
    for name in was.keys() - now.keys():
        yield f"{path}.{name}".lstrip(".") + ": the field disappears"
    was_required, now_required = set(old.schema.get("required", ())), set(new.schema.get("required", ()))
    for name in sorted(now_required - was_required):
        yield f"{path}.{name}".lstrip(".") + ": the field becomes required"
    for name in sorted((was_required - now_required) & now.keys()):
        yield f"{path}.{name}".lstrip(".") + ": the field is no longer required, so that older readers miss it"
    for name in was.keys() & now.keys():
        yield from _compare(old.at(was[name]), new.at(now[name]), f"{path}.{name}".lstrip("."))


def _compare_options(old: _Side, new: _Side, path: str) -> Iterator[str]:
    was, now = old.schema.get("anyOf", []), new.schema.get("anyOf", [])
    if len(was) != len(now):
        yield f"{path}: type changes from {_kinds(old, was)} to {_kinds(new, now)}"
        return
    for one, other in zip(was, now, strict=True):
        yield from _compare(old.at(one), new.at(other), path)


def _compare_inner(old: _Side, new: _Side, keyword: str, path: str) -> Iterator[str]:
    was, now = old.schema.get(keyword), new.schema.get(keyword)
    if isinstance(was, dict) and isinstance(now, dict):
        yield from _compare(old.at(was), new.at(now), f"{path}[]")
    elif was != now:
        yield f"{path}: {keyword} changes"


def _kinds(side: _Side, options: list[Schema]) -> str:
    kinds = [side.at(option).schema for option in options] or [side.schema]
    return " or ".join(str(kind.get("type", "any")) for kind in kinds)


def load(directory: Path) -> Schemas:
    """The schemas of a directory."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(directory.glob("*.json"))}


def bases(root: Path) -> list[str]:
    """The commits to compare with: the merge base with main, or HEAD and its first parent when this is main."""
    head = _git(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}").strip().decode()
    if not head:
        return []
    for main in MAINS:
        base = _git(root, "merge-base", "HEAD", main).strip().decode()
        if base and base != head:
            return [base]
    parent = _git(root, "rev-parse", "--verify", "--quiet", "HEAD^1^{commit}").strip().decode()
    return [head, parent] if parent else [head]


def load_commit(root: Path, commit: str, directory: Path) -> Schemas:
    """The schemas as they were in a commit; none when it had none."""
    inside = directory.relative_to(root).as_posix()
    if not _git(root, "ls-tree", commit, "--", inside).strip():
        return {}
    schemas = {}
    with tarfile.open(fileobj=io.BytesIO(_git(root, "archive", "--format=tar", commit, "--", inside))) as archive:
        for member in archive.getmembers():
            file = archive.extractfile(member)
            if file is not None and member.name.endswith(".json"):
                schemas[Path(member.name).stem] = json.loads(file.read())
    return schemas


def _git(root: Path, *arguments: str) -> bytes:
    """What git prints; nothing when it fails, is missing, or this is no work tree."""
    try:
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=False).stdout
    except FileNotFoundError:
        return b""


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 when compatible, or when there is nothing to compare with."""
    parser = argparse.ArgumentParser(prog="python -m contracts.compat", description=__doc__)
    parser.add_argument("--base", help="commit to compare with")
    chosen = parser.parse_args(arguments).base
    if chosen and not _git(ROOT, "rev-parse", "--verify", "--quiet", f"{chosen}^{{commit}}"):
        parser.error(f"no such commit: {chosen}")
    commits = [chosen] if chosen else bases(ROOT)
    now = load(SCHEMAS)
    compared, faults = [], []
    for commit in commits:
        before = load_commit(ROOT, commit, SCHEMAS)
        if before:
            compared.append(commit[:12])
            faults += [fault for fault in refusals(before, now) if fault not in faults]
    if not compared:
        print("contracts.compat: no earlier schemas to compare with")
        return 0
    for fault in faults:
        print(f"not compatible: {fault}", file=sys.stderr)
    print(f"contracts.compat: {len(now)} types against {', '.join(compared)}: {len(faults)} refused")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
