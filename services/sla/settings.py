"""Settings of the sla service, from the environment. Targets are in the policy file."""

from typing import ClassVar

from pydantic import Field

from kit.base.settings import ServiceSettings


class SlaSettings(ServiceSettings, env_prefix="DESKBUS_SLA_"):
    """Settings of the sla service."""

    service: ClassVar[str] = "sla"

    port: int = Field(8083, ge=0, le=65535, description="Public port; 0 picks a free one.")
    grace_ms: int = Field(
        50, ge=1, le=10_000, description="Milliseconds that deadlines wait for events still being published."
    )
    tick_ms: int = Field(500, ge=5, le=10_000, description="Milliseconds between checks for due deadlines.")
