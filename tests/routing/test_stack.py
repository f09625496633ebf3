"""Two replicas of the whole service on real Kafka and MongoDB: they share the work and never pass a limit."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from pydantic import SecretStr

from contracts.envelope import Event
from contracts.ticket import Status
from contracts.tickets import TicketEvent
from contracts.topics import ASSIGNMENTS, TICKETS, topic_name
from kit.base.clock import SystemClock
from kit.kafka.producer import Producer
from kit.mongo import MongoStore
from kit.process.service import Service, run
from kit.protocol.ports import Outgoing
from services.routing.app import create_service
from services.routing.settings import RoutingSettings
from tests.conftest import Prefix
from tests.routing.scenario import POLICY, opened, status, ticket

pytestmark = [pytest.mark.stack, pytest.mark.timeout(120)]

TOKENS = f"lead:{hashlib.sha256(b'lead').hexdigest()}:agents:read,agents:write,routing:read"
AGENTS = {"ann": 3, "bob": 5, "cat": 2}
TICKETS_MADE = 40


class Bench:
    """The topics seen from outside: what ingest would say goes in, what routing says comes out."""

    def __init__(self, kafka: str, prefix: str) -> None:
        self.kafka, self.prefix, self.clock = kafka, prefix, SystemClock()
        self.producer = Producer(kafka, client_id="test")
        self.events: dict[str, Event] = {}
        self._sequences: dict[str, int] = {}

    async def say(self, *payloads: TicketEvent) -> None:
        runs = []
        for payload in payloads:
            subject = payload.ticket.id
            self._sequences[subject] = self._sequences.get(subject, 0) + 1
            event = Event.of(
                payload, source="/deskbus/ingest", subject=subject, sequence=self._sequences[subject],
                time=self.clock.now(),
            )  # fmt: skip
            runs.append([Outgoing(topic_name(TICKETS, self.prefix), subject.encode(), event.encode())])
        assert sum(await self.producer.send_runs(runs)) == len(runs)

    async def until(self, true: Callable[[], bool], seconds: float = 40) -> None:
        """Read what routing says until a condition holds."""
        consumer = AIOKafkaConsumer(
            topic_name(ASSIGNMENTS, self.prefix), bootstrap_servers=self.kafka, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            async with asyncio.timeout(seconds):
                while not true():
                    for records in (await consumer.getmany(timeout_ms=100)).values():
                        for record in records:
                            event = Event.parse(record.value)
                            self.events.setdefault(event.id, event)
        finally:
            await consumer.stop()

    def holder(self, ticket_id: str) -> str | None:
        """Who has a ticket, as the log says."""
        agent = None
        for event in self.said(ticket_id):
            if event.type == "deskbus.ticket.assigned.v1":
                assert agent is None, f"{ticket_id} has two agents"
                agent = event.data.agent.id
            elif event.type == "deskbus.ticket.unassigned.v1":
                agent = None
        return agent

    def said(self, ticket_id: str) -> list[Event]:
        mine = sorted((e for e in self.events.values() if e.subject == ticket_id), key=lambda e: e.sequence)
        assert [e.sequence for e in mine] == list(range(1, len(mine) + 1))
        return mine

    def loads(self) -> dict[str, int]:
        having = [self.holder(subject) for subject in {e.subject for e in self.events.values()}]
        return {name: having.count(name) for name in AGENTS}


@pytest.fixture
async def bench(kafka: str, topics: str) -> AsyncIterator[Bench]:
    made = Bench(kafka, topics)
    await made.producer.start()
    yield made
    await made.producer.stop()


@pytest.fixture
def settings(kafka: str, mongo: str, prefix: Prefix, tmp_path: Path) -> RoutingSettings:
    policy = tmp_path / "routing.yaml"
    policy.write_bytes(POLICY)
    return RoutingSettings(
        kafka=kafka, mongo=SecretStr(mongo), topic_prefix=prefix.topics, mongo_prefix=prefix.mongo, policy=policy,
        port=0, ops_port=0, tokens=SecretStr(TOKENS), roster_seconds=0.3, reconcile_seconds=1, claim_seconds=2,
        session_timeout_ms=6000,
    )  # fmt: skip


@pytest.fixture
def make(settings: RoutingSettings) -> Callable[[], Service]:
    return lambda: create_service(settings)


@asynccontextmanager
async def living(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """Run a service in this process; gives its door."""
    stop = asyncio.Event()
    life = asyncio.create_task(run(service, stop))
    assert service.app is not None
    transport = httpx.ASGITransport(service.app)
    try:
        async with asyncio.timeout(40):
            while await service.health.readiness():
                assert not life.done()
                await asyncio.sleep(0.05)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://r", headers={"authorization": "Bearer lead"}
        ) as door:
            yield door
    finally:
        stop.set()
        await life


def served(bench: Bench, names: Sequence[str], solved: Collection[str]) -> bool:
    """Whether nobody has what is solved, and what is left is with agents as far as there is room."""
    having = sum(bench.holder(name) is not None for name in names)
    return all(bench.holder(name) is None for name in solved) and having == min(10, len(names) - len(solved))


async def put(door: httpx.AsyncClient, name: str, presence: str) -> None:
    body = {"name": name, "capacity": AGENTS[name], "skills": {"lang-en": 3}, "presence": presence}
    assert (await door.put(f"/v1/agents/{name}", json=body)).is_success


async def test_two_replicas_fill_every_agent_to_the_limit_and_not_beyond(
    bench: Bench, make: Callable[[], Service], prefix: Prefix
) -> None:
    names = [f"t{n}" for n in range(TICKETS_MADE)]
    async with living(make()) as one, living(make()) as other:
        for number, name in enumerate(AGENTS):
            await put((one, other)[number % 2], name, "online")
        await bench.say(*(opened(ticket(name)) for name in names))
        await bench.until(lambda: bench.loads() == AGENTS)
        await bench.until(lambda: all(bench.said(name) for name in names))
        assert bench.loads() == AGENTS

        # As work is done the others are served, until everybody had an agent.
        solved: set[str] = set()

        def all_served() -> bool:
            return served(bench, names, solved)

        while len(solved) < TICKETS_MADE:
            done = [name for name in names if name not in solved and bench.holder(name) is not None]
            assert done
            await bench.say(*(status(ticket(name, 2, status=Status.SOLVED)) for name in done))
            solved |= set(done)
            await bench.until(all_served)

        views = [(await door.get(f"/v1/agents/{name}")).json() for name in AGENTS for door in (one, other)]
        async with asyncio.timeout(20):
            while any(view["tickets"] for view in views):
                views = [(await one.get(f"/v1/agents/{name}")).json() for name in AGENTS]
    assert all([e.type.split(".")[2] for e in bench.said(n)] == ["queued", "assigned", "unassigned"] for n in names)


async def test_agent_who_comes_online_gets_what_waits_and_gives_it_back_on_leaving(
    bench: Bench, make: Callable[[], Service]
) -> None:
    async with living(make()) as one, living(make()) as other:
        await put(one, "ann", "offline")
        await bench.say(*(opened(ticket(f"t{n}")) for n in range(3)))
        await bench.until(lambda: len(bench.events) == 3)
        await other.put("/v1/agents/ann/presence", json={"presence": "online"})
        await bench.until(lambda: bench.loads()["ann"] == 3, seconds=10)
        await put(other, "bob", "online")
        await one.put("/v1/agents/ann/presence", json={"presence": "offline"})
        await bench.until(lambda: bench.loads() == {"ann": 0, "bob": 3, "cat": 0}, seconds=10)


async def test_service_that_ends_writes_what_it_has_released(
    bench: Bench, settings: RoutingSettings, mongo: str
) -> None:
    later = settings.model_copy(update={"release_seconds": 60})
    store = MongoStore(mongo, settings.database)
    async with living(create_service(later)) as door:
        await put(door, "bob", "online")
        await bench.say(opened(ticket("t1")))
        await bench.until(lambda: bench.loads()["bob"] == 1)
        await bench.say(status(ticket("t1", 2, status=Status.SOLVED)))
        await bench.until(lambda: bench.loads()["bob"] == 0)
        before = await store.fetch("agents", ["bob"])
    after = await store.fetch("agents", ["bob"])
    store.close()
    assert [len(row["state"]["claims"]) for row in (*before, *after)] == [1, 0]
