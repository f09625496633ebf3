"""A ticket's stored state in routing: waiting, assigned, or aside (no agent is needed). No rules."""

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
    """An overflow queue of a ticket. With `own`, the ticket's skills and language are required there too."""

    queue: str
    since: datetime
    own: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """The only agent who may take a ticket until `until`, because of a transfer (`command`) or their own reply."""

    agent: str
    until: datetime
    name: str | None = None
    command: str | None = None
    announced: bool = False
    """Whether it was announced that the ticket waits for this agent."""


@dataclass(frozen=True, slots=True)
class TicketState:
    """A ticket's stored state. Phase `aside`: no agent is needed (a bot answers, or it is solved, closed or merged)."""

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
    """Determines its position in the queue; kept when it is unassigned."""
    entered_at: datetime | None = None
    """When it entered its current queue."""
    waiting_since: datetime | None = None
    """Since when it has had no agent; time while assigned does not count as waiting."""
    next_look: datetime | None = None
    looks: int = 0
    unroutable: str | None = None
    agent: str | None = None
    agent_name: str | None = None
    assigned_at: datetime | None = None
    share: float = 1.0
    """Fraction of its channel's weight that its claim on the agent takes."""
    previous: str | None = None
    target: Target | None = None
    aside: str | None = None
    """Why it is aside: a TransferReason, with which transfers are refused."""
    avoid: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    decision: AssignmentDecision | None = None
    commands: tuple[str, ...] = ()
    cause: Cause | None = None

    @property
    def overflow_queues(self) -> tuple[str, ...]:
        """The queues that the ticket has overflowed to, in that order."""
        return tuple(more.queue for more in self.overflow)

    @property
    def queues(self) -> tuple[str | None, ...]:
        """All queues that may serve the ticket: its own, None before it has one, then those it has overflowed to."""
        return self.queue, *self.overflow_queues
