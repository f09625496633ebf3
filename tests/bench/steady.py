"""Steady rates, as production has them: latency and cost of a ticket while agents solve what they are given.

Beside them stand the same load over two replicas of each service, and over agents who solve nothing.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.bench.agents import working
from tests.bench.load import percentile
from tests.bench.tickets import AGENTS, PATIENCE, Assigner, cpu, desk

RATES = (10, 50, 100, 200)
GROWING = 200
"""Tickets a second of the row whose agents solve nothing."""
SETTLE = 2.0


async def measure(names: dict[str, str], logs: Path, *, warm: int, seconds: float, replicas: int = 1) -> dict[str, Any]:
    """Each rate in turn, then the one where nobody solves anything."""
    async with desk(names, logs, replicas) as it:
        async with working(it.system.kafka, it.system.prefix, AGENTS) as agents:
            await it.past_the_door(agents.most + warm)  # the assigner fills up, and then some are solved
            async with asyncio.timeout(PATIENCE):
                await agents.solved.wait()
            rows = [await _row(it, rate, seconds) for rate in RATES]
        growing = await _row(it, GROWING, seconds) if replicas == 1 else None
        return {"replicas": replicas, "rates": rows, "growing": growing}


async def _row(it: Assigner, rate: float, seconds: float) -> dict[str, Any]:
    await asyncio.sleep(SETTLE)
    run = await it.steadily(rate, seconds)
    return {
        "rate": rate,
        "p50_ms": percentile(run.written, 0.5),
        "p99_ms": percentile(run.written, 0.99),
        "cpu": cpu([run]),
    }
