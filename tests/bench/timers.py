"""Deadlines: how late a breach is announced with many clocks armed, and how many breaches a second there are.

The store is seeded by the service's own core and outbox, in this process; the service that fires is a real process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
from aiokafka import AIOKafkaConsumer
from bson.raw_bson import RawBSONDocument

from contracts import topics
from contracts.envelope import Event
from contracts.ticket import ContactRef, Market, Status, Ticket
from contracts.tickets import TicketOpened
from kit.base.clock import SystemClock
from kit.base.ids import uuid7
from kit.kafka.producer import Producer
from kit.mongo import MongoStore
from kit.policy.file import PolicyFile
from kit.protocol.document import Cause, Document, fields
from kit.protocol.outbox import Documents
from kit.protocol.record import partition_of
from services.sla import store
from services.sla.core import tickets
from services.sla.core.policy import Book
from services.sla.core.state import TicketClocks
from tests.bench import machine
from tests.bench.load import percentile
from tests.bench.mould import Batch, Mould, chunks, fill
from tests.system.rig import PARTITIONS, System, system

POLICY = """
on_change: keep
policies:
  - name: bench
    targets: {first_reply: 1h}
"""
TARGET = timedelta(hours=1)
CHUNK = 500
LEAD = timedelta(seconds=10)
"""From the end of seeding to the first deadline, at least."""
PATIENCE = 120.0
"""Seconds without any new breach after which the measurement has failed."""
MOULDS = 500
PROBE = 1_000
"""Of the far ones, armed as the near ones are: tells how long those will take."""
FAR = timedelta(hours=2)
"""To the first deadline of those that are not to come while we look; they are spread over ten hours."""
BREACHED = b'"type":"deskbus.sla.breached.v1"'


class Seeds:
    """Writes clocks as the service would have."""

    def __init__(self, environment: dict[str, str], policy: Path) -> None:
        self.clock = SystemClock()
        self.url, self.database = environment["DESKBUS_MONGO"], f"{environment['DESKBUS_MONGO_PREFIX']}_sla"
        self.mongo = MongoStore(self.url, self.database)
        self.producer = Producer(environment["DESKBUS_KAFKA"], client_id="bench")
        book = PolicyFile(policy, Book)
        self.archive = store.Archive(self.mongo, lambda: book.current, self.clock)
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

    def far(self, count: int) -> Iterator[Batch]:
        """Yield clocks whose time does not come here: made by the core for some instants, then cast again and again."""
        now = self.clock.now()
        moulds = []
        for number in range(min(count, MOULDS)):
            doc = self._armed(now + FAR + number * timedelta(hours=10) / MOULDS)
            values = fields(store.KIND, doc, 0)
            moulds.append((doc.id.encode(), Mould({"_id": doc.id, **values, "version": 1, "outbox": []})))

        def cast() -> Iterator[RawBSONDocument]:
            for number in range(count):
                old, mould = moulds[number % len(moulds)]
                fresh = uuid7().encode()
                yield mould.cast({old: fresh}, partition_of(fresh, PARTITIONS))

        return chunks(self.database, store.COLLECTION, cast())

    async def lead(self, count: int) -> timedelta:
        """Return the time to give to the seeding of so many near ones: three times what some take now, and a little."""
        began = self.clock.monotonic()
        await self.arm([self.clock.now() + FAR] * PROBE)
        return LEAD + timedelta(seconds=3 * (self.clock.monotonic() - began) * count / PROBE)

    def _armed(self, due: datetime) -> Document[TicketClocks]:
        doc: Document[TicketClocks] = Document(uuid7())
        began = due - TARGET
        ticket = Ticket(
            id=doc.id, version=1, channel="email", account="support-nimbus", brand="nimbus", status=Status.NEW,
            market=Market(), contact=ContactRef(id="c"), created_at=began, updated_at=began,
            last_customer_message_at=began, oldest_unanswered_at=began,
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
    policy, clock = _policy(logs), SystemClock()
    async with system(environment, logs) as made:
        await made.create_topics()
        seeds = Seeds(environment, policy)
        await seeds.start()
        try:
            begin = clock.monotonic()
            await fill(seeds.url, seeds.far(armed - PROBE))
            rate = (armed - PROBE) / (clock.monotonic() - begin)
            replica = made.fleet.add("sla")
            replica.environment = {**replica.environment, "DESKBUS_SLA_POLICY": str(policy)}
            replica.start()
            await asyncio.to_thread(replica.wait_ready)
            lead = await seeds.lead(spread + burst)
            first = clock.now() + lead
            spread_dues = [first + timedelta(seconds=seconds * n / spread) for n in range(spread)]
            at_once = first + timedelta(seconds=seconds + 3)
            await seeds.arm([*spread_dues, *([at_once] * burst)])
        finally:
            await seeds.stop()
        if clock.now() > first:
            raise RuntimeError("seeding took longer than the lead: the machine is too busy for this measurement")
        processes = [psutil.Process(replica.process.pid)] if replica.process else []
        meter = machine.Meter({"sla": processes} | machine.servers(environment))
        before = meter.cpu()
        breaches = await _announced(made, spread + burst, lead.total_seconds() + seconds)
        cpu = {name: taken * 1000 / len(breaches) for name, taken in machine.spent(before, meter.cpu()).items()}
        found = outcome(breaches, at_once) | {"cpu": cpu, "sla_mb": meter.memory(["sla"])["sla"]}
        return found | {"armed": armed + spread + burst, "seeded_per_second": rate}


def _policy(logs: Path) -> Path:
    logs.mkdir(parents=True, exist_ok=True)
    path = logs / "sla.yaml"
    path.write_text(POLICY, encoding="utf-8")
    return path


async def _announced(made: System, count: int, seconds: float) -> list[tuple[datetime, int]]:
    """Follow the topic until every breach is there once; returns deadline and time of the first record, in ms."""
    found: dict[str, tuple[datetime, int]] = {}
    consumer = AIOKafkaConsumer(
        topics.topic_name(topics.SLA, made.prefix),
        bootstrap_servers=made.kafka,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        async with asyncio.timeout(seconds + PATIENCE) as patience:
            while len(found) < count:
                polled = await consumer.getmany(timeout_ms=500, max_records=5_000)
                records = [r for records in polled.values() for r in records if BREACHED in r.value]
                for record in records:
                    event = Event.parse(record.value)
                    found.setdefault(event.id, (event.data.breached_at, record.timestamp))
                if records:
                    patience.reschedule(asyncio.get_running_loop().time() + PATIENCE)
    except TimeoutError:
        raise TimeoutError(f"{len(found)} of {count} breaches, and none more in {PATIENCE:.0f} s") from None
    finally:
        await consumer.stop()
    return list(found.values())


def outcome(breaches: Sequence[tuple[datetime, int]], at_once: datetime) -> dict[str, Any]:
    """Lateness of those one by one, and of those at one instant with their rate until the last."""
    late: list[float] = []
    burst: list[float] = []
    for due, stamp in breaches:
        lateness = stamp - due.timestamp() * 1000
        (burst if abs((due - at_once).total_seconds()) < 0.01 else late).append(lateness)
    late.sort()
    burst.sort()
    return {
        "late_p50_ms": percentile(late, 0.5),
        "late_p99_ms": percentile(late, 0.99),
        "breaches": len(breaches),
        "burst": len(burst),
        "burst_p99_ms": percentile(burst, 0.99),
        "per_second": len(burst) * 1000 / burst[-1] if burst else 0.0,
    }
