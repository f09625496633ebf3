"""The local stack: servers that the environment names, Docker containers, or native servers."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from deploy.local import cache, probes
from deploy.local.kafka import KafkaServer
from deploy.local.mongo import MongoServer
from deploy.local.process import LocalError, Server

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / ".local"
_COMPOSE_FILES = (ROOT / "compose.yaml", ROOT / "deploy" / "compose.yaml")


@dataclass(frozen=True)
class Addresses:
    kafka: str
    mongo: str

    def environment(self) -> dict[str, str]:
        return {"DESKBUS_KAFKA": self.kafka, "DESKBUS_MONGO": self.mongo}


class Stack:
    """Kafka and MongoDB with their data in one directory. `up` and `down` are idempotent."""

    def __init__(
        self,
        directory: Path = DATA,
        kafka_port: int | None = None,
        mongo_port: int | None = None,
        *,
        outlives: bool = False,
    ) -> None:
        """Prepare the stack. With `outlives`, the servers keep running when the process that started them ends."""
        self.directory = directory
        self.given_kafka = os.environ.get("DESKBUS_KAFKA", "")
        self.given_mongo = os.environ.get("DESKBUS_MONGO", "")
        self.kafka = KafkaServer(directory / "kafka", kafka_port or _port("DESKBUS_LOCAL_KAFKA_PORT", 9092))
        self.mongo = MongoServer(directory / "mongo", mongo_port or _port("DESKBUS_LOCAL_MONGO_PORT", 27017))
        self.kafka.outlives = self.mongo.outlives = outlives

    def addresses(self) -> Addresses:
        return Addresses(self.given_kafka or self.kafka.address, self.given_mongo or self.mongo.address)

    def up(self) -> Addresses:
        with self._locked():
            servers = self._to_start()
            if servers and _use_docker():
                self._compose("up", "--detach", "--wait", *(server.name for server in servers))
                self._docker_mark.touch()
            else:
                for server in servers:
                    server.start()
                for server in servers:
                    server.wait_ready()
            for name, answers in self._answering().items():
                if not answers:
                    raise LocalError(f"{name} does not answer at {getattr(self.addresses(), name)}")
        return self.addresses()

    def down(self) -> None:
        with self._locked():
            if self._docker_mark.exists():
                self._compose("down")
                self._docker_mark.unlink()
            self.mongo.stop()
            self.kafka.stop()
            for orphan in _orphans(self.directory):
                Stack(orphan, 1, 1).discard()

    def discard(self) -> None:
        """Stop the servers and delete their data, for tests."""
        if self._docker_mark.exists():
            self._compose("down", "--volumes")
            self._docker_mark.unlink()
        self.mongo.kill()
        self.kafka.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def status(self) -> list[str]:
        addresses = self.addresses()
        lines = []
        for name, answers in self._answering().items():
            server: Server = self.kafka if name == "kafka" else self.mongo
            pid = server.pid()
            whose = "given" if getattr(self, f"given_{name}") else f"pid {pid}" if pid else "not started by us"
            lines.append(f"{name:6} {'ready' if answers else 'absent':7} {getattr(addresses, name)} ({whose})")
        return lines

    def _to_start(self) -> list[Server]:
        servers: list[Server] = []
        if not self.given_kafka:
            servers.append(self.kafka)
        if not self.given_mongo:
            servers.append(self.mongo)
        return servers

    def _answering(self) -> dict[str, bool]:
        addresses = self.addresses()
        kafka_host, _, kafka_port = addresses.kafka.split(",")[0].rpartition(":")
        mongo = urlsplit(addresses.mongo.split(",")[0])
        return {
            "kafka": probes.kafka_answers(kafka_host, int(kafka_port)),
            "mongo": probes.mongo_answers(mongo.hostname or "127.0.0.1", mongo.port or 27017),
        }

    @property
    def _docker_mark(self) -> Path:
        return self.directory / "docker"

    def _compose(self, *arguments: str) -> None:
        ports = {"DESKBUS_LOCAL_KAFKA_PORT": str(self.kafka.port), "DESKBUS_LOCAL_MONGO_PORT": str(self.mongo.port)}
        file = next((file for file in _COMPOSE_FILES if file.exists()), None)
        if file is None or shutil.which("docker") is None:
            raise LocalError(
                "docker is not on PATH, or compose.yaml is missing; DESKBUS_LOCAL_STACK=native works without"
            )
        project = "deskbus" if self.directory == DATA else f"deskbus-{self.directory.name}"
        cache.run(["docker", "compose", "-p", project, "-f", str(file), *arguments], "docker compose", env=ports)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _port(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isdigit():
        raise LocalError(f"{variable} is {text!r}, which is not a port")
    return int(text)


def _use_docker() -> bool:
    """Return whether to use Docker: by `DESKBUS_LOCAL_STACK`, else if an engine answers and a compose file exists."""
    setting = os.environ.get("DESKBUS_LOCAL_STACK", "")
    if setting not in ("", "docker", "native"):
        raise LocalError(f"DESKBUS_LOCAL_STACK is {setting!r}; expected docker or native")
    if setting:
        return setting == "docker"
    if shutil.which("docker") is None or not any(file.exists() for file in _COMPOSE_FILES):
        return False
    try:
        for command in (["docker", "info"], ["docker", "compose", "version"]):
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _orphans(directory: Path) -> Iterator[Path]:
    """Yield the directories of test sessions (`test-<pid>`) whose process has ended."""
    for entry in directory.glob("test-*"):
        pid = entry.name.removeprefix("test-")
        if pid.isdigit():
            try:
                os.kill(int(pid), 0)
            except ProcessLookupError:
                yield entry
            except PermissionError:
                continue
