"""The committed examples: whatever a release has once said, every later one reads and says again."""

import json
from typing import Any

import jsonschema
import pytest

from contracts import corpus
from contracts.compat import load
from contracts.corpus import Example
from contracts.envelope import Command, Event, event_id
from contracts.generate import SCHEMAS
from contracts.registry import COMMAND_TYPES, EVENT_TYPES, REGISTRY
from contracts.samples.wrap import inbound_record, wrapped

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
    assert type(parsed).parse(parsed.encode()) == parsed


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


def test_raw_messages_are_read_as_the_door_wrote_them() -> None:
    assert inbound_record() in corpus.inbound_examples()


def test_the_samples_are_parsed_to_what_they_were_made_of() -> None:
    """Samples are built from values that skip validation in places; their bytes must hold nevertheless."""
    for kind, _, value in wrapped():
        assert (Command if kind in COMMAND_TYPES else Event).parse(value).encode() == value


def test_a_missing_example_is_written_and_an_existing_one_is_left_alone(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "DIRECTORY", tmp_path)
    old = tmp_path / "deskbus.agent.removed.v1" / "left.json"
    old.parent.mkdir()
    old.write_text("{}")
    written = corpus.write_missing()
    assert old not in written
    assert old.read_text() == "{}"
    assert len(written) == len(list(wrapped()))
    assert corpus.write_missing() == []
