"""The number of series is stated and kept, whatever labels bring; latencies lead to traces."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from contracts.topics import SERVICES
from deploy.reference import ceiling, metric_rows
from kit.base import metrics, series
from kit.base.series import Counter, Gauge, Histogram

FLOOD = """
import importlib, sys
from prometheus_client import REGISTRY
from kit.base import metrics
service = sys.argv[1]
importlib.import_module(f"services.{service}.app")
for metric in list(REGISTRY._collector_to_names):
    for number in range(700 if getattr(metric, "_labelnames", ()) else 0):
        values = [f"{label} {number}" for label in metric._labelnames]
        metric.labels(*values).observe(1) if hasattr(metric, "observe") else metric.labels(*values).inc()
sys.stdout.buffer.write(metrics.exposition(service))
"""


@pytest.fixture
def traced() -> Iterator[None]:
    series.exemplars_from(lambda: "a" * 32)
    yield
    series.exemplars_from()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_never_exposes_more_series_than_the_documentation_states(service: str) -> None:
    done = subprocess.run([sys.executable, "-c", FLOOD, service], capture_output=True, check=True)
    lines = [line for line in done.stdout.decode().splitlines() if line.startswith("deskbus_")]
    assert len(lines) == ceiling(service, metric_rows())


def test_label_sets_beyond_the_ceiling_are_counted_as_other() -> None:
    counter = Counter("things_total", "Things.", ("kind", "place"), most=3, registry=CollectorRegistry())
    for kind in "abcd":
        counter.labels(kind, "here").inc()
    counter.labels("a", "here").inc()
    counter.labels("x" * 81, "here").inc()
    found = {tuple(s.labels.values()): s.value for s in next(iter(counter.collect())).samples}
    assert found == {("a", "here"): 2, ("b", "here"): 1, ("other", "other"): 3}


def test_a_label_set_that_is_too_long_is_no_label_set_of_its_own() -> None:
    counter = Counter("things_total", "Things.", ("kind",), most=9, registry=CollectorRegistry())
    counter.labels("x" * 81).inc()
    counter.labels(kind="y" * 81).inc()
    assert [(s.labels, s.value) for s in next(iter(counter.collect())).samples] == [({"kind": "other"}, 2)]


def test_a_gauge_folds_what_it_has_no_room_for() -> None:
    gauge = Gauge("things", "Things.", ("kind",), most=3, registry=CollectorRegistry())
    for fold, other in ((sum, 7.0), (max, 4.0)):
        gauge.replace({("a",): 1, ("b",): 2, ("c",): 3, ("d",): 4}, fold)
        assert [s.value for s in next(iter(gauge.collect())).samples] == [1, 2, other]
    gauge.replace({("b",): 5})
    assert [(s.labels["kind"], s.value) for s in next(iter(gauge.collect())).samples] == [("b", 5)]


def test_a_gauge_folds_label_sets_that_are_the_same_once_shortened() -> None:
    gauge = Gauge("things", "Things.", ("kind",), most=4, registry=CollectorRegistry())
    long = {("a",): 1, ("x" * 81,): 9, ("y" * 81,): 2, ("other",): 3, ("b",): 4, ("c",): 5}
    for fold, other in ((sum, 9 + 2 + 3 + 5), (max, 9)):
        gauge.replace(long, fold)
        found = {s.labels["kind"]: s.value for s in next(iter(gauge.collect())).samples}
        assert found == {"a": 1, "other": other, "b": 4}


def test_a_gauge_folds_long_values_of_one_label_for_each_value_of_the_others() -> None:
    gauge = Gauge("things", "Things.", ("kind", "place"), most=9, registry=CollectorRegistry())
    gauge.replace({("a", "x" * 81): 1, ("a", "y" * 81): 2, ("b", "z" * 81): 3})
    found = {tuple(s.labels.values()): s.value for s in next(iter(gauge.collect())).samples}
    assert found == {("a", "other"): 3, ("b", "other"): 3}


def test_a_metric_with_labels_states_its_ceiling() -> None:
    with pytest.raises(ValueError, match="at most"):
        Counter("things_total", "Things.", ("kind",), registry=CollectorRegistry())


def exemplars(registry: CollectorRegistry) -> list[dict[str, str]]:
    media, text = metrics.exposition_for("application/openmetrics-text;version=1.0.0", "sla", registry)
    assert media.startswith("application/openmetrics-text")
    families = list(text_string_to_metric_families(text.decode()))  # type: ignore[no-untyped-call]
    assert all(s.labels["service"] == "sla" for family in families for s in family.samples)
    return [s.exemplar.labels for family in families for s in family.samples if s.exemplar is not None]


def test_a_latency_names_the_trace_that_it_was_measured_in(traced: None) -> None:
    registry = CollectorRegistry()
    histogram = Histogram("things_seconds", "Things.", ("kind",), most=2, buckets=(1, 5), registry=registry)
    histogram.labels("a").observe(0.5)
    histogram.labels("a").observe(3, series.exemplar(f"00-{'b' * 32}-{'1' * 16}-01"))
    assert exemplars(registry) == [{"trace_id": "a" * 32}, {"trace_id": "b" * 32}]


def test_without_a_trace_there_is_no_exemplar() -> None:
    registry = CollectorRegistry()
    Histogram("things_seconds", "Things.", buckets=(1, 5), registry=registry).observe(0.5)
    assert exemplars(registry) == []


@pytest.mark.parametrize(
    "text", [None, "", f"00-{'b' * 32}-{'1' * 16}-00", "00-b-1-01", f"00-{'b' * 32}-{'1' * 16}-01\n"]
)
def test_what_is_not_sampled_is_no_exemplar(text: str | None) -> None:
    assert series.exemplar(text) is None


@pytest.mark.parametrize("accept", ["", "*/*", "text/plain;version=0.0.4"])
def test_a_scraper_that_does_not_ask_for_openmetrics_gets_plain_text(accept: str) -> None:
    media, text = metrics.exposition_for(accept, "sla", CollectorRegistry())
    assert media.startswith("text/plain; version=0.0.4")
    assert b"# EOF" not in text
