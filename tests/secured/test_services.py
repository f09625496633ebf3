"""The services as processes, each with a user of its own: they do their work, and say what keeps them from it."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from cli.access import allow, set_passwords
from cli.fleet import ROOT, Replica
from cli.topics import create_topics
from contracts.access import CREATOR, OPERATOR, access
from contracts.topics import SERVICES
from kit.base.kafka_settings import KafkaSettings
from kit.kafka.connection import Connection
from tests.conftest import Prefix
from tests.secured.broker import Secured
from tests.system.rig import PARTITIONS, System, pieces, system, until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]


def password(folder: Path, service: str) -> Path:
    return folder / f"{service}-password"


def write(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


@pytest.fixture
async def desk(broker: Secured, mongo: str, prefix: Prefix, folder: Path) -> AsyncIterator[System]:
    """A system in which every session with Kafka ends after two seconds. Its topics are made by their creator."""
    await broker.admit(prefix.topics)
    shared = broker.scram(OPERATOR, "BRIEF")
    del shared["DESKBUS_KAFKA_USERNAME"], shared["DESKBUS_KAFKA_PASSWORD"]
    environment = {
        **shared,
        "DESKBUS_MONGO": mongo,
        "DESKBUS_TOPIC_PREFIX": prefix.topics,
        "DESKBUS_MONGO_PREFIX": prefix.mongo,
    }
    for service in SERVICES:
        write(password(folder, service), broker.passwords[service])
        environment[f"DESKBUS_{service.upper()}_KAFKA_USERNAME"] = service
        environment[f"DESKBUS_{service.upper()}_KAFKA_PASSWORD_FILE"] = str(password(folder, service))
    async with system(environment, folder / "logs") as made:
        made.observer = Connection(KafkaSettings.of(broker.scram(OPERATOR)))
        await create_topics(Connection(KafkaSettings.of(broker.scram(CREATOR))), prefix.topics, PARTITIONS)
        yield made


def log_lines(replica: Replica) -> list[dict[str, object]]:
    assert replica.log is not None
    return [json.loads(line) for line in replica.log.read_text().splitlines()] if replica.log.exists() else []


async def reasons(desk: System, replica: Replica, path: str = "readyz") -> str:
    """What the operators' port says is wrong; empty if nothing is."""
    try:
        answer = await desk.http.get(f"{replica.ops_url}/{path}")
    except httpx.ConnectError:
        return "not listening yet"
    return "" if answer.status_code == 200 else answer.text


async def test_each_service_does_its_work_as_its_own_user_through_a_rotation(
    desk: System, broker: Secured, folder: Path
) -> None:
    desk.start()
    processes = [replica.process for replica in desk.fleet.replicas]
    await desk.agents()
    async with desk.doors() as doors:
        await doors.send_all(pieces(desk, 12))
        await doors.send(desk.traffic.webhook("allegro-pl", text="Gdzie jest paczka?", tags=["quick"]))
        await desk.settled(13)

        former = [broker.passwords[service] for service in SERVICES]
        new = {service: secrets.token_urlsafe(12) for service in SERVICES}
        await set_passwords(broker.keepers, new)
        broker.passwords |= new
        for service in SERVICES:
            write(password(folder, service), new[service])

        await doors.send_all(pieces(desk, 12))
        report = await desk.settled(25)
    assert report.clean, report.faults

    async def told() -> bool:
        return bool(desk.receiver.to("/lead"))

    await until(told, 60, "notify has told the team lead of the breach")
    assert [replica.process for replica in desk.fleet.replicas if replica.alive] == processes
    for replica in desk.fleet.replicas:
        lines = log_lines(replica)
        assert not [line for line in lines if "exception" in line]
        assert not [secret for secret in (*former, *new.values()) if secret in str(lines)]


