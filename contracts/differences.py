"""Differences between two states of the contracts that break older readers or writers.

Pure: two states go in, the refused changes come out, one line each. `compat.py` obtains the states.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

NOT_COMPARED = {"$schema", "$defs", "$ref", "title", "description", "examples", "x-open-enum", "deprecated"}
"""Keywords that do not affect readers, or that are followed rather than compared."""
GROWING = ("retention.ms", "max.message.bytes")
"""Settings of a topic that may increase: readers who rely on the old value lose nothing."""

Schema = dict[str, Any]
Schemas = dict[str, Any]


@dataclass(frozen=True)
class Contracts:
    """One state: schemas by type, the channels of the AsyncAPI document by name, examples by `type/name`."""

    schemas: Schemas = field(default_factory=dict)
    channels: dict[str, Any] = field(default_factory=dict)
    examples: dict[str, Any] = field(default_factory=dict)


def refused(old: Contracts, new: Contracts) -> list[str]:
    """Return why the new state is incompatible with the old one; empty if it is compatible."""
    return [
        *refusals(old.schemas, new.schemas),
        *topic_refusals(old.channels, new.channels),
        *example_refusals(old.examples, new.examples),
    ]


def refusals(old: Schemas, new: Schemas) -> list[str]:
    """Return why the new schemas are incompatible with the old ones.

    Both directions must work: new code reads old events, and old subscribers read new events. Keywords that are not
    known here must be equal.
    """
    faults = [f"{name}: the type disappears" for name in old if name not in new]
    for name in old:
        if name in new:
            faults += [f"{name}: {fault}" for fault in _compare(_Side(old[name]), _Side(new[name]), "")]
    return faults


NOTHING: Schema = {"not": {}}


def _object(schema: Schema | bool) -> Schema:
    """Return the schema as an object: `true` allows everything, like `{}`; `false` allows nothing."""
    return schema if isinstance(schema, dict) else {} if schema else NOTHING


class _Side:
    """A schema with the document that its references point into."""

    def __init__(self, schema: Schema | bool, root: Schema | None = None, within: frozenset[str] = frozenset()) -> None:
        schema = _object(schema)
        self.root = schema if root is None else root
        self.within, self.recursive = within, False
        while "$ref" in schema:
            name = schema["$ref"].removeprefix("#/$defs/")
            self.recursive |= name in self.within
            self.within |= {name}
            target = _object(self.root["$defs"][name])
            schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
        self.schema = schema

    def at(self, schema: Schema | bool) -> "_Side":
        return _Side(schema, self.root, self.within)


def _compare(old: _Side, new: _Side, path: str) -> Iterator[str]:
    if old.recursive and new.recursive:
        return  # a recursive definition, already compared
    here = path or "event"
    followed = {"properties", "required", "items", "additionalProperties", "anyOf", "enum"}
    for keyword in sorted((set(old.schema) | set(new.schema)) - NOT_COMPARED - followed):
        was, now = old.schema.get(keyword), new.schema.get(keyword)
        if keyword == "default" and isinstance(was, dict) and isinstance(now, dict):
            now = _less_new_fields(old, new, now)
        if (keyword in old.schema, was) != (keyword in new.schema, now):
            yield f"{here}: {keyword} changes from {json.dumps(was)} to {json.dumps(now)}"
    if (was_enum := old.schema.get("enum")) != (now_enum := new.schema.get("enum")):
        yield f"{here}: closed enum changes from {json.dumps(was_enum)} to {json.dumps(now_enum)}"
    removed = set(old.schema.get("x-open-enum", ())) - set(new.schema.get("x-open-enum", ()))
    if removed:
        yield f"{here}: open enum forgets {', '.join(sorted(removed))}"
    yield from _compare_properties(old, new, path)
    yield from _compare_options(old, new, path)
    for keyword in ("items", "additionalProperties"):
        yield from _compare_inner(old, new, keyword, path)


def _less_new_fields(old: _Side, new: _Side, default: dict[str, Any]) -> dict[str, Any]:
    """Return a default value without fields added since whose value in it is their own default."""
    fields = new.schema.get("properties", {})
    added = fields.keys() - old.schema.get("properties", {}).keys() - set(new.schema.get("required", ()))
    # The schema does not contain defaults created by a factory (an empty mapping).
    return {name: v for name, v in default.items() if name not in added or v != fields[name].get("default", v)}


def _compare_properties(old: _Side, new: _Side, path: str) -> Iterator[str]:
    was, now = old.schema.get("properties", {}), new.schema.get("properties", {})
    for name in was.keys() - now.keys():
        yield f"{path}.{name}".lstrip(".") + ": the field disappears"
    was_required, now_required = set(old.schema.get("required", ())), set(new.schema.get("required", ()))
    for name in sorted(now_required - was_required):
        yield f"{path}.{name}".lstrip(".") + ": the field becomes required"
    for name in sorted((was_required - now_required) & now.keys()):
        yield f"{path}.{name}".lstrip(".") + ": the field is no longer required, so that older readers miss it"
    for name in was.keys() & now.keys():
        yield from _compare(old.at(was[name]), new.at(now[name]), f"{path}.{name}".lstrip("."))


def _compare_options(old: _Side, new: _Side, path: str) -> Iterator[str]:
    was, now = old.schema.get("anyOf", []), new.schema.get("anyOf", [])
    if len(was) != len(now):
        yield f"{path}: type changes from {_kinds(old, was)} to {_kinds(new, now)}"
        return
    for one, other in zip(was, now, strict=True):
        yield from _compare(old.at(one), new.at(other), path)


def _compare_inner(old: _Side, new: _Side, keyword: str, path: str) -> Iterator[str]:
    was, now = _object(old.schema.get(keyword, True)), _object(new.schema.get(keyword, True))
    if was and now and NOTHING not in (was, now):
        yield from _compare(old.at(was), new.at(now), f"{path}[]")
    elif was != now:
        yield f"{path or 'event'}: {keyword} changes"


def _kinds(side: _Side, options: list[Schema]) -> str:
    kinds = [side.at(option).schema for option in options] or [side.schema]
    return " or ".join(str(kind.get("type", "any")) for kind in kinds)


def topic_refusals(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return why new topics are incompatible with the old ones: key, types, sources, order, retention."""
    faults = [f"{name}: the topic disappears" for name in old.keys() - new.keys()]
    for name in old.keys() & new.keys():
        faults += [f"{name}: {fault}" for fault in _topic(old[name], new[name])]
    return sorted(faults)


