"""Where a measurement runs: topics and databases of its own, dropped afterwards, and a MongoDB whose disk is memory."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
from pymongo import MongoClient

from cli.topics import delete_topics
from deploy.local import MongoServer, free_port
from tests.bench import machine

MEMORY = Path("/dev/shm")
"""Where Linux has a file system in memory."""
ROOM = 4 << 30
OURS = "deskbus-bench-"


class NotHere(Exception):
    """This machine has not what a part needs; the message says what. The others can run."""


@asynccontextmanager
async def names(mongo: str | None = None) -> AsyncIterator[dict[str, str]]:
    """Give an environment with names that nobody has used; every topic and database under them is dropped after."""
    name = f"bench{secrets.token_hex(4)}"
    environment = {
        "DESKBUS_KAFKA": os.environ["DESKBUS_KAFKA"],
        "DESKBUS_MONGO": mongo or os.environ["DESKBUS_MONGO"],
        "DESKBUS_TOPIC_PREFIX": f"{name}.",
        "DESKBUS_MONGO_PREFIX": name,
    }
    try:
        yield environment
    finally:
        await delete_topics(environment["DESKBUS_KAFKA"], environment["DESKBUS_TOPIC_PREFIX"])
        await asyncio.to_thread(_drop, environment)


def _drop(environment: Mapping[str, str]) -> None:
    with MongoClient[dict[str, Any]](environment["DESKBUS_MONGO"]) as client:
        for database in client.list_database_names():
            if database.startswith(f"{environment['DESKBUS_MONGO_PREFIX']}_"):
                client.drop_database(database)


@asynccontextmanager
async def mongo_in_memory() -> AsyncIterator[str]:
    """Run a MongoDB server of the kind that the stack has over a file system in memory: its address."""
    usual = machine.listener(os.environ["DESKBUS_MONGO"])
    if usual is None:
        raise NotHere("the stack's MongoDB server is no process of ours that could be started a second time")
    kinds = {partition.mountpoint: partition.fstype for partition in psutil.disk_partitions(all=True)}
    if kinds.get(str(MEMORY)) != "tmpfs" or shutil.disk_usage(MEMORY).free < ROOM:
        raise NotHere(f"{MEMORY} is no tmpfs with {ROOM >> 30} GiB free")
    await asyncio.to_thread(_discard_orphans)
    directory = Path(tempfile.mkdtemp(prefix=f"{OURS}{os.getpid()}-", dir=MEMORY))
    server = MongoServer(directory / "mongo", free_port())
    try:
        await asyncio.to_thread(server.start)
        await asyncio.to_thread(server.wait_ready)
        mine = machine.listener(server.address)
        if mine is None or mine.name() != usual.name():
            raise NotHere(f"the stack's MongoDB server is {usual.name()}, and here another one would be started")
        yield server.address
    finally:
        await asyncio.to_thread(_discard, server)


def _discard(server: MongoServer) -> None:
    """End it, if it runs, and remove its directory."""
    server.kill()
    shutil.rmtree(server.directory.parent, ignore_errors=True)


def _discard_orphans() -> None:
    """Discard what a run left that was killed."""
    for directory in MEMORY.glob(f"{OURS}*"):
        pid = directory.name.removeprefix(OURS).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            _discard(MongoServer(directory / "mongo", 0))
