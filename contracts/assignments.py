"""Events of the assignments topic: who works on a ticket and why. Source /deskbus/routing, subject is the ticket id."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from contracts.payload import Payload
from contracts.ticket import Priority, TicketFacts
from contracts.values import Count, Identifier, Instant, Milliseconds, Open, Seconds, SkillLevels, Units, Value


class QueueReason(StrEnum):
    """Why a ticket waits in a queue (open)."""

    OPENED = "opened"
    REOPENED = "reopened"
    HANDED_OFF = "handed_off"
    TRANSFERRED = "transferred"
    OVERFLOW = "overflow"
    AGENT_OFFLINE = "agent_offline"
    OFFER_DECLINED = "offer_declined"
    OFFER_EXPIRED = "offer_expired"
    RULES_CHANGED = "rules_changed"
    AGENT_FULL = "agent_full"
    """The customer answered, and the agent who had the ticket has no room for it any more."""


class AssignReason(StrEnum):
    """Why this agent got the ticket (open)."""

    BEST_MATCH = "best_match"
    STICKY = "sticky"
    OFFER_ACCEPTED = "offer_accepted"
    TRANSFERRED = "transferred"
    ANSWERED = "answered"
    """The agent answered the customer while the ticket waited."""


class UnassignReason(StrEnum):
    """Why an agent no longer has the ticket (open)."""

    SOLVED = "solved"
    CLOSED = "closed"
    MERGED = "merged"
    AGENT_OFFLINE = "agent_offline"
    AGENT_REMOVED = "agent_removed"
    TRANSFERRED = "transferred"
    REOPENED = "reopened"
    AGENT_FULL = "agent_full"
    """The customer answered, and the agent has no room for the ticket any more."""


class PassedOver(StrEnum):
    """Why a candidate did not get the ticket (open)."""

    OFFLINE = "offline"
    AWAY = "away"
    AT_CAPACITY = "at_capacity"
    WRONG_QUEUE = "wrong_queue"
    WRONG_BRAND = "wrong_brand"
    LANGUAGE = "language"
    MISSING_SKILL = "missing_skill"
    DECLINED = "declined"
    LOWER_SKILL = "lower_skill"
    HIGHER_LOAD = "higher_load"
    ASSIGNED_LATER = "assigned_later"
    """Equal in skill and load, but had work more recently."""
    EQUAL = "equal"
    """As good in all of these; one of them had to be taken."""
    NOT_STICKY = "not_sticky"
    """The chosen agent had this conversation before."""
    NOT_NAMED = "not_named"
    """The ticket was meant for the chosen agent: it was transferred to them, or they had answered it."""
    NOT_CLAIMED = "not_claimed"
    """The chosen agent's room was kept for this ticket already, by a try that was broken off."""
    ONLY_OVERFLOW = "only_overflow"
    """Serves the ticket by overflow only, and an agent of its own queue could take it."""
    LOST_CLAIM = "lost_claim"
    """Another decision took the last of this agent's capacity first."""


class UnroutableReason(StrEnum):
    """Why nobody can serve a ticket (open)."""

    NO_QUEUE = "no_queue"
    NO_AGENT_WITH_SKILLS = "no_agent_with_skills"
    NO_AGENT_WITH_LANGUAGE = "no_agent_with_language"
    NO_AGENT_IN_QUEUE = "no_agent_in_queue"


class RoutableReason(StrEnum):
    """Why a ticket is not unroutable any more, though nobody has it yet (open)."""

    AGENT_FOUND = "agent_found"
    """Somebody could serve it now, once they are online and free."""
    MOVED = "moved"
    """It waits in another queue, in more queues, or for a certain agent."""


class TransferOutcome(StrEnum):
    """What became of a transfer that was not carried out at once (open)."""

    WAITING = "waiting"
    """The ticket waits for the agent; nobody else gets it before `until`."""
    REFUSED = "refused"
    """Nothing changed."""
    FELL_BACK = "fell_back"
    """The agent did not take it in time: whoever can serve its queue may have it now."""
    SUPERSEDED = "superseded"
    """Something else became of the ticket while it waited for the agent."""


