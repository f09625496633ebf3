"""The metrics of the sla service. Kit counts how late timers fire, and everything about delivery."""

from collections.abc import Iterable

from prometheus_client import Counter

from contracts.payload import Payload
from contracts.sla import ClockBreached, ClockCancelled, ClockEvent, ClockMet, ClockStarted
from kit.protocol.document import Document
from services.sla.core.policy import METRICS
from services.sla.core.state import Books, TicketClocks

STARTED = Counter("deskbus_sla_clocks_started_total", "Clocks started, by metric.", ("metric",))
MET = Counter("deskbus_sla_clocks_met_total", "Clocks met in time, by metric.", ("metric",))
BREACHES = Counter("deskbus_sla_breaches_total", "Clocks that breached, by metric.", ("metric",))
CANCELLED = Counter(
    "deskbus_sla_clocks_cancelled_total", "Clocks cancelled: ended without being met in time, by metric.", ("metric",)
)
UNMATCHED = Counter("deskbus_sla_unmatched_total", "New tickets that match no policy and so have no clocks.")

_OF: dict[type[Payload], Counter] = {
    ClockStarted: STARTED,
    ClockMet: MET,
    ClockBreached: BREACHES,
    ClockCancelled: CANCELLED,
}

for _counter in _OF.values():
    for _metric in METRICS:
        _counter.labels(str(_metric))


def count(books: Books, docs: Iterable[Document[TicketClocks]]) -> None:
    """Count the events and new tickets of documents that were written."""
    for doc in docs:
        for event in doc.announced:
            counter = _OF.get(type(event))
            if counter is not None and isinstance(event, ClockEvent):
                counter.labels(event.metric).inc()
        if doc.version == 1 and doc.state is not None and books.current.match(doc.state.facts) is None:
            UNMATCHED.inc()
