"""Deadlines: how late a breach is announced with many clocks armed, and how many breaches a second there are.

The store is seeded by the service's own core and outbox, in this process; the service that fires is a real process.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from contracts import topics
from contracts.envelope import Event
from contracts.ticket import ContactRef, Market, Status, Ticket
from contracts.tickets import TicketOpened
from kit.clock import SystemClock
from kit.document import Cause, Document
from kit.ids import uuid7
from kit.mongo import MongoStore
from kit.outbox import Documents
from kit.policy import PolicyFile
from kit.producer import Producer
from services.sla import store
from services.sla.core import tickets
from services.sla.core.policy import Book
from services.sla.core.state import TicketClocks
from tests.bench.load import percentile
from tests.system.rig import System, system, until

POLICY = """
on_change: keep
policies:
  - name: bench
    targets: {first_reply: 1h}
"""
TARGET = timedelta(hours=1)
CHUNK = 500
LEAD = timedelta(seconds=20)
"""From the end of seeding to the first deadline: the service must be up by then."""


class Seeds:
    """Writes clocks as the service would have."""

    def __init__(self, environment: dict[str, str], policy: Path) -> None:
        self.clock = SystemClock()
        self.mongo = MongoStore(environment["DESKBUS_MONGO"], f"{environment['DESKBUS_MONGO_PREFIX']}_sla")
        self.producer = Producer(environment["DESKBUS_KAFKA"], client_id="bench")
        book = PolicyFile(policy, Book)
        self.archive = store.Archive(self.mongo, lambda: book.current)
        prefix = environment["DESKBUS_TOPIC_PREFIX"]
        self.documents = Documents(store.KIND, self.mongo, self.producer, self.clock, prefix=prefix)

    async def start(self) -> None:
        await self.producer.start()
        await store.prepare(self.mongo)
        await self.archive.refresh()

    async def stop(self) -> None:
        await self.producer.stop()
        self.mongo.close()

    async def arm(self, deadlines: list[datetime]) -> None:
        """Store a ticket with a clock for each deadline; what it would have announced is taken as confirmed."""
        for start in range(0, len(deadlines), CHUNK):
            docs = [self._armed(due) for due in deadlines[start : start + CHUNK]]
            await self.documents.save(docs)

    def _armed(self, due: datetime) -> Document[TicketClocks]:
        doc: Document[TicketClocks] = Document(uuid7())
        began = due - TARGET
        ticket = Ticket(
            id=doc.id, version=1, channel="email", account="support-nimbus", brand="nimbus", status=Status.NEW,
            market=Market(), contact=ContactRef(id="c"), created_at=began, updated_at=began,
        )  # fmt: skip
        event = Event.of(TicketOpened(ticket=ticket), source="/deskbus/ingest", subject=doc.id, sequence=1, time=began)
        decision = tickets.decide(None, event, self.archive, began)
        self.documents.apply(doc, decision, cause=Cause.of(event))
        doc.take(event.source, 1)
        doc.fresh = []
        return doc


async def measure(
    environment: dict[str, str], logs: Path, *, armed: int, spread: int, burst: int, seconds: float = 10.0
) -> dict[str, Any]:
    """Arm far clocks, `spread` deadlines over some seconds and then `burst` at one instant; read what is announced."""
    policy = _policy(logs)
    async with system(environment, logs) as made:
        await made.create_topics()
        seeds = Seeds(environment, policy)
        await seeds.start()
        try:
            now = seeds.clock.now()
            await seeds.arm([now + timedelta(hours=2, seconds=n % 36_000) for n in range(armed)])
            replica = made.fleet.add("sla")
            replica.environment = {**replica.environment, "DESKBUS_SLA_POLICY": str(policy)}
            replica.start()
            await asyncio.to_thread(replica.wait_ready)
            first = seeds.clock.now() + LEAD
            spread_dues = [first + timedelta(seconds=seconds * n / spread) for n in range(spread)]
            at_once = first + timedelta(seconds=seconds + 3)
            await seeds.arm([*spread_dues, *([at_once] * burst)])
        finally:
            await seeds.stop()
        if SystemClock().now() > first:
            raise RuntimeError("seeding took longer than the lead: the machine is too busy for this measurement")
        await until(lambda: _announced(made, spread + burst), 120 + seconds, "all breaches")
        return await _outcome(made, at_once, armed + spread + burst)


def _policy(logs: Path) -> Path:
    path = logs / "sla.yaml"
    path.write_text(POLICY, encoding="utf-8")
    return path


async def _announced(made: System, count: int) -> bool:
    await asyncio.sleep(0.5)
    return len(await made.lines(topics.SLA)) >= count


async def _outcome(made: System, at_once: datetime, armed: int) -> dict[str, Any]:
    late: list[float] = []
    burst: list[float] = []
    for line in await made.lines(topics.SLA):
        event = Event.parse(line.value or b"")
        if event.type != "deskbus.sla.breached.v1":
            continue
        due = event.data.breached_at
        lateness = line.timestamp_ms - due.timestamp() * 1000
        (burst if abs((due - at_once).total_seconds()) < 0.01 else late).append(lateness)
    late.sort()
    burst.sort()
    span = (burst[-1] - burst[0]) / 1000 if len(burst) > 1 else float("nan")
    return {
        "armed": armed,
        "late_p50_ms": percentile(late, 0.5),
        "late_p99_ms": percentile(late, 0.99),
        "breaches": len(late) + len(burst),
        "burst": len(burst),
        "burst_p99_ms": percentile(burst, 0.99),
        "per_second": len(burst) / max(burst[-1] / 1000, span) if burst else 0.0,
    }
