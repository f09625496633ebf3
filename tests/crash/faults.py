"""Inject the scheduled faults into processes, servers and connections, undo them, and record unclean exits.

schedule.py chooses the faults; verdict.py judges the result.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from cli.fleet import FleetError, Replica
from deploy.local import KafkaServer, MongoServer
from tests.crash.disk import Disk
from tests.crash.proxy import Proxy
from tests.crash.schedule import Fault


@dataclass
class Ground:
    """The servers, the proxies in front of them (by the same names), and MongoDB's disk."""

    kafka: list[KafkaServer]
    mongo: MongoServer
    proxies: dict[str, Proxy]
    disk: Disk

    @property
    def servers(self) -> dict[str, KafkaServer | MongoServer]:
        """The servers by name."""
        servers: list[KafkaServer | MongoServer] = [*self.kafka, self.mongo]
        return {server.name: server for server in servers}


@dataclass
class Faults:
    """Injects faults. `say` logs each one. `unclean`: processes that crashed by themselves or exited with an error."""

    replicas: dict[str, Replica]
    ground: Ground
    say: Callable[[str], None]
    unclean: list[str] = field(default_factory=list)
    left_out: set[str] = field(default_factory=set)

    async def play(self, faults: Sequence[Fault]) -> None:
        """Run all tracks concurrently. On return, all faults are undone."""
        loop = asyncio.get_running_loop()
        begin = loop.time()

        async def follow(track: str) -> None:
            for fault in faults:
                if fault.track == track:
                    await asyncio.sleep(max(0.0, begin + fault.at - loop.time()))
                    self.say(f"{loop.time() - begin:7.1f} s: {fault}")
                    await self._do(fault)

        async with asyncio.TaskGroup() as group:
            for track in {fault.track for fault in faults}:
                group.create_task(follow(track))

    async def all_up(self) -> None:
        """Start all servers and replicas that are down, and wait until they are ready."""
        await asyncio.to_thread(self._up, *self.ground.servers)
        for replica in self.replicas.values():
            self._notice(replica)
            replica.start()
        for replica in self.replicas.values():
            await asyncio.to_thread(replica.wait_ready, 180)

    async def _do(self, fault: Fault) -> None:
        match fault.kind:
            case "server":
                names = fault.target.split()
                for name in names:
                    await asyncio.to_thread(self.ground.servers[name].kill)
                await asyncio.sleep(fault.seconds)
                await asyncio.to_thread(self._up, *names)
            case "disk":
                await self._disk(fault)
            case "cut" | "stall" | "delay" | "throttle":
                await self._network(fault)
            case _:
                await self._replica(fault, self.replicas[fault.target])

    def _up(self, *names: str) -> None:
        servers = [self.ground.servers[name] for name in names]
        for server in servers:
            server.start()  # all of them first: a broker is not ready without most of the others
        for server in servers:
            server.wait_ready(120)

    async def _disk(self, fault: Fault) -> None:
        disk = self.ground.disk
        if not disk.there:
            self.left_out.add("a full disk: mounting is not allowed here")
            return
        disk.fill()
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            disk.free()
        await asyncio.to_thread(self._recover)

    def _recover(self) -> None:
        """Restart MongoDB if it exited because of the full disk; kill and restart it if it is up but cannot write."""
        self._up("mongo")
        server = self.ground.mongo
        with MongoClient[dict[str, Any]](server.address, serverSelectionTimeoutMS=5000, socketTimeoutMS=5000) as client:
            try:
                client["probe"]["probe"].insert_one({})
            except PyMongoError:
                server.kill()
                self._up("mongo")

    async def _network(self, fault: Fault) -> None:
        proxy = self.ground.proxies[fault.target]
        match fault.kind:
            case "cut":
                proxy.cut()
            case "stall":
                proxy.stall()
            case "delay":
                proxy.delay(fault.amount)
            case "throttle":
                proxy.throttle(fault.amount)
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            proxy.mend()

    async def _replica(self, fault: Fault, replica: Replica) -> None:
        self._notice(replica)
        match fault.kind:
            case "kill":
                await asyncio.to_thread(replica.kill)
            case "stop":
                replica.signal(signal.SIGSTOP)
            case "term" | "remove":
                await self._term(replica)
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            replica.signal(signal.SIGCONT)
            replica.start()

    async def _term(self, replica: Replica) -> None:
        try:
            await until_open(replica)
            code = await asyncio.to_thread(replica.stop)
        except FleetError as late:
            self.unclean.append(str(late))
            return
        if code != 0:
            self.unclean.append(f"{replica.name} left with code {code}")

    def _notice(self, replica: Replica) -> None:
        """Record and restart a process that ended by itself."""
        if not replica.alive and replica.process is not None:
            self.unclean.append(f"{replica.name} ended by itself with code {replica.process.returncode}")
            replica.start()


async def until_open(replica: Replica, seconds: float = 60) -> None:
    """Wait until the operators' port is open: before, SIGTERM's default action would end the process."""
    deadline = asyncio.get_running_loop().time() + seconds
    while replica.alive and asyncio.get_running_loop().time() < deadline:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", replica.ops_port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        return