class TransferReason(StrEnum):
    """Why a transfer was not carried out (open)."""

    UNKNOWN_TICKET = "unknown_ticket"
    UNKNOWN_QUEUE = "unknown_queue"
    UNKNOWN_AGENT = "unknown_agent"
    AGENT_OFFLINE = "agent_offline"
    AGENT_AWAY = "agent_away"
    AGENT_FULL = "agent_full"
    AGENT_REMOVED = "agent_removed"
    WITH_BOT = "with_bot"
    """A bot answers; routing begins at its hand-off."""
    SOLVED = "solved"
    CLOSED = "closed"
    MERGED = "merged"
    TRANSFERRED = "transferred"
    """By another command."""
    ANSWERED = "answered"
    """By an agent who answered the customer meanwhile, be it the one whom the ticket waited for."""


class AgentRef(Value):
    """An agent, as far as a reader needs to know."""

    id: Identifier = Field(description="Agent id.")
    name: str | None = Field(None, description="Name to show.")


class Candidate(Value):
    """An agent that a decision looked at."""

    agent_id: Identifier = Field(description="Agent id.")
    chosen: bool = Field(default=False, description="This one got the ticket.")
    passed_over: Annotated[str, Open(PassedOver)] | None = Field(None, description="Why not; nothing when chosen.")
    detail: str | None = Field(None, description="The reason in words, e.g. which skill at which level.")
    skill_score: float | None = Field(None, description="Fit of the skills; higher is better.")
    load: Units | None = Field(None, description="Units of open work at the time.")
    capacity: Units | None = Field(None, description="Units of work this agent may have.")
    idle_seconds: Seconds | None = Field(None, description="Seconds since this agent's last assignment.")


class AssignmentDecision(Value):
    """How the choice was made: enough to answer "why this one?" and "why not me?"."""

    candidates: tuple[Candidate, ...] = Field((), description="Up to 8 of those looked at, the best first.")
    looked_at: Count = Field(0, description="How many were looked at, also those not named.")
    passed_over: dict[str, Count] = Field(
        default_factory=dict, description="How many of them did not get it, by reason, also those not named."
    )
    skills_dropped: tuple[str, ...] = Field((), description="Preferred skills given up because of the wait.")


class AssignmentEvent(Payload):
    """What all events about an assignment carry."""

    ticket_id: Identifier = Field(description="The ticket.")
    queue: str | None = Field(None, description="The ticket's own queue: the one that it is in or came from.")
    facts: TicketFacts | None = Field(None, description="Facts about the ticket that rules match on.")


class TicketQueued(AssignmentEvent):
    """The ticket waits for an agent."""

    type: ClassVar[str] = "deskbus.ticket.queued.v1"
    reason: Annotated[str, Open(QueueReason)] = Field(description="Why it waits.")
    priority: Priority = Field(Priority.NORMAL, description="Priority in the queue.")
    required_skills: SkillLevels = Field(default_factory=dict, description="Skills that an agent must have.")
    preferred_skills: SkillLevels = Field(default_factory=dict, description="Skills dropped as the wait grows.")
    queued_at: Instant = Field(
        description="Its age in the queue: kept over declined offers, overflow, and agents who give it back."
    )
    overflow_queues: tuple[str, ...] = Field((), description="Queues that may serve it besides its own, in order.")


class TicketOffered(AssignmentEvent):
    """An agent is asked whether they take the ticket."""

    type: ClassVar[str] = "deskbus.ticket.offered.v1"
    offer_id: Identifier = Field(description="Id of the offer, for accept and decline.")
    agent: AgentRef = Field(description="Who is asked.")
    offered_at: Instant = Field(description="When.")
    expires_at: Instant = Field(description="Until when an answer counts.")
    decision: AssignmentDecision = Field(default=AssignmentDecision(), description="How the agent was chosen.")


