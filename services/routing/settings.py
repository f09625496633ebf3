"""What routing reads from its environment. Queues and rules are its policy file's."""

from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from kit.base.settings import ServiceSettings


class RoutingSettings(ServiceSettings):
    """Prefix DESKBUS_ROUTING_."""

    model_config = SettingsConfigDict(env_prefix="DESKBUS_ROUTING_")
    service: ClassVar[str] = "routing"

    port: int = Field(8082, ge=0, le=65535, description="Public door; 0 lets the system choose.")

    look_ms: int = Field(200, ge=5, le=10_000, description="Shortest time between two looks at who waits.")
    timer_ms: int = Field(500, ge=10, le=10_000, description="How often the store is asked what falls due next.")
    roster_seconds: float = Field(1, ge=0.05, le=60, description="How often changed agents are read.")
    reconcile_seconds: float = Field(5, ge=0.1, le=600, description="How often claims without a ticket are sought.")
    claim_seconds: float = Field(10, ge=0.1, le=3600, description="Age at which a claim without its ticket is suspect.")
    verify_seconds: float = Field(
        120, ge=1, le=86_400, description="How often a claim that was right is looked at again."
    )
    announce_hours: float = Field(6, gt=0, le=24 * 30, description="How often agents are announced anew.")
