"""What each service must be wired with, whatever it does: nothing is started here, and no server is asked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from contracts.topics import BY_NAME, CONSUMES
from kit.base import metrics
from kit.base.settings import ServiceSettings
from kit.kafka.consumer import Consumer
from kit.process.service import Service
from kit.protocol.outbox import Documents
from kit.protocol.timers import Ticker
from services.ingest.app import create_service as ingest
from services.ingest.handlers import IngestHandling, weigh
from services.ingest.settings import IngestSettings
from services.notify import metrics as notify_metrics
from services.notify.app import create_service as notify
from services.notify.handlers import FOLLOWED
from services.notify.settings import NotifySettings
from services.routing import metrics as routing_metrics
from services.routing.app import create_service as routing
from services.routing.settings import RoutingSettings
from services.sla import metrics as sla_metrics
from services.sla.app import create_service as sla
from services.sla.settings import SlaSettings

Build = Callable[[Any], Service]
SERVICES: dict[str, tuple[type[ServiceSettings], Build]] = {
    "ingest": (IngestSettings, ingest),
    "notify": (NotifySettings, notify),
    "routing": (RoutingSettings, routing),
    "sla": (SlaSettings, sla),
}
COUNTS = {"notify": notify_metrics.count, "routing": routing_metrics.count, "sla": sla_metrics.count}


#: Settings that are read while the service runs, not when it is put together.
READ_LATER = {
    "allow_hosts", "gather_ms", "grace_seconds", "host", "log_level", "ops_port", "port", "retry_backoff_max_ms",
    "retry_backoff_ms", "smtp_key", "sweep_after_seconds",
}  # fmt: skip


async def built(root: Path, name: str, **given: Any) -> Service:
    settings, build = SERVICES[name]
    service = build(settings(policy=root / "deploy" / "config" / f"{name}.yaml", port=0, ops_port=0, **given))
    await service.shut()
    return service


def consumer_of(service: Service) -> Consumer:
    assert isinstance(service.consumer, Consumer)
    return service.consumer


def tickers(service: Service) -> list[Ticker[Any]]:
    owners = (getattr(job, "__self__", None) for job in service.background.values())
    return [owner for owner in owners if isinstance(owner, Ticker)]


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
