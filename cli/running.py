"""`deskbus run`: all services in the foreground, with their logs as short lines.

The first replica of each service uses the ports of its settings; the policies are those of deploy/config. Variables
come from the shell, then from `.env`, as with Docker Compose; missing secrets are generated.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

from dotenv import dotenv_values
from rich.console import Console
from rich.text import Text

from cli import screen
from cli.fleet import ROOT, SERVICES, Fleet, FleetError, Replica
from cli.screen import clean
from cli.traffic import secrets_environment, tokens

ENV_FILE = ROOT / ".env"
PORTS = {"ingest": 8081, "routing": 8082, "sla": 8083, "notify": 8084}
SMTP_PORT = 8025
_COLOURS = {"ingest": "cyan", "routing": "green", "sla": "yellow", "notify": "magenta"}
_LEVELS = {"warning": "yellow", "error": "red", "critical": "bold red"}
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_NOT_EXTRA = {"at", "level", "message", "service", "exception"}
"""Keys of a log entry that are shown otherwise than as `key=value`."""


def policies(folder: Path) -> dict[str, str]:
    """Return the variables that name the policy files of a folder."""
    return {f"DESKBUS_{name.upper()}_POLICY": str(folder / f"{name}.yaml") for name in SERVICES}


def from_file(file: Path) -> dict[str, str]:
    """Return the variables of a `.env` file, if it exists. Variables without a value are left out."""
    return {name: value for name, value in dotenv_values(file).items() if value} if file.is_file() else {}


def environment(given: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the environment of the services: `given`, over defaults and generated secrets for local runs.

    A variable without a value, as in `.env.example`, counts as not given.
    """
    defaults = {**policies(folder), **secrets_environment(), "DESKBUS_TOKENS": tokens().setting}
    return {**defaults, **{name: value for name, value in given.items() if name.startswith("DESKBUS_") and value}}


def ports(given: Mapping[str, str], service: str) -> dict[str, int]:
    """Return the ports of a service's first replica, as arguments of `Fleet.add`. Raises FleetError."""

    def port(name: str, default: int) -> int:
        variable = f"DESKBUS_{service.upper()}_{name}"
        text = given.get(variable) or str(default)
        if not text.isdecimal():
            raise FleetError(f"{variable} must be a port number, not {text!r}")
        return int(text)

    public = port("PORT", PORTS[service])
    found = {"port": public, "ops_port": port("OPS_PORT", public + 1000)}
    return {**found, "smtp_port": port("SMTP_PORT", SMTP_PORT)} if service == "ingest" else found


def compact(raw: str) -> tuple[str, str, str]:
    """Return a log line as (level, time, text). A line that is no log entry is kept as text."""
    try:
        entry = json.loads(raw)
        at, text = clean(str(entry["at"])[11:23]), clean(str(entry["message"]))
    except (ValueError, KeyError, TypeError):
        return "info", "", clean(raw)
    extra = " ".join(clean(f"{name}={value}") for name, value in entry.items() if name not in _NOT_EXTRA)
    if exception := entry.get("exception"):
        extra += "\n" + clean(str(exception), lines=True)
    return str(entry.get("level", "info")), at, f"{text} {extra}".strip()


def show(console: Console, replica: Replica, stream: IO[bytes]) -> None:
    """Print a service's output until it ends."""
    for raw in stream:
        level, at, text = compact(raw.decode("utf-8", "replace").rstrip())
        line = Text(f"{replica.name:<10} ", _COLOURS.get(replica.service, "")) + Text(f"{at:<12} ", "dim")
        console.print(line + Text(text, _LEVELS.get(level, "")), soft_wrap=True)


@contextlib.contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C and SIGTERM set instead of ending the process."""
    stopping = threading.Event()
    handlers = {number: signal.signal(number, lambda *_: stopping.set()) for number in _ENDINGS}
    try:
        yield stopping
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def run(given: Mapping[str, str], folder: Path, replicas: int, say: Callable[[str], None] = screen.say) -> int:
    """Run until Ctrl-C, or until a service exits; return the exit code. `given` overrides `.env`."""
    console = screen.console(sys.stdout)
    if from_env := from_file(ENV_FILE):
        say(f"read {ENV_FILE.name}: {', '.join(sorted(from_env))}")
    shared = environment({**from_env, **given}, folder)
    fleet = Fleet(shared, logs=None)
    try:
        _fill(fleet, shared, replicas)
    except FleetError as fault:
        say(str(fault))
        return 1
    readers = []
    with interruptible() as stopping:
        try:
            for replica in fleet.replicas:
                replica.start(piped=True)
                assert replica.process is not None
                assert replica.process.stdout is not None
                reader = threading.Thread(target=show, args=(console, replica, replica.process.stdout), daemon=True)
                reader.start()
                readers.append(reader)
            say(doors(fleet, shared["DESKBUS_TOKENS"]))
            while not stopping.wait(0.5):
                if exited := [replica.name for replica in fleet.replicas if not replica.alive]:
                    say(f"{', '.join(exited)} exited unexpectedly")
                    return 1
        finally:
            try:
                fleet.stop()
            except FleetError as fault:
                say(str(fault))
            for reader in readers:
                reader.join(2)
    return 0


def _fill(fleet: Fleet, shared: Mapping[str, str], replicas: int) -> None:
    for service in SERVICES:
        fleet.add(service, **ports(shared, service))
        for _ in range(replicas - 1):
            fleet.add(service)


def doors(fleet: Fleet, setting: str) -> str:
    """Return the addresses of all replicas, and the local token if DESKBUS_TOKENS is `setting` for it."""
    lines = [f"{r.name}: {r.url}, operators {r.ops_url}" for r in fleet.replicas]
    local = tokens()
    if setting == local.setting:
        lines.append(f"token for local use, with every scope: {local.bearer}")
    else:
        lines.append("tokens: those of DESKBUS_TOKENS")
    return "\n".join([*lines, f"in {ROOT}; Ctrl-C stops"])
