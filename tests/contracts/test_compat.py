"""The compatibility gate: which changes of a schema it allows, which it refuses, and where it finds the old ones."""

import copy
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts import compat
from contracts.compat import bases, load, load_commit, refusals
from contracts.generate import SCHEMAS

KIND = "deskbus.lamp.lit.v1"
OLD: dict[str, Any] = {
    "$defs": {
        "Lamp": {
            "type": "object",
            "description": "A lamp.",
            "properties": {
                "id": {"type": "string", "minLength": 1},
                "watts": {"type": "number", "minimum": 0, "default": 5},
                "colour": {"type": "string", "enum": ["red", "green"]},
                "maker": {"type": "string", "x-open-enum": ["acme"]},
                "room": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
                "marks": {"type": "array", "items": {"$ref": "#/$defs/Mark"}, "default": []},
                "levels": {"type": "object", "additionalProperties": {"type": "integer"}, "default": {}},
            },
            "required": ["id", "colour"],
        },
        "Mark": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    },
    "type": "object",
    "properties": {"data": {"$ref": "#/$defs/Lamp"}, "type": {"const": KIND, "type": "string"}},
    "required": ["data"],
}


def lamp(schema: dict[str, Any]) -> Any:
    return schema["$defs"]["Lamp"]


def field(schema: dict[str, Any], name: str) -> Any:
    return lamp(schema)["properties"][name]


def move_definition(schema: dict[str, Any]) -> None:
    schema["$defs"]["Light"] = schema["$defs"].pop("Lamp")
    schema["properties"]["data"]["$ref"] = "#/$defs/Light"


Change = Callable[[dict[str, Any]], Any]

ALLOWED: dict[str, Change] = {
    "nothing": lambda s: None,
    "optional field": lambda s: lamp(s)["properties"].update(age={"type": "integer", "default": 0}),
    "optional field of an inner value": lambda s: s["$defs"]["Mark"]["properties"].update(
        at={"type": "string", "default": ""}
    ),
    "description": lambda s: lamp(s).update(description="A light."),
    "title of a field": lambda s: field(s, "id").update(title="Id"),
    "open enum grows": lambda s: field(s, "maker")["x-open-enum"].append("zenith"),
    "definition is renamed": move_definition,
    "order of required": lambda s: lamp(s)["required"].reverse(),
}

REFUSED: dict[str, tuple[Change, str]] = {
    "field disappears": (lambda s: lamp(s)["properties"].pop("watts"), "data.watts: the field disappears"),
    "inner field disappears": (
        lambda s: s["$defs"]["Mark"].update(properties={}, required=[]),
        "data.marks[].text: the field disappears",
    ),
    "field is renamed": (
        lambda s: lamp(s)["properties"].update(power=lamp(s)["properties"].pop("watts")),
        "data.watts: the field disappears",
    ),
    "optional becomes required": (
        lambda s: lamp(s)["required"].append("watts"),
        "data.watts: the field becomes required",
    ),
    "new field is required": (
        lambda s: (lamp(s)["properties"].update(age={"type": "integer"}), lamp(s)["required"].append("age")),
        "data.age: the field becomes required",
    ),
    "required becomes optional": (
        lambda s: lamp(s)["required"].remove("id"),
        "data.id: the field is no longer required",
    ),
    "type changes": (lambda s: field(s, "watts").update(type="string"), 'data.watts: type changes from "number"'),
    "becomes nullable": (
        lambda s: field(s, "id").update(anyOf=[{"type": "string"}, {"type": "null"}]) or field(s, "id").pop("type"),
        "data.id: type changes",
    ),
    "no longer nullable": (
        lambda s: lamp(s)["properties"].update(room={"type": "string", "default": ""}),
        "data.room: type changes",
    ),
    "type of an option changes": (
        lambda s: field(s, "room")["anyOf"][0].update(type="integer"),
        "data.room: type changes",
    ),
    "type of list items changes": (
        lambda s: field(s, "marks").update(items={"type": "string"}),
        "data.marks[]: type changes",
    ),
    "type of map values changes": (
        lambda s: field(s, "levels").update(additionalProperties={"type": "number"}),
        "data.levels[]: type changes",
    ),
    "map becomes untyped": (
        lambda s: field(s, "levels").pop("additionalProperties"),
        "data.levels: additionalProperties changes",
    ),
    "closed enum grows": (lambda s: field(s, "colour")["enum"].append("blue"), "data.colour: closed enum changes"),
    "closed enum shrinks": (lambda s: field(s, "colour")["enum"].remove("red"), "data.colour: closed enum changes"),
    "open enum closes": (
        lambda s: field(s, "maker").update(enum=field(s, "maker").pop("x-open-enum")),
        "data.maker: closed enum changes",
    ),
    "open enum forgets": (lambda s: field(s, "maker")["x-open-enum"].clear(), "data.maker: open enum forgets acme"),
    "bound is raised": (lambda s: field(s, "watts").update(minimum=1), "data.watts: minimum changes from 0 to 1"),
    "bound is dropped": (lambda s: field(s, "id").pop("minLength"), "data.id: minLength changes from 1 to null"),
    "bound is new": (lambda s: field(s, "id").update(maxLength=9), "data.id: maxLength changes from null to 9"),
    "default changes": (lambda s: field(s, "watts").update(default=6), "data.watts: default changes from 5 to 6"),
    "fields are forbidden": (
        lambda s: lamp(s).update(additionalProperties=False),
        "data: additionalProperties changes",
    ),
}


