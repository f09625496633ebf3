"""What each service must be wired with, whatever it does: nothing is started here, and no server is asked."""

from collections.abc import Callable, Iterable
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from contracts.topics import BY_NAME, COMMAND, CONSUMES, topic_name
from kit.base import metrics
from kit.base.kafka_settings import KafkaSettings
from kit.base.settings import ServiceSettings
from kit.http_client import HttpClient
from kit.kafka.consumer import Consumer
from kit.policy.file import PolicyFile
from kit.process.service import Service
from kit.protocol.document import Kind
from kit.protocol.outbox import Documents
from kit.protocol.timers import Ticker
from services.ingest import metrics as ingest_metrics
from services.ingest import store as ingest_store
from services.ingest.app import create_service as ingest
from services.ingest.handlers import IngestHandling, weigh
from services.ingest.reply_delivery import ReplyDelivery
from services.ingest.sender import ReplySender
from services.ingest.settings import IngestSettings
from services.ingest.smtp import MailDoor
from services.ingest.transport import Transport
from services.notify import metrics as notify_metrics
from services.notify import store as notify_store
from services.notify.app import create_service as notify
from services.notify.handlers import FOLLOWED
from services.notify.settings import NotifySettings
from services.notify.ticker import Deliverer
from services.routing import metrics as routing_metrics
from services.routing.app import create_service as routing
from services.routing.handlers import RoutingHandling
from services.routing.settings import RoutingSettings
from services.sla import metrics as sla_metrics
from services.sla import store as sla_store
from services.sla.app import create_service as sla
from services.sla.settings import SlaSettings
from tests.pki import Authority

Build = Callable[[Any], Service]
SERVICES: dict[str, tuple[type[ServiceSettings], Build]] = {
    "ingest": (IngestSettings, ingest),
    "notify": (NotifySettings, notify),
    "routing": (RoutingSettings, routing),
    "sla": (SlaSettings, sla),
}
COUNTS = {
    "ingest": ingest_metrics.count,
    "notify": notify_metrics.count,
    "routing": routing_metrics.count,
    "sla": sla_metrics.count,
}
PREPARES = {"ingest": ingest_store.ensure_indexes, "notify": notify_store.prepare, "sla": sla_store.prepare}
#: Settings that are read while the service runs, not when it is put together.
READ_LATER = {
    "allow_hosts", "gather_ms", "grace_seconds", "host", "log_level", "ops_port", "port", "retry_backoff_max_ms",
    "retry_backoff_ms", "sweep_after_seconds", "tracing",
    *(KafkaSettings.model_fields.keys() - {"kafka", "kafka_security"}),  # for each connection
}  # fmt: skip


async def built(root: Path, name: str, **given: Any) -> Service:
    settings, build = SERVICES[name]
    policy = root / "deploy" / "config" / f"{name}.yaml"
    service = build(settings(**{"policy": policy, "port": 0, "ops_port": 0, **given}))
    await service.shut()
    return service


def consumer_of(service: Service) -> Consumer:
    assert isinstance(service.consumer, Consumer)
    return service.consumer


def owners(methods: Iterable[object]) -> list[object]:
    return [getattr(method, "__self__", None) for method in methods]


def tickers(service: Service) -> list[Ticker[Any]]:
    return [owner for owner in owners(service.background.values()) if isinstance(owner, Ticker)]


async def documents_of(root: Path, name: str) -> list[Documents[Any]]:
    service = await built(root, name)
    return [documents for documents in service.documents if isinstance(documents, Documents)]


@pytest.mark.parametrize("name", SERVICES)
async def test_an_outbox_is_swept_by_the_owner_of_its_partition(root: Path, name: str) -> None:
    found = await documents_of(root, name)
    assert found
    for documents in found:
        assert documents.owned is not None, f"all replicas would publish what one left of {documents.kind.collection}"
        assert documents.home_topic


@pytest.mark.parametrize("name", COUNTS)
async def test_decisions_are_counted_where_they_are_written(root: Path, name: str) -> None:
    watchers = [getattr(watcher, "func", watcher) for watcher in (await documents_of(root, name))[0]._watchers]
    assert COUNTS[name] in watchers


@pytest.mark.parametrize("name", SERVICES)
async def test_the_settings_say_when_a_service_gives_up(root: Path, name: str) -> None:
    service = await built(root, name, retry_attempts=3, dlq_stop_share=0.25, dlq_stop_window=40)
    delivery = consumer_of(service).delivery
    breaker = delivery._dead_letters._breaker
    assert (delivery._most_attempts, breaker._share, breaker._window) == (3, 0.25, 40)


