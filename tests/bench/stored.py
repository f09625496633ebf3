"""What a ticket costs beside many stored ones, and the memory of each service with them in its store.

Two deployments of their own, the small one before and after the large one, so that a drift of the machine shows on both
sides. Their stores are filled with what Deskbus itself stored for tickets that were solved or closed, under new ids.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from cli.fleet import SERVICES
from contracts.ticket import Status
from kit.base.clock import SystemClock
from tests.bench.mould import Sample, fill
from tests.bench.mould import tickets as stored_tickets
from tests.bench.names import names
from tests.bench.tickets import Assigner, Run, cpu, desk
from tests.system.rig import PARTITIONS, until

Row = dict[str, Any]
SAMPLES = 25
CLOSED_OF = 5
"""Of so many samples all but one are closed; one is solved and still has the date on which it closes."""
TIMES = 100


async def measure(logs: Path, *, small: int, tickets: int, warm: int) -> dict[str, Any]:
    """Run the same load beside few and beside many tickets; `small` is what is stored before the load."""
    middle = small + tickets // 2
    large = TIMES * middle - tickets // 2
    before = await _beside(logs / "before", small, tickets, warm)
    many = await _beside(logs / "many", large, tickets, warm)
    after = await _beside(logs / "after", small, tickets, warm)
    return result(middle, large + tickets // 2, [before["run"], after["run"]], many["run"]) | {
        "memory": many["memory"],
        "in_store": large + tickets,
        "fill_per_second": many["fill_per_second"],
    }


def result(small: int, large: int, few: Sequence[Run], many: Run) -> dict[str, Any]:
    """Return cost and ratio; `small` and `large` are what is stored halfway through a load.

    The cheaper of the loads beside the small store counts: other work on the machine only adds, and must not help.
    """
    beside_few, beside_many = [cpu([run]) for run in few], cpu([many])
    least = min(beside_few, key=lambda cost: cost["sum"])
    return {
        "before": small,
        "after": large,
        "ratio": beside_many["sum"] / least["sum"],
        "cpu_before": least,
        "cpu_after": beside_many,
        "sums_before": [cost["sum"] for cost in beside_few],
        "rates_before": [run.rate for run in few],
        "rate_after": many.rate,
    }


async def _beside(logs: Path, stored: int, tickets: int, warm: int) -> dict[str, Any]:
    """Fill up to `stored` tickets, start all services anew, and take the load."""
    clock = SystemClock()
    async with names() as environment, desk(environment, logs) as it:
        await it.past_the_door(warm)
        samples = await sample(it)
        await it.pause()
        count, begin = stored - 2 * warm, clock.monotonic()
        await fill(environment["DESKBUS_MONGO"], stored_tickets(samples, count, PARTITIONS))
        seconds = clock.monotonic() - begin
        await it.resume()
        await it.past_the_door(warm)
        run = await it.past_the_door(tickets)
        return {"run": run, "memory": it.meter.memory(SERVICES), "fill_per_second": count / seconds}


async def sample(it: Assigner) -> list[Sample]:
    """Let agents solve and close some tickets, and take all that is stored about them."""
    url, prefix = (it.system.environment[f"DESKBUS_{name}"] for name in ("MONGO", "MONGO_PREFIX"))
    with MongoClient[Row](url) as client:
        stores = {service: client[f"{prefix}_{service}"] for service in SERVICES}
        rows = stores["ingest"]["tickets"].find({}, {"_id": 1}).limit(SAMPLES)
        ids = [row["_id"] for row in rows]
        closed = [ticket for number, ticket in enumerate(ids) if number % CLOSED_OF]
        for tickets, status in ((ids, Status.SOLVED), (closed, Status.CLOSED)):
            await _set(it, tickets, status)
            await until(partial(_settled, stores, tickets, status), 120, f"{status} everywhere")
        return [_sample(stores, ticket) for ticket in ids]


async def _set(it: Assigner, tickets: Sequence[str], status: Status) -> None:
    doors = it.system.doors()
    try:
        by = {"kind": "agent", "id": "a1"}
        for ticket in tickets:
            await doors.post_command(ticket, "set_status", {"status": status.value, "by": by})
    finally:
        await doors.close()


async def _settled(stores: Any, tickets: Sequence[str], status: Status) -> bool:
    """Whether all services that keep a status have this one, and nothing waits to be published."""
    wanted = {"ingest": ("tickets", "state.ticket.status"), "routing": ("tickets", "state.status"),
              "sla": ("clocks", "state.status")}  # fmt: skip
    for service, (collection, field) in wanted.items():
        query: Row = {"_id": {"$in": list(tickets)}, field: status.value, "outbox": []}
        if await asyncio.to_thread(stores[service][collection].count_documents, query) < len(tickets):
            return False
    return True


def _sample(stores: Any, ticket: str) -> Sample:
    """All documents that are about a ticket or its contact."""
    about = stores["ingest"]["tickets"].find_one({"_id": ticket})
    contact = about["state"]["ticket"]["contact"]["id"]
    queries: dict[tuple[str, str], Row] = {
        ("ingest", "tickets"): {"_id": ticket},
        ("ingest", "messages"): {"ticket": ticket},
        ("ingest", "contacts"): {"_id": contact},
        ("ingest", "threads"): {"$or": [{"ticket": ticket}, {"contact": contact}]},
        ("routing", "tickets"): {"_id": ticket},
        ("sla", "clocks"): {"_id": ticket},
        ("notify", "escalations"): {"_id": {"$regex": f"{ticket}$"}},
    }
    rows, ids = [], [ticket, contact, *about["state"]["taken"]]
    for (service, collection), query in queries.items():
        for row in stores[service][collection].find(query):
            rows.append((stores[service].name, collection, row))
            ids += [row["_id"]] if collection == "threads" else []
    return Sample(ids, rows)
