"""Notify as it runs: real Kafka, a real MongoDB server, real receivers on loopback."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from pydantic import SecretStr
from standardwebhooks import Webhook

from contracts import topics as table
from contracts.envelope import Event
from deploy.local import free_port
from kit.process.service import run
from services.notify.app import create_service
from services.notify.settings import NotifySettings
from tests.notify.examples import ESCALATION, SECRET, TICKET, at, breached, cancelled, unroutable
from tests.notify.receivers import HttpReceiver, MailReceiver, Reply

POLICY = """
receivers:
  lead: {{sink: webhook, url: "http://127.0.0.1:{port}/lead", signing: env:NOTIFY_TEST_SECRET}}
  oncall: {{sink: webhook, url: "http://127.0.0.1:{port}/oncall", signing: env:NOTIFY_TEST_SECRET}}
  desk: {{sink: email, to: desk@nimbus.example}}
chains:
  breach:
    steps: [{{targets: lead, wait: {wait}}}, {{targets: oncall, wait: 1h}}]
route:
  name: all
  receiver: desk
  routes: [{{name: breached, match: {{kind: breached}}, chain: breach}}]
backoff: {{first: 100ms, most: 300ms}}
allow_hosts: [127.0.0.1]
"""


@pytest.fixture
def policy_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    monkeypatch.setenv("NOTIFY_TEST_SECRET", SECRET)

    def write(port: int, wait: str = "1h") -> Path:
        path = tmp_path / "notify.yaml"
        path.write_text(POLICY.format(port=port, wait=wait))
        return path

    return write


@asynccontextmanager
async def running(environment: dict[str, str], policy: Path, port: int = 0, smtp: int = 25) -> AsyncIterator[None]:
    settings = NotifySettings(
        kafka=environment["DESKBUS_KAFKA"],
        mongo=SecretStr(environment["DESKBUS_MONGO"]),
        topic_prefix=environment["DESKBUS_TOPIC_PREFIX"],
        mongo_prefix=environment["DESKBUS_MONGO_PREFIX"],
        policy=policy,
        port=port,
        ops_port=0,
        smtp_port=smtp,
        smtp_tls="none",
        tokens=SecretStr(f"mali:{hashlib.sha256(b'act').hexdigest()}:escalations:read,escalations:ack"),
    )
    stop = asyncio.Event()
    life = asyncio.create_task(run(create_service(settings), stop))
    try:
        yield
    finally:
        stop.set()
        assert await life == 0


async def publish(environment: dict[str, str], *events: Event) -> None:
    async with AIOKafkaProducer(bootstrap_servers=environment["DESKBUS_KAFKA"], acks="all") as producer:
        for event in events:
            topic = table.topic_name(table.TOPIC_OF[event.type], environment["DESKBUS_TOPIC_PREFIX"])
            await producer.send_and_wait(topic, event.encode(), key=event.subject.encode())


async def told(environment: dict[str, str], until: Callable[[list[str]], bool]) -> list[Event]:
    """The notifications topic from its beginning, until what is in it is enough."""
    topic = table.topic_name(table.NOTIFICATIONS, environment["DESKBUS_TOPIC_PREFIX"])
    events: list[Event] = []
    async with (
        AIOKafkaConsumer(
            topic, bootstrap_servers=environment["DESKBUS_KAFKA"], auto_offset_reset="earliest", group_id=None
        ) as consumer,
        asyncio.timeout(20),
    ):
        async for record in consumer:
            event = Event.parse(record.value)
            if event.id in {seen.id for seen in events}:
                continue  # two writers of one document may both publish what is in its outbox, under the same id
            events.append(event)
            if until([_name(event) for event in events]):
                return events
    raise AssertionError("the topic ended")


def _name(event: Event) -> str:
    return event.type.removeprefix("deskbus.").removesuffix(".v1")


async def test_a_breach_reaches_the_receiver_signed_and_is_told(
    environment: dict[str, str], topics: str, policy_file: Callable[..., Path]
) -> None:
    receiver = await HttpReceiver().start()
    async with running(environment, policy_file(receiver.port)):
        await publish(environment, breached(0))
        await receiver.wait_for(1)
        await publish(environment, cancelled(5, sequence=2))
        await receiver.wait_for(2)
        events = await told(environment, lambda names: names.count("notification.sent") == 2)
    bodies = [Webhook(SECRET).verify(request.body, request.headers) for request in receiver.requests]
    assert [body["type"] for body in bodies] == ["deskbus.escalation.firing", "deskbus.escalation.resolved"]
    assert [_name(event) for event in events] == [
        "escalation.opened",
        "escalation.step_reached",
        "notification.sent",
        "escalation.resolved",
        "notification.sent",
    ]
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5]
    assert {event.subject for event in events} == {ESCALATION}
    assert events[0].causationid == f"sla:{TICKET}:1"
    await receiver.stop()


async def test_a_receiver_that_was_down_gets_it_once_in_effect(
    environment: dict[str, str], topics: str, policy_file: Callable[..., Path]
) -> None:
    port = free_port()
    answers = iter([Reply(503), Reply(500)])
    receiver = HttpReceiver(lambda _: next(answers, Reply(200)))
    async with running(environment, policy_file(port)):
        await publish(environment, breached(0))
        await told(environment, lambda names: "escalation.step_reached" in names)
        await receiver.start(port)
        await receiver.wait_for(3)
        events = await told(environment, lambda names: "notification.sent" in names)
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    assert len({request.body for request in receiver.requests}) == 1
    (sent,) = [event.data for event in events if _name(event) == "notification.sent"]
    assert sent.attempts >= 3
    await receiver.stop()


async def test_a_restart_in_the_middle_of_a_chain_goes_on_and_an_acknowledgement_ends_it(
    environment: dict[str, str], topics: str, policy_file: Callable[..., Path]
) -> None:
    receiver = await HttpReceiver().start()
    policy = policy_file(receiver.port, wait="2s")
    async with running(environment, policy):
        await publish(environment, breached(0))
        await receiver.wait_for(1)
    port = free_port()
    async with running(environment, policy, port):
        await receiver.wait_for(2)
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}/v1", headers={"authorization": "Bearer act"}
        ) as me:
            acked = await me.post(f"/escalations/{ESCALATION}/ack")
            listed = await me.get("/escalations", params={"standing": "acknowledged", "brand": "nimbus"})
        events = await told(environment, lambda names: "escalation.acknowledged" in names)
    assert acked.status_code == 200
    assert [escalation["id"] for escalation in listed.json()["escalations"]] == [ESCALATION]
    assert [request.path for request in receiver.requests] == ["/lead", "/oncall"]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    await receiver.stop()


async def test_an_unroutable_ticket_is_told_by_mail(
    environment: dict[str, str], topics: str, policy_file: Callable[..., Path]
) -> None:
    mail = await MailReceiver().start()
    async with running(environment, policy_file(1), smtp=mail.port):
        await publish(environment, unroutable(0))
        await told(environment, lambda names: "notification.sent" in names)
    (got,) = mail.mails
    assert "nobody can take the ticket: lang-th at level 4" in got.get_content()
    assert at(0).strftime("%H:%M") in got.get_content()
    await mail.stop()
