"""Ends the processes that a process has started once that process is gone, however it went. Standard library only.

Rule: the guardian knows of its parent's end by a pipe that closes with it, so a SIGKILL is noticed as well as an exit.
What is meant to outlive its starter (`make up`) is not given to it.
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

#: Seconds that a process has between SIGTERM and SIGKILL.
GRACE_SECONDS = 10.0
_POLL_SECONDS = 0.05
MOUNTED = "mounted "


def started(pid: int) -> str:
    """When a process was started, so that a reused process id is not taken for ours; empty once it has ended."""
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
    """Have `pid`, the leader of a process group of its own, ended when this process ends."""
    with _lock:
        pipe = _guardian()
        pipe.write(f"{pid} {started(pid)}\n".encode())
        pipe.flush()


def unmount(place: Path) -> None:
    """Have what is mounted at `place` unmounted when this process ends; does no harm where nothing is mounted then."""
    with _lock:
        pipe = _guardian()
        pipe.write(f"{MOUNTED}{place}\n".encode())
        pipe.flush()


@functools.cache
def _guardian() -> IO[bytes]:
    """Start the one guardian of this process; what is written to it is read until this process ends."""
    child = subprocess.Popen(
        [sys.executable, "-I", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # what ends our group must not end the guardian first
    )
    assert child.stdin is not None
    child.returncode = 0  # it ends after us: nothing waits for it, and nothing warns that it still runs
    return child.stdin


def _alive(adopted: dict[int, str]) -> list[int]:
    return [pid for pid, since in adopted.items() if since and started(pid) == since]


def _signal(pids: list[int], *numbers: signal.Signals) -> None:
    for pid in pids:
        for number in numbers:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, number)


def main() -> None:
    """Take lines of `pid start` or `mounted PATH` until the pipe closes, then end and unmount what is left of them."""
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
    _signal(_alive(adopted), signal.SIGTERM, signal.SIGCONT)  # a suspended process sees a signal once it continues
    end = time.monotonic() + GRACE_SECONDS
    while _alive(adopted) and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)
    _signal(_alive(adopted), signal.SIGKILL)
    for place in places:
        subprocess.run(["umount", "-l", place], check=False, capture_output=True)


if __name__ == "__main__":
    main()
