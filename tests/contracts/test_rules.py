"""Rules over several fields: what a model refuses, its schema refuses too, so that subscribers and the gate see it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import jsonschema
import pytest
from pydantic import BaseModel, ValidationError

from contracts.commands import SetTags, Transfer
from contracts.documents.schemas import schema_of
from contracts.payload import Payload
from contracts.registry import REGISTRY

BY = {"kind": "agent", "id": "anna"}
RULED: dict[type[Payload], list[dict[str, Any]]] = {
    SetTags: [
        {}, {"add": ["a"]}, {"add": ["a"], "remove": ["b"]}, {"replace": []}, {"replace": ["a"]},
        {"replace": ["a"], "add": []}, {"replace": ["a"], "add": ["b"]}, {"replace": [], "remove": ["b"]},
        {"replace": None, "add": ["b"]},
    ],
    Transfer: [
        {}, {"queue": "q"}, {"agent_id": "a"}, {"queue": "q", "agent_id": "a"}, {"queue": None, "agent_id": None},
        {"queue": None, "agent_id": "a"}, {"queue": "q", "agent_id": None},
    ],
}  # fmt: skip
"""Models with a validator over several fields -> documents on both sides of it."""


def taken(model: type[BaseModel], document: dict[str, Any]) -> bool:
    try:
        model.model_validate(document)
    except ValidationError:
        return False
    return True


CASES = [(model, {"by": BY, **document}) for model, documents in RULED.items() for document in documents]


@pytest.mark.parametrize(("model", "document"), CASES, ids=lambda each: getattr(each, "__name__", None))
def test_a_schema_takes_what_its_model_takes(model: type[BaseModel], document: dict[str, Any]) -> None:
    assert jsonschema.Draft202012Validator(schema_of(model)).is_valid(document) == taken(model, document)


@pytest.mark.parametrize("model", RULED)
def test_a_rule_takes_and_refuses(model: type[BaseModel]) -> None:
    assert {taken(model, document) for case, document in CASES if case is model} == {True, False}


def models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A model and those of its fields, at any depth."""
    yield model
    for field in model.model_fields.values():
        for kind in kinds(field.annotation):
            yield from models(kind)


def kinds(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from kinds(inner)


def test_no_validator_hides_from_the_schema() -> None:
    """One over a single field belongs into the field's type, as a keyword that schemas have."""
    found = {
        model
        for payload in REGISTRY.values()
        for model in models(payload)
        if (rules := model.__pydantic_decorators__).model_validators or rules.field_validators or rules.validators
    }
    assert found == set(RULED)
