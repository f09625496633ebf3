"""Users in compose.yaml: each service has its own, passwords come from `.env`, and Kafka takes the configuration."""

import asyncio
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.topics import create_topics
from contracts.access import USERS
from contracts.topics import SERVICES
from deploy import env
from deploy.local import free_port, jars
from deploy.local.kafka import KafkaServer
from kit.base.errors import TransientError
from kit.base.kafka_settings import KafkaSettings
from kit.kafka.connection import Connection

_LOGGING = """
Configuration:
  Appenders:
    Console: {name: STDOUT, PatternLayout: {pattern: "%m%n"}}
  Loggers:
    Root: {level: INFO, AppenderRef: [{ref: STDOUT}]}
    Logger: [{name: kafka, level: INFO}]
"""
_WRAPPER = "kafka.docker.KafkaDockerWrapper"


@pytest.fixture(scope="session")
def text(root: Path) -> str:
    return (root / "compose.yaml").read_text("utf-8")


@pytest.fixture(scope="session")
def services(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)["services"]
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_has_its_own_user_and_no_other_password(service: str, services: dict[str, Any]) -> None:
    given = services[service]["environment"]
    assert given["DESKBUS_KAFKA_SECURITY"] == "sasl_plaintext"
    assert given["DESKBUS_KAFKA_USERNAME"] == service
    assert given["DESKBUS_MONGO"].startswith(f"mongodb://{service}:${{DESKBUS_MONGO_PASSWORD_{service.upper()}:?")
    passwords = {name for value in given.values() for name in re.findall(r"\w+_PASSWORD_[A-Z]+", str(value))}
    assert passwords == {f"DESKBUS_{server}_PASSWORD_{service.upper()}" for server in ("KAFKA", "MONGO")}


def test_every_user_is_made(root: Path, services: dict[str, Any]) -> None:
    given = services["access"]["environment"]
    assert {name for name in given if "PASSWORD" in name} == {f"DESKBUS_KAFKA_PASSWORD_{u.upper()}" for u in USERS}
    script = (root / "deploy" / "local" / "mongo-users.js").read_text("utf-8")
    (listed,) = re.findall(r"of \[(.*)\]\)", script)
    assert re.findall(r"\"(\w+)\"", listed) == list(SERVICES)
    assert {f"DESKBUS_MONGO_PASSWORD_{s.upper()}" for s in SERVICES} <= set(services["mongo"]["environment"])


def test_make_env_gives_every_password_once_and_keeps_it(
    root: Path, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("compose.yaml", ".env.example"):
        (tmp_path / name).write_bytes((root / name).read_bytes())
    monkeypatch.setattr(env, "ROOT", tmp_path)
    file = tmp_path / ".env"
    assert env.main() == 0
    first = file.read_text("utf-8")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    given = dict(line.split("=", 1) for line in first.splitlines() if line.startswith("DESKBUS_"))
    required = env.required(text)
    assert required
    passwords = [given[name] for name in required]
    assert all(len(password) >= 32 and re.fullmatch(r"[\w-]+", password) for password in passwords)
    assert len(set(passwords)) == len(passwords)
    file.write_text(re.sub(r"(?m)^DESKBUS_GRAFANA_PASSWORD=.*\n", "", first), "utf-8")  # as before it was needed
    assert env.main() == 0
    assert dict(line.split("=", 1) for line in file.read_text("utf-8").splitlines() if "PASSWORD_" in line).items() <= (
        given.items()
    )
    assert re.search(r"(?m)^DESKBUS_GRAFANA_PASSWORD=.{32,}$", file.read_text("utf-8"))


def test_make_up_opens_both_servers_and_asks_for_no_password(root: Path, text: str) -> None:
    opened = yaml.safe_load((root / "deploy" / "local" / "open.yaml").read_text("utf-8"))["services"]
    assert "--auth" in yaml.safe_load(text)["services"]["mongo"]["command"]
    assert "--auth" not in opened["mongo"]["command"]
    assert "SASL" not in opened["kafka"]["environment"]["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"]


class ComposeKafka(KafkaServer):
    """A broker configured by the program that Kafka's image runs, from the environment of compose.yaml."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        super().__init__(directory, free_port())
        self.keepers = free_port()
        ports = {
            "19092": str(free_port()),
            "9092": str(self.port),
            "19093": str(self.keepers),
            "9093": str(free_port()),
        }
        self._given = {}
        for name, value in environment.items():
            moved = str(value).replace("${DESKBUS_LOCAL_KAFKA_PORT:-9092}", "9092").replace("//kafka:", "//127.0.0.1:")
            self._given[name] = re.sub(r":(\d{4,5})\b", lambda found: f":{ports.get(found[1], found[1])}", moved)
        self._given["KAFKA_LOG_DIRS"] = str(directory / "data")

    def command(self) -> list[str]:
        folders = [self.directory / name for name in ("default", "mounted", "final")]
        for folder in folders:
            folder.mkdir(exist_ok=True)
        (folders[0] / "server.properties").touch()
        for name in ("log4j2.yaml", "tools-log4j2.yaml"):
            (folders[0] / name).write_text(_LOGGING)
        java = ["java", "-Xmx512m", "-cp", f"{jars.fetch()}/*"]
        names = ("--default-configs-dir", "--mounted-configs-dir", "--final-configs-dir")
        options = [word for name, folder in zip(names, folders, strict=True) for word in (name, str(folder))]
        setup = [*java, _WRAPPER, "setup", *options]
        environment = {**os.environ, **self._given, "CLUSTER_ID": "4L6g3nShT-eMCtK--X86sw"}
        done = subprocess.run(setup, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return [*java, "kafka.Kafka", str(folders[2] / "server.properties")]


@pytest.fixture
def broker(tmp_path: Path, services: dict[str, Any]) -> Iterator[ComposeKafka]:
    server = ComposeKafka(tmp_path / "kafka", services["kafka"]["environment"])
    server.start()
    try:
        server.wait_ready()
        yield server
    finally:
        server.kill()


@pytest.mark.stack
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_kafka_with_the_settings_of_compose_lets_users_do_their_work_only(
    root: Path, services: dict[str, Any], broker: ComposeKafka
) -> None:
    def connection(user: str, password: str) -> Connection:
        given = {"DESKBUS_KAFKA_SECURITY": "sasl_plaintext", "DESKBUS_KAFKA_USERNAME": user}
        where = {"DESKBUS_KAFKA": f"127.0.0.1:{broker.port}", "DESKBUS_KAFKA_PASSWORD": password}
        return Connection(KafkaSettings.of({**given, **where}))

    passwords = {f"DESKBUS_KAFKA_PASSWORD_{user.upper()}": f"pass of {user}" for user in USERS}
    job = {**os.environ, **passwords, "DESKBUS_KAFKA": f"127.0.0.1:{broker.keepers}"}
    command = [sys.executable, "-m", "cli", *services["access"]["command"]]
    for _ in range(2):  # as at every start
        done = subprocess.run(command, cwd=root, env=job, capture_output=True, text=True, check=False)
        assert done.stdout == f"{len(USERS)} users allowed, {len(USERS)} passwords set\n", done.stderr

    async def story() -> None:
        report = await create_topics(connection("topics", "pass of topics"), "", 1)
        assert report.created
        with pytest.raises(TransientError, match="refused"):
            await create_topics(connection("topics", "wrong"), "", 1)
        with pytest.raises(Exception, match="Authorization"):
            await create_topics(connection("sla", "pass of sla"), "other.", 1)

    asyncio.run(story())
