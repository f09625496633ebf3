"""How to reach Kafka: servers, TLS, credentials. Contents of files are read at each connection, in `kit/kafka/`.

Rule: a combination that would connect less safely than it looks is refused at the start, and so is a file that cannot
be read. An error names variables, never their values.
"""

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from kit.base.environment import SHARED, Environment, secret_file

Security = Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]
Mechanism = Literal["scram-sha-512", "scram-sha-256", "plain", "oauthbearer"]


class KafkaSettings(Environment):
    """Settings that services and the command line share."""

    kafka: str = Field("127.0.0.1:9092", min_length=1, description="Bootstrap servers, separated by commas.")
    kafka_security: Security = Field(
        "plaintext", description="How to connect to Kafka: plaintext, ssl, sasl_plaintext or sasl_ssl."
    )
    kafka_mechanism: Mechanism = Field(
        "scram-sha-512", description="SASL mechanism: scram-sha-512, scram-sha-256, plain or oauthbearer."
    )
    kafka_ca: Path | None = Field(
        None, validate_default=True, description="CAs that sign the brokers' certificates (PEM); default: the system's."
    )
    kafka_certificate: Path | None = Field(
        None, validate_default=True, description="Client certificate (PEM) for mutual TLS, with its chain."
    )
    kafka_key: Path | None = Field(None, validate_default=True, description="Its private key (PEM), not encrypted.")
    kafka_username: str | None = Field(
        None, validate_default=True, description="SASL user, for all mechanisms but oauthbearer."
    )
    kafka_password: SecretStr | None = Field(None, validate_default=True, description="Its password.")
    kafka_password_file: Path | None = Field(
        None, validate_default=True, description="Its password as a file, which is read at each connection."
    )
    kafka_token_file: Path | None = Field(
        None, validate_default=True, description="Token for oauthbearer as a file, which is read at each connection."
    )
    kafka_token_command: str | None = Field(
        None,
        validate_default=True,
        description="Command that prints the token for oauthbearer; run without a shell, at most once in 30 s.",
    )

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Self:
        """Return the settings that these variables make, in place of the environment's own."""
        given = {name: variables.get(f"{SHARED}{name.upper()}") for name in cls.model_fields}
        return cls.model_validate({name: value for name, value in given.items() if value})

    @property
    def kafka_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.kafka_security in {"ssl", "sasl_ssl"}

    @property
    def kafka_sasl(self) -> bool:
        """Whether a user or token is sent."""
        return self.kafka_security in {"sasl_plaintext", "sasl_ssl"}

    @field_validator("kafka_ca", "kafka_certificate", "kafka_key", mode="after")
    @classmethod
    def _for_tls(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        if file is not None:
            _needs(info, "kafka_security", {"ssl", "sasl_ssl"})
            _readable(file)
        if info.field_name == "kafka_key" and "kafka_certificate" in info.data:
            certificate = info.data["kafka_certificate"]
            if (file is None) != (certificate is None):
                raise ValueError("mutual TLS takes a certificate and its key; one of them is not set")
        return file

    @field_validator("kafka_username", "kafka_password", "kafka_password_file", mode="after")
    @classmethod
    def _for_passwords(
        cls, value: str | SecretStr | Path | None, info: ValidationInfo
    ) -> str | SecretStr | Path | None:
        if value is not None:
            _needs(info, "kafka_security", {"sasl_plaintext", "sasl_ssl"})
            _needs(info, "kafka_mechanism", {"scram-sha-512", "scram-sha-256", "plain"})
        return value

    @field_validator("kafka_username", mode="after")
    @classmethod
    def _user_is_named(cls, username: str | None, info: ValidationInfo) -> str | None:
        if username is None and _logs_in(info):
            raise ValueError(f"is required for {info.data['kafka_mechanism']}")
        return username

    @field_validator("kafka_password_file", mode="after")
    @classmethod
    def _one_password(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        if not _logs_in(info) or "kafka_password" not in info.data:
            return file
        if file is None:
            file = secret_file(cls, "kafka_password")  # a mounted secret may rotate, too
        elif info.data["kafka_password"] is not None:
            raise ValueError("the password is set already; set one of the two")
        if file is not None:
            _readable(file)
        elif info.data["kafka_password"] is None:
            raise ValueError(f"{info.data['kafka_mechanism']} requires a password: set this file, or the password")
        return file

    @field_validator("kafka_token_file", "kafka_token_command", mode="after")
    @classmethod
    def _for_tokens(cls, value: Path | str | None, info: ValidationInfo) -> Path | str | None:
        if value is not None:
            _needs(info, "kafka_security", {"sasl_plaintext", "sasl_ssl"})
            _needs(info, "kafka_mechanism", {"oauthbearer"})
        if isinstance(value, Path):
            _readable(value)
        if isinstance(value, str):
            _runnable(value)
        return value

    @field_validator("kafka_token_command", mode="after")
    @classmethod
    def _one_token(cls, command: str | None, info: ValidationInfo) -> str | None:
        if "kafka_token_file" not in info.data or not _sends_token(info):
            return command
        if command is not None and info.data["kafka_token_file"] is not None:
            raise ValueError("a token file is set already; set one of the two")
        if command is None and info.data["kafka_token_file"] is None:
            raise ValueError("oauthbearer requires a token: set this command, or a token file")
        return command


def _is_sasl(info: ValidationInfo) -> bool:
    return info.data.get("kafka_security") in {"sasl_plaintext", "sasl_ssl"}


def _logs_in(info: ValidationInfo) -> bool:
    return _is_sasl(info) and info.data.get("kafka_mechanism", "oauthbearer") != "oauthbearer"


def _sends_token(info: ValidationInfo) -> bool:
    return _is_sasl(info) and info.data.get("kafka_mechanism") == "oauthbearer"


def _needs(info: ValidationInfo, field: str, values: set[str]) -> None:
    """Refuse a value that would be ignored: who sets it believes that connections use it."""
    actual = info.data.get(field)
    if actual is not None and actual not in values:
        raise ValueError(f"has no effect with {SHARED}{field.upper()}={actual}; expected {' or '.join(sorted(values))}")


def _readable(file: Path) -> None:
    try:
        with file.open("rb") as opened:
            opened.read(1)
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None


def _runnable(command: str) -> None:
    try:
        program, *_ = shlex.split(command)
    except ValueError:
        raise ValueError("is not a command: quotes do not match, or it is empty") from None
    if shutil.which(program) is None:
        raise ValueError("its program does not exist, or may not be run")
