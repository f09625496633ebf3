"""What notify reads from its environment. Receivers, chains and routes are its policy file's."""

from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from kit.base.settings import ServiceSettings
from kit.policy.address import HostsSetting, hosts
from kit.relay import CA_MEANING, MEANING, RelayTls, refuse_unsafe


class NotifySettings(ServiceSettings):
    """Prefix DESKBUS_NOTIFY_."""

    model_config = SettingsConfigDict(env_prefix="DESKBUS_NOTIFY_")
    service: ClassVar[str] = "notify"

    port: int = Field(8084, ge=0, le=65535, description="Public door; 0 lets the system choose.")

    smtp_host: str = Field("127.0.0.1", description="Mail relay. It is the operator's: its address is not guarded.")
    smtp_port: int = Field(25, ge=1, le=65535)
    smtp_from: str = Field("Deskbus <deskbus@localhost>", pattern=r"@", description="Sender of every mail.")
    smtp_user: str = Field("", description="Empty: no login.")
    smtp_password: str = Field(
        "", pattern=r"^$|^env:|^file:", description="Where the password is: env:NAME, file:/path."
    )
    smtp_tls: RelayTls = Field("opportunistic", description=MEANING)
    smtp_ca: Path | None = Field(None, description=CA_MEANING)

    allow_hosts: HostsSetting = Field(
        "", description="Hosts to allow besides the policy's: host or host:port, by commas."
    )
    batch_records: int = Field(2000, ge=1, le=5000, description="Records in a batch, at most.")
    gather_ms: int = Field(
        2000,
        ge=0,
        le=5000,
        description="Time that events which raise no alert wait for others: what becomes of a new ticket is one write.",
    )
    timer_ms: int = Field(500, ge=5, le=10_000, description="How often the store is asked what falls due next.")
    send_ms: int = Field(500, ge=5, le=10_000, description="How often the store is asked what is to be tried again.")
    send_at_once: int = Field(32, ge=1, le=1000, description="Notifications on their way at a time; a quarter to one.")
    send_seconds: float = Field(15, gt=0, le=120, description="Time that one HTTP request may take.")

    @model_validator(mode="after")
    def _relay_is_safe(self) -> Self:
        refuse_unsafe(self.smtp_tls, self.smtp_ca, password=bool(self.smtp_password))
        return self

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts allowed here."""
        return hosts(self.allow_hosts)
