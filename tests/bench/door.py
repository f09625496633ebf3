"""The door alone: requests a second of the real one against a bare ASGI app that only produces; same client, in turns.

The real door runs with its MongoDB out of reach: it needs Kafka only, and so its worker does not take part.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from cli.fleet import ROOT
from contracts import topics
from deploy.local import free_port
from kit.base.clock import SystemClock
from tests.bench.load import Client, hooks, request_bytes
from tests.system.rig import System, system, until

CONNECTIONS = 32


async def measure(environment: dict[str, str], logs: Path, requests: int, rounds: int) -> dict[str, float]:
    """Requests a second of both, their ratio (medians), and CPU milliseconds of each request."""
    away = {**environment, "DESKBUS_MONGO": f"mongodb://127.0.0.1:{free_port()}"}
    async with system(away, logs) as made, _bare(made, environment) as (bare, bare_process):
        await made.create_topics()
        made.fleet.add("ingest").start()
        real = made.one("ingest")
        assert real.process is not None
        real_process = psutil.Process(real.process.pid)
        await asyncio.to_thread(real.wait_ready)
        rates: dict[str, list[float]] = {"real": [], "bare": []}
        cpu: dict[str, list[float]] = {"real": [], "bare": []}
        for number in range(rounds + 1):
            for name, url, process in (("real", real.url, real_process), ("bare", bare, bare_process)):
                rate, spent = await _once(made, url, process, requests)
                if number:  # the first round warms up
                    rates[name].append(rate)
                    cpu[name].append(spent)
        ratios = [a / b for a, b in zip(rates["real"], rates["bare"], strict=True)]
        return {
            "door_per_second": statistics.median(rates["real"]),
            "bare_per_second": statistics.median(rates["bare"]),
            "ratio": statistics.median(ratios),
            "door_cpu_ms": statistics.median(cpu["real"]),
            "bare_cpu_ms": statistics.median(cpu["bare"]),
        }


async def _once(made: System, url: str, process: psutil.Process, count: int) -> tuple[float, float]:
    async with Client(url, CONNECTIONS) as client:
        requests = [request_bytes(piece, client.host) for piece in hooks(made.traffic, count)]
        clock = SystemClock()
        before, begin = sum(process.cpu_times()[:2]), clock.monotonic()
        await client.send_all(requests)
        seconds = clock.monotonic() - begin
    return count / seconds, (sum(process.cpu_times()[:2]) - before) * 1000 / count


@asynccontextmanager
async def _bare(made: System, environment: dict[str, str]) -> AsyncIterator[tuple[str, psutil.Process]]:
    port = free_port()
    topic = topics.topic_name(topics.INBOUND, environment["DESKBUS_TOPIC_PREFIX"])
    await made.create_topics()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.bare_door", environment["DESKBUS_KAFKA"], topic, str(port), cwd=ROOT
    )
    try:
        await until(_answers(port), 20, "the bare door")
        yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
    finally:
        process.terminate()
        await process.wait()


def _answers(port: int) -> Callable[[], asyncio.Future[bool]]:
    async def once() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    return lambda: asyncio.ensure_future(once())
