"""A collector gets what was recorded, and nobody waits for one that does not answer."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading

import pytest

from kit.base import tracing
from kit.base.clock import SystemClock
from tests.notify.receivers import HttpReceiver, Reply


async def test_nobody_waits_for_a_collector_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
        monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5")
        tracing.start("test")
        clock = SystemClock()
        begin = clock.monotonic()
        for _ in range(1_000):  # far more than the queue holds
            with tracing.span("x"):
                pass
        assert clock.monotonic() - begin < 2
        begin = clock.monotonic()
        await tracing.stop(0.2)
        assert clock.monotonic() - begin < 2
        for thread in [each for each in threading.enumerate() if each.name == "spans"]:
            await asyncio.to_thread(thread.join, 20)  # what it logs would appear under other tests


async def test_what_waits_in_the_queue_is_sent_when_a_service_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    collector = await HttpReceiver(lambda _: Reply(200)).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    tracing.start("test")
    with tracing.span("the last one"):
        pass
    await tracing.stop(20)
    await collector.stop()
    assert [b"the last one" in request.body for request in collector.requests] == [True]


LAST = """
import asyncio
from kit.base import tracing
tracing.start("test")
with tracing.span("x"):
    pass
"""


@pytest.mark.parametrize("last", ["asyncio.run(tracing.stop(0.2))", ""], ids=["stopped", "not stopped"])
def test_no_process_stays_because_of_a_collector_that_does_not_answer(last: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_TIMEOUT": "50"}
        subprocess.run([sys.executable, "-c", LAST + last], env={**os.environ, **variables}, check=True, timeout=40)
