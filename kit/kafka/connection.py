"""How every client of this process reaches Kafka: its options, and what became of its attempts to connect.

Rule: no client of aiokafka is made without these options. Credentials are read for each connection, so a rotated one is
used without a restart; connections that exist are left alone.
"""

from __future__ import annotations

import ssl
import weakref
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from kit.base.clock import Clock, SystemClock
from kit.base.errors import TransientError
from kit.base.kafka_settings import KafkaSettings
from kit.kafka import private
from kit.kafka.credentials import Credentials, CredentialsError, Reader, expiry

log = structlog.get_logger(__name__)

#: Seconds without an attempt after one was refused. Brokers may lock out who tries too often.
REFUSED_SECONDS = 1.0
_REFUSALS = (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    IllegalSaslStateError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)


class KafkaRefused(TransientError):
    """Kafka is there, and this process is not let in or does not trust it. Trying again helps once that is mended."""


class Connection:
    """The way to one Kafka for all clients of a process, by its settings."""

    def __init__(self, settings: KafkaSettings, clock: Clock | None = None) -> None:
        self._settings, self._clock = settings, clock or SystemClock()
        self._reader = Reader(settings, self._clock)
        self._open: weakref.WeakSet[Any] = weakref.WeakSet()
        self._fault: str | None = None
        self._refused: float | None = None
        """When (monotonic) an attempt was refused."""

    def options(self) -> dict[str, Any]:
        """Return the arguments of an aiokafka client. Credentials in them are only placeholders."""
        given = self._settings
        options: dict[str, Any] = {"bootstrap_servers": given.kafka}
        if given.kafka_security == "plaintext":
            return options
        return {
            **options,
            "security_protocol": given.kafka_security.upper(),
            "sasl_mechanism": given.kafka_mechanism.upper(),
            "ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if given.kafka_tls else None,  # trusts nobody
            "sasl_plain_username": "",
            "sasl_plain_password": "",
            "sasl_oauth_token_provider": private.connecting_with(self._connect),
        }

    def fault(self) -> str | None:
        """Return why Kafka cannot be used, if that is for its people to mend; None while any connection holds."""
        return None if any(each.connected() for each in self._open) else self._fault

    async def check(self) -> None:
        """Raise KafkaRefused with the fault, for readiness."""
        if (fault := self.fault()) is not None:
            raise KafkaRefused(fault)

    async def note_expiry(self) -> None:
        """Export when certificate and token expire. Files are replaced while connections last, so look now and then."""
        await self._reader.look_again()
        await self._reader.note_expiry()

    def unreachable(self, error: BaseException) -> TransientError:
        """Return why a client could not be started: aiokafka's error names the servers and no reason."""
        return _away(error) if self._fault is None else KafkaRefused(self._fault)

    async def _connect(self, create: Callable[..., Awaitable[Any]], options: Mapping[str, Any]) -> Any:
        """Open one connection for a client, with current credentials."""
        credentials: Credentials | None = None
        try:
            await self._rest()
            credentials = await self._reader.read()
            connection = await create(**{**options, **_as_options(credentials)})
        except (KafkaError, OSError) as error:
            self._note(error, credentials)
            raise
        self._open.add(connection)
        if self._fault is not None:
            log.info("Kafka accepts connections again")
        self._fault = None
        return connection

    async def _rest(self) -> None:
        """Wait after a refusal, whatever the credentials are now: a command may print a new token each time."""
        if self._refused is not None:
            await self._clock.sleep(max(0.0, self._refused + REFUSED_SECONDS - self._clock.monotonic()))

    def _note(self, error: Exception, credentials: Credentials | None) -> None:
        fault = _fault(error)
        if fault is None:
            return  # the broker is away, which is nothing new
        if credentials is not None:
            self._refused = self._clock.monotonic()
            if isinstance(error, _REFUSALS):
                self._reader.forget_token()
            ends = expiry(credentials.token or "")
            if ends is not None and ends < self._clock.now().timestamp():
                fault = f"{fault} (the token has expired)"
        if fault != self._fault:
            log.error("cannot connect to Kafka", reason=fault)
        self._fault = fault


Kafka = str | Connection
"""Bootstrap servers, for clients without TLS and credentials, or a connection."""


def client_options(kafka: Kafka) -> dict[str, Any]:
    """Return the arguments of an aiokafka client."""
    return kafka.options() if isinstance(kafka, Connection) else {"bootstrap_servers": kafka}


def unreachable(kafka: Kafka, error: BaseException) -> TransientError:
    """Return why a client could not be started."""
    return kafka.unreachable(error) if isinstance(kafka, Connection) else _away(error)


def _away(error: BaseException) -> TransientError:
    return TransientError(f"Kafka is not reachable: {error!r}")


def _as_options(credentials: Credentials) -> dict[str, Any]:
    token = credentials.token
    return {
        "ssl_context": credentials.ssl_context,
        "sasl_plain_username": credentials.username,
        "sasl_plain_password": credentials.password,
        "sasl_oauth_token_provider": private.holding(token) if token is not None else None,
    }


def _fault(error: BaseException) -> str | None:
    """Return what somebody has to mend; None if the broker is only away."""
    if isinstance(error, CredentialsError):
        return str(error)
    if isinstance(error, UnsupportedSaslMechanismError):
        return "Kafka does not offer this SASL mechanism"
    if isinstance(error, _REFUSALS):
        return f"Kafka refused the credentials: {error.args[0] if error.args else error}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of the broker is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        alert = "ALERT" in (error.reason or "")  # the broker's word; all else is found out here
        who = "Kafka refused the client certificate, or got none" if alert else "TLS failed"
        return f"{who}: {error.reason or error}"
    return _fault(error.__cause__) if error.__cause__ is not None else None
