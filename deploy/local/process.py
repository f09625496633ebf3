"""One server process: a pid file, signals, a readiness wait. It ends with its starter unless it is told to outlive it.

Knows nothing of Kafka or MongoDB.
"""

import os
import secrets
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path

from deploy.local import guardian
from deploy.local.guardian import started

_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.05


class LocalError(Exception):
    """Something that the person at the keyboard can mend; the message says what."""


#: Bound and never listening, so that the kernel gives their ports to nobody for as long as this process runs.
_RESERVED: list[socket.socket] = []


def free_port() -> int:
    """Return a port on which nobody listens, and reserve it for as long as this process runs.

    Servers that allow the address to be reused, as nearly all do, can listen on it and can be restarted on it. No other
    process is given it meanwhile, neither by this function nor for a connection of its own.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        made = socket.socket()
        try:
            made.bind(("127.0.0.1", port))
        except OSError:
            made.close()
            continue
        # Not before: two that both allow it would both be given the port.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _RESERVED.append(made)
        return port


class Server(ABC):
    """A server in a directory of its own; data stays there between start and stop."""

    name: str
    #: Whether it goes on when the process that started it ends.
    outlives = False

    def __init__(self, directory: Path | str, port: int) -> None:
        self.directory = Path(directory).resolve()
        self.port = port
        self.host = "127.0.0.1"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.directory.parent / f"{self.directory.name}.log"

    @property
    def pid_file(self) -> Path:
        return self.directory.parent / f"{self.directory.name}.pid"

    @property
    @abstractmethod
    def address(self) -> str:
        """What a client is given."""

    @abstractmethod
    def command(self) -> list[str]:
        """Prepare the directory and say what to run."""

    def environment(self) -> dict[str, str]:
        """What the process finds in its environment besides ours."""
        return {}

    @abstractmethod
    def answers(self) -> bool:
        """Whether the server on the port speaks and is ready."""

    def start(self) -> None:
        """Start the process; harmless when it runs already."""
        if self.pid() is not None:
            running = self._running_port()
            if running != self.port:
                raise LocalError(
                    f"{self.name} is running on port {running}, not {self.port}: stop it, or use that port"
                )
            return
        if _taken(self.host, self.port):
            raise LocalError(f"{self.name}: port {self.port} is in use by another process; choose another port")
        self.directory.mkdir(parents=True, exist_ok=True)
        command = self.command()
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env={**os.environ, **self.environment()},
                start_new_session=True,
            )
        pid = self._child.pid
        if not self.outlives:
            guardian.adopt(pid)
        self.pid_file.write_text(f"{pid} {started(pid)}\n{self.port}\n", encoding="ascii")

    def wait_ready(self, timeout: float = 60.0) -> None:
        deadline = time.monotonic() + timeout
        while not self.answers():
            if self.pid() is None:
                raise LocalError(f"{self.name} exited during startup; see {self.log}\n{_tail(self.log)}")
            if time.monotonic() > deadline:
                raise LocalError(f"{self.name} is not ready after {timeout:.0f} s; see {self.log}\n{_tail(self.log)}")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """End it in good order; with force once the time is up. Harmless when it does not run."""
        if self._signal(signal.SIGTERM):
            self._signal(signal.SIGCONT)  # a suspended process would never see the first one
        if not self._wait_gone(_STOP_SECONDS):
            self.kill()
        self.pid_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """SIGKILL: what a lost machine looks like to its clients."""
        self._signal(signal.SIGKILL)
        if not self._wait_gone(_STOP_SECONDS):
            raise LocalError(f"{self.name} survived SIGKILL")
        self.pid_file.unlink(missing_ok=True)

    def suspend(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def pid(self) -> int | None:
        """The process of the pid file, if it is still the one that was started."""
        if self._child is not None and self._child.poll() is not None:
            self._child = None
        try:
            pid, since = self.pid_file.read_text(encoding="ascii").split("\n")[0].split(maxsplit=1)
        except (FileNotFoundError, ValueError):
            return None
        now = started(int(pid))
        return int(pid) if now and now == since.strip() else None

    def _running_port(self) -> int:
        return int(self.pid_file.read_text(encoding="ascii").split("\n")[1])

    def _signal(self, number: signal.Signals) -> bool:
        pid = self.pid()
        if pid is None:
            return False
        try:
            os.killpg(pid, number)
        except ProcessLookupError:
            return False
        return True

    def _wait_gone(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.pid() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        if self._child is not None:
            self._child.wait()  # or it stays behind as a zombie of the test session
            self._child = None
        return True


def _taken(host: str, port: int) -> bool:
    with socket.socket() as attempt:
        attempt.settimeout(1.0)
        return attempt.connect_ex((host, port)) == 0


def _tail(log: Path, lines: int = 15) -> str:
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""
