"""What must hold after a campaign, checked from topics, stores and received webhooks. Pure."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

from cli.audit import Audit
from cli.collector import Report
from cli.reading import TopicRecord
from contracts import notifications, sla, tickets, topics
from contracts.envelope import Event
from tests.crash import stores
from tests.crash.people import mark

_SPOKEN = {topic.name for topic in topics.TOPICS if topic.sources and topic.name != topics.INBOUND}
_MARK = re.compile(r"\[c\d+m\d+\]")


def report(lines: Iterable[TopicRecord], now: datetime) -> Report:
    """Return the audit of the topics."""
    whole = Audit()
    for line in lines:
        whole.feed(line)
    return whole.report(now)


def events(lines: Iterable[TopicRecord]) -> list[Event]:
    """Return the events of all topics, without duplicates."""
    seen: dict[str, Event] = {}
    for line in lines:
        if line.topic in _SPOKEN:
            event = Event.parse(line.value or b"")
            seen.setdefault(event.id, event)
    return list(seen.values())


def faults(
    seed: int, count: int, lines: Sequence[TopicRecord], kept: stores.Stores, told: Iterable[str], audited: Report
) -> dict[str, list[str]]:
    """Return all violations. `told`: ids of the webhooks that receivers accepted; `audited`: the result of `report`."""
    said = events(lines)
    found: dict[str, list[str]] = defaultdict(list)
    for what, where in (audited.faults | {f"open: {k}": v for k, v in audited.open.items()}).items():
        found[what] += where
    last: dict[tuple[str, str], int] = {}
    for event in said:
        last[event.source, event.subject] = max(last.get((event.source, event.subject), 0), event.sequence)
    for what, where in stores.faults(kept, last).items():
        found[what] += where
    if audited.counts["dead letters"]:
        found["dead letters"] = [f"{audited.counts['dead letters']} records"]
    found["messages not in exactly one ticket"] = _lost(seed, count, said)
    found["breaches and escalations"] = _escalations(said, set(told))
    return {what: where for what, where in found.items() if where}


def _lost(seed: int, count: int, said: Iterable[Event]) -> list[str]:
    seen: Counter[str] = Counter()
    for event in said:
        if isinstance(event.data, tickets.TicketOpened | tickets.MessageReceived) and event.data.message:
            seen.update(set(_MARK.findall(event.data.message.text)))
    return [f"{m}: {seen[m]}" for n in range(count) if seen[m := mark(seed, n)] != 1]


def _escalations(said: Iterable[Event], told: set[str]) -> list[str]:
    """Return breaches without escalation, and notifications whose events disagree with what receivers got."""
    breached = {e.subject for e in said if isinstance(e.data, sla.ClockBreached)}
    opened = {e.data.ticket_id for e in said if isinstance(e.data, notifications.EscalationOpened)}
    sent = {e.data.notification_id for e in said if isinstance(e.data, notifications.NotificationSent)}
    unsure = {e.data.notification_id for e in said if isinstance(e.data, notifications.NotificationWithdrawn)}
    failed = [e.id for e in said if isinstance(e.data, notifications.NotificationFailed)]
    return (
        [f"{ticket} is breached and nobody was told" for ticket in sorted(breached - opened)]
        + [f"{one} is said to be sent and did not come" for one in sorted(sent - told)]
        + [f"{one} came and is not said to be sent" for one in sorted(told - sent - unsure)]
        + [f"{one} failed" for one in failed]
    )
