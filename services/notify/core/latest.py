"""The latest event about each clock, about the ticket's owner and about its being unroutable: detects late events.

Rule: the events of a source about a ticket are numbered and come in order, except for replayed dead letters. A
replayed event changes only what no later event was about. Records are kept only while events are missing.
"""

from __future__ import annotations

from datetime import datetime

from contracts.values import Value

OWNER = "agent"
"""`about` of events that change the ticket's agent or queue."""
KEPT = 30
"""Records that are kept, the latest ones."""


class LatestEvent(Value):
    """The latest event about a clock, about the owner (`OWNER`), or about the ticket being unroutable (empty)."""

    about: str
    sequence: int
    """Its sequence number; 0: none is known."""
    paused: bool = False
    ended_at: datetime | None = None
    """Time of the event if it ended the alert, else None."""
    reason: str | None = None
    """Why the alert ended."""
    refuted: int = 0
    """Sequence number of the latest event that withdrew a breach."""


LatestEvents = tuple[LatestEvent, ...]


def find(latest: LatestEvents, about: str) -> LatestEvent:
    """Return the latest event about it; with number 0 if none is known."""
    return next((each for each in latest if each.about == about), LatestEvent(about=about, sequence=0))


def record(latest: LatestEvents, event: LatestEvent) -> LatestEvents:
    """Return the records with this event in place of the one before it, unless that one is later."""
    before = find(latest, event.about)
    if event.sequence < before.sequence:
        return latest
    event = event.model_copy(update={"refuted": max(event.refuted, before.refuted)})
    return (*(each for each in latest if each.about != event.about), event)[-KEPT:]
