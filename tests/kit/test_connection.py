"""What becomes of attempts to connect: a fault that holds, and what Kafka has refused is not tried again and again."""

from __future__ import annotations

import asyncio
import shlex
import ssl
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, SaslAuthenticationFailed, UnsupportedSaslMechanismError
from structlog.testing import capture_logs

from kit.base import metrics
from kit.base.clock import SystemClock
from kit.base.errors import TransientError
from kit.base.kafka_settings import KafkaSettings
from kit.kafka.connection import REFUSED_SECONDS, Connection, KafkaRefused
from kit.kafka.credentials import CredentialsError
from tests.fake_clock import FakeClock
from tests.secured.authority import Issuer

#: A command that prints another token each time.
FRESH = "import sys; runs = open(sys.argv[1], 'a+'); runs.write('x'); runs.seek(0); print('token-' + runs.read())"


class Refusing:
    """Kafka, as aiokafka's function to connect to it: it lets nobody in."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.tokens: list[str] = []

    async def create(self, **options: Any) -> None:
        self.tokens.append(await options["sasl_oauth_token_provider"].token())
        raise self.error


async def attempts(kafka: Refusing, clock: FakeClock, runs: Path) -> None:
    """Connect three times, the second that must be waited for in between."""
    given = KafkaSettings.model_validate(
        {
            "kafka_security": "sasl_ssl",
            "kafka_mechanism": "oauthbearer",
            "kafka_token_command": shlex.join([sys.executable, "-c", FRESH, str(runs)]),
        }
    )
    connect = Connection(given, clock).options()["sasl_oauth_token_provider"].connect
    for number in range(3):
        trying = asyncio.ensure_future(connect(kafka.create, {}))
        async with asyncio.timeout(10):
            while number and not clock.sleepers and not trying.done():  # noqa: ASYNC110 - another task waits on the clock
                await asyncio.sleep(0)
        assert len(kafka.tokens) == number, "it was not tried before the second was over"
        clock.advance(REFUSED_SECONDS if number else 0)
        with pytest.raises(type(kafka.error)):
            await trying


async def test_after_a_refusal_there_is_a_second_of_rest_whatever_the_token_is_now(tmp_path: Path) -> None:
    kafka = Refusing(SaslAuthenticationFailed("no"))
    await attempts(kafka, FakeClock(datetime(2026, 3, 2, 9, tzinfo=UTC)), tmp_path / "runs")
    assert kafka.tokens == ["token-x", "token-xx", "token-xxx"]


async def test_a_token_is_kept_while_tls_fails(tmp_path: Path) -> None:
    """It was not even shown."""
    failed = ssl.SSLError("no")
    failed.reason = "NO"
    kafka = Refusing(failed)
    await attempts(kafka, FakeClock(datetime(2026, 3, 2, 9, tzinfo=UTC)), tmp_path / "runs")
    assert kafka.tokens == ["token-x"] * 3


class Open:
    """A connection that Kafka has accepted."""

    def __init__(self) -> None:
        self.holds = True

    def connected(self) -> bool:
        return self.holds


class Kafka:
    """Kafka, as aiokafka's function to connect to it: it answers what it is told to."""

    def __init__(self, **given: Any) -> None:
        values = {"security": "sasl_plaintext", "mechanism": "scram-sha-256", "username": "sla", "password": "hunter2"}
        settings = {f"kafka_{name}": value for name, value in (given or values).items()}
        self.clock = FakeClock(datetime(2026, 3, 2, 9, tzinfo=UTC))
        self.connection = Connection(KafkaSettings.model_validate(settings), self.clock)
        self.asked: dict[str, Any] = {}

    async def connect(self, answer: Open | Exception) -> None:
        async def create(**options: Any) -> Open:
            self.asked = options
            if isinstance(answer, Exception):
                raise answer
            return answer

        options = self.connection.options()
        self.clock.advance(REFUSED_SECONDS)
        await options["sasl_oauth_token_provider"].connect(create, options)

    async def refuse(self) -> None:
        with pytest.raises(SaslAuthenticationFailed):
            await self.connect(SaslAuthenticationFailed("no"))


async def test_a_client_gets_the_credentials_as_they_are_now() -> None:
    kafka, accepted = Kafka(), Open()
    await kafka.connect(accepted)
    names = ("security_protocol", "sasl_mechanism", "sasl_plain_username", "sasl_plain_password", "ssl_context")
    assert [kafka.asked[name] for name in names] == ["SASL_PLAINTEXT", "SCRAM-SHA-256", "sla", "hunter2", None]


