"""Settings of the notify service, from the environment. Receivers, chains and routes are in the policy file."""

from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from kit.base.settings import ServiceSettings
from kit.policy.address import HostsSetting
from kit.relay import CA_MEANING, MEANING, RelayTls, refuse_unsafe


class NotifySettings(ServiceSettings):
    """Settings of the notify service."""

    model_config = SettingsConfigDict(env_prefix="DESKBUS_NOTIFY_")
    service: ClassVar[str] = "notify"

    port: int = Field(8084, ge=0, le=65535, description="Public port; 0 picks a free one.")

    smtp_host: str = Field("127.0.0.1", description="Host of the mail relay; private addresses are allowed.")
    smtp_port: int = Field(25, ge=1, le=65535, description="Port of the mail relay.")
    smtp_from: str = Field("Deskbus <deskbus@localhost>", pattern=r"@", description="Sender of all notification mails.")
    smtp_user: str = Field("", description="User name for the relay; empty for no login.")
    smtp_password: str = Field(
        "", pattern=r"^$|^env:|^file:", description="Reference to the password: env:NAME or file:/path."
    )
    smtp_tls: RelayTls = Field("opportunistic", description=MEANING)
    smtp_ca: Path | None = Field(None, description=CA_MEANING)

    allow_hosts: HostsSetting = Field(
        (), description="Hosts to allow besides the policy's `allow_hosts`: host or host:port, comma-separated."
    )
    batch_records: int = Field(2000, ge=1, le=5000, description="Maximum number of records per batch.")
    gather_ms: int = Field(
        2000,
        ge=0,
        le=5000,
        description="Milliseconds that events without an alert may wait, so that a new ticket takes one write.",
    )
    timer_ms: int = Field(500, ge=5, le=10_000, description="Milliseconds between checks for due escalation steps.")
    send_ms: int = Field(500, ge=5, le=10_000, description="Milliseconds between checks for notifications to retry.")
    send_at_once: int = Field(
        32, ge=1, le=1000, description="Maximum concurrent notifications; a quarter of them per receiver."
    )
    send_seconds: float = Field(15, gt=0, le=120, description="Timeout of one HTTP request, in seconds.")

    @model_validator(mode="after")
    def _relay_is_safe(self) -> Self:
        refuse_unsafe(self.smtp_tls, self.smtp_ca, password=bool(self.smtp_password))
        return self
