"""What the settings of ingest say reaches what they are about."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from contracts.inbound import MAX_INLINE_BYTES, HttpRequest
from kit.base.errors import TransientError
from kit.protocol.ports import Outgoing
from services.ingest.blobs import BLOBS
from services.ingest.intake import Envelope, Intake
from services.ingest.settings import IngestSettings
from services.ingest.smtp import MailDoor, MailLimits
from tests.fake_clock import FakeClock
from tests.ingest.channels import samples as s
from tests.kit.fake_store import FakeStore

MAIL = Envelope("email", "desk", "k", "message/rfc822", HttpRequest(), verified=False)


class Kafka:
    """Notes each record, and how long the door waits for it."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, float]] = []

    async def send(self, record: Outgoing, *, seconds: float) -> None:
        self.sent.append((record.topic, seconds))


class Hanging(FakeStore):
    """Never answers."""

    async def insert(self, collection: str, documents: Sequence[Mapping[str, Any]]) -> set[str]:
        await asyncio.Event().wait()
        return await super().insert(collection, documents)


def opened(settings: IngestSettings) -> MailDoor:
    intake = Intake.from_settings(settings, Kafka(), FakeStore(), FakeClock(s.NOW))
    return MailDoor.from_settings(settings, intake, lambda: s.ACCOUNTS)


async def test_a_record_goes_to_the_inbound_topic_of_the_installation_within_the_time_of_a_door() -> None:
    settings, kafka = IngestSettings(topic_prefix="test.", door_seconds=3, claim_seconds=4), Kafka()
    await Intake.from_settings(settings, kafka, FakeStore(), FakeClock(s.NOW)).take(MAIL, b"")
    assert kafka.sent == [("test.deskbus.inbound.v1", 3)]


async def test_a_large_body_is_stored_for_as_many_days_as_the_settings_say() -> None:
    settings, store, clock = IngestSettings(claim_days=70), FakeStore(), FakeClock(s.NOW)
    await Intake.from_settings(settings, Kafka(), store, clock).take(MAIL, bytes(MAX_INLINE_BYTES + 1))
    assert {row["expires"] for row in store.rows[BLOBS].values()} == {clock.now() + timedelta(days=70)}


async def test_a_large_body_that_is_not_stored_in_time_is_refused() -> None:
    settings = IngestSettings(door_seconds=30, claim_seconds=0.1)
    intake = Intake.from_settings(settings, Kafka(), Hanging(), FakeClock(s.NOW))
    async with asyncio.timeout(5):
        with pytest.raises(TransientError, match="did not store a large body in time"):
            await intake.take(MAIL, bytes(MAX_INLINE_BYTES + 1))


def test_the_mail_door_keeps_the_limits_of_the_settings() -> None:
    door = opened(
        IngestSettings(
            host="127.0.0.2", port=8000, smtp_port=2525, max_body=600_000, smtp_sessions=7, smtp_session_seconds=90,
            smtp_idle_seconds=20, smtp_hostname="mx.nimbus.example",
        )
    )  # fmt: skip
    assert door.limits == MailLimits(600_000, 7, 90, 20, "mx.nimbus.example")
    assert (door.host, door.port, door.tls) == ("127.0.0.2", 2525, None)
