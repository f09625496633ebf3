"""A rebuild where the consumer group has no positions any more, and where the history began in earlier topics."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from aiokafka import TopicPartition
from pymongo import MongoClient

from cli.plans import PLANS
from cli.rebuild import SHOWN, Report, commit, rebuild
from cli.spool import Spool
from cli.standstill import Refused
from cli.topics import committed, create_topics, delete_topics
from contracts.agents import AgentUpdated
from contracts.dlq import DeadLetter
from contracts.envelope import HEADERS, Event
from contracts.topics import AGENTS, ASSIGNMENTS, SLA, TICKETS, dlq, group_name
from kit.kafka.producer import Producer
from kit.mongo import MongoStore
from kit.protocol.ports import Outgoing
from kit.protocol.record import partition_of
from kit.protocol.restoring import MARKER
from services.sla import store
from tests.conftest import Prefix
from tests.routing.scenario import POLICY, START, profile
from tests.sla.desk import Writer
from tests.sla.test_properties import POLICIES as RULES
from tests.sla.test_restore import Past

TICKET = "t-1"


@pytest.fixture
async def past() -> Past:
    """A ticket that was opened, not answered in time, then answered."""
    made, write = Past(RULES), Writer()
    for event in (write.opened(0), write.noted(20), write.replied(60), write.noted(61)):
        await made.take(event, 0)
    return made


@pytest.fixture
async def producer(kafka: str) -> AsyncIterator[Producer]:
    made = Producer(kafka, client_id="test")
    await made.start()
    yield made
    await made.stop()


def test_a_rebuild_that_is_killed_leaves_no_messages_on_disk(tmp_path: Path) -> None:
    code = (
        "from cli.spool import Spool; from cli.reading import TopicRecord; import sys\n"
        "spool = Spool()\n"
        "for offset in range(5000):\n"
        "    spool.hear(f't-{offset}', None, 't', TopicRecord('t', 0, offset, b'k', b'secret' * 200, [], 0))\n"
        "print(len(list(spool.histories())), flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"5000\n"
        held = [str(each.readlink()) for each in Path(f"/proc/{process.pid}/fd").iterdir()]
        assert [each for each in held if each.startswith(str(tmp_path))], "it is not in TMPDIR"
        process.kill()
    assert list(tmp_path.iterdir()) == []


async def put(producer: Producer, topic: str, *events: Event) -> None:
    for event in events:
        await producer.send(Outgoing(topic, event.subject.encode(), event.encode(), HEADERS))


async def told(producer: Producer, topics: str, past: Past, *names: str) -> None:
    """Write a ticket's records and what sla said of it; with names, the same story for several tickets."""
    said = [event for event in past.rig.sent.events if event.source == store.SOURCE]  # letters are there too
    for name in names or (TICKET,):
        for topic, events in ((TICKETS, [each.item.event for each in past.heard]), (SLA, said)):
            for event in events:
                if event is not None:
                    value = event.encode().replace(TICKET.encode(), name.encode())
                    await put(producer, topics + topic, Event.parse(value))


async def rebuilt(kafka: str, mongo: str, prefix: Prefix, policy: Any, **options: Any) -> Report:
    database = MongoStore(mongo, f"{prefix.mongo}_sla")
    try:
        return await rebuild(PLANS["sla"](policy, ()), database, kafka, prefix=prefix.topics, **options)
    finally:
        database.close()


def stored(mongo: str, prefix: Prefix) -> dict[str, Any]:
    with MongoClient[dict[str, Any]](mongo, tz_aware=True) as client:
        row = client[f"{prefix.mongo}_sla"][store.COLLECTION].find_one({"_id": TICKET})
    assert row is not None
    del row["version"]
    return row


@pytest.fixture
def policy(tmp_path: Any) -> Any:
    file = tmp_path / "sla.yaml"
    file.write_text(RULES.model_dump_json(), encoding="utf-8")
    return file


async def test_a_group_without_positions_gets_those_up_to_which_it_has_answered(
    kafka: str, mongo: str, prefix: Prefix, topics: str, producer: Producer, past: Past, policy: Any
) -> None:
    heard = [each.item.event for each in past.heard]
    await put(producer, topics + TICKETS, *(event for event in heard if event is not None))
    await put(producer, topics + SLA, *past.rig.sent.events)
    report = await rebuilt(kafka, mongo, prefix, policy)
    assert report.differences == []
    place = TopicPartition(topics + TICKETS, partition_of(TICKET.encode(), 4))
    assert await committed(kafka, group_name("sla", topics)) == {place: 3}, "the last note was not answered"
    expected = past.stored() | {"partition": place.partition}
    found = stored(mongo, prefix)
    for name in ("live", "ended", "breaches", "history", "replies"):
        assert found["state"][name] == expected["state"][name]
    assert found["seen"]["/deskbus/ingest"]["upto"] == 3, (
        "the service will hear the last note again, for the first time"
    )


