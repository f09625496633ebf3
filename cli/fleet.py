"""The services as local processes, for run, demo and system tests. They end when the process that started them ends.

Kafka and MongoDB are not started here; their addresses are passed in.
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
READY_SECONDS = 60.0
"""Time that a service may take to become ready."""
STOP_SECONDS = 30.0
"""Time that a service may take from SIGTERM to its exit."""


class FleetError(Exception):
    """A service did not start or stop; the message names it and its log."""


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
    root: Path = ROOT
    """The code it runs; another release, in the test of upgrades."""

    @property
    def name(self) -> str:
        """Return a short name for logs."""
        return f"{self.service}-{self.number}"

    @property
    def url(self) -> str:
        """Return the base URL of its public port."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ops_url(self) -> str:
        """Return the base URL of its operators' port."""
        return f"http://127.0.0.1:{self.ops_port}"

    @property
    def alive(self) -> bool:
        """Return whether the process runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Return the exit code; None while the process runs, or if it was never started."""
        return None if self.process is None else self.process.poll()

    def start(self, *, piped: bool = False) -> None:
        """Start the process. Its output goes to its log; without one, to a pipe if `piped`, else to our own output."""
        if self.alive:
            return
        with contextlib.ExitStack() as stack:
            out = stack.enter_context(self.log.open("ab")) if self.log else None
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"services.{self.service}"],
                cwd=self.root,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=out or (subprocess.PIPE if piped else None),
                stderr=subprocess.STDOUT if out or piped else None,
                start_new_session=True,  # Ctrl-C must reach only us: we stop the services in order
            )
        guardian.adopt(self.process.pid)

    def signal(self, number: int) -> None:
        """Send a signal, if the process still runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """Kill the process, as if its machine were lost."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(STOP_SECONDS)

    def stop(self) -> int:
        """Stop the process; return the exit code. Raises FleetError if it does not exit in time."""
        self.terminate()
        return self.wait_stopped()

    def terminate(self) -> None:
        """Send SIGTERM. Call it once: a second SIGTERM skips the graceful shutdown."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)  # a suspended process would not handle it

    def wait_stopped(self) -> int:
        """Wait for the process to exit; return the exit code. If it takes too long, kill it and raise FleetError."""
        if self.process is None:
            return 0
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise FleetError(f"{self.name} did not stop within {STOP_SECONDS:.0f} s; log: {self.log}") from None

    def ready(self) -> bool:
        """Return whether /readyz answers 200."""
        return _ok(f"{self.ops_url}/readyz")

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until the service is ready. Raises FleetError if it exits or takes too long."""
        deadline = time.monotonic() + seconds
        while not self.ready():
            if not self.alive:
                raise FleetError(f"{self.name} exited during startup; log: {self.log}\n{_tail(self.log)}")
            if time.monotonic() > deadline:
                raise FleetError(f"{self.name} is not ready after {seconds:.0f} s; log: {self.log}\n{_tail(self.log)}")
            time.sleep(0.05)


class Fleet:
    """Replicas of the services on one Kafka and one MongoDB.

    `shared` is the environment of all services (addresses, prefixes, tokens, secrets); `own` adds to it by service.
    Ports that are not given are free ones, reserved while this process runs.
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
        """Add a replica of a service, without starting it."""
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
        """Start all replicas, then wait until all are ready."""
        for replica in self.replicas:
            replica.start()
        for replica in self.replicas:
            replica.wait_ready()

    def stop(self) -> None:
        """Stop all replicas. Raises FleetError, once all have exited, if any had to be killed."""
        for replica in self.replicas:
            replica.terminate()
        faults = []
        for replica in self.replicas:
            try:
                replica.wait_stopped()
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
