"""Tracing: nothing while it is off; on, spans continue what they are told to, and nobody waits for a collector."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import CollectorRegistry

from contracts.envelope import Event
from kit.base import series, tracing
from kit.base.settings import ServiceSettings
from kit.doors.http import Router, door
from kit.http_client import HttpClient
from kit.protocol.document import Cause, Decision
from kit.protocol.handling import Incoming
from kit.protocol.record import Record
from tests.kit.simulation.records import Poke
from tests.kit.test_delivery import Notes, Rig, record
from tests.notify.receivers import HttpReceiver, Reply

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Recorded:
    """The spans that have ended."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()

    def all(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}


@pytest.fixture
async def recorded(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Recorded]:
    monkeypatch.delenv("OTEL_TRACES_SAMPLER", raising=False)
    made = Recorded()
    tracing.start("test", made.exporter)
    yield made
    await tracing.stop(1)


class Caused(Notes):
    """Every record continues the caller's trace, and says something."""

    def expand(self, record: Record) -> Sequence[Incoming]:
        items = super().expand(record)
        for item in items:
            item.cause = Cause("e1", "e1", CALLER)
        return items

    def decide(self, state: dict[str, Any] | None, item: Incoming, now: datetime) -> Decision[dict[str, Any]]:
        return replace(super().decide(state, item, now), events=[Poke(kind="x")])


def traced_rig() -> Rig:
    rig = Rig()
    rig.delivery.handling = Caused()
    return rig


def ids(span: ReadableSpan) -> tuple[int, int]:
    assert span.context is not None
    return span.context.trace_id, span.context.span_id


def continued(span: ReadableSpan, flags: str = "01") -> str:
    """Return the traceparent of what continues a span. Of a trace that we began, flags say that its id is random."""
    trace, own = ids(span)
    return f"00-{trace:032x}-{own:016x}-{flags}"


