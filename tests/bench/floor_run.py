"""Running the floor: its stages as processes, fed and watched as Deskbus is."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from cli.fleet import ROOT, SERVICES
from cli.topics import create_topics
from kit.base.clock import SystemClock
from tests.bench import machine
from tests.bench.floor import per_ticket, plan
from tests.bench.load import Feeder, watching
from tests.bench.tickets import CHUNK, OUTSTANDING, PATIENCE, Assigner, Run, room
from tests.bench.written import Collection, Topic
from tests.system.rig import PARTITIONS


class Floor:
    """The four bare loops, up and waiting."""

    def __init__(self, assigner: Assigner, prefix: str, meter: machine.Meter) -> None:
        self._assigner, self._prefix, self._meter = assigner, prefix, meter

    async def past_the_door(self, count: int) -> Run:
        """The same load as Assigner.past_the_door."""
        pieces, kafka, clock = self._assigner.hooks(count), self._assigner.system.kafka, SystemClock()
        async with Feeder(kafka, self._prefix) as feeder, watching(kafka, self._prefix) as watcher:
            before, begin = self._meter.cpu(), clock.monotonic()
            for start in range(0, count, CHUNK):
                await feeder.feed(pieces[start : start + CHUNK])
                await room(watcher, start + CHUNK, OUTSTANDING)
            await watcher.until(count, PATIENCE)
            return Run(count, watcher.last - begin, machine.spent(before, self._meter.cpu()))


@asynccontextmanager
async def floor(
    assigner: Assigner,
    prefix: str,
    logs: Path,
    told: int,
    tickets: int,
    changed: Sequence[Collection],
    topics: Mapping[str, Topic],
) -> AsyncIterator[Floor]:
    """Start the stages with what Deskbus was seen to write: records for `told` tickets, documents for `tickets`."""
    environment = assigner.system.environment
    await create_topics(environment["DESKBUS_KAFKA"], f"{prefix}.", PARTITIONS)
    children: list[asyncio.subprocess.Process] = []
    try:
        for service in SERVICES:
            path = logs / f"floor-{service}.json"
            stage = plan(service, environment, prefix, per_ticket(topics, told), changed, tickets)
            path.write_text(json.dumps(stage), encoding="utf-8")
            children.append(
                await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "tests.bench.floor", str(path), cwd=ROOT, stdout=asyncio.subprocess.PIPE
                )
            )
        async with asyncio.timeout(60):
            for child in children:
                assert child.stdout is not None
                if await child.stdout.readline() != b"ready\n":
                    raise RuntimeError("a stage of the floor did not start")
        processes: dict[str, Sequence[psutil.Process]] = {"load": [psutil.Process()]}
        processes |= {s: [psutil.Process(c.pid)] for s, c in zip(SERVICES, children, strict=True)}
        processes |= {
            name: assigner.meter.processes[name] for name in machine.SERVERS if name in assigner.meter.processes
        }
        yield Floor(assigner, f"{prefix}.", machine.Meter(processes))
    finally:
        for child in children:
            if child.returncode is None:
                child.terminate()
        await asyncio.gather(*(child.wait() for child in children))
