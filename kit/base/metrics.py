"""Every metric of kit, in one place. What a service counts besides is in its own metrics.py.

A process is one service, so its name is no argument: the label `service` is put on every sample when it is scraped.
Ids are never labels, and what has known labels is there at zero from the start.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for every counter, which nobody reads

_LATENCY = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

# --- Delivery: what came in and what became of it. `group` is the second word of the event's type (`type_group`). ---
OUTCOMES = ("handled", "skipped", "ignored", "unknown", "dead")
EVENTS = Counter(
    "deskbus_events_total",
    "Records taken from Kafka by what became of them, counted once that is stored.",
    ("group", "outcome"),
)
BATCH_SECONDS = Histogram("deskbus_batch_seconds", "Time to handle a batch, load to commit.", buckets=_FAST)
BATCH_RECORDS = Histogram("deskbus_batch_records", "Records in a batch.", buckets=(1, 5, 20, 50, 100, 200, 500, 1000))
EFFECT_SECONDS = Histogram(
    "deskbus_event_effect_seconds", "From an event's time to its effect being stored.", buckets=_LATENCY
)
RETRIES = Counter("deskbus_retries_total", "Times a partition was paused to try a record again.")
DEAD_LETTERS = Counter("deskbus_dead_letters_total", "Records written to the dead letter topic.")
UNFORESEEN = Counter(
    "deskbus_unforeseen_faults_total",
    "Dead letters for an exception that no code foresaw. Those of what customers write do not stop consuming.",
)
STOPPED = Gauge("deskbus_consumer_stopped", "1 while consuming is stopped: too much would become dead letters.")
PAUSED = Gauge("deskbus_partitions_paused", "Partitions that wait to try again, or for room in an outbox.")
REBALANCES = Counter("deskbus_rebalances_total", "Times partitions were assigned to this process.")
ASSIGNED = Gauge("deskbus_partitions_assigned", "Partitions this process owns.")
PARTITIONS_DIFFER = Gauge(
    "deskbus_partition_counts_differ", "1 while topics that a service follows have different numbers of partitions."
)
GAPS = Counter("deskbus_sequence_gaps_total", "Sequence numbers passed over that no dead letter explains.")
FIRST_SEEN_LATE = Counter(
    "deskbus_first_seen_late_total",
    "Documents whose first event from a source was not number 1; what was before it counts as seen.",
)
LAG_RECORDS = Gauge("deskbus_lag_records", "Records behind the end of a partition.", ("topic", "partition"))
LAG_SECONDS = Gauge(
    "deskbus_lag_seconds", "Time since the oldest record not handled was written.", ("topic", "partition")
)
HEARTBEAT_AGE = Gauge("deskbus_heartbeat_age_seconds", "Time since the poll loop last went round.")

# --- The document outbox. ---
LOST_GUARDS = Counter("deskbus_lost_guards_total", "Guarded writes lost to another writer of the document.")
PUBLISHED = Counter("deskbus_outbox_published_total", "Outbox entries that Kafka has confirmed.")
OUTBOX_AGE = Gauge("deskbus_outbox_oldest_seconds", "Age of the oldest entry that a sweeper found.", ("collection",))
TIMER_LATENESS = Histogram(
    "deskbus_timer_lateness_seconds", "From a deadline to its firing being stored.", buckets=_LATENCY
)
TIMER_OVERDUE = Gauge(
    "deskbus_timer_oldest_due_seconds",
    "How long the oldest document has been due that was not fired, at the last look at the store.",
    ("collection",),
)

# --- Doors and policies. ---
REQUESTS = Counter("deskbus_http_requests_total", "Requests by route template.", ("route", "method", "status"))
REQUEST_SECONDS = Histogram("deskbus_http_request_seconds", "Time to answer.", ("route",), buckets=_FAST)
POLICY_RELOADS = Counter("deskbus_policy_reloads_total", "Changed policy files by outcome.", ("outcome",))
POLICY_REFUSED = Gauge("deskbus_policy_refused", "1 while the file on disk is not the policy in force.")

for _outcome in OUTCOMES:
    EVENTS.labels("other", _outcome)
for _outcome in ("accepted", "refused"):
    POLICY_RELOADS.labels(_outcome)


def declare_groups(groups: Iterable[str]) -> None:
    """Create the counters of the event groups that a service is subscribed to."""
    for group in groups:
        for outcome in OUTCOMES:
            EVENTS.labels(group, outcome)


def type_group(event_type: str) -> str:
    """`deskbus.ticket.opened.v1` -> `ticket`. What is not ours is `other`, so that labels stay few."""
    parts = event_type.split(".", 2)
    return parts[1] if len(parts) == 3 and parts[0] == "deskbus" else "other"


class _WithService(Collector):
    """A registry whose samples all carry the service's name."""

    def __init__(self, registry: CollectorRegistry, service: str) -> None:
        self._registry = registry
        self._service = {"service": service}

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [s._replace(labels={**s.labels, **self._service}) for s in metric.samples]
            yield metric


def exposition(service: str, registry: CollectorRegistry = REGISTRY) -> bytes:
    """The text that Prometheus scrapes."""
    return generate_latest(_WithService(registry, service))


@dataclass(frozen=True)
class MetricRow:
    """One line of the table of metrics."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]


def describe(registry: CollectorRegistry = REGISTRY) -> list[MetricRow]:
    """Every metric that is ours in that registry, by name: the table in the documents is made from it."""
    rows = []
    for metric in set(registry._collector_to_names):  # noqa: SLF001 - prometheus_client lists its collectors nowhere else
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            if family.name.startswith("deskbus_"):
                name = family.name + ("_total" if family.type == "counter" else "")
                labels = ("service", *metric._labelnames)  # noqa: SLF001
                rows.append(MetricRow(name, family.type, family.documentation, labels))
    return sorted(rows, key=lambda row: row.name)
