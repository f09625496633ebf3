"""`deskbus access`: users get their rights and passwords under the names that the deployment gives them."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.errors import TopicAuthorizationFailedError
from typer.testing import CliRunner

from cli.__main__ import app
from cli.topics import existing
from contracts.topics import CONSUMES, INBOUND
from kit.base.errors import TransientError
from kit.base.kafka_settings import KafkaSettings
from kit.kafka.connection import Connection
from tests.secured.broker import Secured
from tests.secured.conftest import PREFIX

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]  # the first test waits for the broker


async def test_users_of_a_deployment_get_rights_and_passwords_under_its_prefix(broker: Secured) -> None:
    command = ["access", "--prefix", PREFIX, "--user-prefix", "desk-"]
    given = {"DESKBUS_KAFKA": broker.keepers, "DESKBUS_KAFKA_PASSWORD_SLA": "of desk-sla"}
    result = await asyncio.to_thread(CliRunner().invoke, app, command, env=given)
    assert result.stdout == "6 users allowed, 1 passwords set\n", result.output
    variables = {**broker.scram("sla"), "DESKBUS_KAFKA_USERNAME": "desk-sla", "DESKBUS_KAFKA_PASSWORD": "of desk-sla"}
    sla = Connection(KafkaSettings.of(variables))
    own = [PREFIX + topic for topic in CONSUMES["sla"]]
    async with asyncio.timeout(20):  # the broker has to hear of it from its controller
        while True:
            try:
                assert await existing(sla, own) == own
                break
            except (TransientError, TopicAuthorizationFailedError):
                await asyncio.sleep(0.05)
    with pytest.raises(TopicAuthorizationFailedError):
        await existing(sla, [PREFIX + INBOUND])
