"""What a run wrote: records by topic, documents by collection, with a sample of each. The floor writes the same again.

Versions tell the guarded writes: every document of the outbox counts its own. `clears` are the writes that take
confirmed events out of it, one a document and publish.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pymongo import MongoClient

from cli.fleet import SERVICES
from cli.reading import read
from contracts import topics

Row = dict[str, Any]
#: What follows from whom: a service's stage consumes these topics; the first one is what its own output is counted by.
CONSUMED = {
    "ingest": (topics.INBOUND,),
    "routing": (topics.TICKETS,),
    "sla": (topics.TICKETS,),
    "notify": (topics.SLA, topics.TICKETS, topics.ASSIGNMENTS),
}
PRODUCED = {
    "ingest": (topics.CONTACTS, topics.TICKETS),
    "routing": (topics.ASSIGNMENTS,),
    "sla": (topics.SLA,),
    "notify": (),
}


@dataclass
class Collection:
    """Writes to one collection during a run."""

    service: str
    name: str
    documents: int
    writes: int
    clears: int
    sample: Row = field(default_factory=dict)
    indexes: list[list[tuple[str, int]]] = field(default_factory=list)


@dataclass
class Topic:
    """Records of one topic during a run, and values as they are."""

    name: str
    records: int
    size: int
    samples: list[bytes] = field(default_factory=list)


def collections(url: str, prefix: str) -> dict[tuple[str, str], Collection]:
    """Count all that is stored: the difference of two counts is what was written between them."""
    found = {}
    with MongoClient[Row](url) as client:
        for service in SERVICES:
            database = client[f"{prefix}_{service}"]
            for name in sorted(database.list_collection_names()):
                rows = list(database[name].find({}, {"version": 1, "emitted": 1}))
                if not rows or name.startswith("system."):
                    continue
                talked = sum(1 for row in rows if row.get("emitted"))
                outbox = any("emitted" in row for row in rows)
                keys = [list(i["key"].items()) for i in database[name].list_indexes() if i["name"] != "_id_"]
                found[service, name] = Collection(
                    service,
                    name,
                    len(rows),
                    sum(row.get("version", 1) for row in rows) if outbox else len(rows),
                    talked if outbox and name != "agents" else 0,
                    dict(database[name].find({}).sort("_id", -1).limit(1)[0]),
                    keys,
                )
    return found


def difference(
    before: Mapping[tuple[str, str], Collection], after: Mapping[tuple[str, str], Collection]
) -> list[Collection]:
    """Say what was written between two counts."""
    changed = []
    for key, now in after.items():
        was = before.get(key)
        writes, clears = now.writes - (was.writes if was else 0), now.clears - (was.clears if was else 0)
        if writes > 0:
            documents = now.documents - (was.documents if was else 0)
            changed.append(Collection(now.service, now.name, documents, writes, clears, now.sample, now.indexes))
    return changed


async def records(kafka: str, prefix: str) -> dict[str, Topic]:
    """Count the records of the topics on a ticket's way, and keep some values of each."""
    names = {name for names in (*CONSUMED.values(), *PRODUCED.values()) for name in names}
    found = {name: Topic(name, 0, 0) for name in names}
    async for line in read(kafka, sorted(names), prefix=prefix):
        topic = found[line.topic]
        topic.records += 1
        topic.size += len(line.value or b"")
        if len(topic.samples) < 50:
            topic.samples.append(line.value or b"")
    return found
