"""What came of a run by room, survivors with their reasons, and the page in docs/testing.md. No mutmut here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.mutants.score import Result, source

HERE = Path(__file__).parent
REASONS = HERE / "reasons.json"
RECORD = HERE / "results.json"
PAGE = HERE.parents[1] / "docs" / "testing.md"
MARKS = ("<!-- mutants -->", "<!-- /mutants -->")
ROOMS = {
    "services/ingest/core/": "ingest",
    "services/ingest/channels/": "channels",
    "services/routing/core/": "routing",
    "services/sla/core/": "sla",
    "services/notify/core/": "notify",
    "kit/": "kit",
    "contracts/": "contracts",
}
"""Beginning of a path -> room that its results are told under."""


@dataclass(frozen=True)
class Survivor:
    """A change that no test noticed; `why` is empty until somebody has said why that is right."""

    file: str
    old: str
    new: str
    why: str = ""


@dataclass(frozen=True)
class Room:
    """What became of a room's mutants, as far as they were tested."""

    tested: int
    killed: int
    survivors: tuple[Survivor, ...]
    mutants: int = 0
    """How many there are; 0: nobody has counted."""

    @property
    def score(self) -> float:
        """Per cent of the tested mutants that were killed; a survivor with a reason is a survivor."""
        return 100 * self.killed / self.tested


def survivor(diff: str) -> Survivor:
    """Read mutmut's difference, and look up the reason that was given for it."""
    lines = diff.splitlines()
    file = next(line[4:] for line in lines if line.startswith("--- "))
    old = [line[1:].strip() for line in lines if line.startswith("-") and not line.startswith("--- ")]
    new = [line[1:].strip() for line in lines if line.startswith("+") and not line.startswith("+++ ")]
    found = Survivor(file, " ".join(old), " ".join(new))
    return next((one for one in reasons() if (one.file, one.old, one.new) == (file, found.old, found.new)), found)


def reasons() -> list[Survivor]:
    """The survivors that are right, each with its reason."""
    return [Survivor(**each) for each in json.loads(REASONS.read_text("utf-8"))]


def by_room(tested: Mapping[str, Result], diffs: Mapping[str, str], every: Iterable[str] = ()) -> dict[str, Room]:
    """Count the mutants of each room; `diffs` has those that survived, `every` the names of all that there are."""
    there = Counter(room for name in every for start, room in ROOMS.items() if source(name).startswith(start))
    found = {}
    for beginning, room in ROOMS.items():
        own = [name for name in tested if source(name).startswith(beginning)]
        alive = sorted(name for name in own if tested[name] is not Result.KILLED)
        if own:
            survivors = tuple(survivor(diffs[name]) for name in alive)
            found[room] = Room(len(own), len(own) - len(alive), survivors, there[room])
    return found


def shown(survivors: Iterable[Survivor]) -> Iterator[str]:
    """Those without a reason, as lines for a terminal."""
    for each in survivors:
        if not each.why:
            yield f"{each.file}\n  - {each.old}\n  + {each.new}"


def record(rooms: Mapping[str, Room], day: str) -> None:
    """Write down the results of these rooms and bring the page up to date; other rooms keep what they had."""
    kept = {**_recorded(), **{name: {"day": day, **_row(room)} for name, room in rooms.items()}}
    RECORD.write_text(json.dumps(dict(sorted(kept.items())), ensure_ascii=False, indent=2) + "\n", "utf-8")
    before, _, rest = PAGE.read_text("utf-8").partition(MARKS[0])
    PAGE.write_text(before + MARKS[0] + "\n" + page() + MARKS[1] + rest.partition(MARKS[1])[2], "utf-8")


def _row(room: Room) -> dict[str, object]:
    explained = [asdict(each) for each in room.survivors if each.why]
    return {"mutants": room.mutants, "tested": room.tested, "killed": room.killed, "explained": explained}


def _recorded() -> dict[str, dict[str, object]]:
    kept: dict[str, dict[str, object]] = json.loads(RECORD.read_text("utf-8"))
    return kept


def page() -> str:
    """Return the recorded part of docs/testing.md: a table of the rooms, and why some survivors make no difference."""
    rows = [
        "",
        "| room | mutants | tested | killed | score | survivors with a reason | day |",
        "|---|---|---|---|---|---|---|",
    ]
    right: list[Survivor] = []
    for name, kept in json.loads(RECORD.read_text("utf-8")).items():
        tested, killed, explained = kept["tested"], kept["killed"], [Survivor(**each) for each in kept["explained"]]
        score, reasons = f"{100 * killed / tested:.1f} %", f"{len(explained)} of {tested - killed}"
        rows.append(f"| {name} | {kept['mutants']} | {tested} | {killed} | {score} | {reasons} | {kept['day']} |")
        right += explained
    return "\n".join([*rows, "", *_why(right), ""])


def _why(survivors: Iterable[Survivor]) -> Iterator[str]:
    """Group survivors by their reason, the most frequent first."""
    by_reason: dict[str, list[str]] = {}
    for each in survivors:
        by_reason.setdefault(each.why, []).append(each.file.rpartition("/")[2])
    if not by_reason:
        return
    yield "Survivors that make no difference, by reason; `tests/mutants/reasons.json` has each change."
    yield ""
    yield "| reason | survivors | files |"
    yield "|---|---|---|"
    for why, files in sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0])):
        named = ", ".join(f"`{file}`" for file in sorted(set(files)))
        yield f"| {why} | {len(files)} | {named} |"
    yield ""