@pytest.mark.parametrize("name", SERVICES)
async def test_every_setting_is_read(root: Path, name: str) -> None:
    settings, read = SERVICES[name][0], set[str]()

    class Noting(settings):  # type: ignore[valid-type, misc]
        """Notes which settings are read."""

        def __getattribute__(self, key: str) -> Any:
            read.add(key)
            return super().__getattribute__(key)

    given = Noting(policy=root / "deploy" / "config" / f"{name}.yaml", port=0, ops_port=0)
    read.clear()
    await SERVICES[name][1](given).shut()
    unread = set(settings.model_fields) - read - READ_LATER
    assert not unread, "operators may set them, and nothing happens"


@pytest.mark.parametrize("name", SERVICES)
async def test_no_event_may_be_larger_than_the_settings_say(root: Path, name: str) -> None:
    service = await built(root, name, max_record_bytes=50_000)
    assert {documents.limit for documents in service.documents if isinstance(documents, Documents)} == {50_000}


@pytest.mark.parametrize("name", ["ingest", "notify"])
async def test_hosts_may_be_allowed_in_the_policy_and_in_the_settings(root: Path, tmp_path: Path, name: str) -> None:
    policy = tmp_path / f"{name}.yaml"
    policy.write_text(f"{(root / 'deploy' / 'config' / f'{name}.yaml').read_text()}\nallow_hosts: [crm.internal]\n")
    service = await built(root, name, policy=policy, allow_hosts="relay.internal")
    (http_client,) = (owner for owner in owners(service.close) if isinstance(owner, HttpClient))
    assert set(http_client._allowed()) == {"crm.internal", "relay.internal"}


@pytest.mark.parametrize("name", SERVICES)
async def test_documents_with_timers_have_a_ticker(root: Path, name: str) -> None:
    service = await built(root, name)
    (never,) = (field.default for field in fields(Kind) if field.name == "due")
    kinds = [documents.kind for documents in service.documents if isinstance(documents, Documents)]
    timed = {kind.collection for kind in kinds if kind.due is not never}
    assert timed == {ticker._documents.kind.collection for ticker in tickers(service)}


@pytest.mark.parametrize("name", ["notify", "routing"])
async def test_timers_look_as_often_as_the_settings_say(root: Path, name: str) -> None:
    service = await built(root, name, timer_ms=20)
    periods = {ticker._documents.kind.collection: ticker._period for ticker in tickers(service)}
    first = next(iter(service.documents))
    assert isinstance(first, Documents)
    assert periods[first.kind.collection] == timedelta(milliseconds=20)


@pytest.mark.parametrize("name", SERVICES)
async def test_events_go_to_the_topics_of_their_own_installation(root: Path, name: str) -> None:
    service = await built(root, name, topic_prefix="test.")
    for documents in service.documents:
        assert isinstance(documents, Documents)
        assert documents.topic == topic_name(documents.kind.topic, "test.")


async def test_waiting_tickets_are_looked_at_once_the_policy_has_changed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Callable[[], object]] = []

    async def watch(_: object, __: object, changed: Callable[[], object] = lambda: None) -> None:
        told.append(changed)

    monkeypatch.setattr(PolicyFile, "watch", watch)
    service = await built(root, "routing")
    handling = consumer_of(service).delivery.handling
    assert isinstance(handling, RoutingHandling)
    await service.background["policy file"]()
    handling._assigner.claims.freed.clear()
    told[0]()
    assert handling._assigner.claims.freed.is_set()


ACCOUNTS = """
accounts:
  - {name: wired, channel: webhook, signing: env:X, brand: wired, market: {marketplace: temu}}
  - name: mail
    channel: email
    signing: env:X
    addresses: [help@wired.example]
    brand: wired
    aliases: [{address: second@wired.example, brand: second}, {address: t@wired.example, market: {marketplace: temu}}]
"""


async def test_messages_of_each_account_are_counted_from_zero_also_after_the_policy_has_changed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Callable[[], object]] = []

    async def watch(file: PolicyFile[Any], _: object, changed: Callable[[], object] = lambda: None) -> None:
        policy.write_text(ACCOUNTS.replace("wired", "other-wired"))
        file.reload()
        told.append(changed)

    def counted() -> set[tuple[str, ...]]:
        return {tuple(it) for it in ingest_metrics.ARRIVALS._metrics if "wired" in it[2] or it[2] == "second"}

    monkeypatch.setattr(PolicyFile, "watch", watch)
    policy = tmp_path / "ingest.yaml"
    policy.write_text(ACCOUNTS)
    service = await built(root, "ingest", policy=policy)
    first = {
        ("webhook", "temu", "wired"), ("email", "none", "wired"),
        ("email", "none", "second"), ("email", "temu", "wired"),
    }  # fmt: skip
    assert counted() == first
    await service.background["policy file"]()
    told[0]()
    assert counted() - first == {(a, b, c.replace("wired", "other-wired")) for a, b, c in first if c != "second"}


