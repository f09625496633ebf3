"""What the catalogue marks as reserved is what no service says or does, as the sources show it."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts import topics
from contracts.commands import Transfer
from contracts.generate import ASYNCAPI, CATALOGUE
from contracts.registry import COMMAND_TYPES, COMMANDS, EVENT_TYPES, REGISTRY, RESERVED
from services.ingest.core.commands import _HANDLERS as CARRIED_OUT_BY_INGEST

CLASSES = {payload.__name__: kind for kind, payload in EVENT_TYPES.items()}
LOOKS = {"isinstance", "issubclass"}


def made(source: str) -> Iterator[str]:
    """Types of events that this source makes: classes that are called, or handed to what calls them."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or (isinstance(node.func, ast.Name) and node.func.id in LOOKS):
            continue
        for part in (node.func, *node.args, *(keyword.value for keyword in node.keywords)):
            name = part.id if isinstance(part, ast.Name) else part.attr if isinstance(part, ast.Attribute) else ""
            if name in CLASSES:
                yield CLASSES[name]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("TicketSplit(ticket=t)", ["deskbus.ticket.split.v1"]),
        ("tickets.TicketSplit(ticket=t)", ["deskbus.ticket.split.v1"]),
        ("event(TicketSplit, at)", ["deskbus.ticket.split.v1"]),
        ("event(at, kind=TicketSplit)", ["deskbus.ticket.split.v1"]),
        ("isinstance(x, TicketSplit)", []),
        ("match x:\n    case TicketSplit(ticket=t): pass", []),
        ("KINDS = (TicketSplit,)", []),
    ],
)
def test_an_event_is_made_by_calling_its_class(source: str, found: list[str]) -> None:
    assert list(made(source)) == found


def test_exactly_the_events_that_no_service_makes_are_reserved(root: Path) -> None:
    """Fails on an event that is made and still marked (take it out of RESERVED) and on one that is neither."""
    said = {kind for file in (root / "services").rglob("*.py") for kind in made(file.read_text("utf-8"))}
    assert said
    assert set(EVENT_TYPES) - said == RESERVED & set(EVENT_TYPES)


def test_exactly_the_commands_that_nobody_carries_out_are_reserved() -> None:
    carried_out = {*CARRIED_OUT_BY_INGEST, Transfer}  # routing's handling takes the latter, and no other
    assert {payload.type for payload in set(COMMANDS) - carried_out} == RESERVED & set(COMMAND_TYPES)


def test_what_is_reserved_exists() -> None:
    assert set(REGISTRY) >= RESERVED


@pytest.mark.parametrize("kind", REGISTRY)
def test_the_catalogue_and_the_asyncapi_document_mark_what_is_reserved_and_nothing_else(kind: str) -> None:
    message = json.loads(ASYNCAPI.read_text("utf-8"))["components"]["messages"][kind]
    assert message.get("x-reserved", False) == (kind in RESERVED)
    chapter = CATALOGUE.read_text("utf-8").partition(f"### {kind}\n")[2].partition("\n### ")[0]
    assert ("**Reserved" in chapter) == (kind in RESERVED)


def test_a_topic_of_reserved_types_only_is_reserved() -> None:
    assert [topic.name for topic in topics.TOPICS if topic.reserved] == [topics.QUEUES]
    channels = json.loads(ASYNCAPI.read_text("utf-8"))["channels"]
    assert [name for name, channel in channels.items() if channel.get("x-reserved")] == ["queues"]
