"""A ticket as routing knows it: it waits, somebody has it, or it is aside. What is stored; no rules here."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from contracts.assignments import AssignmentDecision
from contracts.ticket import Status, TicketFacts
from kit.protocol.document import Cause

Phase = Literal["aside", "waiting", "assigned"]

OURS_TO_ANSWER = frozenset({Status.NEW, Status.OPEN})


@dataclass(frozen=True, slots=True)
class Overflowed:
    """A queue that may serve a ticket besides its own; with `own` the ticket's skills and language are needed there."""

    queue: str
    since: datetime
    own: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """The one agent who may take a ticket, until an instant: a `command` named them, or they have answered it."""

    agent: str
    until: datetime
    name: str | None = None
    command: str | None = None
    announced: bool = False
    """Whether it was said that the ticket waits for them."""


@dataclass(frozen=True, slots=True)
class TicketState:
    """What is stored of a ticket. `aside`: nobody is wanted (a bot answers, it is solved, closed or merged)."""

    id: str
    facts: TicketFacts
    status: Status
    phase: Phase = "aside"
    ticket_version: int | None = None
    required: tuple[tuple[str, int], ...] = ()
    preferred: tuple[tuple[str, int], ...] = ()
    queue: str | None = None
    rule_required: tuple[tuple[str, int], ...] = ()
    rule_preferred: tuple[tuple[str, int], ...] = ()
    pinned: bool = False
    overflow: tuple[Overflowed, ...] = ()
    urgency: int = 1
    queued_at: datetime | None = None
    """Its age in the order of the queue: kept when an agent gives it back."""
    entered_at: datetime | None = None
    """Since when it is in its queue."""
    waiting_since: datetime | None = None
    """Since when nobody has it; time in somebody's hands is no waiting."""
    next_look: datetime | None = None
    looks: int = 0
    unroutable: str | None = None
    agent: str | None = None
    agent_name: str | None = None
    assigned_at: datetime | None = None
    share: float = 1.0
    """Share of its channel's weight that its claim on the agent holds."""
    previous: str | None = None
    target: Target | None = None
    aside: str | None = None
    """Why it is aside, in the words in which a transfer is refused."""
    avoid: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    decision: AssignmentDecision | None = None
    commands: tuple[str, ...] = ()
    cause: Cause | None = None