def test_a_context_that_is_only_a_placeholder_trusts_nobody() -> None:
    context = Kafka(security="ssl").connection.options()["ssl_context"]
    assert (context.verify_mode, context.get_ca_certs()) == (ssl.CERT_REQUIRED, [])


async def test_a_refusal_is_a_fault_while_no_connection_holds() -> None:
    kafka, first, second = Kafka(), Open(), Open()
    away = kafka.connection.unreachable(OSError("gone"))
    assert (type(away), str(away)) == (TransientError, "Kafka is not reachable: OSError('gone')")
    await kafka.refuse()
    with pytest.raises(KafkaRefused, match="Kafka refused the credentials: no"):
        await kafka.connection.check()
    assert isinstance(kafka.connection.unreachable(OSError("gone")), KafkaRefused)
    await kafka.connect(first)
    await kafka.connect(second)
    await kafka.refuse()
    first.holds = False
    await kafka.connection.check()
    second.holds = False
    with pytest.raises(KafkaRefused):
        await kafka.connection.check()


def failed(kind: type[ssl.SSLError], reason: str) -> ssl.SSLError:
    error = kind(1, reason)
    error.reason = reason
    if isinstance(error, ssl.SSLCertVerificationError):
        error.verify_message = reason
    return error


def caused(by: Exception) -> Exception:
    error: Exception = KafkaConnectionError("unable to connect")
    error.__cause__ = by
    return error


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (UnsupportedSaslMechanismError(), "Kafka does not offer this SASL mechanism"),
        (
            failed(ssl.SSLCertVerificationError, "unknown CA"),
            "the certificate of the broker is not trusted: unknown CA",
        ),
        (failed(ssl.SSLError, "TLSV1_ALERT_X"), "Kafka refused the client certificate, or got none: TLSV1_ALERT_X"),
        (failed(ssl.SSLError, "WRONG_VERSION"), "TLS failed: WRONG_VERSION"),
        (caused(failed(ssl.SSLError, "WRONG_VERSION")), "TLS failed: WRONG_VERSION"),
        (caused(ConnectionResetError()), None),
        (ConnectionRefusedError(), None),
    ],
    ids=["mechanism", "CA", "certificate", "TLS", "as a cause", "away, as a cause", "away"],
)
async def test_a_fault_says_what_somebody_has_to_mend(error: Exception, fault: str | None) -> None:
    kafka = Kafka()
    with pytest.raises(type(error)):
        await kafka.connect(error)
    assert kafka.connection.fault() == fault


async def test_credentials_that_cannot_be_had_are_a_fault_and_are_shown_to_nobody() -> None:
    command = shlex.join([sys.executable, "-c", "raise SystemExit(7)"])
    kafka = Kafka(security="sasl_plaintext", mechanism="oauthbearer", token_command=command)
    with pytest.raises(CredentialsError):
        await kafka.connect(Open())
    assert kafka.connection.fault() == "the token command exited with 7"
    assert kafka.asked == {}


async def test_a_fault_is_over_once_a_connection_is_accepted() -> None:
    kafka, accepted = Kafka(), Open()
    await kafka.refuse()
    await kafka.connect(accepted)
    accepted.holds = False
    assert kafka.connection.fault() is None, "Kafka is away, which nobody here can mend"


async def test_a_fault_is_told_once() -> None:
    kafka = Kafka()
    with capture_logs() as logs:
        await kafka.refuse()
        await kafka.refuse()
        await kafka.connect(Open())
    assert [line["event"] for line in logs] == ["cannot connect to Kafka", "Kafka accepts connections again"]


@pytest.mark.parametrize(("lasts", "hint"), [(-60, " (the token has expired)"), (600, "")])
async def test_a_token_that_has_expired_is_said_to_have(tmp_path: Path, lasts: float, hint: str) -> None:
    token = tmp_path / "token"
    token.write_text(Issuer().token("sla", lasts=lasts))
    kafka = Kafka(security="sasl_plaintext", mechanism="oauthbearer", token_file=token)
    kafka.clock.set(SystemClock().now())
    await kafka.refuse()
    assert kafka.connection.fault() == f"Kafka refused the credentials: no{hint}"


async def test_the_job_of_a_service_exports_when_a_token_expires(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(Issuer().token("sla", lasts=70_000))
    kafka = Kafka(security="sasl_plaintext", mechanism="oauthbearer", token_file=token)
    await kafka.connection.note_expiry()
    ends = metrics.TOKEN_EXPIRY.labels("kafka")._value.get()
    assert ends == pytest.approx(SystemClock().now().timestamp() + 70_000, abs=60)
