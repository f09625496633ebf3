"""The state of a ticket's clocks, and what of the ticket they depend on. How events change it is in `tickets.py`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from contracts.ticket import Status, TicketFacts
from kit.base.errors import TransientError
from services.sla.core.clocks import Phase, SlaClock, soonest
from services.sla.core.history import History
from services.sla.core.policy import Book
from services.sla.core.replies import Replies


class Books(Protocol):
    """The policies in force, and the earlier versions that tickets are still bound to."""

    @property
    def current(self) -> Book: ...

    def version(self, version: str) -> Book:
        """Return one version. Raises UnknownVersion for one that must be looked up first."""


class UnknownVersion(TransientError):
    """This process has not yet loaded the policies that a ticket is bound to."""

    def __init__(self, version: str) -> None:
        super().__init__(f"policy version {version} is not loaded yet")
        self.version = version


@dataclass(frozen=True, slots=True)
class Breach:
    """A target that was missed."""

    clock_id: str
    metric: str
    policy: str
    breached_at: datetime
    target_ms: int


@dataclass(frozen=True, slots=True)
class TicketClocks:
    """The clocks of one ticket, and the facts and history of the ticket that they depend on."""

    ticket_id: str
    facts: TicketFacts
    status: Status
    at: datetime
    """Time of the latest event applied."""
    version: str
    """Version of the policies that the resolution clocks are bound to: the one in force when they started."""
    ticket_version: int | None = None
    """Latest version of the ticket that an event carried; events with an older one have been overtaken."""
    bot: bool = False
    """Whether a bot handles the ticket."""
    asked_at: datetime | None = None
    """When the oldest unanswered customer message was sent, according to the ticket."""
    waits_since: datetime | None = None
    """Since when the customer waits for an agent: a reply clock starts here if a policy has one."""
    waits_version: str = ""
    """Version of the policies that this wait is bound to; empty: the ticket's `version`."""
    history: History = ()
    """Statuses since the resolution clocks started; empty before that, and while a bot handles the ticket."""
    replied: bool = False
    """Whether the first reply was given or no longer applies: further waits are `next_reply`."""
    replies: Replies = ()
    """Replies of agents since the last solve."""
    solved_at: datetime | None = None
    reopens: int = 0
    closed: bool = False
    serial: int = 0
    """Number of clocks started so far, for their ids."""
    live: tuple[SlaClock, ...] = ()
    ended: tuple[SlaClock, ...] = ()
    breaches: tuple[Breach, ...] = ()


def due(state: TicketClocks) -> datetime | None:
    """Return the instant of the next warning or breach."""
    return soonest(state.live)


def warned(state: TicketClocks) -> bool:
    """Return whether a clock that is running has given a warning and has not breached."""
    return any(clock.phase is Phase.RUNNING and clock.warned and clock.breached_at is None for clock in state.live)


def versions(state: TicketClocks) -> set[str]:
    """Return the versions of the policies that the next event of the ticket may need."""
    return {state.version, state.waits_version, *(clock.terms.policy.version for clock in state.live)} - {""}
