"""The cache of downloaded and built servers. Their data is under `.local/`."""

import fcntl
import hashlib
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


def environment_directory(name: str, lock: Path) -> Path:
    """Return where the virtual environment of a lock file is, for this Python."""
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    return directory() / f"{name}-py{sys.version_info.major}.{sys.version_info.minor}-{digest}"


def environment(name: str, lock: Path, what: str) -> Path:
    """Return the virtual environment of a lock file, made once, with all packages pinned by hash."""
    with locked_entry(environment_directory(name, lock).name) as entry:
        done = entry / "complete"
        if not done.exists():
            say(f"installing {what} with pip (once)")
            run([sys.executable, "-m", "venv", "--clear", str(entry)], f"making an environment for {what}")
            pip = [str(entry / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            run([*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(lock)], f"installing {what}")
            done.touch()
    return entry
