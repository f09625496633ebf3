"""Preview of a ticket's clocks and deadlines from its facts. Starts nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from contracts.ticket import TicketFacts
from services.sla.core.clocks import Terms
from services.sla.core.policy import METRICS, Book


@dataclass(frozen=True, slots=True)
class Promise:
    """A clock as it would run if it started at the given instant and never paused."""

    metric: str
    terms: Terms
    due_at: datetime
    warnings: tuple[tuple[datetime, bool], ...]
    """Instant of each warning, and whether it is `at_risk` (otherwise `due_soon`)."""


def promises(book: Book, facts: TicketFacts, at: datetime) -> list[Promise]:
    """Return the clocks of a ticket with these facts that starts at `at`."""
    found = []
    for metric in METRICS:
        terms = book.terms(facts, metric)
        if terms is not None:
            calendar = book.calendar(terms.calendar.name)
            warnings = tuple((calendar.add_ms(at, w.after_ms), w.at_risk) for w in terms.warnings)
            found.append(Promise(str(metric), terms, calendar.add_ms(at, terms.target_ms), warnings))
    return found
