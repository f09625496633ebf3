"""What the documents tell people to copy works, and what they point at is there."""

import asyncio
import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from aiokafka import AIOKafkaProducer

from contracts import corpus
from contracts.topics import TICKETS, topic_name
from deploy.check import crds


def documents(root: Path) -> list[Path]:
    return [*root.glob("*.md"), *(root / "docs").rglob("*.md")]


def test_every_decision_record_has_a_number_of_its_own_and_a_status(root: Path) -> None:
    records = sorted((root / "docs" / "adr").glob("*.md"))
    numbers = [int(file.name[:4]) for file in records]
    assert numbers == list(range(1, len(records) + 1))
    for number, file in zip(numbers, records, strict=True):
        title, _, status = file.read_text("utf-8").split("\n")[:3]
        assert title.startswith(f"# {number}. "), file.name
        assert status.startswith("Status: "), file.name


def test_every_make_target_that_documents_name_exists(root: Path) -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):", (root / "Makefile").read_text("utf-8")))
    named = {target for file in documents(root) for target in re.findall(r"`make ([a-z-]+)", file.read_text("utf-8"))}
    assert named
    assert named - targets == set()


def test_every_command_that_documents_name_exists(root: Path) -> None:
    from cli.__main__ import app

    known = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    known |= {group.name or "" for group in app.registered_groups}
    named = {
        command
        for file in documents(root)
        for command in re.findall(r"(?m)(?:^|`)deskbus ([a-z]+)\b", file.read_text("utf-8"))
    }
    assert named
    assert named - known == set()


def test_the_versions_of_kubernetes_operators_are_those_that_are_checked(root: Path) -> None:
    table = (root / "docs" / "install.md").read_text("utf-8").split("## Kubernetes operators")[1].split("\n## ")[0]
    named = re.findall(r"(?m)^\| [\w ]+ \| (\d+\.\d+\.\d+) \|", table)
    assert sorted(named) == sorted([crds.STRIMZI, *(module.version.removeprefix("v") for module in crds.MODULES)])


def test_the_pod_of_the_command_line_mounts_what_the_settings_of_the_chart_name(root: Path) -> None:
    text = (root / "docs" / "operations.md").read_text("utf-8")
    (manifest,) = re.findall(r"```yaml\n(# tools\.yaml\n.*?)```", text, re.DOTALL)
    pod = yaml.safe_load(manifest)["spec"]
    mounts = pod["containers"][0]["volumeMounts"]
    assert {mount["name"] for mount in mounts} == {volume["name"] for volume in pod["volumes"]}
    templates = (root / "deploy" / "helm" / "deskbus" / "templates").iterdir()
    chart = {
        path for file in templates for path in re.findall(r"mountPath: (/\w+/deskbus[\w/-]*)", file.read_text("utf-8"))
    }
    of_doors = {path for path in chart if path.endswith("tls")}
    assert {mount["mountPath"] for mount in mounts} - {"/tmp"} == chart - of_doors


@pytest.mark.timeout(120)
async def test_the_subscriber_of_the_readme_acts_once_on_what_comes_twice(
    root: Path, kafka: str, topics: str, tmp_path: Path
) -> None:
    text = (root / "README.md").read_text("utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    snippet = snippet.replace("127.0.0.1:9092", kafka)
    snippet = snippet.replace(TICKETS, topic_name(TICKETS, topics)).replace('"crm"', f'"{topics}crm"')
    event = json.loads(corpus.examples("deskbus.ticket.opened.v1")[0].value)
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        for sequence in (1, 1, 2, 1, 2, 3):
            value = json.dumps({**event, "sequence": sequence}).encode()
            await producer.send_and_wait(topic_name(TICKETS, topics), value, key=event["subject"].encode())
    subscriber = await asyncio.create_subprocess_exec(
        sys.executable, "-c", snippet, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert subscriber.stdout is not None
        lines = [(await subscriber.stdout.readline()).split()[0] for _ in range(3)]
    finally:
        subscriber.kill()
        await subscriber.wait()
    assert lines == [b"1", b"2", b"3"]
