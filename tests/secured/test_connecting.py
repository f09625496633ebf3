"""A real broker accepts what the settings name, refuses everything else with a reason, and takes rotated files."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from cli.access import set_passwords
from cli.topics import create_topics
from contracts.topics import BY_NAME, SLA
from kit.base.errors import TransientError
from kit.base.kafka_settings import KafkaSettings
from kit.kafka.connection import Connection
from kit.kafka.producer import Producer
from kit.protocol.ports import Outgoing
from tests.secured.authority import Authority, Issuer, write
from tests.secured.broker import Secured, secured
from tests.secured.conftest import PREFIX

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]  # the first test waits for the broker
TOPIC = PREFIX + SLA
RECORD = Outgoing(TOPIC, b"key", b"value", [])


@asynccontextmanager
async def producing(variables: dict[str, str]) -> AsyncIterator[tuple[Producer, Connection]]:
    connection = Connection(KafkaSettings.of(variables))
    producer = Producer(connection, client_id="test")
    try:
        yield producer, connection
    finally:
        await producer.stop()


async def until_sent(producer: Producer, seconds: float = 20) -> None:
    """Send until it is confirmed, as the doors and the sweeper do."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                await producer.send(RECORD, seconds=2)
            except TransientError:
                await asyncio.sleep(0.05)
            else:
                return


def drop(connection: Connection) -> None:
    """Close all connections, as a broker that restarts does. Clients open new ones when they need them."""
    for each in list(connection._open):
        each.close()


