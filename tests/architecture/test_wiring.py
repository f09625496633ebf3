"""What each service must be wired with, whatever it does: nothing is started here, and no server is asked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from contracts.topics import BY_NAME, CONSUMES
from kit.base import metrics
from kit.base.settings import ServiceSettings
from kit.process.service import Service
from kit.protocol.outbox import Documents
from services.ingest.app import create_service as ingest
from services.ingest.settings import IngestSettings
from services.notify import metrics as notify_metrics
from services.notify.app import create_service as notify
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


async def built(root: Path, name: str) -> Service:
    settings, build = SERVICES[name]
    service = build(settings(policy=root / "deploy" / "config" / f"{name}.yaml", port=0, ops_port=0))
    await service.shut()
    return service


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