async def test_a_full_disk_is_said_and_the_next_run_begins_again(
    kafka: str, mongo: str, prefix: Prefix, topics: str, producer: Producer, past: Past, policy: Any
) -> None:
    await put(producer, topics + TICKETS, *(each.item.event for each in past.heard if each.item.event is not None))
    await put(producer, topics + SLA, *past.rig.sent.events)
    full = sqlite3.OperationalError("database or disk is full")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Refused, match=r"is full; set TMPDIR, and run it again"):
        patch.setattr(Spool, "hear", Mock(side_effect=full))
        await rebuilt(kafka, mongo, prefix, policy)
    assert (await rebuilt(kafka, mongo, prefix, policy)).heard == 4
    assert stored(mongo, prefix)["_id"] == TICKET


@pytest.mark.parametrize("form", ["o{}", "{}o."])
async def test_what_was_heard_and_said_in_earlier_topics_counts(
    kafka: str, mongo: str, prefix: Prefix, topics: str, producer: Producer, past: Past, policy: Any, form: str
) -> None:
    old = form.format(topics)
    await create_topics(kafka, old, 2)
    try:
        heard = [each.item.event for each in past.heard if each.item.event is not None]
        said = past.rig.sent.events
        before = [event for event in said if event.causationid == heard[0].id]
        await put(producer, old + TICKETS, *heard[:2])
        await put(producer, old + SLA, *before)
        await put(producer, topics + TICKETS, *heard[2:])
        await put(producer, topics + SLA, *said[len(before) :])
        report = await rebuilt(kafka, mongo, prefix, policy, earlier=[old])
        assert report.differences == []
        assert report.cut == []
        found = stored(mongo, prefix)
        assert found["emitted"] == len(said)
        assert not found["seen"]["/deskbus/ingest"]["missing"], "the note in the old topic led to nothing"
        assert {place.topic for place in await committed(kafka, group_name("sla", topics))} == {topics + TICKETS}
        again = await rebuilt(kafka, mongo, prefix, policy, earlier=[old], compare=True)
        assert again.differences == []
    finally:
        await delete_topics(kafka, old)


async def test_unreadable_records_are_told_and_left_out(
    kafka: str, mongo: str, prefix: Prefix, topics: str, producer: Producer, tmp_path: Any
) -> None:
    policy = tmp_path / "routing.yaml"
    policy.write_bytes(POLICY)
    data = AgentUpdated(agent=profile("ann"))
    event = Event.of(data, source="/deskbus/routing/agents", subject="ann", sequence=1, time=START)
    for topic in (AGENTS, ASSIGNMENTS):
        await producer.send(Outgoing(topics + topic, b"ann", b"{", HEADERS))
    await put(producer, topics + AGENTS, event)
    database = MongoStore(mongo, f"{prefix.mongo}_routing")
    try:
        report = await rebuild(PLANS["routing"](policy, ()), database, kafka, prefix=topics)
        assert [row["_id"] for row in await database.find("agents", {}, limit=2)] == ["ann"]
    finally:
        database.close()
    at = partition_of(b"ann", 4)
    assert report.unreadable == [f"{topics}{AGENTS}/{at}/0", f"{topics}{ASSIGNMENTS}/{at}/0"]
    assert f"2 unreadable records were left out, such as {report.unreadable[0]}" in "\n".join(report.lines())


async def test_a_backup_that_was_restored_over_a_killed_run_is_not_deleted(
    kafka: str, mongo: str, prefix: Prefix, topics: str, policy: Any
) -> None:
    """`mongorestore --drop` drops what the backup has, so the marker of the run stays."""
    with MongoClient[dict[str, Any]](mongo, tz_aware=True) as client:
        database = client[f"{prefix.mongo}_sla"]
        database[MARKER].insert_one({"_id": MARKER, "state": "running", "at": None})
        database[store.COLLECTION].insert_one({"_id": TICKET, "version": 3})
        with pytest.raises(Refused, match="if a backup was restored, drop the collection rebuild to use it"):
            await rebuilt(kafka, mongo, prefix, policy)
        assert database[store.COLLECTION].count_documents({}) == 1
        database[store.COLLECTION].update_one({"_id": TICKET}, {"$set": {"version": 1}})
        await rebuilt(kafka, mongo, prefix, policy)
        assert database[store.COLLECTION].count_documents({}) == 0, "that was what a killed run had written"


async def test_a_run_that_ended_is_not_repeated(
    kafka: str, mongo: str, prefix: Prefix, topics: str, producer: Producer, past: Past, policy: Any
) -> None:
    await told(producer, topics, past)
    await rebuilt(kafka, mongo, prefix, policy)
    with pytest.raises(Refused, match=r"sla has been rebuilt already, 20\d\d-.*: drop the database to do it again"):
        await rebuilt(kafka, mongo, prefix, policy)
    assert stored(mongo, prefix)["_id"] == TICKET