def parent(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent is not None else None


def test_while_it_is_off_no_sdk_is_imported_and_nothing_is_recorded() -> None:
    code = """
import sys
import services.ingest.app, services.notify.app, services.routing.app, services.sla.app
from contracts.envelope import Event
from kit.base import series, tracing
with tracing.span("x") as span:
    assert (tracing.current(), tracing.ids(), span.traceparent) == (None, None, None)
print(sorted(name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


async def test_a_span_continues_the_one_at_hand_or_what_it_is_told(recorded: Recorded) -> None:
    with tracing.span("outer", parent=CALLER) as outer:
        assert tracing.current() == outer.traceparent
        with tracing.span("inner"):
            pass
        with tracing.span("alone", parent=tracing.ROOT):
            pass
    assert tracing.current() is None
    spans = recorded.all()
    trace = int(CALLER.split("-")[1], 16)
    assert {name: ids(span)[0] == trace for name, span in spans.items()} == {
        "outer": True,
        "inner": True,
        "alone": False,
    }
    assert parent(spans["outer"]) == int(CALLER.split("-")[2], 16)
    assert parent(spans["inner"]) == ids(spans["outer"])[1]
    assert parent(spans["alone"]) is None


@pytest.mark.parametrize("nonsense", ["", "x", "00-zz-yy-01", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
async def test_a_parent_that_is_none_begins_a_trace(recorded: Recorded, nonsense: str) -> None:
    with tracing.span("x", parent=nonsense):
        pass
    assert parent(recorded.all()["x"]) is None


async def test_what_runs_by_itself_makes_no_trace(recorded: Recorded) -> None:
    with tracing.within("sweep"):
        pass
    with tracing.span("request"), tracing.within("find"):
        pass
    assert sorted(recorded.all()) == ["find", "request"]


async def test_a_fault_is_named_by_its_class_only(recorded: Recorded) -> None:
    with pytest.raises(ValueError, match="Kowalski"), tracing.span("x"):
        raise ValueError("Kowalski")
    span = recorded.all()["x"]
    assert span.attributes == {"error.type": "ValueError"}
    assert span.status.status_code is StatusCode.ERROR
    assert "Kowalski" not in span.to_json()


async def test_attributes_keep_their_types_their_bounds_and_no_gaps(recorded: Recorded) -> None:
    with tracing.span("x", attributes={"count": 1, "none": None}) as span:
        span.note({"share": 0.5, "long": "y" * 1_000, "nothing": None})
    assert recorded.all()["x"].attributes == {"count": 1, "share": 0.5, "long": "y" * 200}


async def test_a_span_may_have_begun_before_it_is_known(recorded: Recorded) -> None:
    began = datetime(2026, 3, 2, 9, 0, 0, 250_000, tzinfo=UTC)
    with tracing.span("x", began=began, links=[tracing.UNRECORDED]):
        pass
    span = recorded.all()["x"]
    assert span.start_time == pytest.approx(1_772_442_000_250_000_000, abs=1_000)
    assert span.end_time is not None
    assert span.end_time > 1_772_442_000_250_000_000
    assert not span.links, "what is not recorded cannot be linked to"


async def test_a_span_is_at_hand_for_as_long_as_it_is_asked_for(recorded: Recorded) -> None:
    span = tracing.span("x")
    with pytest.raises(ValueError, match="bug"), span.at_hand():
        assert tracing.current() == span.traceparent
        raise ValueError("bug")
    assert tracing.current() is None
    assert recorded.all() == {}, "it has not ended"


async def test_a_span_that_serves_many_is_continued_by_nobody(recorded: Recorded) -> None:
    with tracing.span("batch", continues=False) as span:
        assert tracing.current() is None
        assert span.traceparent is not None


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "deskbus-test"),
        ({"OTEL_SERVICE_NAME": "desk"}, "desk"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=desk"}, "desk"),
    ],
    ids=["default", "name", "attributes"],
)
async def test_a_service_has_a_name_unless_the_environment_gives_it_another(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], name: str
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    made = Recorded()
    tracing.start("test", made.exporter)
    with tracing.span("x"):
        pass
    await tracing.stop(1)
    assert made.all()["x"].resource.attributes["service.name"] == name


async def test_a_span_is_not_sampled_where_its_parent_is_not(recorded: Recorded) -> None:
    with tracing.span("x", parent=CALLER[:-2] + "00") as span:
        assert tracing.ids() is None
    assert recorded.all() == {}
    assert span.traceparent is not None
    assert span.traceparent.endswith("-00")


async def test_the_ratio_of_the_environment_decides_at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    made = Recorded()
    tracing.start("test", made.exporter)
    with tracing.span("root"):
        pass
    with tracing.span("continued", parent=CALLER):
        pass
    await tracing.stop(1)
    assert list(made.all()) == ["continued"]


async def test_where_the_sdk_is_disabled_events_keep_the_callers_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    tracing.start("test", Recorded().exporter)
    rig = traced_rig()
    await rig.handle(record(1, "T"))
    with tracing.span("x", parent=tracing.ROOT) as span:
        assert (span.traceparent, tracing.ids()) == (None, None)
    await tracing.stop(1)
    (sent,) = rig.sender.sent
    assert Event.parse(sent.value or b"").traceparent == CALLER


async def test_a_batch_is_a_trace_of_its_own_that_its_records_link_to(recorded: Recorded) -> None:
    rig = traced_rig()
    await rig.handle(record(1, "T"))
    spans = recorded.all()
    process, batch = spans["process in"], spans["batch"]
    assert parent(process) == int(CALLER.split("-")[2], 16)
    assert [link.context.span_id for link in process.links] == [ids(batch)[1]]
    assert (process.kind, batch.kind) == (SpanKind.CONSUMER, SpanKind.CONSUMER)
    assert parent(batch) is None
    assert process.attributes is not None
    assert process.attributes["deskbus.document"] == "T"
    assert process.attributes["messaging.kafka.offset"] == 1
    began = rig.documents.clock.now().timestamp() * 1e9
    assert process.start_time == pytest.approx(began, abs=1e6), "deciding together is part of it"
    (sent,) = rig.sender.sent
    assert Event.parse(sent.value or b"").traceparent == continued(process)


async def test_an_event_that_is_published_late_keeps_its_trace(recorded: Recorded) -> None:
    rig = traced_rig()
    rig.sender.deaf = True
    await rig.handle(record(1, "T"))
    process = recorded.all()["process in"]
    rig.sender.deaf = False
    await tracing.stop(1)  # another process, which does not trace, sweeps the outbox
    await rig.documents.sweep(timedelta(seconds=-1))
    (sent,) = rig.sender.sent
    assert Event.parse(sent.value or b"").traceparent == continued(process)
    assert (await rig.documents.load(["T"]))["T"].trace == Event.parse(sent.value or b"").traceparent


async def test_a_decision_that_is_discarded_leaves_no_span(recorded: Recorded) -> None:
    rig = traced_rig()
    rig.store.loses["T"] = 1
    await rig.handle(record(1, "T"))
    assert sum(span.name == "process in" for span in recorded.exporter.get_finished_spans()) == 1


async def test_a_door_continues_the_callers_trace_and_names_no_path(recorded: Recorded) -> None:
    app, seen = door("things", ServiceSettings()), []
    router = Router()

    @router.get("/v1/contacts/{contact}")
    async def read(contact: str) -> str:
        seen.append(tracing.current())
        return contact

    app.include_router(router)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://door") as client:
        await client.get("/v1/contacts/kowalski?q=secret", headers={"traceparent": CALLER})
    (span,) = recorded.exporter.get_finished_spans()
    assert span.name == "GET /v1/contacts/{contact}"
    assert span.kind is SpanKind.SERVER
    assert parent(span) == int(CALLER.split("-")[2], 16)
    assert [at.split("-")[2] for at in seen if at] == [f"{ids(span)[1]:016x}"]
    assert "kowalski" not in span.to_json()
    assert "secret" not in span.to_json()


async def test_a_histogram_names_the_trace_at_hand(recorded: Recorded) -> None:
    registry = CollectorRegistry()
    seconds = series.Histogram("seconds", "x", buckets=(1.0,), registry=registry)
    seconds.observe(0.5)
    with tracing.span("x") as span:
        seconds.observe(0.5)
    (family,) = registry.collect()
    named = [sample.exemplar.labels["trace_id"] for sample in family.samples if sample.exemplar]
    assert span.traceparent is not None
    assert named == [span.traceparent.split("-")[1]]


async def test_a_request_carries_the_trace_of_the_span_at_hand(recorded: Recorded) -> None:
    receiver = await HttpReceiver(lambda _: Reply(503)).start()
    client = HttpClient(lambda: {"127.0.0.1"}, agent="test")
    with tracing.span("outer"):
        await client.call("POST", f"http://127.0.0.1:{receiver.port}/secret", {}, b"")
    await client.call("POST", f"http://127.0.0.1:{receiver.port}/", {}, b"")  # nothing to continue
    await client.close()
    await receiver.stop()
    span = recorded.all()["POST"]
    assert span.attributes is not None
    assert span.attributes["error.type"] == "503"
    assert "secret" not in span.to_json()
    sent = [request.headers.get("traceparent") for request in receiver.requests]
    assert sent == [continued(span, "03"), None]
