"""Whole tickets: message accepted to assigned and clock started, with all four services as processes, and the loads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psutil

from cli.fleet import SERVICES
from cli.traffic import Hook
from kit.base.clock import SystemClock
from tests.bench import machine, stall
from tests.bench.load import Client, Feeder, Watcher, hooks, request_bytes, watching
from tests.system.rig import System, system

AGENTS = 200
CAPACITY = 100_000.0
OUTSTANDING = 1_000
CONNECTIONS = 64
CHUNK = 50
PATIENCE = 120.0
"""Seconds without any progress after which a load has failed."""


@dataclass
class Run:
    """What one load came to."""

    tickets: int
    seconds: float
    cpu: dict[str, float] = field(default_factory=dict)
    """CPU seconds by process."""
    written: list[float] = field(default_factory=list)
    """Milliseconds from accepted to the assignment's record, sorted."""
    seen: list[float] = field(default_factory=list)
    """Milliseconds from accepted to a subscriber seeing it, sorted."""

    @property
    def rate(self) -> float:
        """Tickets a second."""
        return self.tickets / self.seconds

    def per_thousand(self, *names: str) -> float:
        """CPU seconds per 1,000 tickets of these processes."""
        return sum(self.cpu.get(name, 0.0) for name in names) * 1000 / self.tickets


class Assigner:
    """A running Deskbus whose agents have capacity for everything that comes."""

    def __init__(self, made: System, meter: machine.Meter) -> None:
        self.system, self.meter = made, meter
        self.clock = SystemClock()

    def hooks(self, count: int) -> list[Hook]:
        """Fresh messages, signed now."""
        return hooks(self.system.traffic, count)

    async def through_the_door(self, count: int) -> Run:
        """Saturate the real HTTP door, with at most so many tickets under way."""
        pieces = iter(self.hooks(count))
        accepted = 0

        async def customer(client: Client, watcher: Watcher) -> None:
            nonlocal accepted
            for piece in pieces:
                await client.send(request_bytes(piece, client.host))
                accepted += 1
                await room(watcher, accepted, OUTSTANDING)

        async with self._client(CONNECTIONS) as client, self._watching() as watcher:
            before, begin = self.meter.cpu(), self.clock.monotonic()
            await asyncio.gather(*(customer(client, watcher) for _ in range(CONNECTIONS)))
            await watcher.until(count, PATIENCE)
            return Run(count, watcher.last - begin, machine.spent(before, self.meter.cpu()), *watcher.latencies())

    async def past_the_door(self, count: int) -> Run:
        """Saturate the worker and all behind it: records written to the inbound topic by a bare producer."""
        pieces = self.hooks(count)
        async with Feeder(self.system.kafka, self.system.prefix) as feeder, self._watching() as watcher:
            before, begin = self.meter.cpu(), self.clock.monotonic()
            for start in range(0, count, CHUNK):
                await feeder.feed(pieces[start : start + CHUNK])
                await room(watcher, start + CHUNK, OUTSTANDING)
            await watcher.until(count, PATIENCE)
            return Run(count, watcher.last - begin, machine.spent(before, self.meter.cpu()), *watcher.latencies())

    async def steadily(self, rate: float, seconds: float) -> Run:
        """Open loop: a message through the door every 1/rate seconds, whatever has become of the ones before."""
        count = int(rate * seconds)
        pieces = self.hooks(count)
        async with self._client(CONNECTIONS) as client, self._watching() as watcher:
            before, begin = self.meter.cpu(), self.clock.monotonic()
            async with asyncio.TaskGroup() as group:
                for number, piece in enumerate(pieces):
                    await asyncio.sleep(max(0.0, begin + number / rate - self.clock.monotonic()))
                    group.create_task(client.send(request_bytes(piece, client.host)))
            await watcher.until(count, PATIENCE)
            return Run(count, watcher.last - begin, machine.spent(before, self.meter.cpu()), *watcher.latencies())

    async def pause(self) -> None:
        """End the services in good order; all else stays."""
        await asyncio.to_thread(self.system.fleet.stop)

    async def resume(self) -> None:
        """Start them again, as new processes at the same addresses."""
        await asyncio.to_thread(self.system.fleet.start)
        self.meter = meter(self.system)

    @asynccontextmanager
    async def _client(self, connections: int) -> AsyncIterator[Client]:
        async with Client(self.system.one("ingest").url, connections) as client:
            yield client

    @asynccontextmanager
    async def _watching(self) -> AsyncIterator[Watcher]:
        """Watch what comes of a load, and fail it once nothing comes any more."""
        async with (
            watching(self.system.kafka, self.system.prefix) as watcher,
            stall.watched(lambda: watcher.moved, lambda: stall.report(self.system), self.clock),
        ):
            yield watcher


async def room(watcher: Watcher, begun: int, most: int) -> None:
    """Wait until not too many are under way."""
    await watcher.until(begun - most, PATIENCE)


def cpu(runs: Sequence[Run]) -> dict[str, float]:
    """Medians of CPU seconds per 1,000 tickets, by process, and the sum without the load generator."""
    found = {name: median(run.per_thousand(name) for run in runs) for name in runs[0].cpu}
    found["sum"] = median(run.per_thousand(*SERVICES, *machine.SERVERS) for run in runs)
    return found


@asynccontextmanager
async def desk(environment: dict[str, str], logs: Path, replicas: int = 1) -> AsyncIterator[Assigner]:
    """Topics, so many processes of each service, and agents; ended afterwards."""
    async with system(environment, logs) as made:
        await made.create_topics()
        await asyncio.to_thread(made.start, replicas)
        await _agents(made)
        yield Assigner(made, meter(made))


async def _agents(made: System) -> None:
    url = made.one("routing").url

    async def put(number: int) -> None:
        body = {
            "name": f"Agent {number}",
            "capacity": CAPACITY,
            "languages": ["th", "pl", "ko", "en", "de"],
            "skills": {"returns": 3, "vip": 3},
            "presence": "online",
        }
        (await made.http.put(f"{url}/v1/agents/a{number}", json=body)).raise_for_status()

    for start in range(0, AGENTS, 20):
        await asyncio.gather(*(put(number) for number in range(start, start + 20)))


def meter(made: System) -> machine.Meter:
    """Return the meter of the services as they run now, their servers and this process."""
    processes: dict[str, Sequence[psutil.Process]] = {"load": [psutil.Process()]}
    for service in SERVICES:
        processes[service] = [psutil.Process(r.process.pid) for r in made.fleet.of(service) if r.process is not None]
    return machine.Meter(processes | machine.servers(made.environment))
