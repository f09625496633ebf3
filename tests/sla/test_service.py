"""The service as processes on a real broker and database: events in, clocks out, timers that survive a kill."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from contracts.envelope import Event
from contracts.sla import ClockBreached, ClockMet, ClockStarted
from contracts.ticket import Direction, Message
from contracts.tickets import MessageSent, TicketOpened
from contracts.topics import SLA, TICKETS, topic_name
from deploy.local import free_port, guardian
from kit.base.clock import SystemClock
from kit.base.ids import uuid7
from tests.sla.desk import AGENT, Writer

SECONDS = 30
WALL = SystemClock()


@dataclass
class Replica:
    process: subprocess.Popen[bytes]
    ops: str

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path, root: Path) -> Iterator[Callable[[str], Replica]]:
    """Start a replica with a policy file."""
    running: list[Replica] = []

    def go(policy: str) -> Replica:
        file = tmp_path / "sla.yaml"
        file.write_text(policy, encoding="utf-8")
        ops = free_port()
        own = {
            "DESKBUS_SLA_POLICY": str(file),
            "DESKBUS_SLA_PORT": "0",
            "DESKBUS_SLA_OPS_PORT": str(ops),
            "DESKBUS_SESSION_TIMEOUT_MS": "3000",
        }
        with (tmp_path / f"sla-{len(running)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "services.sla"],
                cwd=root,
                env={**os.environ, **environment, **own},
                stdout=log,
                start_new_session=True,
            )
        guardian.adopt(process.pid)
        running.append(Replica(process, f"http://127.0.0.1:{ops}"))
        return running[-1]

    yield go
    for replica in running:
        if replica.process.poll() is None:
            replica.kill()


async def ready(*replicas: Replica) -> None:
    """Wait until every replica has its share of the partitions."""
    async with asyncio.timeout(SECONDS), httpx.AsyncClient() as client:
        for replica in replicas:
            while True:
                assert replica.process.poll() is None
                with contextlib.suppress(httpx.TransportError):
                    text = (await client.get(f"{replica.ops}/metrics")).text
                    up = (await client.get(f"{replica.ops}/readyz")).status_code == 200
                    if up and 'deskbus_partitions_assigned{service="sla"} 0.0' not in text:
                        break
                await asyncio.sleep(0.05)


@pytest.fixture
async def producer(kafka: str, topics: str) -> AsyncIterator[AIOKafkaProducer]:
    async with AIOKafkaProducer(bootstrap_servers=kafka, acks="all") as sender:
        yield sender


class Heard:
    """Everything on the sla topic, with the time at which the broker's client stamped it."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self.events: list[tuple[Event, datetime]] = []

    async def until(self, enough: Callable[[list[Event]], bool], seconds: float = SECONDS) -> list[Event]:
        async with asyncio.timeout(seconds):
            while not enough([event for event, _ in self.events]):
                for records in (await self._consumer.getmany(timeout_ms=200)).values():
                    self.events += [
                        (Event.parse(record.value), datetime.fromtimestamp(record.timestamp / 1000, UTC))
                        for record in records
                    ]
        return [event for event, _ in self.events]


@pytest.fixture
async def heard(kafka: str, topics: str) -> AsyncIterator[Heard]:
    consumer = AIOKafkaConsumer(topic_name(SLA, topics), bootstrap_servers=kafka, auto_offset_reset="earliest")
    async with consumer:
        yield Heard(consumer)


class Ingest:
    """Writes tickets that are opened and answered now."""

    def __init__(self, producer: AIOKafkaProducer, prefix: str) -> None:
        self._producer, self._topic = producer, topic_name(TICKETS, prefix)

    async def opened(self, count: int, **facts: object) -> list[Writer]:
        writers = []
        for _ in range(count):
            now = WALL.now()
            write = Writer(uuid7(), **facts)
            asked = dict.fromkeys(("created_at", "last_customer_message_at", "oldest_unanswered_at"), now)
            write.ticket = write.ticket.model_copy(update=asked)
            writers.append(write)
            await self.send(self._event(write, now, TicketOpened(ticket=write.ticket)))
        return writers

    async def replied(self, write: Writer) -> None:
        now = WALL.now()
        write.ticket = write.ticket.model_copy(update={"first_reply_at": now, "oldest_unanswered_at": None})
        message = Message(id=uuid7(), direction=Direction.OUT, author=AGENT, text="…", sent_at=now)
        await self.send(self._event(write, now, MessageSent(ticket=write.ticket, message=message)))

    def _event(self, write: Writer, now: datetime, data: TicketOpened | MessageSent) -> Event:
        write.sequence += 1
        return Event.of(data, source="/deskbus/ingest", subject=write.ticket.id, sequence=write.sequence, time=now)

    async def send(self, event: Event) -> None:
        await self._producer.send_and_wait(self._topic, event.encode(), key=event.subject.encode())


def breaches(events: list[Event]) -> Counter[str]:
    return Counter(event.subject for event in events if isinstance(event.data, ClockBreached))


async def test_clocks_start_are_met_in_time_and_breached_on_the_instant(
    start: Callable[[str], Replica], producer: AIOKafkaProducer, heard: Heard, topics: str
) -> None:
    await ready(start("policies: [{name: quick, targets: {first_reply: 2s}, warn: {at_risk: 50%}}]"))
    ingest = Ingest(producer, topics)
    silent, answered = await ingest.opened(10), await ingest.opened(10)
    await heard.until(lambda events: sum(isinstance(event.data, ClockStarted) for event in events) == 20)
    for write in answered:
        await ingest.replied(write)
    events = await heard.until(lambda events: len(breaches(events)) == 10)

    assert breaches(events) == {write.ticket.id: 1 for write in silent}
    assert {event.subject for event in events if isinstance(event.data, ClockMet)} == {w.ticket.id for w in answered}
    for ticket_id in {event.subject for event in events}:
        sequences = [event.sequence for event in events if event.subject == ticket_id]
        assert sequences == list(range(1, len(sequences) + 1))
    lateness = []
    for event, stamped in heard.events:
        if isinstance(event.data, ClockBreached):
            assert event.data.noticed_at is not None
            assert event.data.noticed_at >= event.data.breached_at + timedelta(milliseconds=50)  # the grace
            assert event.data.breached_at == event.data.started_at + timedelta(seconds=2)
            lateness.append((stamped - event.data.breached_at).total_seconds())
    print(f"breaches reached the topic {min(lateness):.3f} to {max(lateness):.3f} s after their instants")
    assert max(lateness) < 5  # a stalled machine; on a quiet one it is under 0.25


@pytest.mark.slow
async def test_who_kills_a_replica_hands_its_timers_to_the_other(
    start: Callable[[str], Replica], producer: AIOKafkaProducer, heard: Heard, topics: str
) -> None:
    policy = "policies: [{name: quick, targets: {first_reply: 4s}}]"
    one, other = start(policy), start(policy)
    await ready(one, other)
    writers = await Ingest(producer, topics).opened(40)
    await heard.until(lambda events: sum(isinstance(event.data, ClockStarted) for event in events) == 40)
    one.kill()
    killed = WALL.now()
    events = await heard.until(lambda events: len(breaches(events)) == 40)
    assert breaches(events) == {write.ticket.id: 1 for write in writers}
    last = max(stamped for event, stamped in heard.events if isinstance(event.data, ClockBreached))
    print(f"the last breach was announced {(last - killed).total_seconds():.1f} s after the kill")
    assert last - killed < timedelta(seconds=15)
