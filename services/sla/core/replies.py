"""The replies of people that went out and have not come back, in the order in which they went. No clocks here.

Ingest sends a ticket's replies one after another in the order in which they were given. So what a reply answered, the
ones behind it answer as well: if it never arrived, the wait ended with the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

#: Replies that are kept, the latest ones. Where a lost one is not known any more, what it ended stays ended by it.
KEPT_REPLIES = 50


@dataclass(frozen=True, slots=True)
class Given:
    """A reply, and when it went out."""

    message_id: str
    at: datetime


Replies = tuple[Given, ...]


def given(replies: Replies, message_id: str, at: datetime) -> Replies:
    """Return them with one more, which may have been heard of late."""
    if any(reply.message_id == message_id for reply in replies):
        return replies
    return tuple(sorted((*replies, Given(message_id, at)), key=lambda reply: reply.at))[-KEPT_REPLIES:]


def lost(replies: Replies, message_id: str | None) -> tuple[Replies, Given | None]:
    """Return them without one that never arrived, and the reply that went out next after it; None: not known which."""
    place = next((n for n, reply in enumerate(replies) if reply.message_id == message_id), None)
    if place is None:
        return replies, None
    rest = replies[:place] + replies[place + 1 :]
    return rest, rest[place] if place < len(rest) else None
