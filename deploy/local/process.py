"""One server process: pid file, signals, readiness. It ends with the process that started it, unless `outlives` is set.

Nothing about Kafka or MongoDB here.
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
    """A problem that the user can solve; the message says how."""


#: Sockets that are bound but never listen, so that the kernel assigns their ports to no one while this process runs.
_RESERVED: list[socket.socket] = []


def free_port() -> int:
    """Return a free port, and reserve it while this process runs.

    Servers that set SO_REUSEADDR, as nearly all do, can listen on it. No other process gets it meanwhile, neither from
    this function nor as the local port of a connection.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        reserved = socket.socket()
        try:
            reserved.bind(("127.0.0.1", port))
        except OSError:
            reserved.close()
            continue
        # Only after bind: two sockets with SO_REUSEADDR could both bind the port.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _RESERVED.append(reserved)
        return port


class Server(ABC):
    """A server with its own directory, whose data survives a restart."""

    name: str
    outlives = False
    """Whether it keeps running when the process that started it ends."""

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
        """The address for clients."""

    @abstractmethod
    def command(self) -> list[str]:
        """Prepare the directory; return the command to run."""

    def environment(self) -> dict[str, str]:
        """Return variables to add to the process's environment."""
        return {}

    @abstractmethod
    def answers(self) -> bool:
        """Return whether the server is ready."""

    def start(self) -> None:
        """Start the process, unless it runs already. Raises LocalError if its port is in use."""
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
        """Stop the process, if it runs: SIGTERM, then SIGKILL if it does not exit in time."""
        self.terminate()
        if not self._wait_stopped(_STOP_SECONDS):
            self.kill()
        self.pid_file.unlink(missing_ok=True)

    def terminate(self) -> None:
        """Ask the process to stop, if it runs, and do not wait."""
        if self._signal(signal.SIGTERM):
            self._signal(signal.SIGCONT)  # a suspended process would not handle SIGTERM

    def kill(self) -> None:
        """Kill the process, as if its machine were lost."""
        self._signal(signal.SIGKILL)
        if not self._wait_stopped(_STOP_SECONDS):
            raise LocalError(f"{self.name} survived SIGKILL")
        self.pid_file.unlink(missing_ok=True)

    def suspend(self) -> None:
        """Suspend the process: connections stay open, but nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def pid(self) -> int | None:
        """Return the process id from the pid file; None if that process has ended."""
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

    def _wait_stopped(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.pid() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        if self._child is not None:
            self._child.wait()  # otherwise it would remain a zombie
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
