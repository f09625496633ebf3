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
    """The customer answered, and the agent who had the ticket no longer has the capacity."""


class AssignReason(StrEnum):
    """Why this agent got the ticket (open)."""

    BEST_MATCH = "best_match"
    STICKY = "sticky"
    OFFER_ACCEPTED = "offer_accepted"
    TRANSFERRED = "transferred"
    ANSWERED = "answered"
    """The agent answered the customer while the ticket was waiting."""


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
    """The customer answered, and the agent no longer has the capacity."""


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
    """Equal in skill and load, but was assigned work more recently."""
    EQUAL = "equal"
    """Equal in every respect; one of them had to be chosen."""
    NOT_STICKY = "not_sticky"
    """The chosen agent had this conversation before; this one did not."""
    NOT_NAMED = "not_named"
    """The ticket was meant for the chosen agent: transferred to them, or answered by them."""
    NOT_CLAIMED = "not_claimed"
    """An interrupted attempt had already claimed capacity of the chosen agent for this ticket."""
    ONLY_OVERFLOW = "only_overflow"
    """Serves the ticket by overflow only, and an agent of its own queue can take it."""
    LOST_CLAIM = "lost_claim"
    """Another decision claimed the last of this agent's capacity first."""


class UnroutableReason(StrEnum):
    """Why no agent can serve a ticket (open)."""

    NO_QUEUE = "no_queue"
    NO_AGENT_WITH_SKILLS = "no_agent_with_skills"
    NO_AGENT_WITH_LANGUAGE = "no_agent_with_language"
    NO_AGENT_IN_QUEUE = "no_agent_in_queue"


class RoutableReason(StrEnum):
    """Why a ticket is no longer unroutable, though not assigned yet (open)."""

    AGENT_FOUND = "agent_found"
    """An agent can serve it once they are online and have capacity."""
    MOVED = "moved"
    """It waits in another queue, in more queues, or for a particular agent."""


class TransferOutcome(StrEnum):
    """Outcome of a transfer that was not carried out at once (open)."""

    WAITING = "waiting"
    """The ticket waits for the agent; no other agent gets it before `until`."""
    REFUSED = "refused"
    """Nothing changed."""
    FELL_BACK = "fell_back"
    """The agent did not get it in time; now every agent who serves its queue may."""
    SUPERSEDED = "superseded"
    """Something else happened to the ticket while it waited for the agent."""


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
    """A bot answers; routing begins with its hand-off."""
    SOLVED = "solved"
    CLOSED = "closed"
    MERGED = "merged"
    TRANSFERRED = "transferred"
    """By another command."""
    ANSWERED = "answered"
    """An agent answered the customer in the meantime, possibly the one the ticket waited for."""


class AgentRef(Value):
    """Id and name of an agent."""

    id: Identifier = Field(description="Agent id.")
    name: str | None = Field(None, description="Display name.")


class Candidate(Value):
    """An agent whom a decision considered."""

    agent_id: Identifier = Field(description="Agent id.")
    chosen: bool = Field(default=False, description="Whether this agent got the ticket.")
    passed_over: Annotated[str, Open(PassedOver)] | None = Field(
        None, description="Why this agent was passed over; absent if chosen."
    )
    detail: str | None = Field(None, description="The reason in words, e.g. which skill at which level.")
    skill_score: float | None = Field(None, description="Fit of the skills; higher is better.")
    load: Units | None = Field(None, description="Units of open work at the time of the decision.")
    capacity: Units | None = Field(None, description="Units of work that this agent may have.")
    idle_seconds: Seconds | None = Field(None, description="Seconds since this agent's last assignment.")


class AssignmentDecision(Value):
    """How the agent was chosen: answers "why this agent?" and "why not me?"."""

    candidates: tuple[Candidate, ...] = Field((), description="Up to 8 of the agents considered, best first.")
    looked_at: Count = Field(0, description="Number of agents considered, including those not listed.")
    passed_over: dict[str, Count] = Field(
        default_factory=dict, description="Number of agents passed over, by reason, including those not listed."
    )
    skills_dropped: tuple[str, ...] = Field((), description="Preferred skills dropped because of the wait.")


class AssignmentEvent(Payload):
    """Base of all events about an assignment."""

    ticket_id: Identifier = Field(description="The ticket.")
    queue: str | None = Field(None, description="The ticket's own queue, in which it waits or waited.")
    facts: TicketFacts | None = Field(None, description="Facts about the ticket that rules match on.")


class TicketQueued(AssignmentEvent):
    """The ticket is waiting for an agent."""

    type: ClassVar[str] = "deskbus.ticket.queued.v1"
    reason: Annotated[str, Open(QueueReason)] = Field(description="Why it waits.")
    priority: Priority = Field(Priority.NORMAL, description="Priority in the queue.")
    required_skills: SkillLevels = Field(default_factory=dict, description="Skills that an agent must have.")
    preferred_skills: SkillLevels = Field(
        default_factory=dict, description="Skills that are dropped as the ticket waits."
    )
    queued_at: Instant = Field(
        description="Since when it waits; kept across declined offers, overflow and agents who give it back."
    )
    overflow_queues: tuple[str, ...] = Field((), description="Further queues that may serve it, in order.")
    entered_at: Instant | None = Field(None, description="Instant that this decision counts from.")


