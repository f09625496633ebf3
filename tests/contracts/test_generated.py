"""What is generated from the models is committed, up to date and coherent."""

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from contracts import corpus, generate
from contracts.generate import ASYNCAPI, SCHEMAS, drift
from contracts.inbound import TYPE as INBOUND_TYPE
from contracts.registry import REGISTRY
from contracts.topics import TOPICS


def references(document: Any) -> list[str]:
    if isinstance(document, dict):
        own = [document["$ref"]] if "$ref" in document else []
        return own + [one for value in document.values() for one in references(value)]
    return [one for value in document for one in references(value)] if isinstance(document, list) else []


def test_nothing_generated_has_drifted() -> None:
    assert drift() == []


def test_a_changed_a_missing_and_a_stale_file_are_drift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schemas = tmp_path / "contracts" / "schemas"
    monkeypatch.setattr(generate, "PACKAGE", tmp_path / "contracts")
    monkeypatch.setattr(generate, "SCHEMAS", schemas)
    monkeypatch.setattr(generate, "ASYNCAPI", tmp_path / "contracts" / "asyncapi.json")
    monkeypatch.setattr(generate, "CATALOGUE", tmp_path / "events.md")
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    (schemas / "deskbus.ticket.opened.v1.json").write_text("{}")
    (schemas / "deskbus.ticket.closed.v1.json").unlink()
    (schemas / "deskbus.ticket.levitated.v1.json").write_text("{}")
    assert sorted(drift()) == [
        "contracts/schemas/deskbus.ticket.closed.v1.json: is missing",
        "contracts/schemas/deskbus.ticket.levitated.v1.json: belongs to no type",
        "contracts/schemas/deskbus.ticket.opened.v1.json: differs",
    ]
    assert generate.main(["--check"]) == 1
    assert generate.main([]) == 0
    assert drift() == []


def test_a_type_without_an_example_is_reported_and_nobody_invents_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = tmp_path / "contracts" / "examples"
    monkeypatch.setattr(corpus, "DIRECTORY", examples)
    monkeypatch.setattr(generate, "PACKAGE", tmp_path / "contracts")
    monkeypatch.setattr(generate, "SCHEMAS", tmp_path / "contracts" / "schemas")
    monkeypatch.setattr(generate, "ASYNCAPI", tmp_path / "contracts" / "asyncapi.json")
    monkeypatch.setattr(generate, "CATALOGUE", tmp_path / "events.md")
    for kind in (*list(REGISTRY)[1:], INBOUND_TYPE):
        (examples / kind).mkdir(parents=True)
        (examples / kind / "one.json").write_text("{}")
    reported = f"contracts/examples/{next(iter(REGISTRY))}: has no example: write NAME.json, as for a similar type"
    assert generate.main([]) == 1
    assert capsys.readouterr().err.splitlines() == [reported]
    assert generate.main(["--check"]) == 1
    assert reported in capsys.readouterr().err


@pytest.mark.parametrize("kind", [*REGISTRY, INBOUND_TYPE])
def test_every_schema_is_a_valid_schema(kind: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads((SCHEMAS / f"{kind}.json").read_text("utf-8")))


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = json.loads(ASYNCAPI.read_text("utf-8"))
    found = references(document)
    assert found
    for reference in found:
        if reference.startswith("#/"):
            place = document
            for part in reference.removeprefix("#/").split("/"):
                place = place[part]
        else:
            assert (ASYNCAPI.parent / reference).resolve().exists(), reference


def test_the_asyncapi_document_has_the_project_s_version(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    assert json.loads(ASYNCAPI.read_text("utf-8"))["info"]["version"] == project["version"]


def test_the_asyncapi_document_has_every_topic_and_type() -> None:
    document = json.loads(ASYNCAPI.read_text("utf-8"))
    assert {channel["address"] for channel in document["channels"].values()} == {topic.name for topic in TOPICS}
    assert set(document["components"]["messages"]) == {*REGISTRY, INBOUND_TYPE, "asItCame"}