async def test_replies_are_sent_as_the_settings_say(root: Path) -> None:
    service = await built(root, "ingest", topic_prefix="test.", send_seconds=3, grace_seconds=60)
    (sender,) = (owner for owner in owners(service.background.values()) if isinstance(owner, ReplySender))
    handling, delivery = consumer_of(service).delivery.handling, sender._delivery
    assert isinstance(handling, IngestHandling)
    assert isinstance(delivery, ReplyDelivery)
    assert sender._commands == delivery._commands == topic_name(COMMAND, "test.")
    assert isinstance(delivery._transport, Transport)
    assert (sender._drain_seconds, delivery._transport._seconds) == (4, 3)
    handling._wake_sender()
    assert sender._wake.is_set()


async def test_notifications_are_sent_as_the_settings_say(root: Path) -> None:
    service = await built(root, "notify", topic_prefix="test.", send_at_once=7, send_ms=20)
    (deliverer,) = (owner for owner in owners(service.background.values()) if isinstance(owner, Deliverer))
    assert (deliverer._home, deliverer._at_once, deliverer._period) == ("test.deskbus.sla.v1", 7, 0.02)


@pytest.mark.parametrize("name", SERVICES)
async def test_doors_serve_the_certificates_of_the_settings(root: Path, tmp_path: Path, name: str) -> None:
    issued = Authority(tmp_path).issue("door")
    given = {"tls_certificate": issued.certificate, "tls_key": issued.key}
    if name == "ingest":
        given |= {"smtp_certificate": issued.certificate, "smtp_key": issued.key}
    service = await built(root, name, **given)
    assert service.certificate is not None
    mail = [door for door in service.doors if isinstance(door, MailDoor)]
    assert [door.tls for door in mail] == [certificate.context for certificate in service.certificates]
    assert [certificate.name for certificate in service.certificates] == ["smtp"] * (name == "ingest")


async def test_no_webhook_may_be_larger_than_the_settings_say(root: Path) -> None:
    service = await built(root, "ingest", max_body=600_000)
    assert service.app is not None
    transport = httpx.ASGITransport(service.app)
    async with httpx.AsyncClient(transport=transport, base_url="https://desk.nimbus.example") as client:
        answer = await client.post("/v1/channels/line/webhook", content=bytes(600_001))
    assert answer.status_code == 413


@pytest.mark.parametrize(("name", "prepares"), PREPARES.items())
async def test_indexes_are_made_before_anything_is_consumed(root: Path, name: str, prepares: object) -> None:
    assert prepares in [getattr(job, "func", job) for job in (await built(root, name)).prepare]


async def test_accepting_messages_requires_kafka_only(root: Path) -> None:
    ready = {name: (await built(root, name)).ready for name in SERVICES}
    assert {name: None if checks is None else [*checks] for name, checks in ready.items()} == {
        "ingest": None, "notify": ["MongoDB"], "routing": ["MongoDB"], "sla": ["MongoDB"],
    }  # fmt: skip


async def test_ingest_counts_the_bodies_that_records_refer_to_as_part_of_a_batch(root: Path) -> None:
    assert consumer_of(await built(root, "ingest"))._weigh is weigh


async def test_ingest_is_alive_while_it_reads_large_bodies(root: Path) -> None:
    service = await built(root, "ingest")
    handling = consumer_of(service).delivery.handling
    assert isinstance(handling, IngestHandling)
    assert handling._beat == service.health.beat


async def test_escalations_wait_for_all_that_may_end_them(root: Path) -> None:
    (ticker,) = tickers(await built(root, "notify", topic_prefix="test."))
    assert ticker._follow == [f"test.{topic}" for topic in FOLLOWED]


@pytest.mark.parametrize("name", SERVICES)
async def test_timers_wait_for_topics_of_their_own_installation(root: Path, name: str) -> None:
    service = await built(root, name, topic_prefix="test.")
    for ticker in tickers(service):
        assert ticker._home in consumer_of(service).topics
        assert set(ticker._follow) <= set(consumer_of(service).topics)


@pytest.mark.parametrize("name", SERVICES)
async def test_a_changed_policy_file_is_noticed(root: Path, name: str) -> None:
    assert "policy file" in (await built(root, name)).background


@pytest.mark.parametrize("name", SERVICES)
async def test_events_are_counted_from_zero_in_every_group_that_is_read(
    root: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = Counter("events_total", "Events.", ("group", "outcome"), registry=CollectorRegistry())
    monkeypatch.setattr(metrics, "EVENTS", events)
    await built(root, name)
    counted = {sample.labels["group"] for family in events.collect() for sample in family.samples}
    assert counted == {kind.split(".")[1] for topic in CONSUMES[name] for kind in BY_NAME[topic].types}
