"""Ends child processes when their parent ends, even by SIGKILL. Standard library only.

Rule: the guardian detects its parent's end by a pipe that closes. Processes that are to outlive their parent
(`make up`) are not registered with it.
"""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

GRACE_SECONDS = 10.0
"""Time that a process has between SIGTERM and SIGKILL."""
_POLL_SECONDS = 0.05
MOUNTED = "mounted "


def started(pid: int) -> str:
    """Return when a process was started, to detect reused process ids; empty once it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        if Path("/proc/self").exists():
            return ""
        answer = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return answer.stdout.strip()
    return "" if fields[0] == "Z" else fields[19]


_lock = threading.Lock()


def adopt(pid: int) -> None:
    """Let the guardian end `pid`, the leader of a process group, when this process ends."""
    with _lock:
        pipe = _guardian()
        pipe.write(f"{pid} {started(pid)}\n".encode())
        pipe.flush()


def unmount(place: Path) -> None:
    """Let the guardian unmount `place` when this process ends, if something is mounted there then."""
    with _lock:
        pipe = _guardian()
        pipe.write(f"{MOUNTED}{place}\n".encode())
        pipe.flush()


@functools.cache
def _guardian() -> IO[bytes]:
    """Start the guardian of this process, once; return the pipe to it."""
    child = subprocess.Popen(
        [sys.executable, "-I", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # a signal to our process group must not end the guardian
    )
    assert child.stdin is not None
    child.returncode = 0  # it ends after us: do not wait for it, nor warn that it still runs
    return child.stdin


def _alive(adopted: dict[int, str]) -> list[int]:
    return [pid for pid, since in adopted.items() if since and started(pid) == since]


def _signal(pids: list[int], *numbers: signal.Signals) -> None:
    for pid in pids:
        for number in numbers:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, number)


def main() -> None:
    """Read lines of `pid start` or `mounted PATH` until the pipe closes; then end these processes and unmount."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    adopted: dict[int, str] = {}
    places: list[str] = []
    for line in sys.stdin:
        if line.startswith(MOUNTED):
            places.append(line.removeprefix(MOUNTED).rstrip("\n"))
            continue
        pid, _, since = line.strip().partition(" ")
        adopted = {p: s for p, s in adopted.items() if started(p) == s} | {int(pid): since}
    _signal(_alive(adopted), signal.SIGTERM, signal.SIGCONT)  # SIGCONT, as a suspended process would not handle SIGTERM
    end = time.monotonic() + GRACE_SECONDS
    while _alive(adopted) and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)
    _signal(_alive(adopted), signal.SIGKILL)
    for place in places:
        subprocess.run(["umount", "-l", place], check=False, capture_output=True)


if __name__ == "__main__":
    main()
