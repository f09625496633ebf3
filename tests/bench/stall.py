"""What a load does when nothing moves any more: it says where everything stands, and fails.

Records that wait for each group, oldest outbox entries, and what each process says of itself. Nothing is changed here.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from pymongo import MongoClient

from cli.fleet import SERVICES, Replica
from cli.topics import committed
from contracts import topics
from kit.base.clock import Clock
from tests.system.rig import System

SECONDS = 10.0
"""Without a new assignment or clock, under load: then it stands still."""
ANSWER_SECONDS = 10.0
LINES = 5
_TELLING = (
    "deskbus_partitions_paused", "deskbus_partitions_assigned", "deskbus_consumer_stopped", "deskbus_stalled_seconds",
    "deskbus_heartbeat_age_seconds", "deskbus_lag_records", "deskbus_outbox_oldest_seconds",
    "deskbus_timer_oldest_due_seconds", "deskbus_retries_total", "deskbus_rebalances_total",
)  # fmt: skip


class Stalled(Exception):
    """Nothing moved for too long."""


@asynccontextmanager
async def watched(
    moved: Callable[[], float], report: Callable[[], Awaitable[str]], clock: Clock, seconds: float = SECONDS
) -> AsyncIterator[None]:
    """Break off what runs inside once nothing has moved for so many seconds: prints the report and raises Stalled.

    `moved` gives the instant (monotonic) at which something moved last.
    """
    began = clock.monotonic()

    async def watch() -> None:
        while (left := max(moved(), began) + seconds - clock.monotonic()) > 0:
            await clock.sleep(left)
        print(f"nothing has moved for {seconds:g} s\n{await report()}", file=sys.stderr, flush=True)
        raise Stalled(f"nothing moved for {seconds:g} s")

    try:
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch())
            yield
            watching.cancel()
    except* Stalled as found:
        raise found.exceptions[0] from None


async def report(made: System) -> str:
    """Say where everything stands. What does not answer is named, and stops nothing else."""
    prefix, environment = made.prefix, made.environment
    parts: dict[str, Awaitable[list[str]]] = {f"lag of {each}": lag(made.kafka, each, prefix) for each in SERVICES}
    parts["oldest outboxes"] = asyncio.to_thread(
        outboxes, environment["DESKBUS_MONGO"], environment["DESKBUS_MONGO_PREFIX"]
    )
    parts |= {each.name: replica(each) for each in made.fleet.replicas}
    answers = await asyncio.gather(*map(_answer, parts.values()))
    return "\n".join("\n  ".join([f"{name}:", *answer]) for name, answer in zip(parts, answers, strict=True))


async def _answer(part: Awaitable[list[str]]) -> list[str]:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await part or ["nothing"]
    except Exception as fault:
        return [f"no answer: {fault!r}"]


async def lag(kafka: str, service: str, prefix: str) -> list[str]:
    """Return the partitions in which records wait for a service's group: where it stands, and where they end."""
    names = [topics.topic_name(name, prefix) for name in topics.CONSUMES[service]]
    stands = await committed(kafka, f"{prefix}deskbus.{service}")
    async with AIOKafkaConsumer(*names, bootstrap_servers=kafka, enable_auto_commit=False) as consumer:
        here: set[TopicPartition] = consumer.assignment()
        ends: dict[TopicPartition, int] = await consumer.end_offsets(list(here))
    behind = {tp: stands.get(tp, 0) for tp, end in sorted(ends.items()) if stands.get(tp, 0) < end}
    return [f"{tp.topic} {tp.partition}: committed {at} of {ends[tp]}" for tp, at in behind.items()]


def outboxes(mongo: str, prefix: str) -> list[str]:
    """Return of each collection whose documents have something to say how many they are, and the oldest entry."""
    told = []
    with MongoClient[dict[str, Any]](mongo, serverSelectionTimeoutMS=3_000) as client:
        for service in SERVICES:
            database = client[f"{prefix}_{service}"]
            for name in sorted(database.list_collection_names()):
                waiting = {"outbox.0": {"$exists": True}}
                oldest = database[name].find_one(waiting, {"outbox.at": 1, "outbox.id": 1}, sort=[("outbox.at", 1)])
                if oldest is not None:
                    count = database[name].count_documents(waiting)
                    told.append(
                        f"{service}.{name}: {count} documents, {oldest['_id']} since {oldest['outbox'][0]['at']}"
                    )
    return told


async def replica(of: Replica) -> list[str]:
    """Return what a process says of itself: health, the metrics of its consumer, CPU and threads, its last words."""
    if of.process is None or not of.alive:
        return [f"is gone: {of.exit_code}", *_last_words(of.log)]
    process = psutil.Process(of.process.pid)
    busy = await asyncio.to_thread(process.cpu_percent, 0.5)
    told = [f"{process.status()}, {process.num_threads()} threads, {busy:.0f} % CPU"]
    try:
        async with httpx.AsyncClient(timeout=3, trust_env=False) as http:
            told += [f"{path}: {(await http.get(of.ops_url + path)).text}" for path in ("/livez", "/readyz")]
            metrics = (await http.get(of.ops_url + "/metrics")).text.splitlines()
        told += [line for line in metrics if line.startswith(_TELLING) and not line.endswith(" 0.0")]
    except httpx.HTTPError as fault:
        told.append(f"its door does not answer: {fault!r}")
    return [*told, *_last_words(of.log)]


def _last_words(log: Path | None) -> Sequence[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-LINES:] if log else []
