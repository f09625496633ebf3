"""Agents who work: they solve what they were given, oldest first, so that each has only a few tickets open at a time.

Without them the assigner fills up while it is measured, and every claim rewrites an agent's document that has grown.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from contracts import topics
from contracts.commands import SetStatus
from contracts.envelope import HEADERS, Command
from contracts.ticket import Author
from kit.base.clock import SystemClock
from kit.base.ids import uuid7
from tests.bench.load import ASSIGNED

OPEN_EACH = 5
"""Tickets that an agent has open on average; agents of peers' reports have 5 to 20."""


@dataclass
class Agents:
    """Follows assignments, and asks for the oldest ticket to be solved once there are more open than `most`."""

    consumer: AIOKafkaConsumer
    producer: AIOKafkaProducer
    commands: str
    most: int
    clock: SystemClock = field(default_factory=SystemClock)
    open: deque[str] = field(default_factory=deque)
    solved: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with the first ticket that is solved: from then on the assigner is as full as it will be."""

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            polled = await self.consumer.getmany(timeout_ms=200, max_records=5000)
            for records in polled.values():
                self.open.extend(record.key.decode() for record in records if ASSIGNED in record.value)
            while len(self.open) > self.most:
                await self._solve(self.open.popleft())

    async def _solve(self, ticket: str) -> None:
        solve = SetStatus(status="solved", by=Author(kind="agent", id="a0"))
        command = Command.of(solve, id=str(uuid7()), source="/bench/agents", subject=ticket, time=self.clock.now())
        await self.producer.send(self.commands, command.encode(), key=ticket.encode(), headers=list(HEADERS))
        self.solved.set()


@asynccontextmanager
async def working(kafka: str, prefix: str, agents: int) -> AsyncIterator[Agents]:
    """So many agents at work, on all tickets that are assigned from the topic's beginning on."""
    consumer = AIOKafkaConsumer(
        topics.topic_name(topics.ASSIGNMENTS, prefix),
        bootstrap_servers=kafka,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=200,
    )
    async with consumer, AIOKafkaProducer(bootstrap_servers=kafka, acks="all", linger_ms=5) as producer:
        work = Agents(consumer, producer, topics.topic_name(topics.COMMAND, prefix), agents * OPEN_EACH)
        async with asyncio.TaskGroup() as group:  # agents who fail end the measurement
            running = group.create_task(work.run())
            yield work
            running.cancel()
