"""Settings of ingest, from DESKBUS_INGEST_*; read by app only. Channel accounts are policy, not settings."""

from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from contracts.topics import BY_NAME, DAY_MS, INBOUND, dlq
from kit.base.settings import ServiceSettings
from kit.policy.address import HostsSetting, hosts
from kit.relay import CA_MEANING, MEANING, RelayTls, refuse_unsafe

#: A record may become a dead letter on its last day on the inbound topic, and be replayed on the letter's last day.
LEAST_CLAIM_DAYS = (BY_NAME[INBOUND].retention_ms + BY_NAME[dlq("ingest")].retention_ms) // DAY_MS


class IngestSettings(ServiceSettings):
    """The doors, and the way out for mail."""

    model_config = SettingsConfigDict(env_prefix="DESKBUS_INGEST_")
    service: ClassVar[str] = "ingest"

    port: int = Field(8081, ge=0, le=65535, description="Webhooks, commands and ticket reads.")
    max_body: int = Field(10 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024, description="Largest body or mail taken.")
    door_seconds: float = Field(1.8, gt=0, le=30, description="Time for Kafka to acknowledge before the answer is 503.")
    claim_seconds: float = Field(8.0, gt=0, le=60, description="Time to store a body that is too large for Kafka.")
    claim_days: float = Field(
        60,
        ge=LEAST_CLAIM_DAYS,
        le=3650,
        description="Days that such a body is kept, from its arrival: a replay of its dead letter needs it.",
    )
    upload_hours: float = Field(
        24,
        gt=0,
        le=8760,
        description="Time in which a reply must name an upload (`POST /v1/files`); then it is deleted.",
    )

    smtp_port: int = Field(8025, ge=0, le=65535, description="SMTP and, by LHLO, LMTP.")
    smtp_enabled: bool = Field(default=True, description="Whether mail is taken.")
    smtp_hostname: str = Field("deskbus.invalid", pattern=r"^[A-Za-z0-9.-]+$", description="Name in the greeting.")
    smtp_sessions: int = Field(200, ge=1, le=10_000, description="Sessions at once; more are told to come again.")
    smtp_session_seconds: float = Field(600, gt=0, le=3600, description="Longest session.")
    smtp_idle_seconds: float = Field(60, gt=0, le=600, description="Longest silence within a session.")
    smtp_certificate: Path | None = Field(None, description="PEM chain; with the key it turns STARTTLS on.")
    smtp_key: Path | None = Field(None, description="PEM key.")

    relay_host: str = Field("127.0.0.1", description="Server that our mail is handed to.")
    relay_port: int = Field(25, ge=1, le=65535)
    relay_tls: RelayTls = Field("opportunistic", description=MEANING)
    relay_ca: Path | None = Field(None, description=CA_MEANING)
    relay_username: str | None = Field(None, description="Login; none by default.")
    relay_password: SecretStr | None = Field(None, description="Not with opportunistic TLS, which gives it away.")
    send_seconds: float = Field(10, gt=0, le=45, description="Time for one try at sending a reply; its lease is 60 s.")
    allow_hosts: HostsSetting = Field(
        "", description="Hosts to allow besides the policy's: host or host:port, by commas."
    )

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts allowed here."""
        return hosts(self.allow_hosts)

    @model_validator(mode="after")
    def _relay_is_safe(self) -> Self:
        refuse_unsafe(self.relay_tls, self.relay_ca, password=self.relay_password is not None)
        return self
