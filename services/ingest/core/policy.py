"""What an operator may set about tickets: windows, limits, defaults of an account. Read from YAML elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from contracts.ticket import Market


@dataclass(frozen=True, slots=True)
class TicketPolicy:
    """Windows and limits of a ticket's life."""

    #: A chat-like conversation that was quiet longer than this begins a new ticket.
    quiet: timedelta = timedelta(hours=12)
    #: A ticket that was solved this long is closed; a message that comes later begins a new, linked one.
    reopen_window: timedelta = timedelta(days=14)
    #: More reopens within `reopen_period` than this are refused: two robots may be talking.
    reopens: int = 5
    reopen_period: timedelta = timedelta(hours=1)
    #: Tries of an outgoing message that may have arrived, each of which may be another copy to the customer.
    send_attempts: int = 8
    #: How long a message is tried whose tries surely have not arrived; at least `send_attempts` times.
    send_for: timedelta = timedelta(hours=12)
    #: The waits between tries: the first, which grows fourfold, and the longest.
    send_backoff: timedelta = timedelta(seconds=2)
    send_backoff_max: timedelta = timedelta(minutes=5)
    #: Time one try may take; a try whose process died is tried again after it.
    send_lease: timedelta = timedelta(seconds=60)
    #: A message carries a text or one file: a reply with files leaves as several.
    files_apart: bool = False


@dataclass(frozen=True, slots=True)
class AccountDefaults:
    """What holds for an account's messages unless the message says otherwise."""

    brand: str | None = None
    market: Market = field(default_factory=Market)
    language: str | None = None
    tags: tuple[str, ...] = ()
    bot: bool = False
