"""The local stack: servers that the environment names, Docker containers, or native servers."""

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from deploy.env import required
from deploy.local import cache, probes
from deploy.local.kafka import KafkaServer, brokers
from deploy.local.mongo import MongoServer
from deploy.local.process import LocalError, Server

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / ".local"
_WITHOUT_USERS = Path(__file__).with_name("open.yaml")
_COMPOSE_FILES = (ROOT / "compose.yaml", ROOT / "deploy" / "compose.yaml")


@dataclass(frozen=True)
class Addresses:
    kafka: str
    mongo: str

    def environment(self) -> dict[str, str]:
        return {"DESKBUS_KAFKA": self.kafka, "DESKBUS_MONGO": self.mongo}


@dataclass(frozen=True)
class Part:
    """A server as `status` shows it."""

    name: str
    address: str
    answers: bool
    whose: str


class Stack:
    """Kafka and MongoDB with their data in one directory. `up` and `down` are idempotent."""

    def __init__(
        self,
        directory: Path = DATA,
        kafka_port: int | None = None,
        mongo_port: int | None = None,
        *,
        outlives: bool = False,
        count: int = 1,
    ) -> None:
        """Prepare the stack, with `count` brokers on ports that follow each other.

        With `outlives`, the servers keep running when the process that started them ends.
        """
        self.directory = directory
        self.given_kafka = os.environ.get("DESKBUS_KAFKA", "")
        self.given_mongo = os.environ.get("DESKBUS_MONGO", "")
        first = kafka_port or _port("DESKBUS_LOCAL_KAFKA_PORT", 9092)
        self.brokers = (
            [KafkaServer(directory / "kafka", first)]
            if count == 1
            else brokers(directory / "kafka", range(first, first + count))
        )
        self.mongo = MongoServer(directory / "mongo", mongo_port or _port("DESKBUS_LOCAL_MONGO_PORT", 27017))
        for server in self._servers():
            server.outlives = outlives

    def addresses(self) -> Addresses:
        kafka = ",".join(broker.address for broker in self.brokers)
        return Addresses(self.given_kafka or kafka, self.given_mongo or self.mongo.address)

    def runs(self) -> bool:
        """Return whether any of its servers has been started and not stopped."""
        return self._docker_mark.exists() or any(server.pid() is not None for server in self._servers())

    def up(self) -> Addresses:
        with self._locked():
            servers = self._to_start()
            if servers and _use_docker(len(self.brokers)):
                self._compose("up", "--detach", "--wait", *(server.name for server in servers))
                self._docker_mark.touch()
            else:
                for server in servers:
                    server.start()
                for server in servers:
                    server.wait_ready()
            for part in self._parts():
                if not part.answers:
                    raise LocalError(f"{part.name} does not answer at {part.address}")
        return self.addresses()

    def down(self) -> None:
        if not self.directory.exists():
            return
        with self._locked():
            if self._docker_mark.exists():
                self._compose("down")
                self._docker_mark.unlink()
            for server in self._servers():
                server.terminate()  # all at once: the last broker of a cluster finds no quorum to leave
            for server in self._servers():
                server.stop()
            for orphan in _orphans(self.directory):
                Stack(orphan, 1, 1).discard()

    def discard(self) -> None:
        """Stop the servers and delete their data, for tests."""
        if self._docker_mark.exists():
            self._compose("down", "--volumes")
            self._docker_mark.unlink()
        for server in self._servers():
            server.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def status(self) -> list[str]:
        return [f"{p.name:7} {'ready' if p.answers else 'absent':7} {p.address} ({p.whose})" for p in self._parts()]

    def _servers(self) -> list[Server]:
        return [self.mongo, *self.brokers]

    def _to_start(self) -> list[Server]:
        return [*([] if self.given_kafka else self.brokers), *([] if self.given_mongo else [self.mongo])]

    def _parts(self) -> list[Part]:
        """Return the servers that the environment names, and our own in place of others."""
        parts = [Part(each.name, each.address, each.answers(), _whose(each)) for each in self._to_start()]
        if self.given_mongo:
            shown = _without_login(self.given_mongo)
            parts.insert(0, Part("mongo", shown, _mongo_answers(self.given_mongo), "given"))
        if self.given_kafka:
            answers = any(_kafka_answers(each) for each in self.given_kafka.split(","))
            parts.insert(0, Part("kafka", self.given_kafka, answers, "given"))
        return parts

    @property
    def _docker_mark(self) -> Path:
        return self.directory / "docker"

    def _compose(self, *arguments: str) -> None:
        ports = {
            "DESKBUS_LOCAL_KAFKA_PORT": str(self.brokers[0].port),
            "DESKBUS_LOCAL_MONGO_PORT": str(self.mongo.port),
        }
        file = next((file for file in _COMPOSE_FILES if file.exists()), None)
        if file is None or shutil.which("docker") is None:
            raise LocalError(
                "docker is not on PATH, or compose.yaml is missing; DESKBUS_LOCAL_STACK=native works without"
            )
        project = "deskbus" if self.directory == DATA else f"deskbus-{self.directory.name}"
        files = ["-f", str(file), "-f", str(_WITHOUT_USERS)]
        # Passwords that the file asks for: nothing that is started here looks at them.
        unused = dict.fromkeys(required(file.read_text("utf-8")) - os.environ.keys(), "unused")
        cache.run(["docker", "compose", "-p", project, *files, *arguments], "docker compose", env={**unused, **ports})

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


