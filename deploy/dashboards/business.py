"""How customers are served: what a team lead looks at. Nothing technical is here."""

from __future__ import annotations

from deploy.dashboards.model import Dashboard, Row, graph, grown, number, quantile, quantiles, rate

_MINUTE = 60
#: Every replica of routing reports all queues and all agents, so one of them suffices.
_WAITING = "max by (queue) (deskbus_routing_waiting_tickets)"
_MET = "sum by (metric) (increase(deskbus_sla_clocks_met_total[1h]))"
_BREACHED = grown("deskbus_sla_breaches_total", "metric")

_NOW = Row(
    "Now",
    (
        number("Messages", rate("deskbus_ingest_arrivals_total", seconds=_MINUTE), "per_minute"),
        number("Waiting for an agent", f"sum({_WAITING})"),
        number("Longest wait", "max(deskbus_routing_oldest_wait_seconds)", "s"),
        number("At risk", "sum(deskbus_sla_at_risk_tickets)", about="Will breach unless somebody acts."),
        number("Breached, last hour", grown("deskbus_sla_breaches_total")),
        number("Agents online", 'max(deskbus_routing_agents{presence="online"})'),
    ),
)
_ARRIVALS = Row(
    "Arrivals",
    (
        graph(
            "Messages by channel",
            (rate("deskbus_ingest_arrivals_total", "channel", seconds=_MINUTE), "{{channel}}"),
            unit="per_minute",
        ),
        graph(
            "Messages by marketplace",
            (rate("deskbus_ingest_arrivals_total", "marketplace", seconds=_MINUTE), "{{marketplace}}"),
            unit="per_minute",
            about="none: the company's own shop.",
        ),
        graph(
            "Tickets opened by channel",
            (rate("deskbus_ingest_tickets_opened_total", "channel", seconds=_MINUTE), "{{channel}}"),
            unit="per_minute",
        ),
    ),
)
_TEAMS = Row(
    "Teams",
    (
        graph("Waiting by queue", (_WAITING, "{{queue}}"), about="other: in no queue."),
        graph("Longest wait by queue", ("max by (queue) (deskbus_routing_oldest_wait_seconds)", "{{queue}}"), unit="s"),
        graph(
            "Agents online by queue",
            ("max by (queue) (deskbus_routing_queue_agents)", "{{queue}}"),
            about="Those who have the skills that the queue requires, busy or not. At zero, its tickets wait in vain.",
        ),
    ),
)
_PEOPLE = Row(
    "Agents",
    (
        graph("Agents by presence", ("max by (presence) (deskbus_routing_agents)", "{{presence}}")),
        graph(
            "Occupancy",
            ("max(deskbus_routing_occupancy_ratio)", "load / capacity"),
            unit="percentunit",
            about="Of all who are online. Near 100 %, new tickets wait.",
        ),
        graph(
            "Assigned, by reason",
            (rate("deskbus_routing_assigned_total", "reason", seconds=_MINUTE), "{{reason}}"),
            unit="per_minute",
        ),
    ),
)
_SPEED = Row(
    "How long customers wait",
    (
        graph("Until assigned", *quantiles("deskbus_routing_wait_seconds"), unit="s"),
        graph("Until assigned, by queue", (quantile(0.95, "deskbus_routing_wait_seconds", "queue"), "p95 {{queue}}"),
              unit="s"),
        graph(
            "Until a person's first reply",
            (quantile(0.5, "deskbus_ingest_first_reply_seconds", "channel"), "p50 {{channel}}"),
            unit="s",
            about="Nights and holidays included.",
        ),
    ),
)  # fmt: skip
_PROMISES = Row(
    "Promises",
    (
        graph("At risk, by marketplace", ("sum by (marketplace) (deskbus_sla_at_risk_tickets)", "{{marketplace}}")),
        graph(
            "Breached, by marketplace",
            (grown("deskbus_sla_breaches_total", "marketplace"), "{{marketplace}}"),
            about="In the hour before.",
        ),
        graph(
            "Met in time, by promise",
            (f"{_MET} / ({_MET} + ({_BREACHED} or 0 * {_MET}) > 0)", "{{metric}}"),
            unit="percentunit",
            about="Of the clocks that were met or breached in the hour before.",
        ),
    ),
)
_ESCALATIONS = Row(
    "Escalations",
    (
        graph(
            "Alarms opened, by kind",
            ("sum by (kind) (increase(deskbus_notify_alarms_total[1h]))", "{{kind}}"),
            about="In the hour before.",
        ),
        graph(
            "What became of them",
            ("sum(increase(deskbus_notify_resolved_total[1h]))", "resolved"),
            ("sum(increase(deskbus_notify_acknowledged_total[1h]))", "acknowledged"),
            ("sum(increase(deskbus_notify_exhausted_total[1h]))", "nobody acknowledged"),
            about="In the hour before.",
        ),
        graph(
            "Tickets that nobody can take",
            ("sum by (reason) (increase(deskbus_routing_unroutable_total[1h]))", "{{reason}}"),
            about="In the hour before.",
        ),
    ),
)

DASHBOARD = Dashboard(
    "deskbus-business",
    "Deskbus: customer service",
    "Arrivals, who waits, what is at risk and what was breached, by team, channel and marketplace.",
    (_NOW, _ARRIVALS, _TEAMS, _PEOPLE, _SPEED, _PROMISES, _ESCALATIONS),
)
