"""One dashboard for each service: requests and events (rate, errors, duration), lag, outbox, timers, dead letters."""

from __future__ import annotations

from deploy.dashboards.model import Dashboard, Panel, Query, Row, graph, number, quantile, quantiles, rate

_DEAD = "deskbus_dead_letters_total"
_FAULTS = (
    (_DEAD, "dead letters"),
    ("deskbus_unforeseen_faults_total", "unforeseen faults"),
    ("deskbus_retries_total", "retries"),
    ("deskbus_sequence_gaps_total", "missing events"),
    ("deskbus_first_seen_late_total", "late beginnings"),
)


def _increases(where: str, *named: tuple[str, str]) -> tuple[Query, ...]:
    return tuple(Query(f"sum(increase({metric}{{{where}}}[1h]))", legend) for metric, legend in named)


def _summary(of: str) -> Row:
    return Row(
        "Now",
        (
            number("Replicas", f"count(deskbus_heartbeat_age_seconds{{{of}}})"),
            number("Events", rate("deskbus_events_total", where=of), "per_second"),
            number("Lag", f"max(deskbus_lag_seconds{{{of}}})", "s"),
            number("Oldest in an outbox", f"max(deskbus_outbox_oldest_seconds{{{of}}})", "s"),
            number("Dead letters, last hour", f"sum(increase({_DEAD}{{{of}}}[1h]))"),
            number("Poll loop, last turn", f"max(deskbus_heartbeat_age_seconds{{{of}}})", "s"),
        ),
    )


def _requests(of: str) -> Row:
    failed = f'sum(rate(deskbus_http_requests_total{{{of}, status=~"5.."}}[$__rate_interval])) or vector(0)'
    return Row(
        "Requests",
        (
            graph("Requests by route", (rate("deskbus_http_requests_total", "route", of), "{{route}}"),
                  unit="per_second"),
            graph("Failed requests", (failed, "5xx"), unit="per_second", about="503: Kafka or MongoDB did not answer."),
            graph("Duration by route", (quantile(0.95, "deskbus_http_request_seconds", "route", of), "p95 {{route}}"),
                  unit="s"),
        ),
    )  # fmt: skip


def _events(of: str) -> Row:
    effect = graph("From an event to its effect", *quantiles("deskbus_event_effect_seconds", of), unit="s")
    parsed = graph("Parsed", (rate("deskbus_ingest_parsed_total", "kind"), "{{kind}}"), unit="per_second")
    return Row(
        "Events",
        (
            graph(
                "Events by group",
                (rate("deskbus_events_total", "group", f'{of}, outcome="handled"'), "{{group}}"),
                unit="per_second",
            ),
            graph(
                "Events that were not handled",
                (rate("deskbus_events_total", "outcome", f'{of}, outcome!="handled"'), "{{outcome}}"),
                unit="per_second",
                about="skipped: seen before. ignored: about nothing here. dead: in the dead letter topic.",
            ),
            parsed if "ingest" in of else effect,  # ingest reads messages and commands
        ),
    )


def _lag(of: str) -> Row:
    return Row(
        "Lag",
        (
            graph("Age of the oldest record", (f"max by (topic) (deskbus_lag_seconds{{{of}}})", "{{topic}}"), unit="s"),
            graph("Records not handled yet", (f"sum by (topic) (deskbus_lag_records{{{of}}})", "{{topic}}")),
            graph(
                "Batches",
                *quantiles("deskbus_batch_seconds", of),
                unit="s",
                about="From loading documents to committing offsets.",
            ),
        ),
    )


def _outbox(of: str) -> Row:
    return Row(
        "Outbox and timers",
        (
            graph("Events published", (rate("deskbus_outbox_published_total", "", of), "published"), unit="per_second"),
            graph("Oldest unpublished", (f"max by (collection) (deskbus_outbox_oldest_seconds{{{of}}})",
                                         "{{collection}}"), unit="s"),
            graph(
                "Timers",
                (quantile(0.95, "deskbus_timer_lateness_seconds", where=of), "p95 late"),
                (f"max(deskbus_timer_oldest_due_seconds{{{of}}})", "oldest overdue"),
                unit="s",
            ),
        ),
    )  # fmt: skip


