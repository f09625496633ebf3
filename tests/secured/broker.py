"""A real broker with TLS, SASL, mutual TLS and an authorizer, and the settings with which its users connect."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka.errors import GroupAuthorizationFailedError

from cli.access import allow, set_passwords
from cli.topics import committed
from contracts.access import OPERATOR, USERS, access
from deploy.local import free_port
from deploy.local.kafka import KafkaServer, Listener
from kit.base.errors import TransientError
from kit.base.kafka_settings import KafkaSettings
from kit.kafka.connection import Connection
from tests.secured.authority import Authority, Issuer, write

_OAUTH = "org.apache.kafka.common.security.oauthbearer"


class SecureKafka(KafkaServer):
    """A broker whose plaintext listener is for its keepers only: `User:ANONYMOUS` may do everything."""

    jwks: Path

    def environment(self) -> dict[str, str]:
        return {"JAVA_TOOL_OPTIONS": f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self.jwks.as_uri()}"}


@dataclass
class Secured:
    """The broker, and what is needed to enter it."""

    folder: Path
    server: KafkaServer
    authority: Authority
    issuer: Issuer
    ports: Mapping[str, int]
    passwords: dict[str, str] = field(default_factory=dict)

    @property
    def keepers(self) -> str:
        """Bootstrap servers of those who may do everything."""
        return self.server.address

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def at(self, listener: str) -> str:
        """Return the bootstrap servers of a listener."""
        return f"127.0.0.1:{self.ports[listener]}"

    def scram(self, user: str, listener: str = "SASL") -> dict[str, str]:
        """Return the variables with which a user logs in by password."""
        return {
            "DESKBUS_KAFKA": self.at(listener),
            "DESKBUS_KAFKA_SECURITY": "sasl_ssl",
            "DESKBUS_KAFKA_CA": str(self.ca),
            "DESKBUS_KAFKA_USERNAME": user,
            "DESKBUS_KAFKA_PASSWORD": self.passwords[user],
        }

    def bearer(self, file: Path) -> dict[str, str]:
        """Return the variables with which whoever has this token logs in."""
        return {
            "DESKBUS_KAFKA": self.at("SASL"),
            "DESKBUS_KAFKA_SECURITY": "sasl_ssl",
            "DESKBUS_KAFKA_MECHANISM": "oauthbearer",
            "DESKBUS_KAFKA_CA": str(self.ca),
            "DESKBUS_KAFKA_TOKEN_FILE": str(file),
        }

    def mutual(self, certificate: Path, key: Path) -> dict[str, str]:
        """Return the variables with which a certificate is shown."""
        return {
            "DESKBUS_KAFKA": self.at("MTLS"),
            "DESKBUS_KAFKA_SECURITY": "ssl",
            "DESKBUS_KAFKA_CA": str(self.ca),
            "DESKBUS_KAFKA_CERTIFICATE": str(certificate),
            "DESKBUS_KAFKA_KEY": str(key),
        }

    async def admit(self, prefix: str) -> None:
        """Give every user of an installation a password, and what it may do."""
        new = {user: secrets.token_urlsafe(12) for user in USERS if user not in self.passwords}
        if new:
            await set_passwords(self.keepers, new)
            self.passwords |= new
        await allow(self.keepers, {user: access(user, prefix) for user in USERS})
        await self._until_known(prefix)

    async def _until_known(self, prefix: str) -> None:
        """Wait until the broker has learnt what its controller was told last."""
        operator = Connection(KafkaSettings.of(self.scram(OPERATOR)))
        async with asyncio.timeout(20):
            while True:
                try:
                    await committed(operator, access(OPERATOR, prefix)[-1].name)
                except (TransientError, GroupAuthorizationFailedError):
                    await asyncio.sleep(0.05)
                else:
                    return


def secured(folder: Path) -> Secured:
    """Return a broker with its files in `folder`, not started yet."""
    authority, issuer = Authority(), Issuer()
    certificate, key = authority.issue("127.0.0.1")
    files = write(folder, ca=authority.pem, server=key + certificate)
    jwks = folder / "jwks.json"
    jwks.write_text(issuer.jwks(), encoding="utf-8")
    ports = {name: free_port() for name in ("SASL", "MTLS", "BRIEF")}
    protocols = {"SASL": "SASL_SSL", "MTLS": "SSL", "BRIEF": "SASL_SSL"}
    server = SecureKafka(
        folder / "kafka",
        free_port(),
        listeners=[Listener(name, port, protocols[name]) for name, port in ports.items()],
        properties=_properties(files, jwks, issuer),
    )
    server.jwks = jwks
    return Secured(folder, server, authority, issuer, ports)


def _properties(files: Mapping[str, Path], jwks: Path, issuer: Issuer) -> dict[str, str]:
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    oauth = "listener.name.sasl.oauthbearer"
    return {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(files["server"]),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(files["ca"]),
        "listener.name.mtls.ssl.client.auth": "required",
        "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512,OAUTHBEARER",
        "listener.name.sasl.scram-sha-512.sasl.jaas.config": scram,
        f"{oauth}.sasl.jaas.config": f"{_OAUTH}.OAuthBearerLoginModule required;",
        f"{oauth}.sasl.server.callback.handler.class": f"{_OAUTH}.OAuthBearerValidatorCallbackHandler",
        # Kafka 4.1's default validator takes tokens whose signature nobody has checked.
        "sasl.oauthbearer.jwt.validator.class": f"{_OAUTH}.BrokerJwtValidator",
        "sasl.oauthbearer.jwks.endpoint.url": jwks.as_uri(),
        "sasl.oauthbearer.expected.audience": issuer.audience,
        "sasl.oauthbearer.expected.issuer": issuer.url,
        "sasl.oauthbearer.clock.skew.seconds": "0",
        # Connections of this listener end after two seconds, as brokers can be set to limit every session.
        "listener.name.brief.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.brief.scram-sha-512.sasl.jaas.config": scram,
        "listener.name.brief.scram-sha-512.connections.max.reauth.ms": "2000",
    }
