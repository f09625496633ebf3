"""The four policy files as tests write them: a small one of each service, a value at any of its keys, what it means."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, NamedTuple, get_args

from pydantic import AfterValidator, BaseModel

from cli.checking import models
from deploy.policies import parts
from kit.policy.file import parse

Place = tuple[str | int, ...]
FILES: dict[str, dict[str, Any]] = {
    "ingest": {
        "accounts": [{"name": "a", "channel": "webhook", "signing": "env:S", "aliases": [{"address": "x@b.example"}]}]
    },
    "routing": {
        "queues": {"a": {"overflow": {"after": "1m", "to": "b"}}, "b": {}},
        "rules": [{"queue": "a"}],
    },
    "sla": {
        "policies": [{"name": "a", "targets": {"first_reply": "1h"}}],
        "calendars": {"c": {"zone": "UTC"}},
        "holidays": {"TH": {}},
    },
    "notify": {
        "receivers": {
            "hook": {"sink": "webhook", "url": "https://h.example", "signing": "env:S"},
            "slack": {"sink": "slack", "webhook": "env:S"},
            "thread": {"sink": "slack", "access": "env:S", "channel": "C1"},
            "mail": {"sink": "email", "to": "a@b.example"},
        },
        "chains": {"c": {"steps": [{"targets": "mail"}], "remind_after": "1h"}},
        "route": {"name": "all", "receiver": "mail", "routes": [{"name": "this"}]},
    },
}
"""A small valid file of each service."""


class Key(NamedTuple):
    """A key of a service's file."""

    service: str
    place: Place
    positive: bool = False
    """`0` is refused."""

    @property
    def path(self) -> str:
        """As docs/policies.md writes it."""
        return f"{self.service}: " + ".".join(str(step) for step in self.place)


def read(service: str, document: dict[str, Any]) -> Any:
    return parse(f"{service}.yaml", json.dumps(document).encode(), models()[service])


def written(key: Key, value: Any) -> Any:
    """The file of the key's service with this value there."""
    document: dict[str, Any] = deepcopy(FILES[key.service])
    at: Any = document
    for step in key.place[:-1]:
        if isinstance(step, str) and not isinstance(at.get(step), dict | list):
            at[step] = {}
        at = at[step]
    at[key.place[-1]] = value
    return read(key.service, document)


def held(key: Key, value: Any) -> Any:
    """What the file means at the key, once it is read."""
    found = written(key, value)
    for step in key.place:
        found = getattr(found, str(step)) if isinstance(found, BaseModel) else found[step]
    return found


def shown(key: Key) -> str:
    return key.path


def fields(what: Any) -> Iterator[str]:
    """`service: key` of all fields that hold such a value, as their models have it."""
    for service, model in models().items():
        for path, part in parts(model):
            for name, field in part.model_fields.items():
                if what in types(field.annotation) or what in field.metadata:
                    yield f"{service}: {path}.{name}"


def marker(kind: Any) -> AfterValidator:
    """What distinguishes a type of text, such as `Url`: the function that checks it."""
    (check,) = (found for found in types(kind) if isinstance(found, AfterValidator))
    return check


def types(annotation: Any) -> set[Any]:
    return {annotation, *(found for inner in get_args(annotation) for found in types(inner))}


def covers(key: Key, shape: str) -> bool:
    """Whether a key of the table is this field, whose path has `*` and `[]` for what an operator chooses."""
    steps = iter(key.place)
    service, _, path = shape.partition(": ")
    if service != key.service:
        return False
    for part in path.lstrip(".").split("."):
        if part != "*" and next(steps, None) != part.removesuffix("[]"):
            return False
        if part == "*" or part.endswith("[]"):
            next(steps, None)
    return next(steps, None) is None
