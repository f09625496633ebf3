"""Metrics: all there from the start, all named for one service, few labels."""

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from kit.base import metrics


def test_every_sample_carries_the_service() -> None:
    registry = CollectorRegistry()
    Counter("deskbus_things_total", "Things.", ("kind",), registry=registry).labels("big").inc()
    for _ in range(2):  # a scrape changes nothing for the next
        text = metrics.exposition("routing", registry).decode()
        samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
        assert [s.labels for s in samples] == [{"kind": "big", "service": "routing"}]


def test_counters_with_known_labels_are_there_before_anything_happens() -> None:
    metrics.declare_groups(["ticket"])
    text = metrics.exposition("routing").decode()
    assert 'deskbus_events_total{group="ticket",outcome="dead",service="routing"}' in text
    assert 'deskbus_policy_reloads_total{outcome="refused",service="routing"}' in text


@pytest.mark.parametrize(
    ("event_type", "group"),
    [("deskbus.ticket.opened.v1", "ticket"), ("com.example.ticket.v1", "other"), ("deskbus.x", "other"), ("", "other")],
)
def test_group_of_a_type_is_its_second_word(event_type: str, group: str) -> None:
    assert metrics.type_group(event_type) == group
