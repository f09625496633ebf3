"""One run of the demo: starts its own services, topics and databases, plays the scenario, checks, and cleans up.

Rule: whatever happens, no process of the demo is left, and Kafka and MongoDB are as before.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
from collections.abc import Awaitable, Mapping
from typing import Any

from pymongo import MongoClient
from rich.live import Live

from cli import screen, table
from cli.audit import Audit
from cli.collector import Report
from cli.demo import receivers
from cli.demo.board import Board
from cli.demo.checks import checks
from cli.demo.scenario import Scenario
from cli.describe import describe
from cli.fleet import ROOT, SERVICES, Fleet, FleetError
from cli.reading import read
from cli.running import policies
from cli.sending import Doors
from cli.topics import create_topics, delete_topics
from cli.traffic import Traffic, secrets_environment, tokens
from contracts import topics
from contracts.envelope import Event
from deploy.local import free_port
from kit.base.clock import SystemClock
from kit.base.errors import TransientError
from kit.base.ids import uuid7
from kit.base.kafka_settings import KafkaSettings
from kit.kafka.connection import Connection

SECONDS = 55.0
"""Maximum time from the first message to the checks."""
QUIET_SECONDS = 1.5
"""The topics have settled after this time without a record."""

_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DemoRun:
    """One run of the demo."""

    def __init__(self, environ: Mapping[str, str], settings: KafkaSettings, *, as_lines: bool) -> None:
        self.clock = SystemClock()
        self._settings, self.kafka = settings, Connection(settings)
        self.mongo = environ.get("DESKBUS_MONGO", "mongodb://127.0.0.1:27017")
        name = f"demo{uuid7()[-8:]}"
        self.prefix, self.mongo_prefix = f"{name}.", name
        self.logs = ROOT / ".local" / "demo" / name
        self.console = screen.console(soft_wrap=as_lines)
        self._as_lines = as_lines
        self.http_port, self.smtp_port = free_port(), free_port()
        self.inbox = receivers.Inbox(secrets_environment())
        self.fleet = self._fleet()
        self.board, self.audit = Board(), Audit()
        self.events: list[Event] = []
        self._last_record = 0.0

    def _fleet(self) -> Fleet:
        shared = {
            "DESKBUS_KAFKA": self._settings.kafka,
            "DESKBUS_MONGO": self.mongo,
            "DESKBUS_TOPIC_PREFIX": self.prefix,
            "DESKBUS_MONGO_PREFIX": self.mongo_prefix,
            "DESKBUS_TOKENS": tokens().setting,
            **secrets_environment(),
            **policies(ROOT / "deploy" / "config" / "demo"),
            **receivers.environment(self.http_port, self.smtp_port),
        }
        fleet = Fleet(shared, logs=self.logs)
        for service in SERVICES:
            fleet.add(service)
        return fleet

    # -- the run -----------------------------------------------------------------------------------------------------

    def say(self, text: str, style: str = "") -> None:
        """Print text next to the live view."""
        self.console.print(screen.clean(text, lines=True), style=style)

    async def run(self) -> bool:
        """Start the services, play the scenario and run the checks; return whether all passed."""
        begin, task = self.clock.monotonic(), asyncio.current_task()
        assert task is not None
        for number in _ENDINGS:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        self.logs.mkdir(parents=True)
        for replica in self.fleet.replicas:
            replica.start()
        await create_topics(self.kafka, self.prefix, topics.LOCAL_PARTITIONS)
        async with receivers.receiving(self.inbox, self.http_port, self.smtp_port):
            await self._ready()
            self.say(f"four services started after {self.clock.monotonic() - begin:.0f} s")
            self.say(f"logs, kept if the demo fails or with --keep: {self.logs}")
            return await self._play()

    async def _ready(self) -> None:
        for replica in self.fleet.replicas:
            while not await asyncio.to_thread(replica.ready):
                if not replica.alive:
                    replica.wait_ready(0)  # raises with the end of its log
                await asyncio.sleep(0.05)

    async def _play(self) -> bool:
        ingest = self.fleet.of("ingest")[0]
        urls = {service: self.fleet.of(service)[0].url for service in SERVICES}
        token = tokens()
        traffic = Traffic(self.prefix, self.clock.now)
        async with Doors([ingest.url], [("127.0.0.1", ingest.extra_ports["smtp"])], token=token.bearer) as doors:
            scenario = Scenario(traffic, doors, urls, token.headers)
            following = asyncio.create_task(self._follow(scenario))
            try:
                await scenario.set_up()
                begin = self.clock.monotonic()
                settled = await self._while_showing(self._until_settled(scenario, following), begin)
                took = self.clock.monotonic() - begin
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                await scenario.close()
        return self._check(scenario, took, settled=settled)

    async def _follow(self, scenario: Scenario) -> None:
        """Read the topics; feed the live view, the scenario and the audit."""
        names = [topic.name for topic in topics.TOPICS]
        async for record in read(self.kafka, names, prefix=self.prefix, follow=True):
            self.audit.feed(record)
            event = self.board.feed(record)
            self._last_record = self.clock.monotonic()
            if event is not None:
                self.events.append(event)
                scenario.handle(event)
                if self._as_lines:
                    self.say(str(describe(record)))

    async def _until_settled(self, scenario: Scenario, following: asyncio.Task[None]) -> bool:
        """Let all customers write, then wait until all work is done; return False if that takes too long."""
        writing = asyncio.create_task(scenario.customers())
        try:
            async with asyncio.timeout(SECONDS):
                while not (writing.done() and scenario.finished and self._quiet):
                    for task in (following, writing):
                        if task.done():
                            task.result()
                    if dead := [r.name for r in self.fleet.replicas if not r.alive]:
                        raise FleetError(f"{', '.join(dead)} exited unexpectedly; logs: {self.logs}")
                    await asyncio.sleep(0.1)
                return not scenario.faults
        except TimeoutError:
            return False
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    @property
    def _quiet(self) -> bool:
        return self.clock.monotonic() - self._last_record > QUIET_SECONDS

    async def _while_showing(self, work: Awaitable[bool], begin: float) -> bool:
        if self._as_lines:
            return await work
        running = asyncio.ensure_future(work)
        with Live(console=self.console, auto_refresh=False, screen=False) as live:
            while not running.done():
                title = f"Deskbus demo, {self.clock.monotonic() - begin:4.0f} s"
                live.update(self.board.render(self.clock.now(), title, self.console.height), refresh=True)
                await asyncio.wait([running], timeout=0.25)
        return running.result()

    def _check(self, scenario: Scenario, took: float, *, settled: bool) -> bool:
        report: Report = self.audit.report(self.clock.now())
        counts = {"sent": scenario.sent, "twice": scenario.duplicates, "retries": scenario.retries}
        results = list(checks(self.events, self.inbox, report, **counts, settled=settled))
        self.say(f"\n{scenario.sent} messages in {took:.0f} s, {scenario.duplicates} of them delivered twice")
        self.console.print(table.audit_table(report, settled=True))
        for name, passed in results:
            self.say(f"{'yes' if passed else 'NO '}  {name}", "green" if passed else "bold red")
        for fault in (*scenario.faults, *self.inbox.refused):
            self.say(f"     {fault}", "red")
        return all(passed for _, passed in results)

    def clean_up(self, *, keep: bool, failed: bool) -> None:
        """Stop the services; remove topics and databases unless `keep`, and logs unless the run failed."""
        with _no_interruption():
            try:
                self.fleet.stop()
            except FleetError as fault:
                self.say(str(fault))
            if unclean := [f"{each.name} ({each.exit_code})" for each in self.fleet.replicas if each.exit_code]:
                self.say(f"did not exit cleanly: {', '.join(unclean)}")
            if keep:
                self.say(f"kept: topics {self.prefix}*, databases {self.mongo_prefix}_*, logs {self.logs}")
                return
            with contextlib.suppress(Exception):
                asyncio.run(delete_topics(self.kafka, self.prefix))
                _drop(self.mongo, self.mongo_prefix)
            if not failed:
                shutil.rmtree(self.logs, ignore_errors=True)


def _drop(mongo: str, prefix: str) -> None:
    with MongoClient[dict[str, Any]](mongo, serverSelectionTimeoutMS=3000) as client:
        for service in SERVICES:
            client.drop_database(f"{prefix}_{service}")


@contextlib.contextmanager
def _no_interruption() -> Any:
    """Ignore Ctrl-C: it must not leave processes behind, and stopping them is bounded in time anyway."""
    old = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDINGS}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def run(environ: Mapping[str, str], settings: KafkaSettings, *, plain: bool, keep: bool) -> int:
    """Run the demo; returns the exit code."""
    demo = DemoRun(environ, settings, as_lines=plain)
    passed = False
    try:
        passed = asyncio.run(demo.run())
    except (KeyboardInterrupt, asyncio.CancelledError):
        demo.say("interrupted")
        return 130
    except TransientError as fault:
        demo.say(f"{fault}\nAre Kafka and MongoDB running? `make up` starts them.")
    except FleetError as fault:
        demo.say(str(fault))
    finally:
        demo.clean_up(keep=keep, failed=not passed)
    demo.say("the demo passed" if passed else f"the demo FAILED; logs: {demo.logs}")
    return 0 if passed else 1