def _kafka_answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    encrypted = os.environ.get("DESKBUS_KAFKA_SECURITY", "plaintext") not in ("", "plaintext")
    return port.isdigit() and (probes.listens if encrypted else probes.kafka_answers)(host, int(port))


def _mongo_answers(url: str) -> bool:
    """Return whether the first server answers; one with TLS need only listen, as the probes have no TLS."""
    plain = _without_login(url)
    if plain.startswith("mongodb+srv://"):
        return True
    first = urlsplit(plain.split(",", maxsplit=1)[0])
    encrypted = re.search("[?&](tls|ssl)=true", plain) is not None
    return (probes.listens if encrypted else probes.mongo_answers)(first.hostname or "127.0.0.1", first.port or 27017)


def _without_login(url: str) -> str:
    """Return a connection string without user name and password: it is shown on terminals and in logs of CI."""
    scheme, separator, rest = url.partition("://")
    return scheme + separator + rest.rpartition("@")[2]


def _whose(server: Server) -> str:
    pid = server.pid()
    return f"pid {pid}" if pid else "not started by us"


def _use_docker(count: int) -> bool:
    """Return whether to use Docker: by `DESKBUS_LOCAL_STACK`, else if an engine answers and a compose file exists."""
    setting = os.environ.get("DESKBUS_LOCAL_STACK", "")
    if setting not in ("", "docker", "native"):
        raise LocalError(f"DESKBUS_LOCAL_STACK is {setting!r}; expected docker or native")
    if count > 1:
        if setting == "docker":
            raise LocalError(f"{count} brokers run without Docker only: unset DESKBUS_LOCAL_STACK")
        return False
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


BROKERS_VARIABLE = "DESKBUS_LOCAL_BROKERS"
_COUNTS = (1, 3)


def stacks(*, outlives: bool = False) -> dict[int, Stack]:
    """Return the local stacks of this directory by their number of brokers.

    Each has its own data, of MongoDB too: documents know what they have read from and written to their Kafka.
    """
    return {n: Stack(DATA if n == 1 else DATA / f"brokers-{n}", outlives=outlives, count=n) for n in _COUNTS}


def chosen(*, outlives: bool = False) -> Stack:
    """Return the stack that the environment asks for, else the one that runs, else that with one broker."""
    every = stacks(outlives=outlives)
    running = next((count for count, stack in every.items() if stack.runs()), None)
    wanted = os.environ.get(BROKERS_VARIABLE, "")
    if wanted not in ("", *map(str, _COUNTS)):
        raise LocalError(f"{BROKERS_VARIABLE} (make: BROKERS) is {wanted!r}; expected 1 or 3")
    if wanted and running not in (None, int(wanted)):
        raise LocalError(f"the stack with {_brokers(running)} runs here, with its own data: `make down` stops it")
    return every[int(wanted or running or 1)]


def _brokers(count: int | None) -> str:
    return "one broker" if count == 1 else f"{count} brokers"
