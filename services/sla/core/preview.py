"""What would be promised to such a ticket: the policy that applies and its deadlines. Nothing is started."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from contracts.ticket import TicketFacts
from services.sla.core.clocks import Terms
from services.sla.core.policy import METRICS, Book


@dataclass(frozen=True, slots=True)
class Promise:
    """One clock, if it started at the instant asked about and never stood still."""

    metric: str
    terms: Terms
    due_at: datetime
    warnings: tuple[tuple[datetime, bool], ...]
    """Instants, and whether it is the warning that the clock is at risk."""


def promises(book: Book, facts: TicketFacts, at: datetime) -> list[Promise]:
    """Return the clocks of a ticket with these facts."""
    found = []
    for metric in METRICS:
        terms = book.terms(facts, metric)
        if terms is not None:
            calendar = book.calendar(terms.calendar.name)
            warnings = tuple((calendar.add_ms(at, warn.after_ms), warn.at_risk) for warn in terms.warnings)
            found.append(Promise(str(metric), terms, calendar.add_ms(at, terms.target_ms), warnings))
    return found
