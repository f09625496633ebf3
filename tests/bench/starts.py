"""Starts of all services, one after the other, each with a short load: says after which ones the load stood still.

One run in about a hundred once stopped with idle services and no warning in any log. This looks for it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.bench.load import percentile
from tests.bench.names import names
from tests.bench.tickets import desk

RATE, SECONDS = 100, 10.0


async def run(count: int) -> bool:
    """Start so often; prints a line for each and returns whether all went well. One that fails stops no other."""
    failed = 0
    for number in range(1, count + 1):
        with tempfile.TemporaryDirectory(prefix="deskbus-starts-") as logs:
            try:
                told = await _one(Path(logs))
            except Exception as fault:
                failed += 1
                told = f"{type(fault).__name__}: {fault}"
        print(f"start {number} of {count}: {told}", flush=True)
    print(f"{failed} of {count} starts failed or stood still")
    return not failed


async def _one(logs: Path) -> str:
    async with names() as environment, desk(environment, logs) as it:
        load = await it.steadily(RATE, SECONDS)
    return f"p50 {percentile(load.written, 0.5):.0f} ms, p99 {percentile(load.written, 0.99):.0f} ms at {RATE}/s"
