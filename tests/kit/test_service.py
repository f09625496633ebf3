"""How a service comes up while others are away, and how it ends."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local import free_port
from kit.base.clock import SystemClock
from kit.base.errors import TransientError
from kit.base.health import Health
from kit.base.settings import ServiceSettings
from kit.doors.http import door
from kit.process.service import Service, run


class Part:
    """A producer or consumer that is away until it is let in, and writes down what happens to it."""

    def __init__(self, name: str, story: list[str], *, away: bool = False) -> None:
        self.name, self.story, self.away, self.tries = name, story, away, 0
        self.dead: str | None = None

    async def start(self, router: Any = None) -> None:
        self.tries += 1
        if self.away:
            raise TransientError(f"{self.name} is away")
        self.story.append(f"{self.name} starts")

    async def stop(self) -> None:
        self.story.append(f"{self.name} stops")

    async def measure_lag(self) -> None:
        pass

    def fault(self) -> str | None:
        return self.dead


class World:
    def __init__(self) -> None:
        self.story: list[str] = []
        self.stop = asyncio.Event()
        self.producer = Part("producer", self.story)
        self.consumer = Part("consumer", self.story)
        self.clock = SystemClock()
        self.health = Health(self.clock)
        self.ports = [free_port(), free_port()]
        self.options: dict[str, Any] = {}

    @asynccontextmanager
    async def running(self, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
        configured = ServiceSettings(port=self.ports[0], ops_port=self.ports[1], **settings)
        app = door("things", configured)

        @app.get("/hello")
        async def hello(seconds: float = 0) -> str:
            self.story.append("request begins")
            await asyncio.sleep(seconds)
            self.story.append("request ends")
            return "hello"

        service = Service(
            configured,
            self.clock,
            self.health,
            app,
            producer=self.producer,
            consumer=self.consumer,
            close=[lambda: self.story.append("store closes")],
            **self.options,
        )
        self.task = asyncio.create_task(run(service, self.stop))
        try:
            async with httpx.AsyncClient() as client:
                yield client
        finally:
            self.stop.set()
            await self.task

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.ports[path in {'/livez', '/readyz'}]}{path}"

    async def answers(self, client: httpx.AsyncClient, path: str, status: int) -> httpx.Response:
        async def asked() -> httpx.Response | None:
            try:
                response = await client.get(self.url(path))
            except httpx.TransportError:
                return None
            return response if response.status_code == status else None

        response: httpx.Response = await until(asked)
        return response


async def until(ask: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(10):
        while not (answer := await ask()):  # noqa: ASYNC110 - the answer is another process's, or a socket's
            await asyncio.sleep(0.01)
        return answer


@pytest.fixture
async def world() -> World:
    return World()


async def test_service_is_ready_once_its_parts_are_there_and_assigned(world: World) -> None:
    async with world.running() as client:
        response = await world.answers(client, "/readyz", 503)
        world.health.assigned = True
        await world.answers(client, "/readyz", 200)
        assert response.json()
    assert world.task.result() == 0


async def test_door_answers_while_kafka_and_the_store_are_away(world: World) -> None:
    world.producer.away = True
    async with world.running() as client:
        assert (await world.answers(client, "/hello", 200)).json() == "hello"
        await world.answers(client, "/livez", 200)
        await world.answers(client, "/readyz", 503)
        world.producer.away = False
        await until(lambda: _true("consumer starts" in world.story))
    assert world.producer.tries > 1


async def test_door_first_service_is_ready_while_its_store_is_away(world: World) -> None:
    async def store_is_away() -> None:
        raise TransientError("MongoDB is away")

    world.options = {"ready": None, "prepare": [store_is_away]}
    async with world.running() as client:
        await world.answers(client, "/readyz", 200)
        assert "consumer starts" not in world.story


async def test_nothing_is_consumed_before_preparation_worked(world: World) -> None:
    tries = 0

    async def indexes() -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise TransientError("MongoDB is away")
        world.story.append("prepared")

    world.options = {"prepare": [indexes]}
    async with world.running():
        await until(lambda: _true("consumer starts" in world.story))
    assert world.story[:3] == ["producer starts", "prepared", "consumer starts"]


async def test_end_finishes_the_request_in_hand_then_leaves_in_order(world: World) -> None:
    async with world.running() as client:
        await until(lambda: _true("consumer starts" in world.story))
        request = asyncio.create_task(client.get(world.url("/hello?seconds=0.3")))
        await until(lambda: _true("request begins" in world.story))
        world.stop.set()
        assert (await request).json() == "hello"
        assert await world.task == 0
    assert world.story.index("request ends") < world.story.index("producer stops")
    assert world.story.index("consumer stops") < world.story.index("producer stops") < world.story.index("store closes")


async def test_end_is_bounded_by_the_grace(world: World) -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    world.consumer.stop = never  # type: ignore[method-assign]
    async with world.running(grace_seconds=0.3):
        await until(lambda: _true("consumer starts" in world.story))
        world.stop.set()
        async with asyncio.timeout(3):
            assert await world.task == 1


async def test_a_store_that_hangs_does_not_use_up_the_grace(world: World) -> None:
    class Hanging:
        async def sweep(self, _: object) -> None:
            pass

        async def clear(self) -> None:
            await asyncio.Event().wait()

    world.options = {"documents": [Hanging()]}
    async with world.running(grace_seconds=1):
        await until(lambda: _true("consumer starts" in world.story))
        world.stop.set()
        async with asyncio.timeout(5):
            assert await world.task == 0
    assert world.story[-1] == "store closes"


@pytest.mark.parametrize("how", ["returns", "raises"])
async def test_background_job_that_ends_makes_the_service_unlive(world: World, how: str) -> None:
    async def ticker() -> None:
        if how == "raises":
            raise ValueError("a bug")

    world.options = {"background": {"ticker": ticker}}
    async with world.running() as client:
        response = await world.answers(client, "/livez", 503)
        assert response.json() == ["ticker: has exited"]
        assert (await client.get(world.url("/hello"))).status_code == 200


async def test_dead_sender_makes_the_service_unlive(world: World) -> None:
    async with world.running() as client:
        await world.answers(client, "/livez", 200)
        world.producer.dead = "the sender task has ended"
        await world.answers(client, "/livez", 503)


async def test_bug_at_start_ends_the_process_with_a_fault(world: World) -> None:
    async def bug() -> None:
        raise ValueError("a bug")

    world.options = {"prepare": [bug]}
    async with world.running():
        assert await world.task == 1


async def test_port_that_is_taken_is_a_fault_and_no_endless_try(world: World) -> None:
    other = await asyncio.start_server(lambda _, __: None, "127.0.0.1", world.ports[0])
    async with other, world.running():
        assert await world.task == 1


async def _true(value: bool) -> bool:
    return value


PROGRAM = """
import asyncio, sys
from kit.base.clock import SystemClock
from kit.base.health import Health
from kit.doors import http
from kit.process.service import Service, main
from kit.base.settings import ServiceSettings