class TicketOffered(AssignmentEvent):
    """The ticket was offered to an agent."""

    type: ClassVar[str] = "deskbus.ticket.offered.v1"
    offer_id: Identifier = Field(description="Id of the offer, for accept and decline.")
    agent: AgentRef = Field(description="Agent who got the offer.")
    offered_at: Instant = Field(description="When it was offered.")
    expires_at: Instant = Field(description="When the offer expires.")
    decision: AssignmentDecision = Field(default=AssignmentDecision(), description="How the agent was chosen.")


class TicketOfferExpired(AssignmentEvent):
    """An offer expired without an answer."""

    type: ClassVar[str] = "deskbus.ticket.offer_expired.v1"
    offer_id: Identifier = Field(description="Id of the offer.")
    agent: AgentRef = Field(description="Agent who got the offer.")
    expired_at: Instant = Field(description="When it expired.")
    unanswered_in_row: Count = Field(1, description="Number of consecutive offers that this agent did not answer.")


class TicketOfferDeclined(AssignmentEvent):
    """An agent declined an offer."""

    type: ClassVar[str] = "deskbus.ticket.offer_declined.v1"
    offer_id: Identifier = Field(description="Id of the offer.")
    agent: AgentRef = Field(description="Agent who got the offer.")
    declined_at: Instant = Field(description="When it was declined.")
    reason: str | None = Field(None, description="The agent's reason.")


class TicketAssigned(AssignmentEvent):
    """The ticket was assigned to an agent."""

    type: ClassVar[str] = "deskbus.ticket.assigned.v1"
    agent: AgentRef = Field(description="The agent.")
    reason: Annotated[str, Open(AssignReason)] = Field(description="Why this agent.")
    sticky: bool = Field(default=False, description="Whether the agent had this conversation before.")
    queued_at: Instant = Field(description="Since when it waits; may date from before another agent gave it back.")
    assigned_at: Instant = Field(description="When it was assigned.")
    waited_ms: Milliseconds = Field(description="How long it waited this time, excluding time with an agent.")
    overflow_queue: str | None = Field(None, description="Queue whose agent got it, if not its own.")
    load_before: Units | None = Field(None, description="The agent's units of open work without this ticket.")
    load_after: Units | None = Field(None, description="The agent's units of open work with this ticket.")
    decision: AssignmentDecision = Field(default=AssignmentDecision(), description="How the agent was chosen.")


class TicketUnassigned(AssignmentEvent):
    """The ticket was taken from its agent."""

    type: ClassVar[str] = "deskbus.ticket.unassigned.v1"
    agent: AgentRef = Field(description="The agent who had it.")
    reason: Annotated[str, Open(UnassignReason)] = Field(description="Why it was unassigned.")
    assigned_at: Instant | None = Field(None, description="When it had been assigned.")
    unassigned_at: Instant = Field(description="When it was unassigned.")


class TicketUnroutable(AssignmentEvent):
    """No agent can serve the ticket at present. It keeps waiting; someone should look into it."""

    type: ClassVar[str] = "deskbus.ticket.unroutable.v1"
    reason: Annotated[str, Open(UnroutableReason)] = Field(description="Why no agent can serve it.")
    detail: str | None = Field(None, description="The reason in words, e.g. the skill that is missing.")
    queued_at: Instant | None = Field(None, description="Since when it waits.")
    decision: AssignmentDecision = Field(default=AssignmentDecision(), description="The agents considered.")


class TicketRoutable(AssignmentEvent):
    """A ticket that was announced as unroutable can be served again; it is still waiting."""

    type: ClassVar[str] = "deskbus.ticket.routable.v1"
    reason: Annotated[str, Open(RoutableReason)] = Field(description="What has changed.")
    queued_at: Instant | None = Field(None, description="Since when it waits.")


class TicketTransferAnswered(AssignmentEvent):
    """A transfer was not carried out, or not at once. One that was is announced by queued and assigned only."""

    type: ClassVar[str] = "deskbus.ticket.transfer_answered.v1"
    command_id: Identifier = Field(description="Id of the command.")
    outcome: Annotated[str, Open(TransferOutcome)] = Field(description="Outcome.")
    reason: Annotated[str, Open(TransferReason)] = Field(description="Reason.")
    detail: str | None = Field(None, description="The reason in words.")
    to_queue: str | None = Field(None, description="Queue that the command named.")
    to_agent: AgentRef | None = Field(None, description="Agent that the command named.")
    until: Instant | None = Field(None, description="Until when the ticket waits for the agent.")
