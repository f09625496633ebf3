"""What is left to do is seen before documents are moved: running consumers, lag, unpublished events."""

from datetime import UTC, datetime
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import RecordsToDelete

from cli.standstill import foreign, lagging, running, unpublished
from cli.topics import admin
from contracts.envelope import HEADERS, Event
from contracts.topics import SLA, TICKETS, group_name
from kit.kafka.producer import Producer
from kit.mongo import MongoStore
from kit.protocol.ports import Guarded, Outgoing
from kit.protocol.record import partition_of
from tests.conftest import Prefix


async def test_records_that_a_service_has_before_it_are_lag(kafka: str, topics: str) -> None:
    assert await lagging(kafka, topics, ["sla", "notify"]) == []
    producer = Producer(kafka, client_id="test")
    await producer.start()
    await producer.send(Outgoing(f"{topics}{TICKETS}", b"t1", b"{}"))
    await producer.send(Outgoing(f"{topics}{TICKETS}", b"t1", b"{}"))
    partition = await producer.partitions(f"{topics}{TICKETS}")
    assert await lagging(kafka, topics, ["sla"]) == [f"sla has not handled 2 records of {TICKETS}"]
    consumer = AIOKafkaConsumer(f"{topics}{TICKETS}", bootstrap_servers=kafka, group_id=group_name("sla", topics))
    await consumer.start()
    assert await running(kafka, topics, ["sla", "notify"]) == [
        f"{group_name('sla', topics)} has 1 running consumers: stop the service"
    ]
    ends = await consumer.end_offsets([TopicPartition(f"{topics}{TICKETS}", n) for n in range(partition)])
    await consumer.commit({tp: end for tp, end in ends.items() if end})
    await consumer.stop()
    await producer.stop()
    assert await running(kafka, topics, ["sla", "notify"]) == []
    assert await lagging(kafka, topics, ["sla", "notify"]) == [
        f"notify has not handled 2 records of {TICKETS}",
    ], f"nothing is in {SLA}"


async def test_events_that_are_not_confirmed_are_found(mongo: str, prefix: Prefix) -> None:
    store = MongoStore(mongo, f"{prefix.mongo}_sla")
    entry = {"id": "e", "sequence": 1, "at": datetime(2026, 1, 1, tzinfo=UTC), "event": b""}
    await store.write("clocks", [Guarded("t1", 0, {}, [entry]), Guarded("t2", 0, {})])
    assert await unpublished({"sla": store}) == ["sla: 1 documents of clocks have unpublished events"]
    await store.clear("clocks", {"t1": ["e"]})
    assert await unpublished({"sla": store}) == []
    store.close()


async def test_what_retention_has_deleted_is_no_lag(kafka: str, topics: str) -> None:
    producer = Producer(kafka, client_id="test")
    await producer.start()
    for _ in range(3):
        await producer.send(Outgoing(f"{topics}{TICKETS}", b"t1", b"{}"))
    await producer.stop()
    place = TopicPartition(f"{topics}{TICKETS}", partition_of(b"t1", 4))
    async with admin(kafka) as client:
        await client.delete_records({place: RecordsToDelete(before_offset=2)})
    assert await lagging(kafka, topics, ["sla"]) == [f"sla has not handled 1 records of {TICKETS}"]


async def test_many_documents_are_counted_no_further(mongo: str, prefix: Prefix) -> None:
    store = MongoStore(mongo, f"{prefix.mongo}_sla")
    entry = {"id": "e", "sequence": 1, "at": datetime(2026, 1, 1, tzinfo=UTC), "event": b""}
    for found, count in (("99", 99), ("100 or more", 130)):
        await store.write("clocks", [Guarded(f"t{number}", 0, {}, [entry]) for number in range(count)])
        assert await unpublished({"sla": store}) == [f"sla: {found} documents of clocks have unpublished events"]
    store.close()


async def test_a_database_without_what_was_published_last_is_another_installations(
    kafka: str, mongo: str, prefix: Prefix, topics: str, root: Path
) -> None:
    event = next((root / "contracts" / "examples" / "deskbus.sla.clock_started.v1").glob("*.json")).read_bytes()
    ticket = Event.parse(event).subject
    store, other = MongoStore(mongo, f"{prefix.mongo}_sla"), MongoStore(mongo, f"{prefix.mongo}_other")
    await store.write("clocks", [Guarded(ticket, 0, {})])
    await other.write("clocks", [Guarded("another", 0, {})])
    assert await foreign(kafka, topics, {"sla": other}) == [], "nothing was published"
    producer = Producer(kafka, client_id="test")
    await producer.start()
    await producer.send(Outgoing(f"{topics}{SLA}", ticket.encode(), b"no event", HEADERS))
    await producer.send(Outgoing(f"{topics}{SLA}", ticket.encode(), event, HEADERS))
    await producer.stop()
    assert await foreign(kafka, topics, {"sla": store}) == []
    (reason,) = await foreign(kafka, topics, {"sla": other})
    assert reason.startswith(f"sla: {ticket} of {topics}{SLA} is not in clocks")
    for each in (store, other):
        each.close()