async def say():
    print("up", flush=True)
    await asyncio.Event().wait()

class Slow:
    async def start(self): pass
    async def stop(self):
        print("stopping", flush=True)
        await asyncio.sleep(float(sys.argv[1]))
    def fault(self): return None

class Consumer:
    async def start(self, router): pass
    async def stop(self): pass
    async def measure_lag(self): pass
    def fault(self): return None

def build(settings):
    clock = SystemClock()
    door = http.door("test", settings)
    return Service(settings, clock, Health(clock), door, Slow(), Consumer(), background={"say": say})

class Settings(ServiceSettings):
    port: int = 0

main(Settings, build)
"""


async def _program(root: Path, seconds: float) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(seconds), cwd=root, stdout=asyncio.subprocess.PIPE
    )
    await _line(process, b"up")
    return process


async def _line(process: asyncio.subprocess.Process, wanted: bytes) -> None:
    assert process.stdout is not None
    async with asyncio.timeout(20):
        while (await process.stdout.readline()).strip() != wanted:
            assert process.returncode is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_ends_the_process_with_code_zero(root: Path, number: signal.Signals) -> None:
    process = await _program(root, 0)
    process.send_signal(number)
    assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_second_signal_ends_it_at_once(root: Path) -> None:
    process = await _program(root, 15)
    process.send_signal(signal.SIGTERM)
    await _line(process, b"stopping")
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 5) == 1


async def test_a_start_without_a_valid_policy_ends_with_the_reason_and_no_traceback(root: Path) -> None:
    refusal = 'from kit.base.errors import InvalidPolicy; raise InvalidPolicy("sla.yaml", 3, "unknown key")'
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM.replace("clock = SystemClock()", refusal),
        cwd=root,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 20)
    entry = json.loads(output)
    assert process.returncode == 1
    assert (entry["message"], entry["level"], entry["reason"]) == ("startup failed", "error", "sla.yaml:3: unknown key")
    assert "exception" not in entry


async def test_a_start_with_invalid_settings_names_the_variables_and_not_their_values(root: Path) -> None:
    given = {"DESKBUS_BATCH_RECORDS": "many", "DESKBUS_SLA_PORT": "99999", "DESKBUS_SLA_TOKENS": "s3cret"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.sla", cwd=root, env=os.environ | given, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 20)
    entry = json.loads(output)
    assert (process.returncode, entry["message"]) == (1, "startup failed")
    faults = entry["reason"].split("; ")
    assert [fault.partition(":")[0] for fault in faults] == [
        "DESKBUS_SLA_PORT", "DESKBUS_SLA_TOKENS", "DESKBUS_BATCH_RECORDS",
    ]  # fmt: skip
    assert not any(value in output for value in (b"many", b"99999", b"s3cret", b"Traceback"))
