"""What must hold in the stores once all work is done: empty outboxes, no missing events, no claim without its ticket.

Reads only. This is the only place that reads the databases of all services.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from pymongo import MongoClient

Row = Mapping[str, Any]
Stores = Mapping[tuple[str, str], Sequence[Row]]
"""(Service, collection) -> documents."""

SOURCES = {
    ("ingest", "tickets"): "/deskbus/ingest",
    ("ingest", "contacts"): "/deskbus/ingest/contacts",
    ("routing", "tickets"): "/deskbus/routing",
    ("routing", "agents"): "/deskbus/routing/agents",
    ("sla", "clocks"): "/deskbus/sla",
    ("notify", "escalations"): "/deskbus/notify",
}
_FIELDS = {"outbox": 1, "seen": 1, "emitted": 1, "due": 1}
_STATE = {
    ("ingest", "tickets"): ("state.pending.command", "state.ticket.status"),
    ("routing", "tickets"): ("state.phase", "state.agent", "state.unroutable"),
    ("routing", "agents"): ("state.claims",),
    ("notify", "escalations"): ("state.planned.id",),
}


def read(url: str, prefix: str) -> Stores:
    """Return the documents of all collections with outboxes, with only the fields that are checked."""
    with MongoClient[dict[str, Any]](url, tz_aware=True) as client:
        return {
            (service, collection): list(
                client[f"{prefix}_{service}"][collection].find(
                    {}, {**_FIELDS, **dict.fromkeys(_STATE.get((service, collection), ()), 1)}
                )
            )
            for service, collection in SOURCES
        }


def waiting(url: str, prefix: str) -> dict[str, int]:
    """Count the waiting tickets without reading them; empty if there is none."""
    with MongoClient[dict[str, Any]](url) as client:
        count = client[f"{prefix}_routing"]["tickets"].count_documents({"state.phase": "waiting"})
        return {"tickets that wait": count} if count else {}


def unsettled(stores: Stores) -> dict[str, int]:
    """Count what is still in progress; empty if all work is done."""
    counts: dict[str, int] = defaultdict(int)
    for (service, collection), rows in stores.items():
        for row in rows:
            state = row.get("state") or {}
            counts[f"{service}.{collection} with an outbox"] += bool(row.get("outbox"))
            counts["replies that are not sent"] += service == "ingest" and bool(state.get("pending"))
            counts["notifications that are not sent"] += service == "notify" and bool(state.get("planned"))
            counts["tickets that wait"] += state.get("phase") == "waiting"
    counts["claims that are not their ticket's"] = len(claims(stores))
    counts["events not taken"] = len(behind(stores))
    return {what: count for what, count in counts.items() if count}


def faults(stores: Stores, told: Mapping[tuple[str, str], int]) -> dict[str, list[str]]:
    """Return the faults, once all work is done. `told`: (source, subject) -> highest sequence number on the topics."""
    last = dict(told)
    found: dict[str, list[str]] = defaultdict(list)
    for where, rows in stores.items():
        source = SOURCES[where]
        for row in rows:
            name = f"{source} {row['_id']}"
            if row.get("outbox"):
                found["events left in outboxes"].append(name)
            if row.get("emitted", 0) != last.pop((source, row["_id"]), 0):
                found["decided is not what was told"].append(name)
            for sender, seen in row.get("seen", {}).items():
                if seen["missing"]:
                    found["missing numbers"].append(f"{name}: {sender} {seen['missing'][:5]}")
    found["told by nobody who is stored"] = [
        f"{source} {subject}" for source, subject in last if source in SOURCES.values()
    ]
    found["claims that are not their ticket's"] = claims(stores)
    found["events not taken"] = behind(stores)
    return {what: where for what, where in found.items() if where}


def claims(stores: Stores) -> list[str]:
    """Return claims without an assigned ticket, and assigned tickets without a claim."""
    held = {
        (claim["ticket"], agent["_id"])
        for agent in stores["routing", "agents"]
        for claim in (agent.get("state") or {}).get("claims", ())
    }
    has = {
        (ticket["_id"], ticket["state"]["agent"])
        for ticket in stores["routing", "tickets"]
        if (ticket.get("state") or {}).get("agent")
    }
    leaked = [f"{ticket} is claimed on {agent} and not theirs" for ticket, agent in sorted(held - has)]
    return leaked + [f"{ticket} is {agent}'s without a claim" for ticket, agent in sorted(has - held)]


def behind(stores: Stores) -> list[str]:
    """Return the subscribers that have not handled all events of a ticket."""
    told = {
        (SOURCES[where], row["_id"]): row.get("emitted", 0)
        for where, rows in stores.items()
        if where in {("ingest", "tickets"), ("routing", "tickets"), ("sla", "clocks")}
        for row in rows
    }
    found = []
    taken: set[tuple[str, str]] = set()
    for where in (("routing", "tickets"), ("sla", "clocks"), ("notify", "escalations")):
        for row in stores[where]:
            subject = row["_id"].removeprefix("esc-")
            for source, seen in row.get("seen", {}).items():
                if source == "/deskbus/ingest":
                    taken.add((where[0], subject))
                if seen["upto"] != told.get((source, subject), 0):
                    found.append(f"{where[0]} took {source} {subject} up to {seen['upto']}")
    for row in stores["ingest", "tickets"]:
        found += [f"{service} took nothing of {row['_id']}" for service in ("routing", "sla")
                  if (service, row["_id"]) not in taken]  # fmt: skip
    return found
