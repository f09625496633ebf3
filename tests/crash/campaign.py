"""One campaign: a system on its own servers works under seeded faults; then all work is completed and judged.

schedule.py chooses the faults; verdict.py says what must hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import traceback
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from pymongo.errors import PyMongoError

from cli.reading import TopicRecord, read
from contracts import topics
from deploy.local import KafkaServer, MongoServer, free_port
from deploy.local.kafka import brokers
from deploy.local.stack import DATA
from kit.base.clock import SystemClock
from tests.crash import stores, verdict
from tests.crash.disk import Disk
from tests.crash.faults import Faults, Ground
from tests.crash.people import Customers, Staff
from tests.crash.proxy import Proxy
from tests.crash.schedule import FULL, SERVICES, SLOTS, Size, schedule
from tests.system.rig import PARTITIONS, System, system, until

PREFIX = "crash"
CONFIG = Path(__file__).parent / "config"
WEIGHT = 1.3
"""Average units of capacity that a ticket takes."""


@dataclass
class Outcome:
    """The result of a campaign. `folder` has the logs and, if there were faults, the records."""

    seed: int
    folder: Path
    faults: dict[str, list[str]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)
    seconds: float = 0.0
    again: str = ""
    """The command that repeats the campaign."""

    def __str__(self) -> str:
        lines = [f"seed {self.seed}: {'HOLDS' if not self.faults else 'BROKEN'} after {self.seconds:.0f} s"]
        lines += [f"  {what}: {count}" for what, count in self.counts.items() if count]
        lines += [f"  left out: {what}" for what in sorted(self.left_out)]
        for what, where in self.faults.items():
            lines.append(f"  FAULT {what}: {len(where)}")
            lines += [f"    {each}" for each in where[:5]]
        if self.faults:
            lines += [f"  replay with: {self.again}", f"  logs and records: {self.folder}"]
        return "\n".join(lines)


@asynccontextmanager
async def ground(folder: Path, size: Size) -> AsyncIterator[Ground]:
    """Start Kafka and MongoDB for the campaign, behind proxies."""
    ports = [free_port() for _ in size.kafka]
    doors = {name: free_port() for name in (*size.kafka, "mongo")}
    kafka = (
        brokers(folder / "kafka", ports, advertised=[doors[name] for name in size.kafka])
        if size.brokers > 1
        else [KafkaServer(folder / "kafka", ports[0], advertised_port=doors["kafka"])]
    )
    disk = Disk(folder / "mongo")  # the server's log is outside, so that it can be written when the disk is full
    mongo = MongoServer(folder / "mongo", free_port())
    servers: list[KafkaServer | MongoServer] = [*kafka, mongo]
    for server in servers:
        server.start()
    try:
        for server in servers:
            await asyncio.to_thread(server.wait_ready, 120)
        with ExitStack() as stack:
            proxies = {each.name: stack.enter_context(Proxy(doors[each.name], each.port)) for each in servers}
            yield Ground(kafka, mongo, proxies, disk)
    finally:
        for server in servers:
            server.kill()
        disk.close()


def environment(under: Ground, size: Size) -> dict[str, str]:
    """Return the environment of all services."""
    return {
        "DESKBUS_KAFKA": ",".join(f"127.0.0.1:{under.proxies[name].port}" for name in size.kafka),
        "DESKBUS_MONGO": f"mongodb://127.0.0.1:{under.proxies['mongo'].port}/?directConnection=true",
        "DESKBUS_TOPIC_PREFIX": f"{PREFIX}.",
        "DESKBUS_MONGO_PREFIX": PREFIX,
        "DESKBUS_SESSION_TIMEOUT_MS": str(int(size.session * 1000)),
        # Claims that a crash left behind are found within the wait for quiet.
        "DESKBUS_ROUTING_CLAIM_SECONDS": "3",
        "DESKBUS_ROUTING_RECONCILE_SECONDS": "2",
        "DESKBUS_ROUTING_VERIFY_SECONDS": str(int(size.verify)),
    }


def _in_short(found: Mapping[str, int], most: int = 4) -> str:
    """Return the first few entries of what is in progress."""
    told = [f"{what}: {count}" for what, count in list(found.items())[:most]]
    return ", ".join(told + [f"and {len(found) - most} more"] * (len(found) > most)) or "nothing"


class Campaign:
    """A campaign with a seed and a size."""

    def __init__(self, seed: int, size: Size, folder: Path | None = None) -> None:
        self.seed, self.size = seed, size
        self.folder = folder or DATA / "crash" / f"{seed}-{size.messages}-{os.getpid()}"
        several = f" BROKERS={size.brokers}" if size.brokers > 1 else ""
        command = f"SEED={seed} MESSAGES={size.messages} make crash{several}"
        if size.session < FULL.session:
            command = f"SEED={seed} pytest tests/crash -k small_campaign"
        self.outcome = Outcome(seed, self.folder, again=command)

    async def run(self) -> Outcome:
        """Run the campaign. Its folder is deleted unless there were faults."""
        self.folder.mkdir(parents=True, exist_ok=True)
        loop = asyncio.get_running_loop()
        begin = loop.time()
        print(f"campaign with seed {self.seed}, {self.size.messages} messages; logs: {self.folder}", flush=True)
        async with ground(self.folder, self.size) as under:
            try:
                async with system(environment(under, self.size), self.folder / "logs") as made:
                    await self._run(made, under)
            except Exception:
                self.outcome.faults.setdefault("the campaign itself", []).append(traceback.format_exc())
        self.outcome.seconds = loop.time() - begin
        if not self.outcome.faults:
            shutil.rmtree(self.folder, ignore_errors=True)
        return self.outcome

    async def _run(self, made: System, under: Ground) -> None:
        await made.create_topics()
        self._add_replicas(made)
        await asyncio.to_thread(made.fleet.start)
        replicas = {r.name: r for r in made.fleet.replicas}
        faults = Faults(replicas, under, self._say)
        customers = Customers(made.traffic, self.seed, self.size.messages, self.size.rate)
        async with made.doors(patience=240, at_once=512, longest_pause=5) as doors:
            staff = Staff(made, doors, self.seed)
            await staff.hire(self.size.messages * WEIGHT * self.size.held)
            working = asyncio.create_task(staff.work())
            moving = asyncio.create_task(staff.come_and_go())
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(customers.write(doors))
                    group.create_task(faults.play(schedule(self.seed, self.size)))
                await faults.all_up()
                moving.cancel()
                await staff.all_in()
                self._say("all is up; waiting for quiet")
                await self._quiet(made, staff)
            finally:
                working.cancel()
                moving.cancel()
                await asyncio.gather(working, moving, return_exceptions=True)
                self.outcome.counts |= {"delivered": customers.sent, "tries again": doors.retries,
                                        "asked by agents": staff.commands}  # fmt: skip
                self.outcome.left_out |= faults.left_out
                if faults.unclean:
                    self.outcome.faults["processes"] = faults.unclean
        await self._judge(made, replicas_alive=all(r.alive for r in made.fleet.replicas))

    def _add_replicas(self, made: System) -> None:
        own = {"notify": CONFIG / "notify.yaml", "sla": CONFIG / "sla.yaml"}
        for service in SERVICES:
            for _ in SLOTS:
                replica = made.fleet.add(service)
                if service in own:
                    named = f"DESKBUS_{service.upper()}_POLICY"
                    replica.environment = {**replica.environment, named: str(own[service])}

    async def _quiet(self, made: System, staff: Staff) -> None:
        """Wait until all work is done. Agents keep solving tickets while tickets wait or may have to."""
        inbound = topics.topic_name(topics.INBOUND, made.prefix)
        url = made.environment["DESKBUS_MONGO"]
        left: dict[str, int] = {}

        async def settled() -> bool:
            with contextlib.suppress(PyMongoError):
                behind = await self._lag(made)
                waiting = await asyncio.to_thread(stores.waiting, url, PREFIX)
                staff.at_rest = not waiting and not any(inbound in what for what in behind)
                found = behind | waiting
                if not found:  # reading all documents each time would be most of the servers' load
                    found = stores.unsettled(await asyncio.to_thread(stores.read, url, PREFIX))
                left.clear()
                left.update(found)
                self._say(f"in hand: {_in_short(found)}; agents {'rest' if staff.idle else 'work'}")
                if not staff.idle:  # a turn may have begun while tickets still waited
                    left["agents at work"] = 1
            return not left

        try:
            await until(settled, self.size.calm, "quiet", pause=self.size.pause / 6)
        except AssertionError as late:
            self.outcome.faults["not quiet"] = [str(late), *(f"{what}: {count}" for what, count in left.items())]

    async def _lag(self, made: System) -> dict[str, int]:
        """Return the partitions that a consumer group has not committed to their end."""
        behind: dict[str, int] = {}
        names = [topics.topic_name(topic.name, made.prefix) for topic in topics.TOPICS]
        admin = AIOKafkaAdminClient(bootstrap_servers=made.kafka)
        consumer = AIOKafkaConsumer(bootstrap_servers=made.kafka)
        try:
            await admin.start()
            await consumer.start()
            ends = await consumer.end_offsets([TopicPartition(n, p) for n in names for p in range(PARTITIONS)])
            for service in SERVICES:
                committed = await admin.list_consumer_group_offsets(f"{made.prefix}deskbus.{service}")
                followed = {topics.topic_name(n, made.prefix) for n in topics.CONSUMES[service]}
                for tp, end in ends.items():
                    here = committed.get(tp)
                    if tp.topic in followed and end > max(0, here.offset if here else 0):
                        behind[f"records before {service} in {tp.topic}/{tp.partition}"] = end
        except (KafkaError, OSError) as fault:
            behind[f"no answer from Kafka: {fault!r}"] = 1
        finally:
            await consumer.stop()
            await admin.close()
        return behind

    async def _judge(self, made: System, *, replicas_alive: bool) -> None:
        lines = [line async for line in read(made.kafka, [t.name for t in topics.TOPICS], prefix=made.prefix)]
        kept = await asyncio.to_thread(stores.read, made.environment["DESKBUS_MONGO"], PREFIX)
        told = {headers["webhook-id"] for path in ("/lead", "/oncall") for headers, _ in made.receiver.to(path)}
        audited = verdict.report(lines, SystemClock().now())
        found = verdict.faults(self.seed, self.size.messages, lines, kept, told, audited)
        for what, where in found.items():
            self.outcome.faults.setdefault(what, []).extend(where)
        if not replicas_alive:
            self.outcome.faults.setdefault("processes", []).append("some did not live to the end")
        self.outcome.counts |= audited.counts
        if self.outcome.faults:
            self._keep(lines, kept)

    def _keep(self, lines: list[TopicRecord], kept: stores.Stores) -> None:
        with (self.folder / "records.jsonl").open("w", encoding="utf-8") as out:
            for line in lines:
                value = (line.value or b"").decode("utf-8", "replace")
                out.write(json.dumps([line.topic, line.partition, line.offset, line.timestamp_ms, value]) + "\n")
        with (self.folder / "stores.jsonl").open("w", encoding="utf-8") as out:
            for (service, collection), rows in kept.items():
                for row in rows:
                    out.write(json.dumps([service, collection, row], default=str) + "\n")

    def _say(self, text: str) -> None:
        stamp = SystemClock().now().strftime("%H:%M:%S.%f")[:-3]
        with (self.folder / "faults.log").open("a", encoding="utf-8") as out:
            out.write(f"{stamp} {text}\n")
