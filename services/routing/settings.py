"""Settings of routing, from DESKBUS_ROUTING_*. Queues and rules are in the policy file."""

from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from kit.base.settings import ServiceSettings


class RoutingSettings(ServiceSettings):
    """Settings of the public port and of routing's background jobs."""

    model_config = SettingsConfigDict(env_prefix="DESKBUS_ROUTING_")
    service: ClassVar[str] = "routing"

    port: int = Field(8082, ge=0, le=65535, description="Public port; 0 picks a free one.")

    look_ms: int = Field(
        200, ge=5, le=10_000, description="Minimum milliseconds between two attempts to assign waiting tickets."
    )
    timer_ms: int = Field(
        500, ge=10, le=10_000, description="Milliseconds between checks for tickets that are due for another look."
    )
    roster_seconds: float = Field(1, ge=0.05, le=60, description="Seconds between reads of changed agents.")
    release_seconds: float = Field(
        3, ge=0.05, le=60, description="Seconds between writes of released claims that no new claim took along."
    )
    reconcile_seconds: float = Field(
        5, ge=0.1, le=600, description="Seconds between searches for orphaned claims (without their ticket)."
    )
    claim_seconds: float = Field(
        10, ge=0.1, le=3600, description="Age in seconds from which a claim is checked against its ticket."
    )
    verify_seconds: float = Field(
        120, ge=1, le=86_400, description="Seconds after which a valid claim is checked again."
    )
    announce_hours: float = Field(
        6, gt=0, le=24 * 30, description="Hours between repeated announcements of an agent's state."
    )