async def test_the_command_line_reads_the_same_variables(broker: Secured, desk: System) -> None:
    async def run(user: str, *arguments: str) -> tuple[int, str]:
        environment = {**os.environ, **broker.scram(user), "DESKBUS_TOPIC_PREFIX": desk.prefix}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cli", *arguments,
            cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate()
        return process.returncode or 0, said.decode()

    partitions = ("--partitions", str(PARTITIONS))
    assert await run(CREATOR, "topics", *partitions) == (0, "0 topics created, 0 reconfigured\n")
    code, _ = await run(OPERATOR, "audit")
    assert code == 0
    code, said = await run(OPERATOR, "topics", *partitions)
    assert (code, "does not allow that to this user" in said, "Traceback" in said) == (2, True, False), said
    broker.passwords["nobody"] = "hunter2"
    code, said = await run("nobody", "audit")
    assert (code, "deskbus: Kafka refused the credentials" in said, "hunter2" in said) == (2, True, False), said
    assert "Traceback" not in said
    assert "is Kafka running" not in said


async def test_a_service_whose_password_is_refused_waits_for_another_one(
    desk: System, broker: Secured, folder: Path
) -> None:
    write(password(folder, "sla"), "hunter2")
    replica = desk.fleet.add("sla")
    replica.start()

    async def refused() -> bool:
        return "Kafka: Kafka refused the credentials" in await reasons(desk, replica)

    await until(refused, 60, "readiness says why")
    assert await reasons(desk, replica, "livez") == ""
    write(password(folder, "sla"), broker.passwords["sla"])

    async def ready() -> bool:
        return replica.ready()

    await until(ready, 60, "the service is ready with the right password")
    lines = log_lines(replica)
    assert sum(line["message"] == "cannot connect to Kafka" for line in lines) == 1
    assert not [line for line in lines if "exception" in line]
    assert "hunter2" not in str(lines)


async def test_however_long_a_password_is_refused_no_service_asks_for_a_restart(
    desk: System, broker: Secured, folder: Path
) -> None:
    """The broker has the new password, the file has not, and every session ends after two seconds."""
    for service in SERVICES:
        replica = desk.fleet.add(service)
        replica.environment = {**replica.environment, "DESKBUS_LIVENESS_SECONDS": "5"}
    desk.fleet.start()
    former = {service: broker.passwords[service] for service in SERVICES}
    await set_passwords(broker.keepers, dict.fromkeys(SERVICES, "changed"))

    async def all_refused() -> bool:
        return all(["refused the credentials" in await reasons(desk, replica) for replica in desk.fleet.replicas])

    await until(all_refused, 60, "every service says why")
    loop = asyncio.get_running_loop()
    end = loop.time() + 15  # the group's sessions have ended by then, and liveness would have noticed three times
    while loop.time() < end:
        assert [await reasons(desk, replica, "livez") for replica in desk.fleet.replicas] == [""] * 4
        await asyncio.sleep(0.5)
    await set_passwords(broker.keepers, former)

    async def all_ready() -> bool:
        return all([await asyncio.to_thread(replica.ready) for replica in desk.fleet.replicas])

    await until(all_ready, 60, "every service is ready again")
    await desk.agents()
    async with desk.doors() as doors:
        await doors.send_all(pieces(desk, 6))
        report = await desk.settled(6)
    assert report.clean, report.faults
    for replica in desk.fleet.replicas:
        assert replica.alive
        assert not [line for line in log_lines(replica) if "exception" in line]


async def test_a_service_that_may_do_nothing_waits_until_it_may(desk: System, broker: Secured, folder: Path) -> None:
    user = f"late-{desk.prefix.rstrip('.')}"
    await set_passwords(broker.keepers, {user: "early"})
    write(password(folder, "sla"), "early")
    replica = desk.fleet.add("sla")
    replica.environment = {**replica.environment, "DESKBUS_SLA_KAFKA_USERNAME": user}
    replica.start()

    async def told() -> bool:
        return "uthorization" in str(log_lines(replica))

    await until(told, 60, "the log says what is missing")
    assert await reasons(desk, replica) != ""
    assert await reasons(desk, replica, "livez") == ""
    await allow(broker.keepers, {user: access("sla", desk.prefix)})

    async def ready() -> bool:
        return replica.ready()

    await until(ready, 60, "the service is ready once it may")
    assert not [line for line in log_lines(replica) if "exception" in line]