def _topic(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    if old["address"] != new["address"]:
        yield f"the address changes from {old['address']} to {new['address']}"
    if "x-key" in old and old["x-key"] != new.get("x-key"):  # older documents have no key
        yield f"the key changes from {old['x-key']} to {new.get('x-key')}"
    if old.get("x-sequenced") and not new.get("x-sequenced"):
        yield "its events have no gap-free sequences any more"
    for keyword, name in (("messages", "type"), ("x-sources", "source")):
        for removed in _removed(old.get(keyword, ()), new.get(keyword, ())):
            yield f"{name} {removed} disappears"
    was, now = (side["bindings"]["kafka"]["topicConfiguration"] for side in (old, new))
    for setting in sorted(was.keys() | now.keys()):
        if setting in GROWING and setting in was and now.get(setting, 0) > was[setting]:
            continue
        if was.get(setting) != now.get(setting):
            yield f"{setting} changes from {json.dumps(was.get(setting))} to {json.dumps(now.get(setting))}"


def _removed(old: Iterable[str], new: Iterable[str]) -> list[str]:
    return sorted(set(old) - set(new))


def example_refusals(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return which examples were removed or changed: earlier releases wrote them, and every later one must read them.

    Stricter validators do not show in the schema; they show when an example can no longer be read.
    """
    faults = [f"example {name} disappears" for name in _removed(old, new)]
    return faults + [
        f"example {name} is rewritten" for name in sorted(old.keys() & new.keys()) if old[name] != new[name]
    ]
