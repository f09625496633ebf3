"""What mutmut's result files say: which mutants were killed, by file. Nothing is run here."""

from __future__ import annotations

import enum
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from random import Random


class Result(enum.Enum):
    """What became of a mutant. One that no test runs survives; one that never ends is noticed."""

    KILLED = "killed"
    SURVIVED = "survived"
    UNTESTED = "untested"


_KILLED = {1, 3, 24, -24, 36, 152, 255, -9, -11}  # failed, or ended by a limit of time or memory
_UNTESTED = {None, 2, 34}  # not reached, interrupted, skipped


def result(code: int | None) -> Result:
    """Read mutmut's exit code of a mutant."""
    if code in _UNTESTED:
        return Result.UNTESTED
    return Result.KILLED if code in _KILLED else Result.SURVIVED


def load(folder: Path, paths: Sequence[str] = ()) -> Iterator[tuple[str, Result]]:
    """Yield every mutant of the files under `paths` (all without) with its result, by name."""
    for file in sorted(folder.rglob("*.py.meta")):
        source = str(file.relative_to(folder)).removesuffix(".meta")
        if not paths or any(source == path or source.startswith(f"{path.rstrip('/')}/") for path in paths):
            codes = json.loads(file.read_text("utf-8"))["exit_code_by_key"]
            for name, code in codes.items():
                yield name, result(code)


def forget(folder: Path, names: Collection[str]) -> None:
    """Take back the results of these mutants: a run that is cut short must not be told with those of the one before."""
    for file in sorted(folder.rglob("*.py.meta")):
        kept = json.loads(file.read_text("utf-8"))
        codes = kept["exit_code_by_key"]
        if again := dict.fromkeys((name for name in codes if name in names), None):
            file.write_text(json.dumps(kept | {"exit_code_by_key": codes | again}), "utf-8")


def pick(names: Sequence[str], count: int, random: Random) -> list[str]:
    """Choose `count` of the names, or all."""
    return list(names) if not count or count >= len(names) else sorted(random.sample(list(names), count))


def module(name: str) -> str:
    """`kit.protocol.timers.xǁTickerǁtick__mutmut_3` -> `kit.protocol.timers`."""
    return name.rsplit(".", 1)[0]


def source(name: str) -> str:
    """`kit.protocol.timers.xǁTickerǁtick__mutmut_3` -> `kit/protocol/timers.py`."""
    return module(name).replace(".", "/") + ".py"


def table(mutants: Iterable[tuple[str, Result]], chosen: Collection[str]) -> str:
    """Lines of module, killed, tested and score."""
    tested: Counter[str] = Counter()
    killed: Counter[str] = Counter()
    for name, came_to in mutants:
        if name in chosen and came_to is not Result.UNTESTED:
            tested[module(name)] += 1
            killed[module(name)] += came_to is Result.KILLED
    return "\n".join(f"{100 * killed[m] / n:5.1f} %  {killed[m]:5} of {n:5}  {m}" for m, n in sorted(tested.items()))
