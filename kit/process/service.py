"""How a service lives: doors first, then Kafka and MongoDB when they are there, and a calm end on SIGTERM.

Nothing that ended by itself is started again: liveness says so, and the process is replaced.
"""

import asyncio
import contextlib
import gc
import inspect
import os
import random
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Protocol, TypeVar

import structlog
import uvicorn
import uvloop
from aiokafka.errors import KafkaError
from pydantic import ValidationError
from starlette.types import ASGIApp

from kit.base import logging, tracing
from kit.base.clock import Clock
from kit.base.environment import explain
from kit.base.errors import InvalidCertificate, InvalidConnectionString, InvalidPolicy, TransientError
from kit.base.health import Check, Health
from kit.base.settings import ServiceSettings
from kit.base.turns import Job, every
from kit.doors.listening import BoundedProtocol
from kit.doors.operators import operators_door
from kit.doors.tls import LOOK_SECONDS, DoorCertificate

S = TypeVar("S", bound=ServiceSettings)
log = structlog.get_logger(__name__)
AWAY = (TransientError, KafkaError, OSError)
#: Faults of the configuration, whose text says all.
_EXPLAINED = (InvalidCertificate, InvalidConnectionString, InvalidPolicy)
#: How often confirmed entries leave the outboxes in the store: what a crash in between has said is said again.
CLEAR_SECONDS = 0.25


class Part(Protocol):
    """Something that is started and stopped: a producer, an SMTP door."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


class Producing(Part, Protocol):
    """`kit.kafka.producer.Producer`."""

    def fault(self) -> str | None: ...


class Consuming(Protocol):
    """`kit.kafka.consumer.Consumer`."""

    async def start(self, router: Any) -> None: ...
    async def stop(self) -> None: ...
    def fault(self) -> str | None: ...
    async def measure_lag(self) -> None: ...


class Sweeping(Protocol):
    """`kit.protocol.outbox.Documents`."""

    async def sweep(self, older_than: timedelta) -> int: ...
    async def clear(self) -> None: ...


@dataclass
class Service:
    """Everything that a service's app.py has wired, in the order in which it comes up."""

    settings: ServiceSettings
    clock: Clock
    health: Health
    app: ASGIApp
    producer: Producing
    consumer: Consuming
    router: Any = None
    """The FastStream router on which the consumer has subscribed."""
    doors: Sequence[Part] = ()
    """Other public doors, such as SMTP."""
    certificate: DoorCertificate | None = None
    """With it, the public port and the operators' port serve TLS only."""
    certificates: Sequence[DoorCertificate] = ()
    """Of other doors. All are loaded again when their files change."""
    prepare: Sequence[Job] = ()
    """What must have worked once before anything is consumed: indexes. Tried again while a server is away."""
    documents: Sequence[Sweeping] = ()
    """Whose outboxes are swept and cleared."""
    background: Mapping[str, Job] = field(default_factory=dict)
    """What runs until the end: tickers, the policy's watch."""
    ready: Mapping[str, Check] | None = field(default_factory=dict)
    """What readiness asks besides the consumer: stores. None: ready as soon as the door and the producer are."""
    close: Sequence[Callable[[], object]] = ()
    """Called last, and awaited where there is something to await: ways out, stores."""

    async def shut(self) -> None:
        """Close what `close` names, whatever the others do."""
        for close in self.close:
            closing = close()
            if inspect.isawaitable(closing):
                await _all_of([closing])


class _Server(uvicorn.Server):
    """A uvicorn server in somebody else's process: signals are not its business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen here: uvicorn lets a connection take a minute for its TLS handshake, and has no setting for that."""
        await super().startup([])
        loop, config = asyncio.get_running_loop(), self.config
        kind = partial(BoundedProtocol, config=config, server_state=self.server_state, app_state=self.lifespan.state)
        patience = None if config.ssl is None else BoundedProtocol.head_seconds
        for listener in sockets or ():
            self.servers.append(
                await loop.create_server(
                    kind, sock=listener, ssl=config.ssl, backlog=config.backlog, ssl_handshake_timeout=patience
                )
            )


