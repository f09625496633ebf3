"""The services as local processes: started with their environment, watched, killed. Used by run, demo and system tests.

They end with the process that started them, however that ends.

Kafka and MongoDB are not started here; their addresses come from outside.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local import free_port, guardian

ROOT = Path(__file__).resolve().parent.parent
SERVICES = ("ingest", "routing", "sla", "notify")
#: Seconds that a service may take from start to ready, and from SIGTERM to gone.
READY_SECONDS = 60.0
LEAVE_SECONDS = 30.0


class FleetError(Exception):
    """A service that did not start or did not leave; the message says which, and where its log is."""


@dataclass
class Replica:
    """One process of one service."""

    service: str
    number: int
    port: int
    ops_port: int
    environment: Mapping[str, str]
    log: Path | None = None
    extra_ports: Mapping[str, int] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """Return a short name for logs."""
        return f"{self.service}-{self.number}"

    @property
    def url(self) -> str:
        """Return the address of its public door."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ops_url(self) -> str:
        """Return the address of the operators' door."""
        return f"http://127.0.0.1:{self.ops_port}"

    @property
    def alive(self) -> bool:
        """Say whether the process runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Return how it ended; nothing while it runs, or has never run."""
        return None if self.process is None else self.process.poll()

    def start(self, *, piped: bool = False) -> None:
        """Start the process; its output goes to its log, or to a pipe, or to where ours goes."""
        if self.alive:
            return
        with contextlib.ExitStack() as stack:
            out = stack.enter_context(self.log.open("ab")) if self.log else None
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"services.{self.service}"],
                cwd=ROOT,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=out or (subprocess.PIPE if piped else None),
                stderr=subprocess.STDOUT if out or piped else None,
                start_new_session=True,  # Ctrl-C is for us; we end them in good order
            )
        guardian.adopt(self.process.pid)

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL: what a lost machine looks like."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(LEAVE_SECONDS)

    def stop(self) -> int:
        """SIGTERM and wait; returns the exit code. Raises FleetError when it does not leave in time."""
        self.ask_to_leave()
        return self.wait_gone()

    def ask_to_leave(self) -> None:
        """SIGTERM, once: a second one means "at once"."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)  # a suspended one hears nothing

    def wait_gone(self) -> int:
        """Wait; returns the exit code. Raises FleetError, and kills it, when it does not leave in time."""
        if self.process is None:
            return 0
        try:
            return self.process.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise FleetError(f"{self.name} did not stop within {LEAVE_SECONDS:.0f} s; log: {self.log}") from None

    def ready(self) -> bool:
        """Ask /readyz once."""
        return _ok(f"{self.ops_url}/readyz")

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until it is ready; raises FleetError when it ends or takes too long."""
        deadline = time.monotonic() + seconds
        while not self.ready():
            if not self.alive:
                raise FleetError(f"{self.name} exited during startup; log: {self.log}\n{_tail(self.log)}")
            if time.monotonic() > deadline:
                raise FleetError(f"{self.name} is not ready after {seconds:.0f} s; log: {self.log}\n{_tail(self.log)}")
            time.sleep(0.05)


class Fleet:
    """Replicas of the services over one Kafka and one MongoDB.

    `shared` is the environment that all have (addresses, prefixes, tokens, secrets); `own` what one service has. Ports
    that are not named are free ones, reserved for as long as this process runs.
    """

    def __init__(
        self,
        shared: Mapping[str, str],
        *,
        logs: Path | None,
        own: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.replicas: list[Replica] = []
        self._shared, self._own, self._logs = shared, own or {}, logs

    def add(
        self, service: str, *, port: int | None = None, ops_port: int | None = None, smtp_port: int | None = None
    ) -> Replica:
        """Prepare one more replica of a service; `start` runs it."""
        number = 1 + sum(r.service == service for r in self.replicas)
        port = port or free_port()
        ops_port = ops_port or free_port()
        name = service.upper()
        environment = {
            "PYTHONUNBUFFERED": "1",
            **self._shared,
            f"DESKBUS_{name}_PORT": str(port),
            f"DESKBUS_{name}_OPS_PORT": str(ops_port),
            **self._own.get(service, {}),
        }
        extra = {}
        if service == "ingest":
            extra["smtp"] = smtp_port or free_port()
            environment["DESKBUS_INGEST_SMTP_PORT"] = str(extra["smtp"])
        log = self._logs / f"{service}-{number}.log" if self._logs else None
        replica = Replica(service, number, port, ops_port, environment, log, extra)
        self.replicas.append(replica)
        return replica

    def of(self, service: str) -> list[Replica]:
        """Return the replicas of a service."""
        return [r for r in self.replicas if r.service == service]

    def start(self) -> None:
        """Start all at once, then wait until all are ready."""
        for replica in self.replicas:
            replica.start()
        for replica in self.replicas:
            replica.wait_ready()

    def stop(self) -> None:
        """End all at once, in good order; raises FleetError after all are gone when one had to be killed."""
        for replica in self.replicas:
            replica.ask_to_leave()
        faults = []
        for replica in self.replicas:
            try:
                replica.wait_gone()
            except FleetError as fault:
                faults.append(str(fault))
        if faults:
            raise FleetError("\n".join(faults))


def _ok(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:  # noqa: S310 - an address of our own
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _tail(log: Path | None, lines: int = 15) -> str:
    if log is None or not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
