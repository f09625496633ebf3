"""Between attempts to connect: what Kafka has refused is not tried again and again."""

from __future__ import annotations

import asyncio
import shlex
import ssl
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import SaslAuthenticationFailed

from kit.base.kafka_settings import KafkaSettings
from kit.kafka.connection import REFUSED_SECONDS, Connection
from tests.fake_clock import FakeClock

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
