"""The committed examples: what every release, and every subscriber, must be able to read. For tests and documents.

Files are `examples/<type>/<name>.json`. They are added to, never rewritten. An inbound record is its headers and body.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from contracts.inbound import TYPE as INBOUND_TYPE
from contracts.inbound import InboundRecord

DIRECTORY = Path(__file__).parent / "examples"


@dataclass(frozen=True)
class Example:
    """One committed example; `value` is what would be in Kafka, give or take white space."""

    type: str
    name: str
    value: bytes


def examples(*types: str) -> list[Example]:
    """The examples of these types of events and commands, or of all, in a fixed order."""
    paths = sorted(DIRECTORY.glob("*/*.json"))
    wanted = [p for p in paths if p.parent.name != INBOUND_TYPE and (not types or p.parent.name in types)]
    return [Example(path.parent.name, path.stem, path.read_bytes()) for path in wanted]


def inbound_examples() -> list[InboundRecord]:
    """The examples of raw messages."""
    records = []
    for path in sorted((DIRECTORY / INBOUND_TYPE).glob("*.json")):
        kept = json.loads(path.read_text("utf-8"))
        headers = [(name, text.encode()) for name, text in kept["headers"].items()]
        records.append(InboundRecord.from_kafka(kept["body"].encode(), headers))
    return records


def write_missing() -> list[Path]:
    """Write the samples that have no file yet. What is there stays: it is what earlier releases said."""
    from contracts.samples.wrap import inbound_record, wrapped  # only needed here

    record = inbound_record()
    headers = {name: raw.decode() for name, raw in record.to_headers()}
    texts = {DIRECTORY / kind / f"{name}.json": json.loads(value) for kind, name, value in wrapped()} | {
        DIRECTORY / INBOUND_TYPE / "whatsapp.json": {"headers": headers, "body": record.body.decode()}
    }
    missing = [path for path in texts if not path.exists()]
    for path in missing:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(texts[path], ensure_ascii=False, indent=2) + "\n", "utf-8")
    return missing
