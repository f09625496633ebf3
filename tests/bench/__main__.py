"""`python -m tests.bench`: measures part after part on one stack, prints a table, writes it as JSON beside.

Kafka and MongoDB come from the environment, as `make up` says. `--only` takes some parts, `--full` the numbers of the
goals; `--record` also puts the parts that ran into docs/performance.json and the table in docs/performance.md.
`--starts` measures nothing: it looks for starts after which a load stands still.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import psutil

from cli.fleet import ROOT
from kit.base.clock import SystemClock
from tests.bench import machine, record, starts, table
from tests.bench.names import NotHere
from tests.bench.parts import PARTS

LATEST = ROOT / ".local" / "bench" / "latest.json"
RECORD = ROOT / "docs" / "performance.json"
PAGE = ROOT / "docs" / "performance.md"
FULL = {
    "tickets": 10_000, "rounds": 3, "seconds": 60.0, "requests": 10_000, "armed": 1_000_000, "burst": 20_000,
    "stored": 9_000,
}  # fmt: skip


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; sizes that are named win over those of `--full`."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--tickets", type=int, default=2_000, help="tickets of each load")
    parser.add_argument("--warm", type=int, default=1_000, help="tickets before anything is measured")
    parser.add_argument("--rounds", type=int, default=2, help="turns of Deskbus and the floor")
    parser.add_argument("--seconds", type=float, default=15.0, help="of the steady load at half the rate")
    parser.add_argument("--requests", type=int, default=2_000, help="to the door alone, each turn")
    parser.add_argument("--armed", type=int, default=100_000, help="clocks armed")
    parser.add_argument("--burst", type=int, default=4_000, help="deadlines at one instant")
    parser.add_argument("--stored", type=int, default=2_000, help="tickets in the small store; the large has 100 times")
    parser.add_argument("--beside", type=int, default=2_000, help="tickets of the load beside each store")
    parser.add_argument("--full", action="store_true", help="a million clocks and stored tickets, longer loads: hours")
    parser.add_argument("--only", type=_parts, nargs="+", default=[list(PARTS)], help=", ".join(PARTS))
    parser.add_argument(
        "--starts", type=int, default=0, help="only start the services so often, each with a short load"
    )
    parser.add_argument("--record", action="store_true", help="also write docs/performance.json and .md")
    if parser.parse_args(given).full:
        parser.set_defaults(**FULL)
    found = parser.parse_args(given)
    found.only = {name for names in found.only for name in names}
    if found.stored < 2 * found.warm:
        parser.error("--stored must be at least twice --warm: so many are stored before it is filled up")
    return found


def _parts(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - PARTS.keys():
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: no such part; there are {', '.join(PARTS)}")
    return names


async def measure(part: str, given: argparse.Namespace) -> dict[str, Any]:
    """Measure one part; with the figures, on which machine, when, how long, and what else the machine did."""
    run, sizes = PARTS[part]
    clock, server = SystemClock(), machine.listener(os.environ["DESKBUS_MONGO"])
    taken: dict[str, Any] = {
        "machine": machine.describe() | {"MongoDB server": server.name() if server else "elsewhere"},
        "at": clock.now().isoformat(timespec="minutes"),
        "busy_percent": await asyncio.to_thread(machine.busy),
        "load_before": machine.load(),
        "sizes": {name: getattr(given, name) for name in sizes},
    }
    begin = clock.monotonic()
    with tempfile.TemporaryDirectory(prefix="deskbus-bench-") as logs:
        found = await _guarded(run(given, Path(logs)), server)
    return found | {"taken": taken | {"seconds": clock.monotonic() - begin, "load_after": machine.load()}}


async def _guarded(run: Awaitable[dict[str, Any]], server: psutil.Process | None) -> dict[str, Any]:
    """End a part under which the MongoDB server takes half of the memory, before the system ends something."""
    most = psutil.virtual_memory().total / 2
    work = asyncio.ensure_future(run)
    try:
        while not work.done():
            await asyncio.wait({work}, timeout=0.5)
            if server is not None and server.is_running() and server.memory_info().rss > most:
                raise MemoryError(f"the MongoDB server takes more than {most / 1e9:.1f} GB")
        return work.result()
    finally:
        if not work.done():
            work.cancel()
            await asyncio.wait({work})


async def main(given: argparse.Namespace) -> bool:
    """Measure what is wanted; what one part found is kept when another fails. Says whether all went well."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    if given.starts:
        return await starts.run(given.starts)
    result: dict[str, Any] = {}
    failed = []
    for part in PARTS:
        if part not in given.only:
            continue
        print(f"measuring: {part}", file=sys.stderr, flush=True)
        try:
            result[part] = await measure(part, given)
        except NotHere as missing:
            print(f"{part}: left out: {missing}", file=sys.stderr, flush=True)
        except Exception:
            traceback.print_exc()
            failed.append(part)
        else:
            record.keep(LATEST, {part: result[part]}, PARTS)
    if result:
        print(table.text(result))
        if given.record:
            record.keep(RECORD, result, PARTS)
            record.show(PAGE, table.page(record.kept(RECORD, PARTS)))
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return not failed


if __name__ == "__main__":
    if missing := [name for name in ("DESKBUS_KAFKA", "DESKBUS_MONGO") if not os.environ.get(name)]:
        sys.exit(f"{' and '.join(missing)} must say where the servers are; `make bench` starts them")
    sys.exit(0 if asyncio.run(main(arguments())) else 1)