def replace(file: Path, content: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(content)
    new.rename(file)


def variables(broker: Secured, folder: Path, way: str) -> dict[str, str]:
    """The variables with which sla's user connects in one of the supported ways."""
    if way == "password":
        return broker.scram("sla")
    if way == "password file":
        given = broker.scram("sla")
        file = folder / "password"
        file.write_text(given.pop("DESKBUS_KAFKA_PASSWORD") + "\n")
        return {**given, "DESKBUS_KAFKA_PASSWORD_FILE": str(file)}
    if way == "mutual TLS":
        certificate, key = broker.authority.issue("sla")
        return broker.mutual(*write(folder, certificate=certificate, key=key).values())
    token = folder / "token"
    token.write_text(broker.issuer.token("sla"))
    given = broker.bearer(token)
    if way == "token command":
        del given["DESKBUS_KAFKA_TOKEN_FILE"]
        code = f"print(open({str(token)!r}).read())"
        given["DESKBUS_KAFKA_TOKEN_COMMAND"] = shlex.join([sys.executable, "-c", code])
    return given


@pytest.mark.parametrize("way", ["password", "password file", "token file", "token command", "mutual TLS"])
async def test_a_client_connects_and_is_who_it_says(broker: Secured, folder: Path, way: str) -> None:
    """Only sla may write to this topic."""
    async with producing(variables(broker, folder, way)) as (producer, connection):
        await producer.start()
        await producer.send(RECORD)
        assert connection.fault() is None


WRONG = {
    "password": "refused the credentials: Authentication failed",
    "unknown user": "refused the credentials: Authentication failed",
    "mechanism": "does not offer this SASL mechanism",
    "expired token": "the token was not accepted (the token has expired)",
    "foreign token": "refused the credentials: the token was not accepted",
    "CA": "the certificate of the broker is not trusted",
    "name": "the certificate of the broker is not trusted: Hostname mismatch",
    "no certificate": "refused the client certificate, or got none",
    "foreign certificate": "refused the client certificate, or got none",
    "token command": "the token command exited with 7",
}


def wrong(broker: Secured, folder: Path, what: str) -> dict[str, str]:
    given = broker.scram("sla")
    match what:
        case "password":
            given["DESKBUS_KAFKA_PASSWORD"] = "hunter2"
        case "unknown user":
            given["DESKBUS_KAFKA_USERNAME"] = "nobody"
        case "mechanism":
            given["DESKBUS_KAFKA_MECHANISM"] = "scram-sha-256"
        case "CA":
            given["DESKBUS_KAFKA_CA"] = str(write(folder, other=Authority("other").pem)["other"])
        case "name":
            given["DESKBUS_KAFKA"] = given["DESKBUS_KAFKA"].replace("127.0.0.1", "localhost")
        case "expired token" | "foreign token":
            token = broker.issuer.token("sla", lasts=-1) if what == "expired token" else Issuer().token("sla")
            (folder / "token").write_text(token)
            given = broker.bearer(folder / "token")
        case "token command":
            given = broker.bearer(folder)
            del given["DESKBUS_KAFKA_TOKEN_FILE"]
            given["DESKBUS_KAFKA_TOKEN_COMMAND"] = shlex.join([sys.executable, "-c", "raise SystemExit(7)"])
        case "no certificate" | "foreign certificate":
            certificate, key = Authority("other").issue("sla")
            given = broker.mutual(*write(folder, certificate=certificate, key=key).values())
            if what == "no certificate":
                del given["DESKBUS_KAFKA_CERTIFICATE"], given["DESKBUS_KAFKA_KEY"]
    return given


@pytest.mark.parametrize(("what", "reason"), WRONG.items())
async def test_what_is_wrong_is_refused_with_a_reason_and_said_once(
    broker: Secured, folder: Path, what: str, reason: str
) -> None:
    with capture_logs() as logs:
        async with producing(wrong(broker, folder, what)) as (producer, connection):
            for _ in range(2):
                with pytest.raises(TransientError) as refused:
                    await producer.start()
                assert reason in str(refused.value)
            with pytest.raises(TransientError) as unready:
                await connection.check()
            assert reason in str(unready.value)
    said = [line for line in logs if line["event"] == "cannot connect to Kafka"]
    assert len(said) == 1, logs
    assert "hunter2" not in str(logs)


async def test_refused_credentials_are_tried_again_at_most_once_a_second(broker: Secured, folder: Path) -> None:
    loop = asyncio.get_running_loop()
    async with producing(wrong(broker, folder, "password")) as (producer, _):
        began = loop.time()
        for _ in range(3):
            with pytest.raises(TransientError):
                await producer.start()
        assert 2 <= loop.time() - began < 8


async def test_a_rotated_password_is_used_by_the_next_connection(broker: Secured, folder: Path) -> None:
    user = "rotating"
    await set_passwords(broker.keepers, {user: "first"})
    given = {**broker.scram("sla"), "DESKBUS_KAFKA_USERNAME": user, "DESKBUS_KAFKA_PASSWORD": ""}
    file = folder / "password"
    file.write_text("first")
    async with producing({**given, "DESKBUS_KAFKA_PASSWORD_FILE": str(file)}) as (producer, connection):
        await _until_started(producer)
        await set_passwords(broker.keepers, {user: "second"})
        assert connection.fault() is None, "what is connected stays connected"
        drop(connection)
        await _until_refused(producer, connection)
        replace(file, "second")
        await _until_reached(producer, connection)


async def test_a_rotated_token_is_used_by_the_next_connection(broker: Secured, folder: Path) -> None:
    for way in ("token file", "token command"):
        async with producing(variables(broker, folder, way)) as (producer, connection):
            await producer.start()
            replace(folder / "token", broker.issuer.token("sla", lasts=-1))
            connection._reader.forget_token()  # the command is asked again after a while, or after a refusal
            drop(connection)
            await _until_refused(producer, connection)
            replace(folder / "token", broker.issuer.token("sla"))
            await until_sent(producer)
            assert connection.fault() is None


async def test_a_rotated_client_certificate_is_used_by_the_next_connection(broker: Secured, folder: Path) -> None:
    given = variables(broker, folder, "mutual TLS")
    good = {name: (folder / f"{name}.pem").read_text() for name in ("certificate", "key")}
    async with producing(given) as (producer, connection):
        await producer.start()
        write(folder, **dict(zip(("certificate", "key"), Authority("other").issue("sla"), strict=True)))
        drop(connection)
        await _until_refused(producer, connection)
        write(folder, **good)
        await until_sent(producer)


async def test_a_broker_may_end_every_session_after_a_while(broker: Secured, folder: Path) -> None:
    """`connections.max.reauth.ms` is two seconds on this listener, and aiokafka does not authenticate again."""
    given = variables(broker, folder, "password file") | {"DESKBUS_KAFKA": broker.at("BRIEF")}
    async with producing(given) as (producer, connection):
        await producer.start()
        met = set(map(id, connection._open))
        loop = asyncio.get_running_loop()
        end = loop.time() + 6
        while loop.time() < end:
            await until_sent(producer, 5)
            met |= {id(each) for each in connection._open}
            await asyncio.sleep(0.2)
        assert len(met) > 2, "sessions were ended"
        assert connection.fault() is None


async def _until_started(producer: Producer) -> None:
    """A user that was just made may not be known to the broker yet."""
    async with asyncio.timeout(20):
        while True:
            try:
                await producer.partitions(TOPIC)
            except TransientError as error:
                if "uthorization" in str(error):
                    return  # it is known, and may not do that
                await asyncio.sleep(0.05)
            else:
                return


async def _until_refused(producer: Producer, connection: Connection) -> None:
    async with asyncio.timeout(20):
        while connection.fault() is None:
            with pytest.raises(TransientError):
                await producer.send(RECORD, seconds=2)
            await asyncio.sleep(0.05)


async def _until_reached(producer: Producer, connection: Connection) -> None:
    async with asyncio.timeout(20):
        while connection.fault() is not None:
            with pytest.raises(TransientError):
                await producer.send(RECORD, seconds=2)
            await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_brokers_get_certificates_of_another_ca_and_clients_go_on(tmp_path: Path) -> None:
    """Both CAs first, then the brokers, then the new CA alone."""
    broker = secured(tmp_path)
    trusted = tmp_path / "trusted.pem"
    trusted.write_text(broker.authority.pem)
    await asyncio.to_thread(start, broker)
    try:
        await create_topics(broker.keepers, PREFIX, 1, topics=[BY_NAME[SLA]])
        await broker.admit(PREFIX)
        async with producing({**broker.scram("sla"), "DESKBUS_KAFKA_CA": str(trusted)}) as (producer, connection):
            await until_sent(producer)
            new = Authority("new")
            replace(trusted, broker.authority.pem + new.pem)
            certificate, key = new.issue("127.0.0.1")
            write(tmp_path, server=key + certificate)
            await asyncio.to_thread(broker.server.stop)
            await asyncio.to_thread(start, broker)
            await until_sent(producer, 40)
            replace(trusted, new.pem)
            drop(connection)
            await until_sent(producer)
            assert connection.fault() is None
    finally:
        await asyncio.to_thread(broker.server.stop)


def start(broker: Secured) -> None:
    broker.server.start()
    broker.server.wait_ready()