def _faults(of: str) -> Row:
    return Row(
        "Faults",
        (
            graph("Faults", *_increases(of, *_FAULTS), about="In the hour before. docs/runbooks/ says what to do."),
            graph(
                "Partitions",
                (f"sum(deskbus_partitions_assigned{{{of}}})", "assigned"),
                (f"sum(deskbus_partitions_paused{{{of}}})", "paused"),
                (f"sum(increase(deskbus_rebalances_total{{{of}}}[1h]))", "rebalances, last hour"),
            ),
            graph("Writes lost to other writers", (rate("deskbus_lost_guards_total", "", of), "lost"),
                  unit="per_second", about="They are decided again. Many: replicas compete for the same documents."),
        ),
    )  # fmt: skip


def _process(of: str) -> Row:
    return Row(
        "Processes",
        (
            graph("CPU", (f"rate(process_cpu_seconds_total{{{of}}}[$__rate_interval])", "{{instance}}"),
                  unit="percentunit", about="Of one core: a process uses one."),
            graph("Memory", (f"process_resident_memory_bytes{{{of}}}", "{{instance}}"), unit="bytes"),
            graph("Open files", (f"process_open_fds{{{of}}}", "{{instance}}")),
        ),
    )  # fmt: skip


_INGEST = (
    graph("Accepted by channel", (rate("deskbus_ingest_accepted_total", "channel"), "{{channel}}"), unit="per_second"),
    graph(
        "Refused",
        (rate("deskbus_ingest_refused_total", "channel, reason"), "{{channel}} {{reason}}"),
        unit="per_second",
        about="signature: a secret differs from the provider's, or somebody forges.",
    ),
    graph("Until Kafka acknowledged", *quantiles("deskbus_ingest_accept_seconds"), unit="s"),
    graph(
        "Replies sent",
        (rate("deskbus_ingest_sent_total", "channel, outcome"), "{{channel}} {{outcome}}"),
        unit="per_second",
    ),
    graph("Unreadable bodies", (rate("deskbus_ingest_unreadable_total", "channel"), "{{channel}}"), unit="per_second"),
    graph("Duplicates", (rate("deskbus_ingest_duplicates_total", "channel"), "{{channel}}"), unit="per_second"),
)
_ROUTING = (
    graph("Time to choose an agent", *quantiles("deskbus_routing_decision_seconds"), unit="s"),
    graph("Claims by outcome", (rate("deskbus_routing_claims_total", "outcome"), "{{outcome}}"), unit="per_second"),
    graph(
        "Corrections",
        ("sum(increase(deskbus_routing_reconciled_claims_total[1h]))", "claims reconciled"),
        ("sum(increase(deskbus_routing_requeued_total[1h]))", "tickets taken back"),
        about="In the hour before.",
    ),
)
_SLA = (
    graph("Clocks started", (rate("deskbus_sla_clocks_started_total", "metric"), "{{metric}}"), unit="per_second"),
    graph(
        "Clocks ended",
        (rate("deskbus_sla_clocks_met_total"), "met"),
        (rate("deskbus_sla_breaches_total"), "breached"),
        (rate("deskbus_sla_clocks_cancelled_total"), "cancelled"),
        unit="per_second",
    ),
    graph(
        "New tickets without a policy",
        ("sum(increase(deskbus_sla_unmatched_total[1h]))", "unmatched"),
        about="In the hour before. They have no clocks.",
    ),
)
_NOTIFY = (
    graph(
        "Notifications by outcome",
        (rate("deskbus_notify_notifications_total", "sink, outcome"), "{{sink}} {{outcome}}"),
        unit="per_second",
    ),
    graph("Until the receiver accepted", (quantile(0.95, "deskbus_notify_delay_seconds", "sink"), "p95 {{sink}}"),
          unit="s"),
    graph("Attempts", (quantile(0.95, "deskbus_notify_send_seconds", "sink"), "p95 {{sink}}"),
          ("sum(deskbus_notify_in_flight)", "in flight"), unit="s"),
)  # fmt: skip


def _dashboard(service: str, about: str, own: tuple[Panel, ...]) -> Dashboard:
    of = f'service="{service}"'
    mine = tuple(Row(service.capitalize() if not n else "", own[n : n + 3]) for n in range(0, len(own), 3))
    rows = (_summary(of), *mine, _requests(of), _events(of), _lag(of), _outbox(of), _faults(of), _process(of))
    return Dashboard(f"deskbus-{service}", f"Deskbus: {service}", about, rows)


DASHBOARDS = (
    _dashboard("ingest", "Channels, tickets and replies.", _INGEST),
    _dashboard("routing", "Agents, claims and assignments.", _ROUTING),
    _dashboard("sla", "Clocks and deadlines.", _SLA),
    _dashboard("notify", "Escalations and notifications.", _NOTIFY),
)
