"""Events of the agents topic, which is compacted: the last one of an agent says everything about them.

Source /deskbus/routing/agents, subject is the agent id.
"""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from contracts.payload import Payload
from contracts.values import Count, Identifier, Instant, Open, SkillLevels, Units, Value


class Presence(StrEnum):
    """Whether an agent takes work (open). Anything but online takes none."""

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
    name: str = Field(description="Name to show.")
    email: str | None = Field(None, description="Where notices go.")
    skills: SkillLevels = Field(default_factory=dict, description="Skill name to level, 1 to 5.")
    languages: tuple[str, ...] = Field((), description="Languages spoken, BCP 47.")
    brands: tuple[str, ...] = Field((), description="Brands served; none means all.")
    queues: tuple[str, ...] = Field((), description="Queues served; none means all.")
    capacity: Units = Field(description="Units of open work that this agent may have.")
    channel_weights: dict[str, Units] = Field(
        default_factory=dict, description="Units that a ticket of a channel takes, where it is not the default."
    )
    presence: PresenceName = Field(Presence.OFFLINE.value, description="Whether the agent takes work.")
    presence_since: Instant | None = Field(None, description="When the presence last changed.")
    version: Count = Field(0, description="Grows with every change.")


class AgentUpdated(Payload):
    """An agent is new, has changed, or is announced anew."""

    type: ClassVar[str] = "deskbus.agent.updated.v1"
    agent: Agent = Field(description="The agent after this event.")


class AgentPresenceChanged(Payload):
    """An agent came, went away for a while, or left."""

    type: ClassVar[str] = "deskbus.agent.presence_changed.v1"
    agent: Agent = Field(description="The agent after this event.")
    old: PresenceName = Field(description="Presence before.")
    new: PresenceName = Field(description="Presence after.")
    reason: Annotated[str, Open(PresenceReason)] = Field(description="Why it changed.")


class AgentRemoved(Payload):
    """An agent is gone for good."""

    type: ClassVar[str] = "deskbus.agent.removed.v1"
    agent_id: Identifier = Field(description="The agent.")
    removed_at: Instant = Field(description="When.")
