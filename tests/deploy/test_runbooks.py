"""Every runbook can be followed at three in the morning: the same sections, queries that work, commands that exist."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from cli.__main__ import app
from deploy.reference import DOCS
from tests.deploy.test_alerts import known_metrics

RUNBOOKS = sorted((DOCS / "runbooks").glob("*.md"))
SECTIONS = ["Meaning", "Impact", "First queries", "Fix", "Resolved when"]
#: Programs of others that an engineer has at hand; what they are given is not checked.
OTHERS = {
    "amtool",
    "chronyc",
    "cut",
    "date",
    "kafka-consumer-groups.sh",
    "kafka-topics.sh",
    "kubectl",
    "mongosh",
    "openssl",
}
OPERATORS = {"/livez", "/readyz", "/metrics"}
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_METRIC = re.compile(r"\b(?:deskbus_[a-z0-9_]+(?<!_))(?![\w.])")


def queries(text: str, kind: str) -> Iterator[tuple[str, str]]:
    """Yield the queries or commands of a runbook, each with the comment below it."""
    for found, body in _FENCE.findall(text):
        lines = body.splitlines()
        if found == kind:
            for number, line in enumerate(lines):
                if not line.startswith("#"):
                    yield line, lines[number + 1] if number + 1 < len(lines) else ""


@pytest.mark.parametrize("file", RUNBOOKS, ids=lambda file: file.stem)
def test_a_runbook_has_its_sections_and_says_what_to_expect(file: Path) -> None:
    text = file.read_text("utf-8")
    assert text.startswith(f"# {file.stem}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS
    asked = [*queries(text, "promql"), *queries(text, "sh")]
    assert len(asked) >= 2
    assert [query for query, below in asked if not below.startswith("# expected: ")] == []
    assert {kind for kind, _ in _FENCE.findall(text)} <= {"promql", "sh"}
    assert re.search(r"^1\. ", text.split("## Fix")[1], re.MULTILINE)


@pytest.mark.parametrize("file", RUNBOOKS, ids=lambda file: file.stem)
def test_the_metrics_that_a_runbook_names_exist(file: Path, root: Path) -> None:
    rules = (root / "deploy" / "prometheus" / "rules" / "slo.yml").read_text("utf-8")
    recorded = set(re.findall(r"record: (\S+)", rules))
    text = re.sub(r'getSiblingDB\("\w+"\)', "", file.read_text("utf-8"))
    named = set(re.findall(r"slo:\w+:\w+", text))
    assert named <= recorded
    known = known_metrics() | {name.removesuffix("_count") for name in known_metrics()}
    assert set(_METRIC.findall(re.sub(r"slo:\w+:\w+", "", text))) - known == set()


def commands() -> dict[str, set[str]]:
    """Return the commands of `deskbus`, each with its options."""
    found: dict[str, set[str]] = {}

    def add(prefix: str, command: Any) -> None:
        for name, each in command.commands.items():
            if hasattr(each, "commands"):
                add(f"{prefix}{name} ", each)
            else:
                found[f"{prefix}{name}"] = {option for parameter in each.params for option in parameter.opts}

    add("", typer.main.get_command(app))
    return found


def paths() -> set[str]:
    """Return the paths of all doors, as patterns."""
    documents = (json.loads(file.read_text("utf-8")) for file in (DOCS / "openapi").glob("*.json"))
    return {path for document in documents for path in document["paths"]} | OPERATORS


def fault(line: str) -> str | None:
    """Return what is wrong with a command: a program, a command of `deskbus`, an option or a path that is not there."""
    words = shlex.split(line.partition(" | ")[0])
    if words[0] == "curl":
        (url,) = (word for word in words if word.startswith("http://"))
        path = "/" + url.removeprefix("http://").partition("/")[2]
        ours = "HOST" in url or "REPLICA" in url
        return None if not ours or path in paths() else f"no such path: {path}"
    if words[0] != "deskbus":
        return None if words[0] in OTHERS else f"unknown program: {words[0]}"
    known = commands()
    name = next((name for name in (" ".join(words[1:3]), " ".join(words[1:2])) if name in known), None)
    if name is None:
        return f"no such command: {line}"
    unknown = [word for word in words if word.startswith("--") and word not in known[name]]
    return f"no such option: {unknown}" if unknown else None


@pytest.mark.parametrize("file", RUNBOOKS, ids=lambda file: file.stem)
def test_the_commands_that_a_runbook_names_exist(file: Path) -> None:
    text = file.read_text("utf-8")
    inline = [words for words in re.findall(r"`(deskbus [a-z][^`]*)`", text) if "…" not in words]
    found = [command for command, _ in queries(text, "sh")] + inline
    assert [why for command in found if (why := fault(command)) is not None] == []
    asked = set(re.findall(r"`(?:GET|POST|PUT) (/[^` ]+)`", text))
    assert asked <= paths()


@pytest.mark.parametrize(
    "line",
    ["deskbus mend", "deskbus dlq show --everything", "curl http://HOST:8084/v1/nothing", "reboot now"],
)
def test_a_command_that_does_not_exist_is_found(line: str) -> None:
    assert fault(line) is not None


def test_the_queries_of_runbooks_are_valid(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool (Debian: prometheus)")
    found = [(file.stem, query) for file in RUNBOOKS for query, _ in queries(file.read_text("utf-8"), "promql")]
    rules = [{"record": f"q:{number}", "expr": query} for number, (_, query) in enumerate(found)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "runbooks", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "rules.yml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_runbooks_look_for_in_the_log_is_logged(root: Path) -> None:
    code = "".join(file.read_text("utf-8") for room in ("kit", "services") for file in (root / room).rglob("*.py"))
    lines = [
        (file.name, part)
        for file in RUNBOOKS
        for part in re.findall(r"in the log: (.*?)\.", file.read_text(), re.DOTALL)
    ]
    named = [(name, " ".join(words.split())) for name, part in lines for words in re.findall(r'"([^"]+)"', part)]
    assert len(named) > 20
    assert [(name, words) for name, words in named if words not in code] == []
