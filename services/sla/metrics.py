"""The metrics of the sla service. Kit counts how late timers fire, and everything about delivery."""

from collections.abc import Iterable, Mapping

from contracts.payload import Payload
from contracts.sla import ClockBreached, ClockCancelled, ClockEvent, ClockMet, ClockStarted
from contracts.ticket import TicketFacts
from kit.base.series import Counter, Gauge
from kit.protocol.document import Document
from services.sla.core.policy import METRICS
from services.sla.core.state import Books, TicketClocks

_MOST = len(METRICS) + 1
_PLACES = 60
"""Pairs of marketplace and brand with series of their own, and `other`."""
NONE = "none"
"""The marketplace of the company's own shop, and the brand of a ticket without one."""

STARTED = Counter("deskbus_sla_clocks_started_total", "Clocks started, by metric.", ("metric",), most=_MOST)
MET = Counter("deskbus_sla_clocks_met_total", "Clocks met in time, by metric.", ("metric",), most=_MOST)
BREACHES = Counter(
    "deskbus_sla_breaches_total",
    "Clocks that breached, by metric, marketplace (none: the company's own shop) and brand.",
    ("metric", "marketplace", "brand"),
    most=len(METRICS) * _PLACES,
)
CANCELLED = Counter(
    "deskbus_sla_clocks_cancelled_total",
    "Clocks cancelled: ended without being met in time, by metric.",
    ("metric",),
    most=_MOST,
)
AT_RISK = Gauge(
    "deskbus_sla_at_risk_tickets",
    "Tickets that will breach unless somebody acts: a clock has given a warning, or a warning or breach is due within "
    "5 minutes. Of this process's partitions.",
    ("marketplace", "brand"),
    most=_PLACES,
)
UNMATCHED = Counter("deskbus_sla_unmatched_total", "New tickets that match no policy and so have no clocks.")

_OF: dict[type[Payload], Counter] = {
    ClockStarted: STARTED,
    ClockMet: MET,
    ClockCancelled: CANCELLED,
}

for _counter in _OF.values():
    for _metric in METRICS:
        _counter.labels(str(_metric))
for _metric in METRICS:
    BREACHES.labels(str(_metric), NONE, NONE)


def count(books: Books, docs: Iterable[Document[TicketClocks]]) -> None:
    """Count the events and new tickets of documents that were written."""
    for doc in docs:
        for event in doc.announced:
            counter = _OF.get(type(event))
            if counter is not None and isinstance(event, ClockEvent):
                counter.labels(event.metric).inc()
            elif isinstance(event, ClockBreached):
                BREACHES.labels(event.metric, *_where(event.facts)).inc()
        if doc.version == 1 and doc.state is not None and books.current.match(doc.state.facts) is None:
            UNMATCHED.inc()


def set_at_risk(tickets: Mapping[tuple[str | None, str | None], int]) -> None:
    """Set the gauge of tickets at risk, by marketplace and brand; those that come first have series of their own.

    A breach is expected where a ticket is at risk, so its counters are made: `increase` overlooks what one starts with.
    """
    AT_RISK.replace({(NONE, NONE): 0} | {(m or NONE, b or NONE): count for (m, b), count in tickets.items()})
    for place in tickets:
        for metric in METRICS:
            BREACHES.labels(str(metric), *(each or NONE for each in place))


def _where(facts: TicketFacts | None) -> tuple[str, str]:
    return (facts.market.marketplace or NONE, facts.brand or NONE) if facts is not None else (NONE, NONE)