@pytest.mark.parametrize("change", ALLOWED.values(), ids=ALLOWED)
def test_a_change_that_readers_and_writers_of_both_releases_survive_is_allowed(change: Change) -> None:
    new = copy.deepcopy(OLD)
    change(new)
    assert refusals({KIND: OLD}, {KIND: new}) == []


@pytest.mark.parametrize(("change", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_change_that_breaks_a_reader_or_a_writer_is_refused(change: Change, reason: str) -> None:
    new = copy.deepcopy(OLD)
    change(new)
    faults = refusals({KIND: OLD}, {KIND: new})
    assert any(fault.startswith(f"{KIND}: {reason}") for fault in faults), faults


def test_a_type_may_come_but_not_go() -> None:
    assert refusals({KIND: OLD}, {KIND: OLD, "deskbus.lamp.lit.v2": {}}) == []
    assert refusals({KIND: OLD}, {"deskbus.lamp.lit.v2": OLD}) == [f"{KIND}: the type disappears"]


def test_the_schemas_of_today_are_compatible_with_themselves() -> None:
    schemas = load(SCHEMAS)
    assert schemas
    assert refusals(schemas, copy.deepcopy(schemas)) == []


class Repository:
    """A small repository with one schema, to be committed in several states."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.schemas = root / "contracts" / "schemas"
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@t.example", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(self.root), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, schema: dict[str, Any] | None) -> str:
        if schema is not None:
            self.write(schema)
        self.git("add", ".")
        self.git("commit", "--quiet", "--allow-empty", "--message=change")
        return self.git("rev-parse", "HEAD")

    def write(self, schema: dict[str, Any]) -> None:
        self.schemas.mkdir(parents=True, exist_ok=True)
        (self.schemas / f"{KIND}.json").write_text(json.dumps(schema))


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # set when a commit hook runs us
        monkeypatch.delenv(name, raising=False)
    made = Repository(tmp_path)
    monkeypatch.setattr(compat, "ROOT", made.root)
    monkeypatch.setattr(compat, "SCHEMAS", made.schemas)
    return made


BROKEN: dict[str, Any] = {**OLD, "required": []}


def test_without_a_commit_there_is_nothing_to_compare_with(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.write(OLD)
    assert bases(repository.root) == []
    assert compat.main([]) == 0
    assert "no earlier schemas" in capsys.readouterr().out


def test_outside_a_repository_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    assert bases(tmp_path) == []


def test_a_commit_without_schemas_is_nothing_to_compare_with(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = repository.commit(None)
    repository.write(OLD)
    assert load_commit(repository.root, commit, repository.schemas) == {}
    assert compat.main([]) == 0
    assert "no earlier schemas" in capsys.readouterr().out


def test_on_a_branch_the_merge_base_with_main_counts(repository: Repository) -> None:
    base = repository.commit(OLD)
    repository.git("checkout", "--quiet", "-b", "work")
    repository.commit(BROKEN)
    repository.commit(None)
    assert bases(repository.root) == [base]
    assert compat.main([]) == 1


def test_on_main_the_last_commit_and_its_parent_count(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    first = repository.commit(OLD)
    assert bases(repository.root) == [first]
    second = repository.commit(BROKEN)
    assert bases(repository.root) == [second, first]
    assert compat.main([]) == 1
    assert f"not compatible: {KIND}: data: the field is no longer required" in capsys.readouterr().err


def test_an_uncommitted_change_is_compared_too(repository: Repository) -> None:
    repository.commit(OLD)
    assert compat.main([]) == 0
    repository.write(BROKEN)
    assert compat.main([]) == 1


def test_a_base_that_does_not_exist_is_an_error(repository: Repository) -> None:
    repository.commit(OLD)
    with pytest.raises(SystemExit) as stop:
        compat.main(["--base", "nowhere"])
    assert stop.value.code == 2
