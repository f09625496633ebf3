"""The committed examples: whatever a release has once said, every later one reads and says again."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from contracts import corpus
from contracts.compat import load
from contracts.corpus import Example
from contracts.envelope import Command, Event, event_id
from contracts.generate import SCHEMAS
from contracts.inbound import TYPE as INBOUND_TYPE
from contracts.inbound import InboundRecord
from contracts.registry import COMMAND_TYPES, EVENT_TYPES, REGISTRY

EXAMPLES = corpus.examples()
TODAY = load(SCHEMAS)
every_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: f"{one.type}/{one.name}")


def parse(example: Example) -> Event | Command:
    return (Command if example.type in COMMAND_TYPES else Event).parse(example.value)


def lost(before: Any, after: Any, path: str = "") -> list[str]:
    """What of `before` is not in `after`, which may say more."""
    if isinstance(before, dict) and isinstance(after, dict):
        gone = [f"{path}.{name}" for name in before.keys() - after.keys()]
        return gone + [one for name in before.keys() & after.keys() for one in lost(before[name], after[name], name)]
    return [] if before == after else [path]


@every_example
def test_an_example_is_read_and_said_again_without_loss(example: Example) -> None:
    parsed = parse(example)
    assert parsed.known
    assert parsed.type == example.type
    assert type(parsed.data) is REGISTRY[example.type]
    assert lost(json.loads(example.value), json.loads(parsed.encode())) == []
    again = type(parsed).parse(parsed.encode())
    assert (again, again.encode()) == (parsed, parsed.encode())


@every_example
def test_an_example_and_what_we_say_fulfil_the_schema(example: Example) -> None:
    validator = jsonschema.Draft202012Validator(TODAY[example.type])
    validator.validate(json.loads(example.value))
    validator.validate(json.loads(parse(example).encode()))


@pytest.mark.parametrize("kind", REGISTRY)
def test_every_type_has_an_example(kind: str) -> None:
    assert corpus.examples(kind)


def test_every_example_belongs_to_a_type() -> None:
    assert {example.type for example in EXAMPLES} <= set(REGISTRY)


def test_ids_of_example_events_follow_from_where_they_stand() -> None:
    events = [Event.parse(example.value) for example in EXAMPLES if example.type in EVENT_TYPES]
    assert all(event.id == event_id(event.source, event.subject, event.sequence) for event in events)


@pytest.mark.parametrize("path", sorted((corpus.DIRECTORY / INBOUND_TYPE).glob("*.json")), ids=lambda path: path.stem)
def test_a_raw_message_keeps_its_headers_and_fulfils_the_schema(path: Path) -> None:
    kept = json.loads(path.read_text("utf-8"))
    headers = [(name, text.encode()) for name, text in kept["headers"].items()]
    record = InboundRecord.from_kafka(kept["body"].encode(), headers)
    assert record.size == len(record.body)
    assert {name: raw.decode() for name, raw in record.to_headers()} == kept["headers"]
    jsonschema.Draft202012Validator(TODAY[INBOUND_TYPE]).validate(kept["headers"])


def test_there_is_an_example_of_a_raw_message() -> None:
    assert corpus.inbound_examples()