@dataclass
class _Door:
    server: _Server
    task: asyncio.Task[None]
    port: int

    @classmethod
    async def open(
        cls, app: ASGIApp, host: str, port: int, grace: float, certificate: DoorCertificate | None = None
    ) -> "_Door":
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=2048)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            http=BoundedProtocol,
            ws="none",
            server_header=False,
            proxy_headers=False,  # nothing here looks at who calls or by which scheme: signatures and tokens say who
            timeout_graceful_shutdown=max(1, int(grace)),
            ssl_context_factory=None if certificate is None else lambda *_: certificate.context,
        )
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]), name=f"door {port}")
        return cls(server, task, listener.getsockname()[1])

    async def close(self) -> None:
        self.server.should_exit = True
        await asyncio.wait([self.task])


class _Life:
    """One run of a service."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.stop = asyncio.Event()
        self._running: list[asyncio.Future[object]] = []
        self._ops: _Door | None = None
        self._public: _Door | None = None

    async def open_doors(self) -> None:
        service, settings = self.service, self.service.settings
        ops = operators_door(settings.service, service.health)
        tls = service.certificate
        self._ops = await _Door.open(ops, settings.host, settings.ops_port, 1, tls)
        self._watch("operators' port", self._ops.task)
        self._public = await _Door.open(service.app, settings.host, settings.port, settings.grace_seconds / 2, tls)
        self._watch("public port", self._public.task)
        for door in service.doors:
            await door.start()
        for certificate in (*([tls] if tls else []), *service.certificates):
            name = f"certificate {certificate.name}"
            self._run(name, every(service.clock, LOOK_SECONDS, certificate.reload, name))
        log.info("listening", host=settings.host, port=self._public.port, ops_port=self._ops.port, tls=tls is not None)

    async def come_up(self) -> None:
        service, health = self.service, self.service.health
        door_suffices = service.ready is None
        for name, check in (service.ready or {}).items():
            health.check(name, check)
        health.probe("producer", service.producer.fault)
        await self._until_it_works(service.producer.start, "producer")
        if not door_suffices:
            health.assigned = False
        health.started = door_suffices
        for job in service.prepare:
            await self._until_it_works(job, "preparation")
        health.probe("consumer", service.consumer.fault)
        await self._until_it_works(partial(service.consumer.start, service.router), "consumer")
        # What is there now stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        for name, job in self._jobs().items():
            self._run(name, job)
        health.started = True
        log.info("service started")

    def _jobs(self) -> dict[str, Job]:
        service = self.service
        jobs = dict(service.background)
        age = timedelta(seconds=service.settings.sweep_after_seconds)
        for number, documents in enumerate(service.documents):
            name = f"sweeper {number}"
            jobs[name] = every(service.clock, age.total_seconds() / 2, partial(documents.sweep, age), name)
            name = f"clearing {number}"
            jobs[name] = every(service.clock, CLEAR_SECONDS, documents.clear, name)
        jobs["lag"] = every(service.clock, 5, service.consumer.measure_lag, "lag")
        return jobs

    async def _until_it_works(self, job: Job, name: str) -> None:
        wait = 0.2
        while True:
            try:
                await job()
            except AWAY as fault:
                log.warning("waiting for a dependency", part=name, fault=str(fault) or repr(fault))
            else:
                return
            await self.service.clock.sleep(wait * random.uniform(0.5, 1))
            wait = min(wait * 2, 5.0)

    def _run(self, name: str, job: Job) -> None:
        self._running.append(asyncio.ensure_future(job()))
        self._watch(name, self._running[-1])

    def _watch(self, name: str, task: asyncio.Future[Any]) -> None:
        def ended(done: asyncio.Future[Any]) -> None:
            if not self.stop.is_set() and not done.cancelled():
                log.critical("a component has exited", part=name, exc_info=done.exception())

        task.add_done_callback(ended)
        self.service.health.probe(name, lambda: "has exited" if task.done() else None)

    async def go_down(self) -> None:
        """Take nothing new, finish what is in hand, leave the group, say goodbye; each step whatever the others do."""
        service = self.service
        service.health.started = False
        for job in self._running:
            job.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        steps: list[Awaitable[object]] = [door.stop() for door in service.doors]
        if self._public is not None:
            steps.append(self._public.close())
        steps.append(service.consumer.stop())
        await _all_of(steps)
        share = service.settings.grace_seconds * 0.15  # a store that hangs must not use up what is left
        await _all_of([asyncio.wait_for(documents.clear(), share) for documents in service.documents])
        await _all_of([service.producer.stop()])
        await service.shut()
        await tracing.stop(service.settings.grace_seconds * 0.1)
        if self._ops is not None:
            await self._ops.close()


def _in_hand(most: int = 20) -> list[str]:
    """Say where tasks stand: without it nobody finds out what did not end in time."""
    told = []
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        at: Any = task.get_coro()
        place = ""
        while (frame := getattr(at, "cr_frame", None)) is not None:
            place = f"{place} {frame.f_code.co_name}:{frame.f_lineno}"
            at = at.cr_await
        told.append(f"{task.get_name()}:{place}")
    return sorted(told)[:most]


async def _all_of(steps: Sequence[Awaitable[object]]) -> None:
    for outcome in await asyncio.gather(*steps, return_exceptions=True):
        if isinstance(outcome, Exception):
            log.warning("a shutdown step failed", fault=repr(outcome))


def _on_signals(stop: asyncio.Event) -> None:
    def asked() -> None:
        if stop.is_set():
            os._exit(1)  # the second time somebody means it
        log.info("shutdown requested")
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)


async def run(service: Service, stop: asyncio.Event | None = None) -> int:
    """Live until a signal (or `stop`), then end within the grace; returns the exit code."""
    life = _Life(service)
    if stop is None:
        _on_signals(life.stop)
    else:
        life.stop = stop
    rising = asyncio.create_task(_rise(life))
    stopping = asyncio.create_task(life.stop.wait())
    await asyncio.wait({rising, stopping}, return_when=asyncio.FIRST_COMPLETED)
    code = 0
    if rising.done() and not stopping.done():
        if (error := rising.exception()) is not None:
            log.critical("startup failed", reason=str(error), exc_info=error)
            code = 1
        else:
            await stopping
    life.stop.set()
    rising.cancel()
    try:
        async with asyncio.timeout(service.settings.grace_seconds):
            await asyncio.gather(rising, return_exceptions=True)
            await life.go_down()
    except TimeoutError:
        log.warning("shutdown timed out, tasks are still running", tasks=_in_hand())
        return 1
    log.info("service stopped")
    return code


async def _rise(life: _Life) -> None:
    await life.open_doors()
    await life.come_up()


def main(settings_type: type[S], build: Callable[[S], Service]) -> None:
    """Run a service as this process until asked to stop, and leave it with its exit code.

    Its settings are read from the environment; `build` is called inside the event loop. What is wrong with settings or
    the policy file is logged as `reason`, without a traceback.
    """
    try:
        settings = settings_type()
    except ValidationError as error:
        logging.configure("deskbus", "info")
        log.error("startup failed", reason="; ".join(explain(error, settings_type)))
        sys.exit(1)
    logging.configure(settings.service, settings.log_level)
    if settings.tracing:
        try:
            tracing.start(settings.service)
        except (ImportError, ValueError) as error:
            log.error("startup failed", reason=f"DESKBUS_TRACING: {error}")
            sys.exit(1)

    async def live() -> int:
        try:
            built = build(settings)
        except Exception as error:
            log.error("startup failed", reason=str(error), exc_info=not isinstance(error, _EXPLAINED))
            return 1
        return await run(built)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(live())
    sys.stdout.flush()
    os._exit(code)  # driver threads that wait for a server that is away must not hold the process back
