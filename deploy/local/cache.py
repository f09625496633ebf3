"""The cache of downloaded and built servers. Their data is under `.local/`."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.process import LocalError


def directory() -> Path:
    """Return the cache directory: `DESKBUS_CACHE`, or `deskbus` in the user's cache."""
    chosen = os.environ.get("DESKBUS_CACHE")
    base = Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deskbus"
    base.mkdir(parents=True, exist_ok=True)
    return base


@contextmanager
def locked_entry(name: str) -> Iterator[Path]:
    """Yield the directory of a cache entry, locked: the first process fills it, the others wait and use it."""
    entry = directory() / name
    entry.mkdir(parents=True, exist_ok=True)
    with (directory() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield entry


def run(command: list[str], what: str, env: dict[str, str] | None = None) -> None:
    """Run a build or download. Raises LocalError, with the end of its output, if it fails."""
    result = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, **(env or {})},
    )
    if result.returncode != 0:
        tail = "\n".join((result.stdout + result.stderr).splitlines()[-20:])
        raise LocalError(f"{what} failed: {' '.join(command)}\n{tail}")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
