"""Events of the agents topic, which is compacted: the last event of an agent carries their whole state.

Source /deskbus/routing/agents, subject is the agent id.
"""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from contracts.payload import Payload
from contracts.values import Count, Identifier, Instant, Open, SkillLevels, Units, Value


class Presence(StrEnum):
    """Whether an agent takes work (open). Only agents who are online do."""

    ONLINE = "online"
    AWAY = "away"
    OFFLINE = "offline"


PresenceName = Annotated[str, Open(Presence)]


class PresenceReason(StrEnum):
    """Why a presence changed (open)."""

    REQUEST = "request"
    OFFERS_UNANSWERED = "offers_unanswered"
    SHIFT = "shift"
    TIMEOUT = "timeout"


class Agent(Value):
    """A person who answers customers."""

    id: Identifier = Field(description="Agent id.")
    name: str = Field(description="Display name.")
    email: str | None = Field(None, description="Mail address for notifications.")
    skills: SkillLevels = Field(default_factory=dict, description="Level by skill name, from 1 to 5.")
    languages: tuple[str, ...] = Field((), description="Languages that the agent speaks, BCP 47.")
    brands: tuple[str, ...] = Field((), description="Brands that the agent serves; empty for all.")
    queues: tuple[str, ...] = Field((), description="Queues that the agent serves; empty for all.")
    capacity: Units = Field(description="Units of open work that the agent may have.")
    channel_weights: dict[str, Units] = Field(
        default_factory=dict, description="Units that a ticket takes, by channel, where they differ from the default."
    )
    presence: PresenceName = Field(Presence.OFFLINE.value, description="Whether the agent takes work.")
    presence_since: Instant | None = Field(None, description="When the presence last changed.")
    version: Count = Field(0, description="Increases with every change.")


class AgentUpdated(Payload):
    """An agent was created, changed, or published again."""

    type: ClassVar[str] = "deskbus.agent.updated.v1"
    agent: Agent = Field(description="The agent after this event.")


class AgentPresenceChanged(Payload):
    """An agent's presence changed."""

    type: ClassVar[str] = "deskbus.agent.presence_changed.v1"
    agent: Agent = Field(description="The agent after this event.")
    old: PresenceName = Field(description="Previous presence.")
    new: PresenceName = Field(description="New presence.")
    reason: Annotated[str, Open(PresenceReason)] = Field(description="Why it changed.")


class AgentRemoved(Payload):
    """An agent was removed for good."""

    type: ClassVar[str] = "deskbus.agent.removed.v1"
    agent_id: Identifier = Field(description="The agent.")
    removed_at: Instant = Field(description="When the agent was removed.")
