"""The subscribers in examples/ and in docs/ apply each event once, although they are killed and events repeat."""

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from contracts import corpus
from contracts.topics import TICKETS, topic_name
from deploy import dist

Applied = list[tuple[str, int]]
OPENED = json.loads(corpus.examples("deskbus.ticket.opened.v1")[0].value)
SUBJECTS = ("t1", "t2", "t3")
LAST = 8
PARTITIONS = 4  # of the fixture `topics`


@dataclass(frozen=True)
class Subscriber:
    """How one is started, and how to read what it applied. It runs in an empty folder, its STORE in there."""

    command: list[str]
    environment: dict[str, str]
    read: Callable[[Path], Applied]


def _rows(store: Path) -> Applied:
    if not store.exists():
        return []
    with sqlite3.connect(store) as db:
        try:
            return db.execute("select subject, sequence from history order by rowid").fetchall()
        except sqlite3.OperationalError:  # no table yet, or locked
            return []


def _json(store: Path) -> Applied:
    return [(e["subject"], e["sequence"]) for e in json.loads(store.read_text())["history"]] if store.exists() else []


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the wheel is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    archive = dist.build(folder / "dist")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", folder / "site", archive], check=True)
    return folder / "site"


def _needs(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}")


@pytest.fixture(params=["python", "documented", "typescript", "java"])
def subscriber(request: pytest.FixtureRequest, root: Path, kafka: str, topics: str) -> Subscriber:
    folder = root / "examples" / "subscribers"
    if request.param == "typescript":
        _needs("node", "npm")
        where = folder / "typescript"
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=where, check=True)
        subprocess.run(["npm", "run", "build", "--silent"], cwd=where, check=True)
        return Subscriber(["node", str(where / "dist" / "subscriber.js")], {}, _json)
    if request.param == "java":
        _needs("java", "mvn")
        where = folder / "java"
        subprocess.run(["mvn", "-q", "-B", "package"], cwd=where, check=True)
        paths = f"{where / 'target' / 'classes'}:{where / 'target' / 'dependency'}/*"
        return Subscriber(["java", "-XX:TieredStopAtLevel=1", "-cp", paths, "example.Subscriber"], {}, _rows)
    environment = {"PYTHONPATH": str(request.getfixturevalue("wheel"))}
    if request.param == "python":
        return Subscriber([sys.executable, str(folder / "python" / "subscriber.py")], environment, _rows)
    code = _documented(root).replace("127.0.0.1:9092", kafka).replace(TICKETS, topic_name(TICKETS, topics))
    code = code.replace('"crm"', f'"{topics}subscriber"').replace('"crm.db"', '"store"')
    return Subscriber([sys.executable, "-c", code], environment, _rows)


def _documented(root: Path) -> str:
    text = (root / "docs" / "subscribers.md").read_text("utf-8")
    return text.split("```python\n")[1].split("```")[0]


def _event(subject: str, sequence: int) -> bytes:
    return json.dumps({**OPENED, "subject": subject, "sequence": sequence}).encode()


async def _publish(kafka: str, topic: str, events: Iterable[tuple[str, int]]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        for subject, sequence in events:
            await producer.send_and_wait(topic, _event(subject, sequence), key=subject.encode())


async def _caught_up(kafka: str, group: str, topic: str) -> None:
    """Wait until the group has committed everything."""
    async with AIOKafkaConsumer(bootstrap_servers=kafka, group_id=group, enable_auto_commit=False) as consumer:
        consumer.assign([TopicPartition(topic, number) for number in range(PARTITIONS)])
        ends = await consumer.end_offsets(consumer.assignment())
        while any([(await consumer.committed(tp) or 0) < end for tp, end in ends.items()]):  # noqa: ASYNC110 - Kafka knows
            await asyncio.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_each_event_has_its_effect_once_although_the_subscriber_is_killed(
    subscriber: Subscriber, kafka: str, topics: str, tmp_path: Path
) -> None:
    topic, store, group = topic_name(TICKETS, topics), tmp_path / "store", f"{topics}subscriber"
    several = f"{kafka},{kafka}"  # as of a Kafka with more than one broker
    where = {"KAFKA": several, "TOPIC": topic, "GROUP": group, "STORE": str(store)}
    environment = {**os.environ, **where, **subscriber.environment}
    wanted = [(subject, sequence) for sequence in range(1, LAST + 1) for subject in SUBJECTS]
    # Each event comes twice, the second time after later ones.
    repeated = [*wanted[:12], *wanted[:12], *wanted[12:], *wanted[6:]]
    await _publish(kafka, topic, repeated)
    log = tmp_path / "log"
    for reached in (2, 13, len(wanted)):
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *subscriber.command, env=environment, cwd=tmp_path, stdout=output, stderr=output
            )
        try:
            while len(subscriber.read(store)) < reached:
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.01)
            if reached == len(wanted):
                await _publish(kafka, topic, [("t1", LAST + 3)])
                await _caught_up(kafka, group, topic)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
    applied = subscriber.read(store)
    assert sorted(applied) == sorted([*wanted, ("t1", LAST + 3)])
    for subject in SUBJECTS:
        mine = [sequence for name, sequence in applied if name == subject]
        assert mine == sorted(mine)
    assert "missing" in log.read_text()
