"""A rebuild of ingest from real topics: in pages, without what became a dead letter, and what a comparison finds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from aiokafka import TopicPartition

from cli.ingest_history import IngestHistory
from cli.rebuild import Report, commit
from cli.rebuild_ingest import COLLECTIONS, rebuild_ingest
from cli.standstill import Refused
from cli.topics import committed
from contracts.commands import AddNote, Reply
from contracts.dlq import DeadLetter
from contracts.envelope import Command, Event
from contracts.inbound import InboundRecord
from contracts.topics import COMMAND, TICKETS, dlq, group_name
from kit.kafka.producer import Producer
from kit.mongo import MongoStore
from kit.protocol.ports import Outgoing
from kit.protocol.record import partition_of
from tests.conftest import Prefix
from tests.ingest.test_restore import Past, happened
from tests.ingest.worker_rig import AGENT, START, Worker

ANSWER = Reply(by=AGENT, text="Here")
STORY: list[tuple[Any, ...]] = [
    ("mail", 0, 0, "pass", False),
    ("mail", 1, 0, "pass", True),
    ("chat", 0, 0, 0),
    ("chat", 1, 1, 1),
    ("chat", 2, 2, 1),
    ("ask", 0, ANSWER),
    ("serve", "sent"),
]


@pytest.fixture
async def producer(kafka: str) -> AsyncIterator[Producer]:
    made = Producer(kafka, client_id="test")
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def database(mongo: str, prefix: Prefix) -> AsyncIterator[MongoStore]:
    made = MongoStore(mongo, f"{prefix.mongo}_ingest")
    yield made
    made.close()


@pytest.fixture
async def past(database: Any, producer: Producer, topics: str) -> Past:
    """Five tickets as ingest stored them, and all that Kafka has of them."""
    made = await happened(STORY, Past(Worker(database)))
    for heard in made.heard:
        await producer.send(Outgoing(topics + heard.topic, heard.key, heard.value, tuple(heard.headers)))
    for sent in made.worker.broker.sent:
        await producer.send(Outgoing(topics + sent.topic, sent.key, sent.value, sent.headers))
    return made


async def rebuilt(past: Past, database: MongoStore, kafka: str, topics: str, *, compare: bool = False) -> Report:
    """Rebuild, two documents at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cli.rebuild.PAGE", 2)
        rebuild = partial(rebuild_ingest, past.worker.accounts, database, kafka, secrets=past.worker.secrets)
        return await rebuild(prefix=topics, compare=compare)


async def rows(database: MongoStore, collection: str) -> dict[str, Any]:
    return {row["_id"]: row for row in await database.find(collection, {}, limit=1000)}


async def lose(database: MongoStore) -> None:
    for collection in COLLECTIONS:
        await database.empty(collection)


async def test_documents_come_back_page_by_page_and_only_once(
    past: Past, database: MongoStore, kafka: str, topics: str
) -> None:
    before = {collection: await rows(database, collection) for collection in COLLECTIONS}
    assert len(before["tickets"]) == 5
    assert (await rebuilt(past, database, kafka, topics, compare=True)).differences == []
    await lose(database)
    report = await rebuilt(past, database, kafka, topics)
    assert report.remarks == []
    for collection in COLLECTIONS:
        assert (await rows(database, collection)).keys() == before[collection].keys(), collection
    compared = await rebuilt(past, database, kafka, topics, compare=True)
    assert (compared.documents, compared.differences, compared.remarks) == (5 + len(before["contacts"]), [], [])
    ticket = past.ticket(0)
    place = TopicPartition(topics + COMMAND, partition_of(ticket.encode(), 4))
    assert (await committed(kafka, group_name("ingest", topics)))[place] == 1, "the reply was answered"
    with pytest.raises(Refused, match="ingest has been rebuilt already"):
        await rebuilt(past, database, kafka, topics)


async def test_a_command_that_became_a_dead_letter_is_not_carried_out(
    past: Past, database: MongoStore, producer: Producer, kafka: str, topics: str
) -> None:
    ticket = past.ticket(1)
    raw, partition = past.worker.asks(ANSWER, ticket, "dead"), partition_of(ticket.encode(), 4)
    ahead = partition == partition_of(past.ticket(0).encode(), 4)
    await producer.send(Outgoing(topics + COMMAND, raw.key, raw.value, ()))
    at: Any = {"topic": topics + COMMAND, "partition": partition, "offset": int(ahead)}
    letter = DeadLetter(service="ingest", handler="tickets", error_type="ValueError", error="a bug", at=START, **at)
    for headers in (letter.to_headers(), ()):  # the second is no dead letter
        await producer.send(Outgoing(topics + dlq("ingest"), raw.key, raw.value, headers))
    await commit(kafka, group_name("ingest", topics), {(topics + COMMAND, partition): 2})
    await lose(database)
    report = await rebuilt(past, database, kafka, topics)
    assert report.remarks == [], "no reply is without an outcome"
    state = (await rows(database, "tickets"))[ticket]["state"]
    assert (state["pending"], state["commands"]) == ([], [])


async def test_a_comparison_finds_what_differs_in_each_collection(
    past: Past, database: MongoStore, producer: Producer, kafka: str, topics: str
) -> None:
    await producer.send(Outgoing(topics + TICKETS, b"x", b"{", ()))
    one, other = past.ticket(0), past.ticket(1)
    (claim, *_) = sorted(name for name, row in (await rows(database, "threads")).items() if row.get("ticket") == one)
    names = {collection: min(await rows(database, collection)) for collection in ("tickets", "contacts", "messages")}
    await database.set_each("tickets", "emitted", {names["tickets"]: 99})
    await database.set_each("contacts", "emitted", {names["contacts"]: 99})
    await database.set_each("messages", "kind", {names["messages"]: "note"})
    await database.set_each("threads", "ticket", {claim: other})
    await database.insert("tickets", [{"_id": f"gone-{number}", "version": 1} for number in range(3)])
    report = await rebuilt(past, database, kafka, topics, compare=True)
    assert sorted(report.differences) == sorted(
        [
            f"{names['tickets']}: emitted",
            f"{names['contacts']}: emitted",
            f"messages/{names['messages']} ({names['messages'].partition(':')[0]}): kind",
            f"threads/{claim} ({one}): ticket",
        ]
    )
    assert report.remarks == ["3 stored tickets have no record left in Kafka, such as gone-0"]
    assert len(report.unreadable) == 1


async def test_a_command_is_answered_by_events_of_its_own_ticket_only() -> None:
    """Callers may use an id once for each ticket."""
    past = await happened([("chat", 0, 0, 0), ("chat", 1, 1, 1)])
    first, second = (past.worker.asks(AddNote(by=AGENT, text="x"), past.ticket(which), "once") for which in (0, 1))
    await past.take(first)
    with IngestHistory() as history:
        for sent in past.worker.broker.sent:
            if sent.topic == TICKETS:
                history.say(Event.parse(sent.value or b""), sent.value or b"")
        for offset, heard in enumerate(past.heard[:2]):
            receipt = InboundRecord.from_kafka(heard.value, heard.headers).receipt
            history.hear(receipt, ("in", 0, offset))
        for offset, raw in enumerate((first, second)):
            history.ask(Command.parse(raw.value), ("asked", 0, offset), 0, raw.value, forward=False)
        assert history.answered() == {("in", 0): 1, ("asked", 0): 0}
