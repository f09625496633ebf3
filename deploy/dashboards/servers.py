"""Kafka and MongoDB: first as our services see them, then as their usual exporters do, where those are installed."""

from __future__ import annotations

from deploy.dashboards.model import Dashboard, Row, graph, quantile, rate

_STRIMZI = "the JMX exporter with Strimzi's rules"
_PERCONA = "mongodb_exporter by Percona"

_KAFKA = Row(
    "Kafka, as our services see it",
    (
        graph(
            "Events published", (rate("deskbus_outbox_published_total", "service"), "{{service}}"), unit="per_second"
        ),
        graph(
            "Until Kafka acknowledged a message",
            (quantile(0.5, "deskbus_ingest_accept_seconds"), "p50"),
            (quantile(0.99, "deskbus_ingest_accept_seconds"), "p99"),
            unit="s",
            about="At the door. Rises first when a broker or its disk is slow.",
        ),
        graph(
            "Oldest event that Kafka has not confirmed",
            ("max by (service) (deskbus_outbox_oldest_seconds)", "{{service}}"),
            unit="s",
        ),
    ),
)
_GROUPS = Row(
    "Consumer groups",
    (
        graph("Lag", ("max by (service, topic) (deskbus_lag_seconds)", "{{service}} {{topic}}"), unit="s"),
        graph("Longest without handling what waits", ("max by (service) (deskbus_stalled_seconds)", "{{service}}"),
              unit="s"),
        graph(
            "Rebalances",
            ("sum by (service) (increase(deskbus_rebalances_total[1h]))", "{{service}}"),
            about="In the hour before.",
        ),
    ),
)  # fmt: skip
_MONGODB = Row(
    "MongoDB, as our services see it",
    (
        graph("Batches", (quantile(0.95, "deskbus_batch_seconds", "service"), "p95 {{service}}"), unit="s",
              about="Most of a batch is reading and writing documents."),
        graph("Writes lost to other writers", (rate("deskbus_lost_guards_total", "service"), "{{service}}"),
              unit="per_second"),
        graph(
            "Requests refused because a server is away",
            (rate("deskbus_http_requests_total", "service", 'status="503"') + " or vector(0)", "503 {{service}}"),
            unit="per_second",
        ),
    ),
)  # fmt: skip
_BROKERS = Row(
    "Brokers, by their exporter",
    (
        graph(
            "Partitions without all replicas",
            ("sum(kafka_server_replicamanager_underreplicatedpartitions)", "under-replicated"),
            ("sum(kafka_controller_kafkacontroller_offlinepartitionscount)", "offline"),
            exporter=_STRIMZI,
        ),
        graph(
            "Bytes in",
            (rate("kafka_server_brokertopicmetrics_bytesin_total", "topic"), "{{topic}}"),
            unit="bytes",
            exporter=_STRIMZI,
        ),
    ),
)
_STORES = Row(
    "MongoDB, by its exporter",
    (
        graph(
            "Operations",
            (rate("mongodb_ss_opcounters", "legacy_op_type"), "{{legacy_op_type}}"),
            unit="per_second",
            exporter=_PERCONA,
        ),
        graph(
            "Connections",
            ("sum by (conn_type) (mongodb_ss_connections)", "{{conn_type}}"),
            exporter=_PERCONA,
        ),
    ),
)

DASHBOARD = Dashboard(
    "deskbus-servers",
    "Deskbus: Kafka and MongoDB",
    "The servers that Deskbus stands on, by what its services measure; the last rows need exporters of their own.",
    (_KAFKA, _GROUPS, _MONGODB, _BROKERS, _STORES),
)
