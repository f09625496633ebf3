"""Limits and defaults of tickets that operators set, as the core uses them. `accounts.py` reads them from YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from contracts.ticket import Market
from kit.policy.rate import Limit


@dataclass(frozen=True, slots=True)
class ReplyWindow:
    """How long after the customer's last message a channel takes replies."""

    anyone: timedelta
    #: How long it takes the replies of people, if that is longer than those of bots.
    people: timedelta | None = None
    #: Whether it takes templates at any time.
    templates: bool = False


@dataclass(frozen=True, slots=True)
class TicketPolicy:
    """Limits of tickets and of sending their replies."""

    #: Chat: inactivity after which a message opens a new ticket.
    quiet: timedelta = timedelta(hours=12)
    #: Time from solved to closed. A message that arrives later opens a new, linked ticket.
    reopen_window: timedelta = timedelta(days=14)
    #: Maximum number of reopens within `reopen_period`: two robots may be talking to each other.
    reopens: int = 5
    reopen_period: timedelta = timedelta(hours=1)
    #: Maximum number of attempts that may have arrived, since each may have delivered another copy.
    send_attempts: int = 8
    #: How long to retry a message that has certainly not arrived; at least `send_attempts` attempts.
    send_for: timedelta = timedelta(hours=12)
    #: Wait after the first attempt; it grows fourfold with each attempt, up to `send_backoff_max`.
    send_backoff: timedelta = timedelta(seconds=2)
    send_backoff_max: timedelta = timedelta(minutes=5)
    #: Time that one attempt may take. If its process dies, the message is tried again after it.
    send_lease: timedelta = timedelta(seconds=60)
    #: The channel allows only a text or one file per message: a reply with files becomes several messages.
    one_file_per_message: bool = False
    #: When the channel takes replies; None: at any time.
    window: ReplyWindow | None = None
    #: How fast replies of the account may leave; None: as fast as they can.
    rate: Limit | None = None


@dataclass(frozen=True, slots=True)
class AccountDefaults:
    """Values for an account's messages where the message does not set its own."""

    brand: str | None = None
    market: Market = field(default_factory=Market)
    language: str | None = None
    tags: tuple[str, ...] = ()
    bot: bool = False
