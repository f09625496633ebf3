"""All services on a MongoDB with TLS and a user each: wrong and rotated passwords, and what no service may reach."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.fleet import SERVICES
from deploy.local import free_port
from kit.mongo import MongoRefused, MongoStore
from tests.pki import Authority
from tests.secure_mongo import SecureMongo
from tests.system.rig import System, pieces, system, until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
PREFIX = "secure"


class Users:
    """A system whose services read their connection string from a file each, and the server under it."""

    def __init__(self, made: System, server: SecureMongo, folder: Path) -> None:
        self.system, self.server, self._folder = made, server, folder

    def give(self, password: str) -> None:
        """Write every service's connection string, with this password."""
        for service in SERVICES:
            new = self._folder / "new"
            new.write_text(self.server.url(service, password))
            new.replace(url_file(self._folder, service))

    def rotate(self, password: str) -> None:
        """Change every user's password on the server."""
        for service in SERVICES:
            self.server.ask("admin", "updateUser", service, pwd=password)

    async def reasons(self, service: str) -> list[str]:
        """Return why a service is not ready."""
        async with httpx.AsyncClient(trust_env=False) as client:
            try:
                answer = await client.get(f"{self.system.one(service).ops_url}/readyz")
            except httpx.TransportError:
                return []
        found: list[str] = answer.json()
        return found

    def log(self, service: str) -> str:
        file = self.system.one(service).log
        assert file is not None
        return file.read_text(encoding="utf-8")


def url_file(folder: Path, service: str) -> Path:
    return folder / f"{service}.url"


@pytest.fixture
async def users(kafka: str, topics: str, tmp_path: Path) -> AsyncIterator[Users]:
    server = SecureMongo(tmp_path / "mongo", free_port(), Authority(tmp_path / "pki"))
    try:
        server.begin()
        for service in SERVICES:
            server.make_user(service, "first", [f"{PREFIX}_{service}"])
        environment = {"DESKBUS_KAFKA": kafka, "DESKBUS_TOPIC_PREFIX": topics, "DESKBUS_MONGO_PREFIX": PREFIX}
        for service in SERVICES:
            environment[f"DESKBUS_{service.upper()}_MONGO_FILE"] = str(url_file(tmp_path, service))
        async with system(environment, tmp_path / "logs") as made:
            yield Users(made, server, tmp_path)
    finally:
        server.kill()


async def test_wrong_and_rotated_passwords_are_waited_for_and_nothing_is_restarted(users: Users) -> None:
    deskbus = users.system
    users.give("wrong")
    for service in SERVICES:
        deskbus.fleet.add(service).start()

    async def refused() -> bool:
        told = [await users.reasons(service) for service in SERVICES if service != "ingest"]
        said = [users.log(service) for service in SERVICES if (users.system.one(service).log or Path()).exists()]
        return all("refuses the user name" in " ".join(reasons) for reasons in told) and all(
            "MongoDB refuses this service" in log for log in said
        )

    await until(refused, 60, "every service says that its password is refused")
    processes = [replica.process for replica in deskbus.fleet.replicas]
    users.give("first")
    for replica in deskbus.fleet.replicas:
        replica.wait_ready()
    await deskbus.agents()
    async with deskbus.doors() as doors:
        await doors.send_all(pieces(deskbus, 10))
        await deskbus.settled(10)
        users.rotate("second")
        users.give("second")
        users.server.kill()  # no connection of before is left
        users.server.start()
        users.server.wait_ready()
        await doors.send_all(pieces(deskbus, 10))
        report = await deskbus.settled(20)
    assert report.clean, report.faults
    assert report.counts["dead letters"] == 0
    assert [replica.process for replica in deskbus.fleet.replicas] == processes
    assert all(replica.alive for replica in deskbus.fleet.replicas)
    for service in SERVICES:
        log = users.log(service)
        assert not [secret for secret in ("mongodb://", "wrong", ":first", ":second") if secret in log]
    await refused_elsewhere(users.server)


async def refused_elsewhere(server: SecureMongo) -> None:
    """Each service's user is refused by every other service's database."""
    for service in SERVICES:
        for other in SERVICES:
            store = MongoStore(server.url(service, "second"), f"{PREFIX}_{other}")
            if service == other:
                await store.fetch("things", ["a"])
                continue
            asked: list[Any] = [store.fetch("things", ["a"]), store.insert("things", [{"_id": "a"}])]
            for each in asked:
                with pytest.raises(MongoRefused):
                    await each
            store.close()
