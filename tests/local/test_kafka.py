"""The local Kafka with more than its defaults: listeners and users of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from deploy.local import KafkaServer, free_port
from deploy.local.kafka import Listener

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[KafkaServer, Listener]]:
    """A broker with a listener that asks for a password, and with one user."""
    listener = Listener("SAFE", free_port(), "SASL_PLAINTEXT")
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    server = KafkaServer(
        tmp_path / "kafka",
        free_port(),
        listeners=[listener],
        properties={
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.safe.scram-sha-512.sasl.jaas.config": scram,
        },
        format_options=["--add-scram", "SCRAM-SHA-512=[name=alice,password=secret]"],
    )
    server.start()
    try:
        server.wait_ready()
        yield server, listener
    finally:
        server.kill()


async def test_a_broker_has_the_listeners_and_users_that_it_is_given(guarded: tuple[KafkaServer, Listener]) -> None:
    server, listener = guarded

    async def names(password: str) -> list[str]:
        client = AIOKafkaAdminClient(
            bootstrap_servers=f"{server.host}:{listener.port}",
            security_protocol=listener.protocol,
            sasl_mechanism="SCRAM-SHA-512",
            sasl_plain_username="alice",
            sasl_plain_password=password,
        )
        try:
            await client.start()
            found: list[str] = await client.list_topics()
            return found
        finally:
            await client.close()

    assert await names("secret") == []
    with pytest.raises(KafkaError):
        await names("wrong")
