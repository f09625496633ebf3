"""`make mutants`: changes lines of the rules one at a time, with mutmut, and asks whether a fast test notices.

`python -m tests.mutants` tests all mutants of the files that `[tool.mutmut]` in pyproject.toml names. Paths narrow it,
`--changed` takes the files that differ from the merge base with `--base`, `--sample` picks some of what is left.
Survivors with a reason (`reasons.json`) do not count against `--least`. Every step is bounded: mutmut first makes all
mutants and learns which tests run what (`--prepare-seconds`), then tests those that were chosen (`--seconds`).

Exit codes: 0, or 1 below `--least`, 2 where mutmut fails or the tests do without a mutant, 3 out of time with no mutant
tested, which says nothing about the tests.
"""

from __future__ import annotations

import argparse
import enum
import json
import os
import signal
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from random import Random

from deploy.local import guardian
from kit.base.clock import SystemClock
from tests.mutants import report
from tests.mutants.score import Result, forget, load, pick, table

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "mutants"
LOG = ROOT / ".local" / "mutants.log"
_PROGRAM = (sys.executable, "-m", "tests.mutants.lifting")
#: Matches nothing: mutmut then makes the mutants and looks which tests run which function, and stops.
_NOTHING = "no mutant of this name"
#: Few examples and interleavings for each mutant, and the same ones each time.
_ENVIRONMENT = {"DESKBUS_HYPOTHESIS": "mutants", "DESKBUS_STORMS": "3"}


IN_ORDER, TOO_FEW, FAILED, OUT_OF_TIME = range(4)
"""What this program exits with."""


class Ended(enum.Enum):
    """How a run of mutmut ended: by itself, with a fault, or because its time was over."""

    WHOLE = "whole"
    FAULTY = "faulty"
    LATE = "late"


def main() -> int:
    """Run and print the table; returns the exit code."""
    options = _options()
    paths = options.paths + (_changed(options.base) if options.changed else [])
    if options.changed and not paths:
        print("no file that is mutated has changed")
        return IN_ORDER
    # It makes the mutants and learns which test runs what, then fails.
    if _mutmut(_NOTHING, seconds=options.prepare_seconds) is Ended.LATE:
        print(f"out of time: the mutants were not ready after {options.prepare_seconds} s (--prepare-seconds)")
        return OUT_OF_TIME
    names = [name for name, _ in load(RESULTS, paths)]
    if not names:
        print(f"no mutants under {', '.join(paths)}" if paths else "no mutants")
        return IN_ORDER if options.changed else FAILED
    chosen = pick(names, options.sample, Random(options.seed))
    forget(RESULTS, set(chosen))
    ended = _mutmut(*chosen, seconds=options.seconds)
    if ended is Ended.FAULTY:
        print(f"mutmut failed, or the tests do without a mutant; {LOG.relative_to(ROOT)} ends with:\n{_tail()}")
        return FAILED
    verdict = _judge(options, paths, set(chosen))
    if verdict is None and ended is Ended.LATE:
        print(f"out of time: no mutant was tested within {options.seconds} s (--seconds)")
        return OUT_OF_TIME
    return FAILED if verdict is None else verdict


def _judge(options: argparse.Namespace, paths: list[str], chosen: set[str]) -> int | None:
    """Print what came of the mutants; returns the exit code, or None where no mutant was tested."""
    found = {name: came_to for name, came_to in load(RESULTS, paths) if name in chosen}
    tested = {name: came_to for name, came_to in found.items() if came_to is not Result.UNTESTED}
    diffs = _diffs([name for name in tested if tested[name] is not Result.KILLED])
    rooms = report.by_room(tested, diffs, (name for name, _ in load(RESULTS)))
    survivors = [survivor for room in rooms.values() for survivor in room.survivors]
    reasons = sum(bool(survivor.why) for survivor in survivors)
    print(table(found.items(), chosen))
    if options.survivors:
        print("\n".join(report.shown(survivors)))
    killed = len(tested) - len(survivors)
    print(f"{killed} of {len(tested)} mutants killed, {len(found) - len(tested)} not reached, {reasons} with a reason")
    if options.record:
        report.record(rooms, f"{SystemClock().now():%F}")
        print(f"recorded: {', '.join(rooms)}")
    if not tested:
        return None
    return IN_ORDER if killed >= options.least / 100 * (len(tested) - reasons) else TOO_FEW


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("paths", nargs="*", help="files or folders; all that pyproject.toml names where none is given")
    parser.add_argument("--changed", action="store_true", help="only files that differ from the merge base")
    parser.add_argument("--base", default="origin/main", help="what --changed compares with (origin/main)")
    parser.add_argument("--sample", type=int, default=0, help="test so many mutants, picked at random; 0: all")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--prepare-seconds", type=int, default=1200, help="give up making them after that; 0: never")
    parser.add_argument("--seconds", type=int, default=0, help="stop testing them after that; 0: run to the end")
    parser.add_argument("--least", type=float, default=90.0, help="per cent that must be killed (90)")
    parser.add_argument("--survivors", action="store_true", help="show the changes that no test noticed")
    parser.add_argument("--record", action="store_true", help="write what came of each room into docs/testing.md")
    return parser.parse_args()


def _mutmut(*names: str, seconds: int) -> Ended:
    """Run mutmut; it keeps its results in files, so a run that is cut short counts as far as it came."""
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("wb") as log:
        process = subprocess.Popen(
            [*_PROGRAM, "run", *names],
            cwd=ROOT,
            env={**os.environ, **_ENVIRONMENT},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        guardian.adopt(process.pid)
        try:
            return Ended.WHOLE if process.wait(seconds or None) == 0 else Ended.FAULTY
        except subprocess.TimeoutExpired:
            # At once, as its results are in files already: asked kindly, it first waits for the mutants in hand.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return Ended.LATE


def _tail() -> str:
    said = LOG.read_text("utf-8", "replace").replace("\r", "\n").splitlines()
    return "\n".join([line for line in said if line.strip()][-20:])


def _diffs(names: list[str]) -> dict[str, str]:
    """What mutants change."""
    command = [*_PROGRAM, "diffs"]
    done = subprocess.run(command, cwd=ROOT, input=json.dumps(names).encode(), capture_output=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _changed(base: str) -> list[str]:
    """Files to mutate that differ from the merge base; where none does, or there is no base, from the last commit."""
    mutated = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mutmut"]["only_mutate"]
    for against in (f"{base}...HEAD", "main...HEAD", "HEAD~1"):
        found = subprocess.run(
            ["git", "diff", "--name-only", "--diff-filter=d", against],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if found.returncode == 0 and (names := found.stdout.split()):
            return [name for name in names if any(fnmatch(name, pattern) for pattern in mutated)]
    return []


if __name__ == "__main__":
    sys.exit(main())
