"""Replies of agents that were sent and have not bounced, in the order of sending. No clocks here.

Ingest sends a ticket's replies one at a time, in the order in which they were written. So a question that a reply
answered is answered by the following replies too: if the reply bounces, the wait ended with the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

#: Replies that are kept, the latest ones. If an older one bounces, the clocks that it ended stay ended.
KEPT_REPLIES = 50


@dataclass(frozen=True, slots=True)
class SentReply:
    """A reply, and when it was sent."""

    message_id: str
    at: datetime


Replies = tuple[SentReply, ...]


def add(replies: Replies, message_id: str, at: datetime) -> Replies:
    """Return the replies with one more, which may be older than the latest."""
    if any(reply.message_id == message_id for reply in replies):
        return replies
    return tuple(sorted((*replies, SentReply(message_id, at)), key=lambda reply: reply.at))[-KEPT_REPLIES:]


def remove(replies: Replies, message_id: str | None) -> tuple[Replies, SentReply | None]:
    """Return the replies without one that bounced, and the reply sent next after it, if there is one."""
    place = next((n for n, reply in enumerate(replies) if reply.message_id == message_id), None)
    if place is None:
        return replies, None
    rest = replies[:place] + replies[place + 1 :]
    return rest, rest[place] if place < len(rest) else None
