"""A complete Deskbus for a test: its own topics and databases, services as processes, local receivers, the audit.

Rule: assertions use topics and doors only, like an outside observer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from aiosmtpd.controller import Controller

from cli import traffic
from cli.audit import Audit
from cli.collector import Report
from cli.fleet import SERVICES, Fleet, Replica
from cli.reading import TopicRecord, read
from cli.sending import Doors
from cli.topics import create_topics
from cli.traffic import Piece, Traffic
from contracts import topics
from contracts.envelope import Event
from deploy.local import free_port
from kit.base.clock import SystemClock
from kit.kafka.connection import Kafka

HERE = Path(__file__).parent
CONFIG = HERE.parent.parent / "deploy" / "config"
PARTITIONS = 4


async def until(true: Callable[[], Awaitable[bool]], seconds: float, what: str, *, pause: float = 0.1) -> None:
    """Wait for a condition in other processes. Raises AssertionError with `what` after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            while not await true():  # noqa: ASYNC110 - the condition is in another process
                await asyncio.sleep(pause)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {what}") from None


@dataclass
class Receiver:
    """Stands in for the providers' APIs and the team lead's webhook: accepts and records all requests."""

    port: int
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    #: HTTP status of all responses.
    status: int = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def to(self, path: str) -> list[tuple[dict[str, str], bytes]]:
        return [(headers, body) for where, headers, body in self.requests if where.startswith(path)]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Receiver]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *rest = head.decode("latin-1").split("\r\n")
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in rest if line)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.requests.append((first.split(" ")[1], headers, body))
                answer = b'{"messages":[{"id":"wamid.%d"}]}' % len(self.requests)
                status = f"HTTP/1.1 {self.status} X\r\ncontent-type: application/json\r\n".encode()
                writer.write(status + b"content-length: %d\r\n\r\n" % len(answer) + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class MailSink:
    """Accepts and records every mail."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append(envelope.content)
        return "250 OK"


class System:
    """The services over one Kafka and one MongoDB."""

    def __init__(
        self, environment: dict[str, str], logs: Path, receiver: Receiver, relay_port: int, **policies: Path
    ) -> None:
        """`policies` replaces policy files, by service."""
        self.environment, self.receiver = environment, receiver
        self.kafka = environment["DESKBUS_KAFKA"]
        #: How the test itself reads the topics, where not everybody may.
        self.observer: Kafka = self.kafka
        self.prefix = environment["DESKBUS_TOPIC_PREFIX"]
        self.token = traffic.tokens()
        shared = {
            **environment,
            **traffic.secrets_environment(),
            "DESKBUS_TOKENS": self.token.setting,
            "DESKBUS_TEST_RECEIVER": receiver.url,
            **traffic.provider_urls(receiver.url),
        }
        own = {
            "ingest": {
                "DESKBUS_INGEST_POLICY": str(CONFIG / "ingest.yaml"),
                "DESKBUS_INGEST_RELAY_PORT": str(relay_port),
                "DESKBUS_INGEST_ALLOW_HOSTS": "127.0.0.1",
            },
            "routing": {"DESKBUS_ROUTING_POLICY": str(CONFIG / "routing.yaml")},
            "sla": {"DESKBUS_SLA_POLICY": str(HERE / "config" / "sla.yaml")},
            "notify": {"DESKBUS_NOTIFY_POLICY": str(HERE / "config" / "notify.yaml")},
        }
        for service, file in policies.items():
            own[service][f"DESKBUS_{service.upper()}_POLICY"] = str(file)
        logs.mkdir(parents=True, exist_ok=True)
        self.fleet = Fleet(shared, logs=logs, own=own)
        self.http = httpx.AsyncClient(timeout=15, headers=self.token.headers, trust_env=False)
        self.traffic = Traffic(self.prefix, SystemClock().now)

    async def create_topics(self) -> None:
        await create_topics(self.kafka, self.prefix, PARTITIONS)

    def start(self, replicas: int = 1, services: Iterable[str] = SERVICES) -> None:
        for service in services:
            for _ in range(replicas):
                self.fleet.add(service)
        self.fleet.start()

    def one(self, service: str) -> Replica:
        return self.fleet.of(service)[0]

    def doors(self, **options: Any) -> Doors:
        ingest = self.fleet.of("ingest")
        smtp = [("127.0.0.1", r.extra_ports["smtp"]) for r in ingest]
        return Doors([r.url for r in ingest], smtp, token=self.token.bearer, **options)

    async def agents(self, count: int = 12, capacity: float = 100) -> None:
        """Create agents who speak all languages and are online."""
        for n in range(count):
            body = {
                "name": f"Agent {n}",
                "capacity": capacity,
                "languages": ["th", "pl", "ko", "en", "de"],
                "skills": {"returns": 3, "vip": 3},
                "presence": "online",
            }
            answer = await self.http.put(f"{self.one('routing').url}/v1/agents/a{n}", json=body)
            answer.raise_for_status()

    # -- observing -----------------------------------------------------------------------------------------------

    async def lines(self, *names: str) -> list[TopicRecord]:
        return [line async for line in read(self.observer, names, prefix=self.prefix)]

    async def events(self, topic: str, *types: str) -> list[Event]:
        """Return the events of a topic, without duplicates, in order of appearance."""
        seen: dict[str, Event] = {}
        for line in await self.lines(topic):
            event = Event.parse(line.value or b"")
            if not types or event.type in types:
                seen.setdefault(event.id, event)
        return list(seen.values())

    async def audit(self) -> Report:
        whole = Audit()
        async for line in read(self.observer, [t.name for t in topics.TOPICS], prefix=self.prefix):
            whole.feed(line)
        return whole.report()

    async def texts(self) -> list[str]:
        """Return the texts of all customers' messages in ticket events."""
        opened = await self.events(topics.TICKETS, "deskbus.ticket.opened.v1", "deskbus.message.received.v1")
        return [e.data.message.text for e in opened if e.data.message]

    async def ticket_ids(self, topic: str, *types: str) -> set[str]:
        return {e.subject for e in await self.events(topic, *types)}

    async def settled(self, messages: int, seconds: float = 120) -> Report:
        """Wait until tickets have `messages` messages, and all are assigned and have clocks. Return the audit."""
        last: list[Report] = []

        async def done() -> bool:
            last[:] = [await self.audit()]
            return last[0].counts["messages"] >= messages and not any(last[0].open.values())

        try:
            await until(done, seconds, f"{messages} messages in tickets, all assigned and clocked")
        except AssertionError as late:
            still = {k: len(v) for k, v in last[0].open.items()} if last else {}
            raise AssertionError(f"{late}; {last and last[0].counts}; open: {still}") from None
        return last[0]


@asynccontextmanager
async def system(environment: dict[str, str], logs: Path, **policies: Path) -> AsyncIterator[System]:
    """Yield a system whose services the test starts; they are stopped at the end."""
    receiver = Receiver(free_port())
    sink = Controller(MailSink(), hostname="127.0.0.1", port=free_port())
    sink.start()
    made = System(environment, logs, receiver, sink.port, **policies)
    try:
        async with receiver.open():
            yield made
    finally:
        await made.http.aclose()
        sink.stop()
        await asyncio.to_thread(made.fleet.stop)


def pieces(made: System, count: int) -> list[Piece]:
    """Return messages of all channels and languages, each from another customer."""
    return list(made.traffic.stream(count))
