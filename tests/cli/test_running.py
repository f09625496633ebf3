"""What a local run starts the services with, and what it tells the person at the keyboard."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import __main__ as command
from cli import running
from cli.fleet import SERVICES, Fleet
from cli.running import doors, environment, from_file, ports
from cli.traffic import tokens
from contracts import topics
from contracts.topics import LOCAL_PARTITIONS
from deploy.settings import settings_class
from kit.kafka.connection import Connection

FOLDER = Path("policies")


def _told(given: dict[str, str]) -> str:
    return doors(Fleet({}, logs=None), environment(given, FOLDER)["DESKBUS_TOKENS"])


def test_the_local_token_is_told_when_the_doors_take_it() -> None:
    told = _told({})
    assert tokens().bearer in told
    assert hashlib.sha256(tokens().bearer.encode()).hexdigest() in environment({}, FOLDER)["DESKBUS_TOKENS"]


def test_a_token_that_would_be_refused_is_not_told() -> None:
    told = _told({"DESKBUS_TOKENS": "crm:00ff:tickets:read"})
    assert tokens().bearer not in told
    assert "DESKBUS_TOKENS" in told


def test_a_variable_without_a_value_is_made_up() -> None:
    made = environment({"DESKBUS_TOKENS": "", "DESKBUS_SECRET_WA_TH": ""}, FOLDER)
    assert made["DESKBUS_TOKENS"] == tokens().setting
    assert made["DESKBUS_SECRET_WA_TH"]


def test_a_file_of_variables_is_read_as_compose_reads_it(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text('# names\nDESKBUS_A=1\nDESKBUS_B="two words" # why\nDESKBUS_C=\nexport DESKBUS_D=4\n', "utf-8")
    assert from_file(file) == {"DESKBUS_A": "1", "DESKBUS_B": "two words", "DESKBUS_D": "4"}
    assert from_file(tmp_path / "none") == {}


def test_a_run_says_which_variables_it_took_from_a_file_and_lets_the_shell_win(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".env"
    file.write_text("DESKBUS_TOKENS=from-file:00:x\nDESKBUS_PUBLIC_URL=https://file.example\n", "utf-8")
    monkeypatch.setattr(running, "ENV_FILE", file)
    monkeypatch.setattr(running, "SERVICES", ())  # nothing is started: the loop ends with the first line that is said
    given: list[dict[str, str]] = []

    def fleet(shared: dict[str, str], **_: object) -> Fleet:
        given.append(shared)
        return Fleet(shared, logs=None)

    monkeypatch.setattr(running, "Fleet", fleet)
    said: list[str] = []

    class Ended(Exception):
        pass

    def say(text: str) -> None:
        said.append(text)
        if "Ctrl-C" in text:
            raise Ended

    with pytest.raises(Ended):
        running.run({"DESKBUS_TOKENS": "from-shell:00:x"}, FOLDER, 1, say)
    assert said[0] == "read .env: DESKBUS_PUBLIC_URL, DESKBUS_TOKENS"
    assert given[0]["DESKBUS_TOKENS"] == "from-shell:00:x"
    assert given[0]["DESKBUS_PUBLIC_URL"] == "https://file.example"


KAFKA, PREFIX, PARTITIONS = "DESKBUS_KAFKA", "DESKBUS_TOPIC_PREFIX", "DESKBUS_PARTITIONS"
FILE = {KAFKA: "file:1", PREFIX: "file.", PARTITIONS: "7"}


@pytest.mark.parametrize(
    ("file", "shell", "options", "expected"),
    [
        ({}, {}, [], ("127.0.0.1:9092", "", LOCAL_PARTITIONS)),
        (FILE, {}, [], ("file:1", "file.", 7)),
        (FILE, {KAFKA: "shell:2", PREFIX: "shell.", PARTITIONS: "9"}, [], ("shell:2", "shell.", 9)),
        (FILE, {KAFKA: "", PREFIX: "", PARTITIONS: ""}, [], ("127.0.0.1:9092", "", LOCAL_PARTITIONS)),
        (FILE, {KAFKA: "shell:2"}, ["--kafka", "option:3", "--prefix", "o."], ("option:3", "o.", 7)),
    ],
)
def test_a_run_takes_kafka_from_options_then_the_shell_then_the_file_then_its_default(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: dict[str, str],
    shell: dict[str, str],
    options: list[str],
    expected: tuple[str, str, int],
) -> None:
    """The topics are made where the services look for them."""
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in file.items()), "utf-8")
    monkeypatch.setattr(running, "ENV_FILE", tmp_path / ".env")
    for name in FILE:
        monkeypatch.delenv(name, raising=False)
    for name, value in shell.items():
        monkeypatch.setenv(name, value)
    seen: list[tuple[str, str, int]] = []

    def create(kafka: Connection, prefix: str, partitions: int) -> None:
        seen.append((kafka.options()["bootstrap_servers"], prefix, partitions))

    def run(given: dict[str, str], *_: object) -> int:
        shared = environment({**from_file(running.ENV_FILE), **given}, FOLDER)
        seen.append((shared[KAFKA], shared.get(PREFIX, ""), topics.partitions(shared, LOCAL_PARTITIONS)))
        return 0

    monkeypatch.setattr(command, "_create", create)
    monkeypatch.setattr(running, "run", run)
    assert CliRunner().invoke(command.app, ["run", *options]).exit_code == 0
    assert seen == [expected, expected]


def test_a_run_opens_the_doors_where_the_variables_say() -> None:
    moved = {"DESKBUS_INGEST_PORT": "18081", "DESKBUS_INGEST_SMTP_PORT": "18025", "DESKBUS_SLA_OPS_PORT": "19999"}
    assert ports(moved, "ingest") == {"port": 18081, "ops_port": 19081, "smtp_port": 18025}
    assert ports(moved, "sla") == {"port": 8083, "ops_port": 19999}


@pytest.mark.parametrize("service", SERVICES)
def test_the_ports_of_a_run_are_by_default_those_of_the_settings(service: str) -> None:
    fields = settings_class(service).model_fields
    assert ports({}, service)["port"] == fields["port"].default
    if service == "ingest":
        assert ports({}, service)["smtp_port"] == fields["smtp_port"].default


def test_a_run_with_what_is_no_port_says_so_and_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "ENV_FILE", tmp_path / "none")
    said: list[str] = []
    assert running.run({"DESKBUS_NOTIFY_PORT": "http"}, FOLDER, 1, said.append) == 1
    assert said == ["DESKBUS_NOTIFY_PORT must be a port number, not 'http'"]
