"""`deskbus run`: all services in the foreground, their logs as short lines of one terminal. No more.

The doors of the first replica of each are on the ports that its settings say; the policies are those of deploy/config.
Variables come from the shell, then from `.env`, as with Docker Compose; secrets that neither has are made up.
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
_SHOWN_APART = {"at", "level", "message", "service", "exception"}


def policies(folder: Path) -> dict[str, str]:
    """The variables that name the policy files of a folder."""
    return {f"DESKBUS_{name.upper()}_POLICY": str(folder / f"{name}.yaml") for name in SERVICES}


def from_file(file: Path) -> dict[str, str]:
    """The variables of a `.env` file; empty where there is none. One without a value counts as not set."""
    return {name: value for name, value in dotenv_values(file).items() if value} if file.is_file() else {}


def environment(given: Mapping[str, str], folder: Path) -> dict[str, str]:
    """What the services are started with: what is given wins over what is made up for local runs.

    A variable that is given without a value, as in `.env.example`, is made up as well.
    """
    made_up = {**policies(folder), **secrets_environment(), "DESKBUS_TOKENS": tokens().setting}
    return {**made_up, **{name: value for name, value in given.items() if name.startswith("DESKBUS_") and value}}


def ports(given: Mapping[str, str], service: str) -> dict[str, int]:
    """The ports of a service's first replica, from its own variables, as `Fleet.add` takes them."""

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
    """A log line as (level, time, text); what is no JSON of ours is shown as it is."""
    try:
        entry = json.loads(raw)
        at, text = clean(str(entry["at"])[11:23]), clean(str(entry["message"]))
    except (ValueError, KeyError, TypeError):
        return "info", "", clean(raw)
    more = " ".join(clean(f"{name}={value}") for name, value in entry.items() if name not in _SHOWN_APART)
    if exception := entry.get("exception"):
        more += "\n" + clean(str(exception), lines=True)
    return str(entry.get("level", "info")), at, f"{text} {more}".strip()


def show(console: Console, replica: Replica, stream: IO[bytes]) -> None:
    """Print a service's output until it ends."""
    for raw in stream:
        level, at, text = compact(raw.decode("utf-8", "replace").rstrip())
        line = Text(f"{replica.name:<10} ", _COLOURS.get(replica.service, "")) + Text(f"{at:<12} ", "dim")
        console.print(line + Text(text, _LEVELS.get(level, "")), soft_wrap=True)


@contextlib.contextmanager
def interruptible() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, instead of ending us in the middle of something."""
    asked = threading.Event()
    handlers = {number: signal.signal(number, lambda *_: asked.set()) for number in _ENDINGS}
    try:
        yield asked
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def run(given: Mapping[str, str], folder: Path, replicas: int, say: Callable[[str], None] = screen.say) -> int:
    """Run until Ctrl-C, or until one ends by itself; returns the exit code. What `given` says wins over `.env`."""
    console = screen.console(sys.stdout)
    if kept := from_file(ENV_FILE):
        say(f"read {ENV_FILE.name}: {', '.join(sorted(kept))}")
    shared = environment({**kept, **given}, folder)
    fleet = Fleet(shared, logs=None)
    try:
        _fill(fleet, shared, replicas)
    except FleetError as fault:
        say(str(fault))
        return 1
    readers = []
    with interruptible() as asked:
        try:
            for replica in fleet.replicas:
                replica.start(piped=True)
                assert replica.process is not None
                assert replica.process.stdout is not None
                reader = threading.Thread(target=show, args=(console, replica, replica.process.stdout), daemon=True)
                reader.start()
                readers.append(reader)
            say(doors(fleet, shared["DESKBUS_TOKENS"]))
            while not asked.wait(0.5):
                if gone := [replica.name for replica in fleet.replicas if not replica.alive]:
                    say(f"{', '.join(gone)} exited unexpectedly")
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
    """What a person at the keyboard needs: the addresses, and a token that the doors take (`setting` says which)."""
    lines = [f"{r.name}: {r.url}, operators {r.ops_url}" for r in fleet.replicas]
    local = tokens()
    if setting == local.setting:
        lines.append(f"token for local use, with every scope: {local.bearer}")
    else:
        lines.append("tokens: those of DESKBUS_TOKENS")
    return "\n".join([*lines, f"in {ROOT}; Ctrl-C stops"])
