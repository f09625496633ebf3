"""Runs images in boxes of bubblewrap: their own root, read-only, as uid 10001, without capabilities.

Kafka and MongoDB are those that the environment names, else a local stack of the check's own.
"""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from contracts.topics import SERVICES
from deploy.check.context import Context, Failed
from deploy.local import free_port
from deploy.local.stack import Stack

Mounted = Callable[[str], AbstractContextManager[Path]]
Configured = Callable[[str], dict[str, Any]]
_READY_SECONDS = 120
_STOP_SECONDS = 30
_ID = "10001"
_PREFIX = "images"
_SCRATCH = "/tmp"  # noqa: S108 - the box's own, and empty
_POLICIES = f"{_SCRATCH}/config"


class Box:
    """How an image is started."""

    def __init__(self, context: Context, root: Path, config: Mapping[str, Any]) -> None:
        self._context, self._root, self._config = context, root, config

    def command(self, environment: Mapping[str, str], arguments: tuple[str, ...] = ()) -> list[str]:
        """Return the command line, which runs the image's entrypoint without a shell."""
        given = {**dict(pair.split("=", 1) for pair in self._config["Env"]), **environment}
        box = [str(self._context.tool("bwrap")), "--die-with-parent", "--unshare-ipc", "--clearenv"]
        box += ["--ro-bind", str(self._root), "/", "--dev", "/dev", "--tmpfs", _SCRATCH]
        box += ["--ro-bind", str(self._context.root / "deploy" / "config"), _POLICIES]
        for name, value in given.items():
            box += ["--setenv", name, value]
        # Only to become another user, who then has none of them.
        box += [word for name in ("SETUID", "SETGID", "SETPCAP") for word in ("--cap-add", f"CAP_{name}")]
        drop = ["setpriv", f"--reuid={_ID}", f"--regid={_ID}", "--clear-groups", "--no-new-privs"]
        drop += ["--inh-caps=-all", "--bounding-set=-all", "--"]
        return [*box, "--chdir", self._config["WorkingDir"], "--", *drop, *self._config["Entrypoint"], *arguments]

    def files(self) -> set[str]:
        return {str(path) for path in self._root.rglob("*")}


def try_services(context: Context, mounted: Mounted, configured: Configured) -> None:
    """Make the topics with the tools' image, then run every service until it is ready, and end it with SIGTERM."""
    stack = Stack(context.work / "stack", free_port(), free_port())
    context.stack.callback(stack.discard)
    addresses = {**stack.up().environment(), "DESKBUS_TOPIC_PREFIX": f"{_PREFIX}.", "DESKBUS_MONGO_PREFIX": _PREFIX}
    with mounted("tools") as root:
        box = Box(context, root, configured("tools"))
        context.run(box.command(addresses, ("topics", "--partitions", "1")))
        context.run(box.command(addresses, ("topics", "--partitions", "1")))  # as at every upgrade
        context.run(box.command(addresses, ("check", "config", _POLICIES)))
        context.run(box.command(addresses, ("audit",)))
        context.run(box.command(addresses, ("dlq", "list", "sla")))
    for service in SERVICES:
        with mounted(service) as root:
            _try(service, Box(context, root, configured(service)), addresses, context.work / f"{service}.log")


def _try(service: str, box: Box, addresses: Mapping[str, str], log: Path) -> None:
    name = f"DESKBUS_{service.upper()}"
    ops_port = free_port()
    own = {f"{name}_PORT": str(free_port()), f"{name}_OPS_PORT": str(ops_port), f"{name}_SMTP_PORT": str(free_port())}
    own[f"{name}_POLICY"] = f"{_POLICIES}/{service}.yaml"
    before = box.files()
    with _started(box.command({**addresses, **own}), log) as (process, inside):
        _wait_ready(service, process, ops_port, log)
        os.kill(inside, signal.SIGTERM)
        try:
            code = process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed(f"{service} has not ended {_STOP_SECONDS} s after SIGTERM\n{_tail(log)}") from None
    if code != 0:
        raise Failed(f"{service} ended with {code} after SIGTERM\n{_tail(log)}")
    if written := box.files() - before:
        raise Failed(f"{service} wrote {sorted(written)[:5]}")


@contextmanager
def _started(command: list[str], log: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start a box; give it and the id of the process inside, whose exit code is the box's."""
    read, write = os.pipe()
    command = [command[0], "--info-fd", str(write), *command[1:]]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, pass_fds=[write]
        )
    os.close(write)
    try:
        with os.fdopen(read, encoding="utf-8") as told:
            inside = int(json.load(told)["child-pid"])
        yield process, inside
    finally:
        process.kill()
        process.wait()


def _wait_ready(service: str, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not _ready(port):
        if process.poll() is not None:
            raise Failed(f"{service} ended with {process.returncode} instead of becoming ready\n{_tail(log)}")
        if time.monotonic() > deadline:
            raise Failed(f"{service} is not ready after {_READY_SECONDS} s\n{_tail(log)}")
        time.sleep(0.1)


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=3) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _tail(log: Path) -> str:
    return "\n".join(log.read_text("utf-8", "replace").splitlines()[-15:])
