"""`python -m tests.mutants.lifting run|show …`: mutmut's own command line, on sources as `prepare.py` makes them.

`diffs NAME…` is ours: it prints as JSON what mutants change. All of it runs in the folder whose pyproject.toml counts.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import mutmut.__main__ as program
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.mutation.file_mutation import MutatedFile, mutate_file_contents

from tests.mutants.prepare import prepared
from tests.mutants.score import source


def diffs(names: list[str]) -> dict[str, str]:
    """Mutant -> its difference from the original, as `diff -u` shows it."""
    return {name: get_diff_for_mutant(name, path=Path(source(name))) for name in names}


def _of_prepared(name: str, code: str, *rest: Any) -> MutatedFile:
    return mutate_file_contents(name, prepared(code), *rest)


def main() -> None:
    """Hand over to mutmut."""
    if sys.argv[1] == "diffs":
        print(json.dumps(diffs(json.load(sys.stdin))))
        return
    program.__dict__["mutate_file_contents"] = _of_prepared
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]  # the tests that mutmut runs are those of its copy
    program.cli()


if __name__ == "__main__":
    main()
