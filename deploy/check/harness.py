"""Runs checks in order and reports each: ok, failed or left out, with the reason. Knows no check and no tool."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deploy.check.context import Context, Failed
from deploy.check.tools import MissingTool
from deploy.local.process import LocalError


@dataclass(frozen=True)
class Check:
    name: str
    run: Callable[[Context], None]
    needs: tuple[str, ...] = ()
    """Names of tools in `tools.TOOLS`, obtained before the check starts."""
    slow: bool = False
    """Whether `--quick` leaves it out."""

    @property
    def summary(self) -> str:
        return (self.run.__doc__ or "").strip().splitlines()[0]


@dataclass(frozen=True)
class Outcome:
    name: str
    verdict: str
    """`ok`, `failed` or `left out`."""
    seconds: float
    reason: str = ""


def run_check(check: Check, context: Context) -> Outcome:
    start = time.monotonic()

    def outcome(verdict: str, reason: str = "") -> Outcome:
        return Outcome(check.name, verdict, time.monotonic() - start, reason)

    if context.quick and check.slow:
        return outcome("left out", "slow")
    try:
        for tool in check.needs:
            context.tool(tool)
    except MissingTool as missing:
        return outcome("left out" if context.quick else "failed", str(missing))
    except LocalError as error:
        return outcome("failed", str(error))
    try:
        with context.for_check() as own:
            check.run(own)
    except (Failed, LocalError) as failed:
        return outcome("failed", str(failed))
    except Exception as error:  # a check that breaks has shown nothing; the others still run
        return outcome("failed", f"{type(error).__name__}: {error}")
    return outcome("ok")


def run_all(checks: Sequence[Check], context: Context) -> list[Outcome]:
    """Run every check, whatever becomes of the others."""
    outcomes = []
    for check in checks:
        print(f"{check.name:<12} ", end="", flush=True)
        outcome = run_check(check, context)
        outcomes.append(outcome)
        print(f"{outcome.verdict:<8} {outcome.seconds:6.1f} s", flush=True)
        if outcome.reason:
            print("\n".join(f"    {line}" for line in outcome.reason.splitlines()), flush=True)
    return outcomes


def report(outcomes: Sequence[Outcome]) -> int:
    """Print the sum of it; return the exit code: 1 if a check failed."""

    def names(verdict: str) -> list[str]:
        return [outcome.name for outcome in outcomes if outcome.verdict == verdict]

    print(f"deploy.check: {len(names('ok'))} ok, {len(names('failed'))} failed, {len(names('left out'))} left out")
    for verdict in ("failed", "left out"):
        if names(verdict):
            print(f"{verdict}: {', '.join(names(verdict))}")
    return 1 if names("failed") else 0


def main(checks: Sequence[Check], arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.check", description="Check what deploy/ holds.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these checks")
    parser.add_argument("--quick", action="store_true", help="leave out what takes minutes, and tools not at hand")
    parser.add_argument("--list", action="store_true", help="list the checks")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - {check.name for check in checks}
    if unknown:
        parser.error(f"no such check: {', '.join(sorted(unknown))}")
    if options.list:
        for check in checks:
            print(f"{check.name:<12} {'slow ' if check.slow else 'quick'}  {check.summary}")
        return 0
    chosen = [check for check in checks if not options.names or check.name in options.names]
    with Context(quick=options.quick) as context:
        outcomes = run_all(chosen, context)
    sys.stdout.flush()
    return report(outcomes)
