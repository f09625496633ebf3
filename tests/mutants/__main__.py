"""`make mutants`: changes lines of the rules one at a time, with mutmut, and asks whether a fast test notices.

`python -m tests.mutants` tests all mutants of the files that `[tool.mutmut]` in pyproject.toml names. Paths narrow it,
`--changed` takes the files that differ from the merge base with `--base`, `--sample` picks some of what is left.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

from deploy.local import guardian
from tests.mutants.score import Result, load, pick, table

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "mutants"
#: Matches nothing: mutmut then makes the mutants and looks which tests run which function, and stops.
_NOTHING = "no mutant of this name"
#: Few examples and interleavings for each mutant, and the same ones each time.
_ENVIRONMENT = {"DESKBUS_HYPOTHESIS": "mutants", "DESKBUS_STORMS": "3"}


def main() -> int:
    """Run and print the table; 1 where a room's score is below `--least`."""
    options = _options()
    paths = options.paths + (_changed(options.base) if options.changed else [])
    if options.changed and not paths:
        print("no file that is mutated has changed")
        return 0
    _mutmut(_NOTHING)
    names = [name for name, _ in load(RESULTS, paths)]
    if not names:
        print(f"no mutants under {', '.join(paths)}" if paths else "no mutants")
        return 0 if options.changed else 2
    chosen = pick(names, options.sample, Random(options.seed))
    _mutmut(*chosen, seconds=options.seconds)
    tested = [result for name, result in load(RESULTS, paths) if name in set(chosen) and result is not Result.UNTESTED]
    print(table(list(load(RESULTS, paths)), set(chosen), survivors=options.survivors))
    killed = sum(result is Result.KILLED for result in tested)
    print(f"{killed} of {len(tested)} mutants killed, {len(chosen) - len(tested)} not reached")
    if not tested:
        return 2
    return 0 if killed >= options.least / 100 * len(tested) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("paths", nargs="*", help="files or folders; all that pyproject.toml names where none is given")
    parser.add_argument("--changed", action="store_true", help="only files that differ from the merge base")
    parser.add_argument("--base", default="origin/main", help="what --changed compares with (origin/main)")
    parser.add_argument("--sample", type=int, default=0, help="test so many mutants, picked at random; 0: all")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--seconds", type=int, default=0, help="stop after so many seconds; 0: run to the end")
    parser.add_argument("--least", type=float, default=90.0, help="per cent that must be killed (90)")
    parser.add_argument("--survivors", action="store_true", help="list the mutants that no test noticed")
    return parser.parse_args()


def _mutmut(*names: str, seconds: int = 0) -> None:
    """Run mutmut; it keeps its results in files, so a run that is cut short counts as far as it came."""
    command = [str(Path(sys.executable).with_name("mutmut")), "run", *names]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **_ENVIRONMENT},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if names == (_NOTHING,) else None,
        start_new_session=True,
    )
    guardian.adopt(process.pid)
    try:
        process.wait(seconds or None)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)


def _changed(base: str) -> list[str]:
    """Python files that differ from the merge base; where nothing does, or there is no base, from the last commit."""
    for against in (f"{base}...HEAD", "HEAD~1"):
        found = subprocess.run(
            ["git", "diff", "--name-only", "--diff-filter=d", against],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if found.returncode == 0 and (names := found.stdout.split()):
            return [name for name in names if name.endswith(".py")]
    return []


if __name__ == "__main__":
    sys.exit(main())
