"""What every service reads from its environment. A service's settings.py adds its own fields; policies are YAML."""

from collections.abc import Collection
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from contracts.topics import MAX_VALUE_BYTES, group_name
from kit.base.files import UTF8
from kit.base.kafka_settings import KafkaSettings
from kit.base.tokens import Caller, parse_tokens

_OWN = frozenset({"port", "ops_port", "policy"})  # a machine runs several services: these must differ


class ServiceSettings(KafkaSettings):
    """Common fields. A service declares `class RoutingSettings(ServiceSettings, env_prefix="DESKBUS_ROUTING_")`."""

    service: ClassVar[str] = "service"

    mongo: SecretStr = Field(SecretStr("mongodb://127.0.0.1:27017"), description="MongoDB connection string.")
    mongo_file: Path | None = Field(
        None, description="File that contains the connection string instead; read again when it changes."
    )
    topic_prefix: str = Field(
        "", pattern=r"^[A-Za-z0-9._-]*$", max_length=100, description="Prefix of every topic name."
    )
    mongo_prefix: str = Field(
        "deskbus", pattern=r"^[A-Za-z0-9_-]+$", max_length=40, description="Prefix of the database name."
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Public port; 0 picks a free one.")
    ops_port: int = Field(
        default_factory=lambda given: given["port"] + 1000 if given["port"] else 0,
        ge=0,
        le=65535,
        description="Port for health and metrics; defaults to the public port plus 1000.",
    )
    tls_certificate: Path | None = Field(
        None,
        description="Certificate chain (PEM); with the key, the public port and the operators' port serve TLS only.",
    )
    tls_key: Path | None = Field(None, description="Private key (PEM) of that certificate.")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="debug, info, warning or error.")
    tracing: bool = Field(False, description="Record OpenTelemetry spans, which the OTEL_* variables configure.")
    policy: Path | None = Field(None, description="Path of the policy file (YAML).")
    tokens: SecretStr = Field(
        SecretStr(""),
        description="Hashed bearer tokens with their scopes and limits, or the path of a file that contains them.",
    )

    batch_records: int = Field(500, ge=1, le=5000, description="Maximum number of records per batch.")
    batch_bytes: int = Field(
        16 * 1024 * 1024,
        ge=64 * 1024,
        le=1024**3,
        description="Maximum size of a batch in bytes, including large bodies; a larger record is a batch by itself.",
    )
    commit_ms: int = Field(
        200, ge=0, le=5000, description="Milliseconds between offset commits; 0 commits after every batch."
    )
    gather_ms: int = Field(
        0, ge=0, le=5000, description="How long, in milliseconds, non-urgent records may wait to fill a batch."
    )
    session_timeout_ms: int = Field(
        10_000, ge=1000, le=300_000, description="Kafka session timeout of the consumer, in milliseconds."
    )
    heartbeat_ms: int = Field(
        500,
        ge=100,
        le=60_000,
        description="Kafka heartbeat interval, in milliseconds; at most a third of the session timeout.",
    )
    sweep_after_seconds: float = Field(
        5, ge=0.1, le=3600, description="Age, in seconds, from which the sweeper publishes an outbox entry."
    )
    retry_attempts: int = Field(
        8, ge=1, le=1000, description="Attempts to handle a record before it becomes a dead letter."
    )
    retry_backoff_ms: int = Field(
        200, ge=1, le=60_000, description="First retry delay in milliseconds; doubles with each retry, with jitter."
    )
    retry_backoff_max_ms: int = Field(10_000, ge=1, le=600_000, description="Maximum retry delay, in milliseconds.")
    dlq_stop_share: float = Field(
        0.5, gt=0, le=1, description="Share of dead letters above which the service stops consuming."
    )
    dlq_stop_window: int = Field(
        100,
        ge=10,
        le=100_000,
        description="Number of recent records used to compute that share; a larger batch counts in full.",
    )
    liveness_seconds: float = Field(
        30, ge=5, le=600, description="Seconds without progress of the poll loop after which /livez reports 503."
    )
    grace_seconds: float = Field(
        20, ge=0.1, le=600, description="Seconds to finish work and leave the group after SIGTERM."
    )
    max_record_bytes: int = Field(
        900_000,
        ge=1000,
        le=MAX_VALUE_BYTES,
        description="Maximum size of a Kafka record value in bytes; every topic accepts this size.",
    )

    @classmethod
    def shared(cls) -> Collection[str]:
        return ServiceSettings.model_fields.keys() - _OWN

    @field_validator("mongo", mode="after")
    @classmethod
    def _is_mongo(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("mongodb://", "mongodb+srv://")):
            raise ValueError("must begin with mongodb:// or mongodb+srv://")
        return value

    @field_validator("tokens", mode="after")
    @classmethod
    def _tokens_read(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if text and ":" not in text:
            try:
                text = Path(text).read_text(encoding=UTF8)
            except (OSError, UnicodeDecodeError) as error:  # must stop the start, not open a door
                why = error.strerror if isinstance(error, OSError) else "not UTF-8"
                raise ValueError(f"neither tokens nor a file that can be read: {why}") from None
        parse_tokens(text)
        return SecretStr(text)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.heartbeat_ms * 3 > self.session_timeout_ms:
            raise ValueError("heartbeat_ms must be at most a third of session_timeout_ms")
        if self.retry_backoff_ms > self.retry_backoff_max_ms:
            raise ValueError("retry_backoff_ms must be at most retry_backoff_max_ms")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key must be set together")
        return self

    @property
    def policy_file(self) -> Path:
        """The policy file; raises ValueError when none is named."""
        if self.policy is None:
            name = f"DESKBUS_{self.service.upper()}_POLICY"
            raise ValueError(
                f"{name} is not set; it must be the path of a policy file, such as deploy/config/{self.service}.yaml"
            )
        return self.policy

    @property
    def group(self) -> str:
        """The consumer group."""
        return group_name(self.service, self.topic_prefix)

    @property
    def database(self) -> str:
        """The MongoDB database that this service alone reads."""
        return f"{self.mongo_prefix}_{self.service}"

    @property
    def callers(self) -> tuple[Caller, ...]:
        """Who may call the doors."""
        return parse_tokens(self.tokens.get_secret_value())