async def test_there_may_be_more_documents_than_are_written_at_once(
    kafka: str, mongo: str, prefix: Prefix, topics: str, producer: Producer, past: Past, policy: Any
) -> None:
    names = [f"t-{number}" for number in range(5, 10)]
    await told(producer, topics, past, *names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cli.rebuild.PAGE", 2)
        assert (await rebuilt(kafka, mongo, prefix, policy)).documents == 5
        report = await rebuilt(kafka, mongo, prefix, policy, compare=True)
    assert (report.documents, report.differences, report.remarks) == (5, [], [])
    with MongoClient[dict[str, Any]](mongo) as client:
        found = client[f"{prefix.mongo}_sla"][store.COLLECTION].find({}, ["_id"])
        assert sorted(row["_id"] for row in found) == names


async def test_a_database_that_somebody_else_writes_meanwhile_is_refused(
    kafka: str, mongo: str, prefix: Prefix, topics: str, producer: Producer, past: Past, policy: Any
) -> None:
    await told(producer, topics, past)

    async def writing(*_: Any) -> dict[Any, Any]:
        with MongoClient[dict[str, Any]](mongo) as client:
            client[f"{prefix.mongo}_sla"][store.COLLECTION].insert_one({"_id": TICKET, "version": 1})
        return {}

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Refused, match="t-1 was written by somebody else"):
        patch.setattr("cli.rebuild.committed", writing)
        await rebuilt(kafka, mongo, prefix, policy)
    assert await committed(kafka, group_name("sla", topics)) == {}
    assert (await rebuilt(kafka, mongo, prefix, policy)).documents == 1, "the run did not end, so it can be repeated"


async def test_what_became_a_dead_letter_is_not_decided(
    kafka: str, mongo: str, prefix: Prefix, topics: str, producer: Producer, policy: Any
) -> None:
    past, write = Past(RULES, sick={2}), Writer()
    for event in (write.opened(0), write.replied(5), write.noted(50)):
        await past.take(event, 0)
    await told(producer, topics, past)
    partition = partition_of(TICKET.encode(), 4)
    at = {"topic": topics + TICKETS, "partition": partition, "offset": 1}
    letter = DeadLetter(service="sla", handler="tickets", error_type="ValueError", error="a bug", at=START, **at)
    await producer.send(Outgoing(topics + dlq("sla"), TICKET.encode(), b"{}", letter.to_headers()))
    await producer.send(Outgoing(topics + dlq("sla"), TICKET.encode(), b"no letter", ()))
    await commit(kafka, group_name("sla", topics), {(topics + TICKETS, partition): 3})
    report = await rebuilt(kafka, mongo, prefix, policy)
    assert report.differences == []
    found, expected = stored(mongo, prefix), past.stored()
    assert (found["state"], found["seen"]) == (expected["state"], expected["seen"])
    assert found["state"]["breaches"], "nobody has answered, as far as sla knows"


async def test_a_comparison_lists_what_differs_and_what_kafka_has_forgotten(
    kafka: str, mongo: str, prefix: Prefix, topics: str, producer: Producer, past: Past, policy: Any
) -> None:
    await told(producer, topics, past, "t-3", "t-4")
    await rebuilt(kafka, mongo, prefix, policy)
    with MongoClient[dict[str, Any]](mongo) as client:
        database = client[f"{prefix.mongo}_sla"]
        database[store.COLLECTION].update_one({"_id": "t-3"}, {"$set": {"state.replies": 9, "version": 7}})
        database[store.COLLECTION].update_one({"_id": "t-4"}, {"$set": {"emitted": 99}})
        database[store.COLLECTION].insert_many([{"_id": name, "version": 3} for name in ("t-1", "t-2", "t-9")])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("cli.rebuild.PAGE", 2)
            report = await rebuilt(kafka, mongo, prefix, policy, compare=True)
        assert report.differences == ["t-3: state.replies", "t-4: emitted"]
        assert report.remarks == ["3 stored clocks have no record left in Kafka, such as t-1"]
        assert database[store.COLLECTION].count_documents({}) == 5, "nothing was changed"


async def test_a_comparison_of_routing_names_agents_whom_kafka_has_forgotten(
    kafka: str, mongo: str, prefix: Prefix, topics: str, producer: Producer, tmp_path: Any
) -> None:
    policy = tmp_path / "routing.yaml"
    policy.write_bytes(POLICY)
    data = AgentUpdated(agent=profile("ann"))
    await put(
        producer,
        topics + AGENTS,
        Event.of(data, source="/deskbus/routing/agents", subject="ann", sequence=1, time=START),
    )
    database = MongoStore(mongo, f"{prefix.mongo}_routing")
    try:
        await rebuild(PLANS["routing"](policy, ()), database, kafka, prefix=topics)
        await database.insert("agents", [{"_id": "bob", "version": 4}])
        report = await rebuild(PLANS["routing"](policy, ()), database, kafka, prefix=topics, compare=True)
    finally:
        database.close()
    assert report.differences == []
    assert report.remarks == ["1 stored agents have no record left in Kafka, such as bob"]


def test_of_many_differences_some_are_shown_and_the_others_counted() -> None:
    report = Report(documents=30, cut=["t-0"], differences=[f"t-{number}: emitted" for number in range(SHOWN + 3)])
    said = list(report.lines())
    assert said[1:3] == ["1 began before what Kafka still has, such as t-0", "t-0: emitted"]
    assert said[-2:] == [f"t-{SHOWN - 1}: emitted", "and 3 more differences"]
    assert list(Report(compared=True).lines()) == ["0 documents compared from 0 records and 0 events of the service"]
