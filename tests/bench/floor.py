"""The floor: bare aiokafka and motor loops that take and write the same records and documents, with no logic of ours.

Four processes, one for each service, so that they share the cores as the services do. Each consumes the same topics in
batches of the same size, writes documents of the same shape with the same guards, write concern and indexes, produces
values of the same bytes, takes the outbox entries out again, and commits. It loads nothing, parses nothing and decides
nothing, so it is below what any implementation with these writes can reach. Run as a stage: `… floor STAGE PLAN`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from bson import decode, encode
from pymongo import InsertOne, UpdateMany, UpdateOne, WriteConcern

from kit.protocol.record import partition_of
from tests.bench.written import CONSUMED, PRODUCED, Collection, Topic
from tests.system.rig import PARTITIONS

BATCH = 500
#: Documents that are written again and again, as those of agents are.
STANDING = 200


def per_ticket(topics: Mapping[str, Topic], tickets: int) -> dict[str, dict[str, Any]]:
    """Records of each topic for one ticket, and their values."""
    return {
        name: {
            "per_ticket": round(topic.records / tickets),
            "values": [base64.b64encode(value).decode() for value in topic.samples],
        }
        for name, topic in topics.items()
    }


def plan(
    service: str,
    environment: Mapping[str, str],
    prefix: str,
    topics: Mapping[str, dict[str, Any]],
    collections: Sequence[Collection],
    tickets: int,
) -> dict[str, Any]:
    """What one stage has to do, as JSON: per ticket, so that it can be done for any number of them."""
    return {
        "kafka": environment["DESKBUS_KAFKA"],
        "mongo": environment["DESKBUS_MONGO"],
        "database": f"{prefix}_{service}",
        "group": f"{prefix}.{service}",
        "consume": [f"{prefix}.{name}" for name in CONSUMED[service]],
        "produce": [{"topic": f"{prefix}.{name}", **topics[name]} for name in PRODUCED[service]],
        "collections": [
            {
                "name": c.name,
                "per_ticket": c.writes / tickets,
                "fresh": c.documents >= 0.5 * c.writes,
                "clears": c.clears > 0,
                "sample": base64.b64encode(encode(c.sample)).decode(),
                "indexes": c.indexes,
            }
            for c in collections
            if c.service == service
        ],
    }


class Stage:
    """One loop."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        from motor.motor_asyncio import AsyncIOMotorClient

        self.plan = plan
        self.client: Any = AsyncIOMotorClient(plan["mongo"], maxPoolSize=8, retryWrites=False)
        self.database = self.client.get_database(
            plan["database"], write_concern=WriteConcern(w="majority", j=True, wtimeout=8000)
        )
        self.producer = AIOKafkaProducer(
            bootstrap_servers=plan["kafka"], acks="all", enable_idempotence=True, max_batch_size=256 * 1024
        )
        self.consumer = AIOKafkaConsumer(
            *plan["consume"], bootstrap_servers=plan["kafka"], group_id=plan["group"], enable_auto_commit=False,
            auto_offset_reset="earliest", fetch_max_wait_ms=50, heartbeat_interval_ms=500,
        )  # fmt: skip
        self.samples = [decode(base64.b64decode(c["sample"])) for c in plan["collections"]]
        self.values = [[base64.b64decode(v) for v in p["values"]] for p in plan["produce"]]
        #: Events that wait in an outbox until Kafka has them: as many as are produced for a ticket.
        self.talk = max((p["per_ticket"] for p in plan["produce"]), default=0)
        self.versions: dict[tuple[str, str], int] = {}
        self.owed = [0.0] * len(self.samples)
        self.turn = 0

    async def run(self) -> None:
        for collection in self.plan["collections"]:
            for index in collection["indexes"]:
                await self.database[collection["name"]].create_index([(key, way) for key, way in index])
        await self.producer.start()
        await self.consumer.start()
        print("ready", flush=True)
        try:
            while True:
                polled = await self.consumer.getmany(timeout_ms=10, max_records=BATCH)
                if polled:
                    await self.batch([r.key for records in polled.values() for r in records])
                    await self.consumer.commit({tp: records[-1].offset + 1 for tp, records in polled.items()})
        finally:
            await self.consumer.stop()
            await self.producer.stop()
            self.client.close()

    async def batch(self, keys: list[bytes]) -> None:
        """Guarded writes of what the keys stand for, the records, the clearing of outboxes."""
        once = list(dict.fromkeys(keys))
        cleared: list[tuple[str, list[str]]] = []
        for number, collection in enumerate(self.plan["collections"]):
            ids = self.ids(number, collection, once)
            if not ids:
                continue
            name = collection["name"]
            await self.database[name].bulk_write([self.guarded(name, i, number) for i in ids], ordered=False)
            if collection["clears"]:
                cleared.append((name, ids))
        await self.produce(once)
        for name, ids in cleared:
            relaxed = self.database[name].with_options(write_concern=WriteConcern(w=1))
            pull = UpdateMany({"_id": {"$in": ids}}, {"$pull": {"outbox": {"id": {"$in": ids}}}})
            await relaxed.bulk_write([pull])

    def ids(self, number: int, collection: Mapping[str, Any], keys: Sequence[bytes]) -> list[str]:
        """As many documents as Deskbus wrote for so many tickets; a stage of several topics writes one for each key."""
        if len(self.plan["consume"]) > 1:
            return [key.decode() for key in keys]
        self.owed[number] += collection["per_ticket"] * len(keys)
        count, self.owed[number] = int(self.owed[number]), self.owed[number] % 1
        if collection["fresh"]:
            return [f"{keys[n % len(keys)].decode()}/{n // len(keys)}" for n in range(count)]
        self.turn += count
        return list(dict.fromkeys(f"d{n % STANDING}" for n in range(self.turn - count, self.turn)))

    def guarded(self, name: str, doc_id: str, number: int) -> InsertOne[dict[str, Any]] | UpdateOne:
        """A new document is an insert, which the unique `_id` guards; any other an upsert behind its version."""
        version = self.versions.get((name, doc_id), 0)
        self.versions[name, doc_id] = version + 1
        sample = self.samples[number]
        values = {field: value for field, value in sample.items() if field not in {"_id", "version", "outbox"}}
        values["version"] = version + 1
        entries = []
        if self.plan["collections"][number]["clears"]:
            entries = [{"id": doc_id, "event": self.values[-1][n % len(self.values[-1])]} for n in range(self.talk)]
        if version == 0:
            return InsertOne({"_id": doc_id, **values, "outbox": entries})
        change: dict[str, Any] = {"$set": values}
        if entries:
            change["$push"] = {"outbox": {"$each": entries}}
        return UpdateOne({"_id": doc_id, "version": version}, change, upsert=True)

    async def produce(self, keys: Sequence[bytes]) -> None:
        """Values as Deskbus wrote them, under these keys, a batch for each partition."""
        lanes: dict[tuple[str, int], list[tuple[bytes, bytes]]] = {}
        for produced, values in zip(self.plan["produce"], self.values, strict=True):
            for key in keys:
                lane = lanes.setdefault((produced["topic"], partition_of(key, PARTITIONS)), [])
                lane += [(key, values[n % len(values)]) for n in range(produced["per_ticket"])]
        await asyncio.gather(*(self.lane(topic, partition, lane) for (topic, partition), lane in lanes.items()))

    async def lane(self, topic: str, partition: int, records: Iterable[tuple[bytes, bytes]]) -> None:
        sent = []
        builder = self.producer.create_batch()
        for key, value in records:
            if builder.append(timestamp=None, key=key, value=value, headers=[]) is None:
                builder.close()
                sent.append(await self.producer.send_batch(builder, topic, partition=partition))
                builder = self.producer.create_batch()
                builder.append(timestamp=None, key=key, value=value, headers=[])
        builder.close()
        sent.append(await self.producer.send_batch(builder, topic, partition=partition))
        await asyncio.gather(*sent)


async def _main(plan: Mapping[str, Any]) -> None:
    stage = Stage(plan)
    running = asyncio.ensure_future(stage.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running


if __name__ == "__main__":
    import uvloop

    uvloop.run(_main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
