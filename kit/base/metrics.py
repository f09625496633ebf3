"""Every metric of kit, in one place. What a service counts besides is in its own metrics.py.

A process is one service, so its name is no argument: the label `service` is put on every sample when it is scraped.
Ids are never labels, what has known labels is there at zero from the start, and `most` bounds the label sets.
"""

from collections.abc import Iterable, Iterator

from prometheus_client import REGISTRY, CollectorRegistry, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from kit.base.series import Counter, Gauge, Histogram

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for every counter, which nobody reads

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_LATENCY = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

# --- Delivery: what came in and what became of it. `group` is the second word of the event's type (`type_group`). ---
OUTCOMES = ("handled", "skipped", "ignored", "unknown", "dead")
EVENTS = Counter(
    "deskbus_events_total",
    "Records consumed from Kafka by outcome, counted once the outcome is stored.",
    ("group", "outcome"),
    most=61,
)
BATCH_SECONDS = Histogram(
    "deskbus_batch_seconds", "Time to handle a batch, from loading documents to committing offsets.", buckets=_FAST
)
BATCH_RECORDS = Histogram("deskbus_batch_records", "Records in a batch.", buckets=(1, 5, 20, 50, 100, 200, 500, 1000))
EFFECT_SECONDS = Histogram(
    "deskbus_event_effect_seconds", "Time from an event to its effect being stored.", buckets=_LATENCY
)
RETRIES = Counter("deskbus_retries_total", "Times a partition was paused to retry a record.")
DEAD_LETTERS = Counter("deskbus_dead_letters_total", "Records written to the dead letter topic.")
UNFORESEEN = Counter(
    "deskbus_unforeseen_faults_total",
    "Dead letters caused by an unexpected exception. Those caused by customers' messages do not stop consuming.",
)
STOPPED = Gauge(
    "deskbus_consumer_stopped", "1 if the service stopped consuming because too many records would become dead letters."
)
PAUSED = Gauge("deskbus_partitions_paused", "Partitions paused for a retry, or until an outbox has space.")
REBALANCES = Counter("deskbus_rebalances_total", "Times the group assigned partitions to this process.")
ASSIGNED = Gauge("deskbus_partitions_assigned", "Partitions assigned to this process.")
PARTITIONS_DIFFER = Gauge(
    "deskbus_partition_counts_differ", "1 if the topics that the service follows differ in their number of partitions."
)
GAPS = Counter("deskbus_sequence_gaps_total", "Sequence numbers skipped without a dead letter that explains it.")
FIRST_SEEN_LATE = Counter(
    "deskbus_first_seen_late_total",
    "Documents whose first event from a source was not number 1; earlier numbers count as seen.",
)
LAG_RECORDS = Gauge(
    "deskbus_lag_records", "Records not handled yet, in this process's partitions.", ("topic",), most=16
)
LAG_SECONDS = Gauge(
    "deskbus_lag_seconds",
    "Age of the oldest record not handled yet, in this process's partitions.",
    ("topic",),
    most=16,
)
CLOCK_AHEAD = Gauge(
    "deskbus_clock_ahead_seconds",
    "How far in the future the records read last are stamped: their writer's clock is ahead, or this one is behind.",
)
STALLED_SECONDS = Gauge(
    "deskbus_stalled_seconds", "Longest time that a partition has had waiting records without handling any."
)
HEARTBEAT_AGE = Gauge("deskbus_heartbeat_age_seconds", "Time since the last iteration of the poll loop.")

# --- The document outbox. ---
LOST_GUARDS = Counter(
    "deskbus_lost_guards_total",
    "Writes rejected because another writer changed the document first (version conflicts).",
)
PUBLISHED = Counter("deskbus_outbox_published_total", "Outbox entries confirmed by Kafka.")
OUTBOX_AGE = Gauge(
    "deskbus_outbox_oldest_seconds",
    "Age of the oldest unpublished outbox entry that the sweeper found.",
    ("collection",),
    most=8,
)
TIMER_LATENESS = Histogram(
    "deskbus_timer_lateness_seconds", "Time from a deadline until its effect is stored.", buckets=_LATENCY
)
TIMER_OVERDUE = Gauge(
    "deskbus_timer_oldest_due_seconds",
    "How long the oldest unfired timer was overdue at the last check of the database.",
    ("collection",),
    most=8,
)

# --- Doors and policies. ---
REQUESTS = Counter(
    "deskbus_http_requests_total", "HTTP requests by route template.", ("route", "method", "status"), most=300
)
REQUEST_SECONDS = Histogram(
    "deskbus_http_request_seconds", "Time to answer an HTTP request.", ("route",), buckets=_FAST, most=30
)
POLICY_RELOADS = Counter(
    "deskbus_policy_reloads_total", "Reloads of a changed policy file by outcome.", ("outcome",), most=3
)
POLICY_REFUSED = Gauge(
    "deskbus_policy_refused", "1 if the policy file on disk is invalid and an older policy is in force."
)

# --- Certificates and tokens. `name` is where one is used: door, smtp, mongo, kafka. Absent where none is. ---
CERTIFICATE_EXPIRY = Gauge(
    "deskbus_certificate_expiry_timestamp_seconds",
    "Unix time at which a certificate in use expires, or the first in its chain.",
    ("name",),
    most=8,
)
CERTIFICATE_RELOADS = Counter(
    "deskbus_certificate_reloads_total", "Reloads of a changed certificate by outcome.", ("name", "outcome"), most=16
)
CERTIFICATE_REFUSED = Gauge(
    "deskbus_certificate_refused",
    "1 if the certificate on disk, or the file with the connection string, is invalid and an older one is in use.",
    ("name",),
    most=8,
)
TOKEN_EXPIRY = Gauge(
    "deskbus_token_expiry_timestamp_seconds",
    "Unix time at which the newest token for Kafka expires, from a file or a command. Absent if it does not say.",
    ("name",),
    most=3,
)

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


def exposition_for(accept: str, service: str, registry: CollectorRegistry = REGISTRY) -> tuple[str, bytes]:
    """Return media type and text: OpenMetrics, which alone has exemplars, if the scraper accepts it."""
    if "application/openmetrics-text" not in accept:
        return "text/plain; version=0.0.4; charset=utf-8", exposition(service, registry)
    text: bytes = openmetrics.generate_latest(_WithService(registry, service), version="1.0.0")  # type: ignore[no-untyped-call]
    return OPENMETRICS, text
