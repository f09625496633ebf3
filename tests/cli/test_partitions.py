"""Moving to other topics: what stands in the way, page by page, and once more after the services went on."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from cli import partitions
from cli.partitions import move
from cli.reading import bounds, read
from cli.standstill import Refused
from cli.topics import create_topics, delete_topics
from contracts.dlq import DeadLetter
from contracts.envelope import HEADERS
from contracts.topics import AGENTS, BY_NAME, SLA, TICKETS, dlq, group_name
from kit.kafka.producer import Producer
from kit.mongo import MongoStore
from kit.protocol.ports import Guarded, Outgoing
from kit.protocol.record import partition_of
from tests.conftest import Prefix

AT = datetime(2026, 1, 1, tzinfo=UTC)


async def test_a_copy_that_is_older_than_the_original_is_followed_by_the_new_one(kafka: str, topics: str) -> None:
    new = f"n{topics}"
    producer = Producer(kafka, client_id="test")
    await producer.start()

    async def moved() -> int:
        return (await move(kafka, {}, prefix=topics, to_prefix=new, partitions=4, apply=True)).copied

    try:
        for name in (b"ann", b"bea"):
            await producer.send(Outgoing(topics + AGENTS, name, b"online", HEADERS))
        assert await moved() == 2
        await producer.send(Outgoing(topics + AGENTS, b"ann", b"offline", HEADERS))
        assert [await moved(), await moved()] == [1, 0]
        there = {record.key: record.value async for record in read(kafka, [AGENTS], prefix=new)}
        assert there == {b"ann": b"offline", b"bea": b"online"}
    finally:
        await producer.stop()
        await delete_topics(kafka, new)


async def test_all_documents_move_however_many_fit_into_a_page(
    kafka: str, mongo: str, prefix: Prefix, topics: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "PAGE", 2)
    store = MongoStore(mongo, f"{prefix.mongo}_sla")
    tickets = [f"t-{number}" for number in range(5)]
    before = {ticket: partition_of(ticket.encode(), 4) for ticket in tickets}
    after = {ticket: partition_of(ticket.encode(), 7) for ticket in tickets}
    await store.insert("clocks", [{"_id": ticket, "partition": at} for ticket, at in before.items()])

    async def moved(*, apply: bool) -> list[str]:
        report = await move(kafka, {"sla": store}, prefix=topics, to_prefix=f"n{topics}", partitions=7, apply=apply)
        return list(report.lines())

    async def stored() -> dict[str, int]:
        return {row["_id"]: row["partition"] for row in await store.find("clocks", {}, limit=9)}

    count = sum(before[ticket] != after[ticket] for ticket in tickets)
    await _dead(kafka, topics)
    try:
        assert count > 2
        assert await moved(apply=False) == [
            f"sla.clocks: {count} of 5 documents would move",
            "sla: 1 dead letters that were never replayed stay in the old topics",
            "nothing was changed; --apply does it",
        ]
        assert await stored() == before
        assert await bounds(kafka, [SLA], prefix=f"n{topics}") == {}
        assert f"sla.clocks: {count} of 5 documents moved" in await moved(apply=True)
        assert await stored() == after
        assert "sla.clocks: 0 of 5 documents moved" in await moved(apply=True)
    finally:
        store.close()
        await delete_topics(kafka, f"n{topics}")


async def test_what_stands_in_the_way_is_told_and_nothing_is_changed(
    kafka: str, mongo: str, prefix: Prefix, topics: str
) -> None:
    new, store = f"n{topics}", MongoStore(mongo, f"{prefix.mongo}_sla")

    async def reasons(*, old: str = topics, to: str = new) -> list[str]:
        with pytest.raises(Refused) as refused:
            await move(kafka, {"sla": store}, prefix=old, to_prefix=to, partitions=7, apply=True)
        return refused.value.reasons

    try:
        (same,) = await reasons(to=topics)
        assert "the new prefix is the old one" in same
        (missing,) = await reasons(old=f"x{topics}")
        assert f"x{topics}{TICKETS}" in missing
        consumer = await _lag(kafka, topics, f"{new}{SLA}")
        try:
            await store.write("clocks", [Guarded("t1", 0, {}, [{"id": "e", "sequence": 1, "at": AT, "event": b""}])])
            assert sorted(await reasons()) == sorted(
                [
                    *(f"{service} has not handled 1 records of {TICKETS}" for service in ("routing", "sla", "notify")),
                    "sla: 1 documents of clocks have unpublished events",
                    f"{new}{SLA} exists with 3 partitions",
                    f"{group_name('notify', new)} has 1 running consumers: stop the service",
                    f"{group_name('notify', new)} has been at work already",
                ]
            )
        finally:
            await consumer.stop()
    finally:
        store.close()
        await delete_topics(kafka, new)


async def test_the_documents_of_another_installation_are_not_moved(
    kafka: str, mongo: str, prefix: Prefix, topics: str, root: Path
) -> None:
    """Its connection strings may still be in the environment."""
    event = next((root / "contracts" / "examples" / "deskbus.sla.clock_started.v1").glob("*.json")).read_bytes()
    store = MongoStore(mongo, f"{prefix.mongo}_sla")
    await store.insert("clocks", [{"_id": "another", "partition": 0}])
    producer = Producer(kafka, client_id="test")
    await producer.start()
    await producer.send(Outgoing(f"{topics}{SLA}", b"ticket", event, HEADERS))
    await producer.stop()
    try:
        with pytest.raises(Refused, match="another installation"):
            await move(kafka, {"sla": store}, prefix=topics, to_prefix=f"n{topics}", partitions=7, apply=True)
    finally:
        store.close()


async def _dead(kafka: str, topics: str) -> None:
    place: dict[str, Any] = {"topic": topics + TICKETS, "partition": 0, "offset": 0}
    letter = DeadLetter(service="sla", handler="clocks", error_type="Bug", error="a bug", at=AT, value=b"{", **place)
    producer = Producer(kafka, client_id="test")
    await producer.start()
    await producer.send(Outgoing(topics + dlq("sla"), letter.key, letter.value, letter.to_headers()))
    await producer.stop()


async def _lag(kafka: str, topics: str, other: str) -> AIOKafkaConsumer:
    """Write a record that nobody has handled; return a consumer of a service that has begun with one new topic."""
    producer = Producer(kafka, client_id="test")
    await producer.start()
    await producer.send(Outgoing(topics + TICKETS, b"t1", b"{}", HEADERS))
    await producer.stop()
    new = other.removesuffix(SLA)
    await create_topics(kafka, new, 3, topics=[BY_NAME[SLA]])
    group = group_name("notify", new)
    consumer = AIOKafkaConsumer(other, bootstrap_servers=kafka, group_id=group, enable_auto_commit=False)
    await consumer.start()
    await consumer.commit({TopicPartition(other, 0): 0})
    return consumer