class TicketOfferExpired(AssignmentEvent):
    """The agent did not answer in time."""

    type: ClassVar[str] = "deskbus.ticket.offer_expired.v1"
    offer_id: Identifier = Field(description="Id of the offer.")
    agent: AgentRef = Field(description="Who was asked.")
    expired_at: Instant = Field(description="When it ran out.")
    unanswered_in_row: Count = Field(1, description="Offers in a row that this agent left unanswered.")


class TicketOfferDeclined(AssignmentEvent):
    """The agent said no."""

    type: ClassVar[str] = "deskbus.ticket.offer_declined.v1"
    offer_id: Identifier = Field(description="Id of the offer.")
    agent: AgentRef = Field(description="Who was asked.")
    declined_at: Instant = Field(description="When.")
    reason: str | None = Field(None, description="What the agent said.")


class TicketAssigned(AssignmentEvent):
    """An agent has the ticket now."""

    type: ClassVar[str] = "deskbus.ticket.assigned.v1"
    agent: AgentRef = Field(description="Who has it.")
    reason: Annotated[str, Open(AssignReason)] = Field(description="Why this agent.")
    sticky: bool = Field(default=False, description="The agent had this conversation before.")
    queued_at: Instant = Field(description="Its age in the queue; may be from before an agent gave it back.")
    assigned_at: Instant = Field(description="When it was assigned.")
    waited_ms: Milliseconds = Field(description="How long it waited this time; time in somebody's hands not counted.")
    overflow_queue: str | None = Field(None, description="Queue whose agents served it, when that is not its own.")
    load_before: Units | None = Field(None, description="The agent's units of open work before.")
    load_after: Units | None = Field(None, description="The agent's units of open work with this ticket.")
    decision: AssignmentDecision = Field(default=AssignmentDecision(), description="How the choice was made.")


class TicketUnassigned(AssignmentEvent):
    """The agent does not have the ticket any more."""

    type: ClassVar[str] = "deskbus.ticket.unassigned.v1"
    agent: AgentRef = Field(description="Who had it.")
    reason: Annotated[str, Open(UnassignReason)] = Field(description="Why.")
    assigned_at: Instant | None = Field(None, description="Since when they had it.")
    unassigned_at: Instant = Field(description="When it was taken away.")


class TicketUnroutable(AssignmentEvent):
    """Nobody can serve this ticket as things are; it keeps waiting and somebody should look."""

    type: ClassVar[str] = "deskbus.ticket.unroutable.v1"
    reason: Annotated[str, Open(UnroutableReason)] = Field(description="Why nobody can.")
    detail: str | None = Field(None, description="The reason in words, e.g. the skill that is missing.")
    queued_at: Instant | None = Field(None, description="Since when it waits.")
    decision: AssignmentDecision = Field(default=AssignmentDecision(), description="Who was looked at.")


class TicketRoutable(AssignmentEvent):
    """A ticket that was announced as unroutable waits on, and no longer in vain."""

    type: ClassVar[str] = "deskbus.ticket.routable.v1"
    reason: Annotated[str, Open(RoutableReason)] = Field(description="What has changed.")
    queued_at: Instant | None = Field(None, description="Since when it waits.")


class TicketTransferAnswered(AssignmentEvent):
    """A transfer was not carried out at once, or not at all. One that was is told by queued and assigned alone."""

    type: ClassVar[str] = "deskbus.ticket.transfer_answered.v1"
    command_id: Identifier = Field(description="Id of the command.")
    outcome: Annotated[str, Open(TransferOutcome)] = Field(description="What became of it.")
    reason: Annotated[str, Open(TransferReason)] = Field(description="Why.")
    detail: str | None = Field(None, description="The reason in words.")
    to_queue: str | None = Field(None, description="Queue that the command named.")
    to_agent: AgentRef | None = Field(None, description="Agent that the command named.")
    until: Instant | None = Field(None, description="Until when the ticket waits for the agent.")
