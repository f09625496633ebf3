"""The committed examples, `examples/<type>/<name>.json`, which every release and every subscriber must be able to read.

Examples are written by hand and only added to: a committed one is never changed. Tests and documents read them here.
An inbound record is stored as its headers and body.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from contracts.inbound import TYPE as INBOUND_TYPE
from contracts.inbound import InboundRecord

DIRECTORY = Path(__file__).parent / "examples"


@dataclass(frozen=True)
class Example:
    """One committed example; `value` is the Kafka value, except for white space."""

    type: str
    name: str
    value: bytes


def examples(*types: str) -> list[Example]:
    """Return the examples of these types of events and commands, or of all, in a fixed order."""
    paths = sorted(DIRECTORY.glob("*/*.json"))
    wanted = [p for p in paths if p.parent.name != INBOUND_TYPE and (not types or p.parent.name in types)]
    return [Example(path.parent.name, path.stem, path.read_bytes()) for path in wanted]


def inbound_examples() -> list[InboundRecord]:
    """Return the examples of raw messages."""
    records = []
    for path in sorted((DIRECTORY / INBOUND_TYPE).glob("*.json")):
        stored = json.loads(path.read_text("utf-8"))
        headers = [(name, text.encode()) for name, text in stored["headers"].items()]
        records.append(InboundRecord.from_kafka(stored["body"].encode(), headers))
    return records
