"""Settings of ingest, from DESKBUS_INGEST_*; only app.py reads them. Channel accounts are in the policy file."""

from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from contracts.topics import BY_NAME, DAY_MS, INBOUND, dlq
from kit.base.settings import ServiceSettings
from kit.policy.address import HostsSetting
from kit.relay import CA_MEANING, MEANING, RelayTls, refuse_unsafe

#: A record may become a dead letter on its last day in the inbound topic, and be replayed on the letter's last day.
LEAST_CLAIM_DAYS = (BY_NAME[INBOUND].retention_ms + BY_NAME[dlq("ingest")].retention_ms) // DAY_MS


class IngestSettings(ServiceSettings):
    """Settings of the doors, and of sending replies."""

    model_config = SettingsConfigDict(env_prefix="DESKBUS_INGEST_")
    service: ClassVar[str] = "ingest"

    port: int = Field(8081, ge=0, le=65535, description="Public port: webhooks, commands, tickets and files.")
    max_body: int = Field(
        10 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024, description="Maximum size of a request body or mail, in bytes."
    )
    door_seconds: float = Field(
        1.8, gt=0, le=30, description="Seconds to wait for Kafka's acknowledgement before answering 503."
    )
    claim_seconds: float = Field(
        8.0, gt=0, le=60, description="Seconds to wait for MongoDB to store a body that is too large for Kafka."
    )
    claim_days: float = Field(
        60,
        ge=LEAST_CLAIM_DAYS,
        le=3650,
        description="Days after which such a body is deleted; until then its dead letter can be replayed.",
    )
    upload_hours: float = Field(
        24,
        gt=0,
        le=8760,
        description="Hours after which an upload (`POST /v1/files`) is deleted unless a reply uses it.",
    )

    smtp_port: int = Field(8025, ge=0, le=65535, description="Port for SMTP, and for LMTP (LHLO).")
    smtp_enabled: bool = Field(default=True, description="Whether to accept mail.")
    smtp_hostname: str = Field(
        "deskbus.invalid", pattern=r"^[A-Za-z0-9.-]+$", description="Host name in the SMTP greeting."
    )
    smtp_sessions: int = Field(
        200,
        ge=1,
        le=10_000,
        description="Maximum number of concurrent sessions; further clients are told to retry (421).",
    )
    smtp_session_seconds: float = Field(600, gt=0, le=3600, description="Maximum duration of a session, in seconds.")
    smtp_idle_seconds: float = Field(
        60, gt=0, le=600, description="Seconds of inactivity after which a session is closed."
    )
    smtp_certificate: Path | None = Field(None, description="Certificate chain (PEM); with the key, enables STARTTLS.")
    smtp_key: Path | None = Field(None, description="Private key (PEM).")

    relay_host: str = Field("127.0.0.1", description="Host of the mail relay for replies.")
    relay_port: int = Field(25, ge=1, le=65535, description="Port of the mail relay.")
    relay_tls: RelayTls = Field("opportunistic", description=MEANING)
    relay_ca: Path | None = Field(None, description=CA_MEANING)
    relay_username: str | None = Field(None, description="User name for the relay; empty for no login.")
    relay_password: SecretStr | None = Field(None, description="Password; refused with opportunistic TLS.")
    send_seconds: float = Field(
        10, gt=0, le=45, description="Timeout of one attempt to send a reply, in seconds; below its lease of 60 s."
    )
    allow_hosts: HostsSetting = Field(
        (), description="Hosts to allow besides the policy's `allow_hosts`: host or host:port, comma-separated."
    )

    @property
    def upload_for(self) -> timedelta:
        """How long an upload may be attached to a reply."""
        return timedelta(hours=self.upload_hours)

    @property
    def drain_seconds(self) -> float:
        """How long replies that are being sent may take on shutdown."""
        return min(self.send_seconds + 1, self.grace_seconds / 2)

    @model_validator(mode="after")
    def _mail_is_safe(self) -> Self:
        refuse_unsafe(self.relay_tls, self.relay_ca, password=self.relay_password is not None)
        if (self.smtp_certificate is None) != (self.smtp_key is None):
            raise ValueError("smtp_certificate and smtp_key must be set together")
        return self
