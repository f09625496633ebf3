"""Which changes of schemas, topics and examples the compatibility gate allows, and which it refuses."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from contracts.compat import load_all
from contracts.differences import Contracts, example_refusals, refusals, refused, topic_refusals
from contracts.generate import PACKAGE

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
                "first": {"$ref": "#/$defs/Mark", "default": {"text": "-"}},
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


def contain_itself(schema: dict[str, Any]) -> None:
    schema["$defs"]["Mark"]["properties"]["under"] = {"$ref": "#/$defs/Mark"}


Change = Callable[[dict[str, Any]], Any]


def add_to_default(value: int) -> Change:
    """The default of a value tells of a new field of it."""

    def change(schema: dict[str, Any]) -> None:
        schema["$defs"]["Mark"]["properties"]["size"] = {"type": "integer", "default": 0}
        field(schema, "first")["default"]["size"] = value

    return change


ALLOWED: dict[str, Change] = {
    "nothing": lambda s: None,
    "optional field of a value that has a default": add_to_default(0),
    "optional field": lambda s: lamp(s)["properties"].update(age={"type": "integer", "default": 0}),
    "optional field of an inner value": lambda s: s["$defs"]["Mark"]["properties"].update(
        at={"type": "string", "default": ""}
    ),
    "description": lambda s: lamp(s).update(description="A light."),
    "title of a field": lambda s: field(s, "id").update(title="Id"),
    "open enum grows": lambda s: field(s, "maker")["x-open-enum"].append("zenith"),
    "definition is renamed": move_definition,
    "order of required": lambda s: lamp(s)["required"].reverse(),
    "optional field that may be anything": lambda s: lamp(s)["properties"].update(any=True),
    "anything goes, said in other words": lambda s: lamp(s).update(additionalProperties=True),
    "optional field that contains its own kind": contain_itself,
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
    "default is new": (
        lambda s: field(s, "maker").update(default=None),
        "data.maker: default changes from null to null",
    ),
    "default of a new field is not its own": (
        add_to_default(3),
        'data.first: default changes from {"text": "-"} to {"text": "-", "size": 3}',
    ),
    "default is dropped": (lambda s: field(s, "room").pop("default"), "data.room: default changes from null to null"),
    "field becomes anything": (lambda s: lamp(s)["properties"].update(watts=True), "data.watts: default changes"),
    "field becomes impossible": (lambda s: lamp(s)["properties"].update(watts=False), "data.watts: not changes"),
    "items become impossible": (lambda s: field(s, "marks").update(items=False), "data.marks: items changes"),
    "a rule over several fields": (
        lambda s: lamp(s).update({"if": {"required": ["room"]}, "then": {"required": ["maker"]}}),
        'data: if changes from null to {"required": ["room"]}',
    ),
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


@pytest.mark.parametrize("change", [*ALLOWED.values(), *(change for change, _ in REFUSED.values())])
def test_a_schema_that_changed_is_compatible_with_itself(change: Change) -> None:
    new = copy.deepcopy(OLD)
    change(new)
    assert refusals({KIND: new}, {KIND: copy.deepcopy(new)}) == []


@pytest.mark.parametrize(
    ("old", "new", "count"), [(True, {}, 0), (True, False, 1), (False, True, 1), (False, False, 0)]
)
def test_a_schema_may_be_a_boolean(old: Any, new: Any, count: int) -> None:
    assert len(refusals({KIND: old}, {KIND: new})) == count


def test_the_contracts_of_today_are_compatible_with_themselves() -> None:
    today = load_all(PACKAGE)
    assert today.schemas
    assert today.channels
    assert today.examples
    assert refused(today, copy.deepcopy(today)) == []


TOPIC: dict[str, Any] = {
    "address": "deskbus.lamps.v1",
    "x-key": "lamp id",
    "x-sources": ["/lamps"],
    "x-sequenced": True,
    "messages": {KIND: {"$ref": f"#/components/messages/{KIND}"}},
    "bindings": {"kafka": {"topicConfiguration": {"cleanup.policy": ["delete"], "retention.ms": 10}}},
}


def settings(topic: dict[str, Any]) -> Any:
    return topic["bindings"]["kafka"]["topicConfiguration"]


TOPIC_ALLOWED: dict[str, Change] = {
    "nothing": lambda t: None,
    "a further type": lambda t: t["messages"].update({"deskbus.lamp.broke.v1": {}}),
    "a further source": lambda t: t["x-sources"].append("/torches"),
    "kept longer": lambda t: settings(t).update({"retention.ms": 11}),
    "what it carries in words": lambda t: t.update(description="Lamps."),
}

TOPIC_REFUSED: dict[str, tuple[Change, str]] = {
    "another name": (lambda t: t.update(address="deskbus.torches.v1"), "the address changes from deskbus.lamps.v1"),
    "another key": (lambda t: t.update({"x-key": "room"}), "the key changes from lamp id to room"),
    "no key": (lambda t: t.pop("x-key"), "the key changes from lamp id to None"),
    "a type goes": (lambda t: t["messages"].clear(), f"type {KIND} disappears"),
    "a source goes": (lambda t: t["x-sources"].clear(), "source /lamps disappears"),
    "gaps": (lambda t: t.update({"x-sequenced": False}), "its events have no gap-free sequences any more"),
    "kept shorter": (lambda t: settings(t).update({"retention.ms": 9}), "retention.ms changes from 10 to 9"),
    "kept for ever": (lambda t: settings(t).pop("retention.ms"), "retention.ms changes from 10 to null"),
    "a limit that was none": (
        lambda t: settings(t).update({"max.message.bytes": 5}),
        "max.message.bytes changes from null to 5",
    ),
    "compacted": (
        lambda t: settings(t).update({"cleanup.policy": ["compact"]}),
        'cleanup.policy changes from ["delete"] to ["compact"]',
    ),
}


@pytest.mark.parametrize("change", TOPIC_ALLOWED.values(), ids=TOPIC_ALLOWED)
def test_a_topic_may_promise_more(change: Change) -> None:
    new = copy.deepcopy(TOPIC)
    change(new)
    assert topic_refusals({"lamps": TOPIC}, {"lamps": new, "further": TOPIC}) == []


@pytest.mark.parametrize(("change", "reason"), TOPIC_REFUSED.values(), ids=TOPIC_REFUSED)
def test_a_topic_keeps_what_it_promised(change: Change, reason: str) -> None:
    new = copy.deepcopy(TOPIC)
    change(new)
    (fault,) = topic_refusals({"lamps": TOPIC}, {"lamps": new})
    assert fault.startswith(f"lamps: {reason}")


def test_a_topic_may_not_go_and_one_without_a_committed_key_is_compared_in_the_rest() -> None:
    assert topic_refusals({"lamps": TOPIC}, {}) == ["lamps: the topic disappears"]
    before = {name: value for name, value in TOPIC.items() if name != "x-key"}
    assert topic_refusals({"lamps": before}, {"lamps": TOPIC}) == []


def test_examples_are_added_to_and_neither_taken_away_nor_rewritten() -> None:
    assert example_refusals({"a/x": {"n": 1}}, {"a/x": {"n": 1}, "a/y": {}}) == []
    assert example_refusals({"a/x": {"n": 1}, "a/y": {}}, {"a/x": {"n": 2}}) == [
        "example a/y disappears", "example a/x is rewritten",
    ]  # fmt: skip


def test_schemas_topics_and_examples_are_all_looked_at() -> None:
    old = Contracts({KIND: OLD}, {"lamps": TOPIC}, {"a/x": 1})
    assert len(refused(old, Contracts())) == 3
