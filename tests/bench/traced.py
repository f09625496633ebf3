"""What tracing costs: the same load through the door, in turns, with tracing off, with every twentieth trace, with all.

Spans go to a collector in this process, which throws them away; its CPU is the load generator's and does not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import Any

from cli.fleet import SERVICES
from tests.bench.names import names
from tests.bench.tickets import Assigner, Run, desk
from tests.system.collector import collector

#: A busy machine must not refuse what is to be measured.
_PATIENT = {"DESKBUS_INGEST_DOOR_SECONDS": "15"}
MODES: Mapping[str, dict[str, str]] = {
    "off": {"DESKBUS_TRACING": "false"},
    "one in twenty": {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.05"},
    "all": {"OTEL_TRACES_SAMPLER": "parentbased_always_on"},
}


async def measure(logs: Path, *, tickets: int, warm: int, rounds: int) -> dict[str, Any]:
    """Return each mode's tickets a second and CPU of the services, and how both compare with off in the same turn."""
    runs: dict[str, list[Run]] = {mode: [] for mode in MODES}
    async with AsyncExitStack() as stack:
        spans = stack.enter_context(collector(keep=False))
        desks: dict[str, Assigner] = {}
        for mode, settings in MODES.items():
            environment = await stack.enter_async_context(names()) | spans.environment() | _PATIENT | settings
            desks[mode] = await stack.enter_async_context(desk(environment, logs / mode))
            await desks[mode].through_the_door(warm)
        for _ in range(rounds + 1):
            for mode, each in desks.items():
                runs[mode].append(await each.through_the_door(tickets))
        return {"runs": {mode: compared(runs["off"], runs[mode]) for mode in MODES}, "reports": spans.requests}


def compared(off: list[Run], runs: list[Run]) -> dict[str, float]:
    """Medians, and medians of the ratios of the turns."""
    return {
        "rate": median(run.rate for run in runs),
        "cpu": median(run.per_thousand(*SERVICES) for run in runs),
        "rate_ratio": median(run.rate / base.rate for run, base in zip(runs, off, strict=True)),
        "cpu_ratio": median(
            run.per_thousand(*SERVICES) / base.per_thousand(*SERVICES) for run, base in zip(runs, off, strict=True)
        ),
    }
