"""Whole tickets: message accepted to assigned and clock started, with all four services, one process each."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from cli.fleet import SERVICES
from cli.traffic import Hook
from kit.clock import SystemClock
from tests.bench import machine
from tests.bench.load import Client, Feeder, hooks, percentile, request_bytes, watching
from tests.system.rig import System, system

AGENTS = 200
OUTSTANDING = 1_000
CONNECTIONS = 64
PATIENCE = 120.0


@dataclass
class Run:
    """What one load came to."""

    tickets: int
    seconds: float
    cpu: dict[str, float] = field(default_factory=dict)
    """CPU seconds by process."""
    written: list[float] = field(default_factory=list)
    seen: list[float] = field(default_factory=list)
    offered: float = 0.0

    @property
    def rate(self) -> float:
        """Tickets a second."""
        return self.tickets / self.seconds

    def per_thousand(self, *names: str) -> float:
        """CPU seconds per 1,000 tickets of these processes."""
        return sum(self.cpu[name] for name in names) * 1000 / self.tickets


class Desk:
    """A running Deskbus with agents of ample capacity."""

    def __init__(self, made: System, meter: machine.Meter) -> None:
        self.system, self.meter = made, meter
        self.clock = SystemClock()

    def hooks(self, count: int) -> list[Hook]:
        """Fresh messages, signed now."""
        return hooks(self.system.traffic, count)

    async def through_the_door(self, count: int) -> Run:
        """Saturate: the real HTTP door, so many connections, at most so many tickets under way."""
        url = self.system.one("ingest").url
        pieces = self.hooks(count)
        async with Client(url, CONNECTIONS) as client, watching(self.system.kafka, self.system.prefix) as watcher:
            requests = iter([request_bytes(piece, client.host) for piece in pieces])
            sent = itertools.count(1)
            before, begin = self.meter.cpu(), self.clock.monotonic()
            room = asyncio.Event()

            async def one() -> None:
                for request in requests:
                    await client.send(request)
                    while next_sent() - watcher.done > OUTSTANDING:
                        watcher.changed.clear()
                        await watcher.changed.wait()

            accepted = [0]

            def next_sent() -> int:
                return accepted[0]

            async def counted() -> None:
                for request in requests:
                    await client.send(request)
                    accepted[0] = next(sent)
                    while accepted[0] - watcher.done > OUTSTANDING:
                        watcher.changed.clear()
                        await watcher.changed.wait()

            del one, room
            await asyncio.gather(*(counted() for _ in range(CONNECTIONS)))
            await watcher.until(count, PATIENCE)
            return Run(count, watcher.last - begin, machine.spent(before, self.meter.cpu()))
