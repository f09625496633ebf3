"""`python -m contracts.compat`: refuses changes of the contracts that break older readers or writers.

Compares the work tree with the merge base with main (on main, with HEAD and its parent) and with the last release. A
refused change needs a new type with the next major version, or a new topic. To make one on purpose, list it with the
reason in `contracts/accepted.json`, until the next release.
"""

import argparse
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

from contracts.differences import Contracts, Schemas, refused
from contracts.generate import PACKAGE

ROOT = PACKAGE.parent
CONTRACTS = PACKAGE
MAINS = ("origin/main", "main")
RELEASES = "v[0-9]*"
"""Tags of releases, as `git describe --match` takes them."""
ACCEPTED = "accepted.json"


def load(directory: Path) -> Schemas:
    """Return the schemas of a directory."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(directory.glob("*.json"))}


def load_all(package: Path) -> Contracts:
    """Return the contracts in the work tree."""
    return _contracts({path.relative_to(package).as_posix(): path.read_bytes() for path in package.rglob("*.json")})


def load_commit(root: Path, commit: str, package: Path) -> Contracts:
    """Return the contracts in a commit; empty if it has none."""
    inside = package.relative_to(root).as_posix()
    if not _git(root, "ls-tree", commit, "--", inside).strip():
        return Contracts()
    files = {}
    with tarfile.open(fileobj=io.BytesIO(_git(root, "archive", "--format=tar", commit, "--", inside))) as archive:
        for member in archive.getmembers():
            file = archive.extractfile(member)
            if file is not None and member.name.endswith(".json"):
                files[PurePosixPath(member.name).relative_to(inside).as_posix()] = file.read()
    return _contracts(files)


def _contracts(files: dict[str, bytes]) -> Contracts:
    """Sort the package's files, given by their path in it."""
    found = Contracts()
    for name, raw in sorted(files.items()):
        folder, _, rest = name.removesuffix(".json").partition("/")
        if folder == "schemas":
            found.schemas[rest] = json.loads(raw)
        elif folder == "examples":
            found.examples[rest] = json.loads(raw)
        elif folder == "asyncapi":
            found.channels.update(json.loads(raw)["channels"])
    return found


def bases(root: Path) -> dict[str, str]:
    """Return commits to compare with and their names: merge base with main, or HEAD and its parent; last release.

    On a release, the previous one is included: a release must not be compared only with itself.
    """
    head = _commit(root, "HEAD")
    if not head:
        return {}
    found = {}
    for main in MAINS:
        base = _git(root, "merge-base", "HEAD", main).strip().decode()
        if base and base != head:
            found = {base: f"merge base with {main}"}
            break
    else:
        found = {head: "HEAD"} | ({parent: "its parent"} if (parent := _commit(root, "HEAD^1")) else {})
    for start in ("HEAD", "HEAD^1"):
        tag = _git(root, "describe", "--tags", "--abbrev=0", f"--match={RELEASES}", start).strip().decode()
        if tag and (commit := _commit(root, tag)):
            found[commit] = f"release {tag}"
    return found


def _commit(root: Path, name: str) -> str:
    return _git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").strip().decode()


def _git(root: Path, *arguments: str) -> bytes:
    """Return the output of git; empty if it fails, is not installed, or this is not a work tree."""
    try:
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=False).stdout
    except FileNotFoundError:
        return b""


def accepted(package: Path) -> dict[str, str]:
    """Return accepted changes, as the gate reports them, with their reasons."""
    file = package / ACCEPTED
    reasons: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    return {fault: str(reason) for fault, reason in reasons.items()}


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0 if compatible, or if there is nothing to compare with."""
    parser = argparse.ArgumentParser(prog="python -m contracts.compat", description=__doc__)
    parser.add_argument("--base", help="commit to compare with")
    chosen = parser.parse_args(arguments).base
    if chosen and not _commit(ROOT, chosen):
        parser.error(f"no such commit: {chosen}")
    commits = {chosen: "chosen"} if chosen else bases(ROOT)
    now, meant = load_all(CONTRACTS), accepted(CONTRACTS)
    compared: list[str] = []
    found: dict[str, None] = {}
    for commit, what in commits.items():
        before = load_commit(ROOT, commit, CONTRACTS)
        if before.schemas:
            compared.append(f"{commit[:12]} ({what})")
            found |= dict.fromkeys(refused(before, now))
    if not compared:
        print("contracts.compat: no earlier contracts to compare with")
        return 0
    faults = [fault for fault in found if fault not in meant]
    for fault in found:
        if fault in meant:
            print(f"accepted: {fault}: {meant[fault]}")
        else:
            print(f"not compatible: {fault}", file=sys.stderr)
    if not chosen and not any("release" in what for what in commits.values()):
        print("contracts.compat: no release tag to compare with")
    size = f"{len(now.schemas)} types, {len(now.channels)} topics"
    print(f"contracts.compat: {size} against {', '.join(compared)}: {len(faults)} refused")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
