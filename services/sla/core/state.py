"""What is kept of a ticket for its clocks' sake, as a value. How events change it is in `tickets.py`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from contracts.ticket import Status, TicketFacts
from kit.base.errors import TransientError
from services.sla.core.clocks import SlaClock, soonest
from services.sla.core.history import History
from services.sla.core.policy import Book
from services.sla.core.replies import Replies


class Books(Protocol):
    """The policies in force now, and the earlier ones that tickets are still bound to."""

    @property
    def current(self) -> Book: ...

    def version(self, version: str) -> Book:
        """Return one version; raises UnknownVersion for one that must be looked up first."""


class UnknownVersion(TransientError):
    """Policies that a ticket is bound to are not known to this process yet."""

    def __init__(self, version: str) -> None:
        super().__init__(f"the policy version {version} is not known here yet")
        self.version = version


@dataclass(frozen=True, slots=True)
class Breach:
    """A promise that was not kept."""

    clock_id: str
    metric: str
    policy: str
    breached_at: datetime
    target_ms: int


@dataclass(frozen=True, slots=True)
class TicketClocks:
    """The clocks of one ticket, and what of the ticket they depend on."""

    ticket_id: str
    facts: TicketFacts
    status: Status
    at: datetime
    """Time of the latest event taken."""
    version: str
    """Version of the policies that its resolution clocks are bound to: the one in force when they began."""
    ticket_version: int | None = None
    """Version of the latest picture of the ticket: what an older one says of it has been overtaken."""
    bot: bool = False
    asked_at: datetime | None = None
    """Oldest customer message without an answer, as the ticket says."""
    waits_since: datetime | None = None
    """Since when the customer waits for people: where a reply clock starts, if a policy asks for one."""
    waits_version: str = ""
    """Version of the policies that this wait is bound to, where it may be another than the ticket's."""
    history: History = ()
    """Statuses since the resolution clocks began; empty before, and while a bot has the ticket."""
    replied: bool = False
    """The first reply was given, or became moot."""
    replies: Replies = ()
    """Since the last solve."""
    solved_at: datetime | None = None
    reopens: int = 0
    closed: bool = False
    serial: int = 0
    live: tuple[SlaClock, ...] = ()
    ended: tuple[SlaClock, ...] = ()
    breaches: tuple[Breach, ...] = ()


def due(state: TicketClocks) -> datetime | None:
    """Return the next instant at which time matters to the ticket's clocks."""
    return soonest(state.live)


def versions(state: TicketClocks) -> set[str]:
    """Return the versions of the policies that a ticket's next change may ask for."""
    return {state.version, state.waits_version, *(clock.terms.policy.version for clock in state.live)} - {""}
