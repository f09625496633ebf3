"""`python -m tests.scale [NAME=VALUE …]`: growth on paper, from the costs in docs/performance.json. Needs no server.

Assumptions are changed by name. `--record` puts the tables into docs/scale.md.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from tests.bench.record import show
from tests.scale import figures, plans, report, roster
from tests.scale.figures import RECORD, Assumed

PAGE = RECORD.parent / "scale.md"
MARKS = ("<!-- computed -->", "<!-- /computed -->")


def assumptions(changes: list[str]) -> Assumed:
    """The assumptions with changes by name; raises ValueError for a name that is none."""
    assumed = Assumed()
    names = set(vars(assumed))
    for change in changes:
        name, _, value = change.partition("=")
        if name not in names:
            raise ValueError(f"{name!r} is no assumption; there are {', '.join(sorted(names))}")
        assumed = replace(assumed, **{name: float(value)})
    return assumed


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.scale", description=__doc__)
    parser.add_argument("changes", nargs="*", metavar="NAME=VALUE", help="another value for an assumption")
    parser.add_argument("--seconds", type=float, default=20, help="of each window that is simulated")
    parser.add_argument("--record", action="store_true", help="also write docs/scale.md")
    given = parser.parse_args()
    try:
        assumed, costs = assumptions(given.changes), figures.read()
    except (KeyError, ValueError) as fault:
        parser.error(str(fault.args[0]))

    def say(what: str) -> None:
        print(f"… {what}", file=sys.stderr, flush=True)

    say("routing's agents, on the real code")
    agent, crowd = roster.measure(), plans.crowd()
    plain = plans.World(costs, assumed, agent, crowd)
    mended = plans.World(costs, assumed, agent, crowd, mended=True)
    page = report.page(plain, mended, seconds=given.seconds, say=say)
    print(page)
    if given.record:
        show(PAGE, page, MARKS)


if __name__ == "__main__":
    main()
