"""Texts of notifications: templates with a fixed set of facts. Each sink does its own escaping.

Templates are `string.Template`: names only, no expressions, so a template cannot compute, loop or look anything up.
"""

from collections.abc import Mapping
from string import Template

from contracts import matching
from contracts.notifications import Alert

MAX_TEMPLATE = 4_000
MAX_FACT = 500
MAX_TEXT = 8_000

FACTS = (
    "ticket", "escalation", "what", "summary", "alert", "kind", "metric", "reason", "policy", *matching.LABELS,
    "queue", "agent", "since",
)  # fmt: skip
"""The names that a template may use."""

LINE = "[$what] $summary"
LONG = """$summary

What:      $what ($alert)
Ticket:    $ticket
Brand:     $brand
Channel:   $channel $marketplace $country
Priority:  $priority $tier
Queue:     $queue
Agent:     $agent
Since:     $since

Escalation $escalation
"""


def check(template: str) -> None:
    """Raise ValueError for a template with an unknown name or a stray `$`."""
    names = Template(template)
    if not names.is_valid():
        raise ValueError("a single $ is not allowed; write $$ for a dollar sign")
    unknown = sorted(set(names.get_identifiers()) - set(FACTS))
    if unknown:
        raise ValueError(f"unknown fact ${unknown[0]}; known facts: {', '.join(FACTS)}")


def facts(ticket_id: str, escalation_id: str, what: str, alert: Alert, agent: str | None) -> dict[str, str]:
    """Return all facts by name, each on one line and cut to `MAX_FACT` characters: customers write some of them."""
    values = dict.fromkeys(FACTS, "")
    values |= {name: value for name, value in alert.labels.items() if name in values}
    values |= {
        "ticket": ticket_id,
        "escalation": escalation_id,
        "what": what,
        "summary": alert.summary,
        "alert": alert.name,
        "agent": agent or "nobody",
        "since": alert.started_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
    }
    return {name: one_line(value, MAX_FACT) for name, value in values.items()}


def render(template: str, values: Mapping[str, str]) -> str:
    """Return the text, cut to `MAX_TEXT` characters."""
    return Template(template).safe_substitute(values)[:MAX_TEXT]


def one_line(value: str, limit: int) -> str:
    """Return the value on one line, without control characters, cut to `limit` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in value).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
