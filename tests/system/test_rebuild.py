"""A service whose database is gone has it again from Kafka alone, goes on from there, and says nothing twice."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from pymongo import MongoClient
from typer.testing import CliRunner, Result

from cli.__main__ import app
from cli.fleet import Replica
from cli.reading import bounds
from cli.stores import KINDS
from contracts import topics
from contracts.notifications import EscalationOpened, EscalationStepReached, NotificationSent
from contracts.sla import ClockBreached
from contracts.tickets import (
    MessageFailed,
    MessageReceived,
    MessageSent,
    NoteAdded,
    TicketOpened,
    TicketStatusChanged,
)
from kit.protocol.restoring import MARKER
from tests.system.rig import System, pieces, until

pytestmark = pytest.mark.timeout(300)
AGENT = {"kind": "agent", "id": "a1", "name": "Agent 1"}
REBUILT = ("ingest", "sla", "routing", "notify")
TOPIC = {
    "ingest": topics.TICKETS,
    "sla": topics.SLA,
    "routing": topics.ASSIGNMENTS,
    "notify": topics.NOTIFICATIONS,
}


async def run(deskbus: System, service: str, *options: str) -> Result:
    (replica,) = deskbus.fleet.of(service)
    variables = {name: value for name, value in replica.environment.items() if name.startswith("DESKBUS_")}
    return await asyncio.to_thread(CliRunner(env=variables).invoke, app, ["rebuild", service, *options])


def database(client: MongoClient[dict[str, Any]], deskbus: System, service: str) -> Any:
    return client[f"{deskbus.environment['DESKBUS_MONGO_PREFIX']}_{service}"]


def stored(client: MongoClient[dict[str, Any]], deskbus: System, service: str) -> dict[str, dict[str, Any]]:
    """Return all documents but what belongs to their writes."""
    found: dict[str, dict[str, Any]] = {}
    for kind in KINDS[service]:
        for row in database(client, deskbus, service)[kind.collection].find():
            assert not row.pop("outbox", [])
            del row["version"]
            found[f"{kind.collection}/{row['_id']}"] = ORDERED.get(service, dict)(row)
    return found


def ticketed(row: dict[str, Any]) -> dict[str, Any]:
    """Return a document of ingest without the order of ids, which means nothing, and without LINE's reply tokens."""
    row["state"].pop("reply_token", None)  # good for 40 seconds, and not in Kafka
    unordered = {name: sorted(row["state"][name]) for name in ("taken", "commands") if name in row["state"]}
    row.pop("trace", None)
    return {**row, "state": row["state"] | unordered}


def routed(row: dict[str, Any]) -> dict[str, Any]:
    """Return a document of routing without what is told to nobody; see docs/rebuild.md."""
    state = row["state"]
    if "claims" in state:
        state["claims"] = sorted((claim["ticket"], claim["weight"]) for claim in state["claims"])
        unknown: tuple[str, ...] = ("last_assigned_at", "announced_at", "touched_at")
    else:
        unknown = ("looks", "next_look") if state["phase"] == "assigned" else ("looks", "next_look", "share")
    return {**row, "due": None, "state": {name: value for name, value in state.items() if name not in unknown}}


ORDERED = {"ingest": ticketed, "routing": routed}


async def traffic(deskbus: System) -> None:
    """Let customers write, agents answer, wait and solve, and deadlines pass."""
    await deskbus.agents()
    quick = [deskbus.traffic.webhook("allegro-pl", text="Gdzie?", tags=["quick"]) for _ in range(3)]
    async with deskbus.doors() as doors:
        await doors.send_all([*pieces(deskbus, 24), *quick])
        await deskbus.settled(27)
        await until(partial(breached, deskbus), 60, "three deadlines pass")  # before somebody answers in time
        tickets = sorted(await deskbus.ticket_ids(topics.TICKETS))
        for number, ticket in enumerate(tickets):
            if number % 2:
                await doors.post_command(ticket, "reply", {"text": "Done", "by": AGENT})
            if number % 3 == 0:
                await doors.post_command(ticket, "set_status", {"status": "pending", "by": AGENT})
            if number % 4 == 0:
                await doors.post_command(ticket, "set_status", {"status": "solved", "by": AGENT})
            if number % 7 == 0:
                await doors.post_command(ticket, "transfer", {"agent_id": f"a{number % 3}", "by": AGENT})
            if number % 11 == 0:
                await doors.post_command(ticket, "transfer", {"queue": "everybody", "by": AGENT})
            if number % 5 == 0:
                await doors.post_command(ticket, "set_priority", {"priority": "urgent", "by": AGENT})

    for agent, presence in (("a3", "away"), ("a4", "offline"), ("a3", "online")):
        url = f"{deskbus.one('routing').url}/v1/agents/{agent}/presence"
        (await deskbus.http.put(url, json={"presence": presence})).raise_for_status()

    opened = await deskbus.events(topics.NOTIFICATIONS, EscalationOpened.type)
    url = f"{deskbus.one('notify').url}/v1/escalations/{opened[0].subject}/ack"
    (await deskbus.http.post(url)).raise_for_status()
    await deskbus.settled(27)
    await until(partial(notified, deskbus), 60, "notifications are settled")


async def breached(deskbus: System) -> bool:
    return len(await deskbus.events(topics.SLA, ClockBreached.type)) >= 3


async def notified(deskbus: System) -> bool:
    """Return whether nothing is left to be sent."""
    reached = await deskbus.events(topics.NOTIFICATIONS, EscalationStepReached.type)
    sent = {event.subject for event in await deskbus.events(topics.NOTIFICATIONS, NotificationSent.type)}
    return bool(reached) and sent >= {event.subject for event in reached}


async def waits(replica: Replica) -> None:
    """A service that is started too early waits for the rebuild to end."""
    replica.start()

    async def said() -> bool:
        return replica.log is not None and b"being rebuilt" in replica.log.read_bytes()

    await until(said, 60, "the service says that it waits")
    assert replica.ready() == (replica.service == "ingest"), "only ingest's doors are open meanwhile"
    await asyncio.to_thread(replica.stop)


@pytest.mark.parametrize("service", REBUILT)
async def test_the_documents_are_the_same_again_and_the_service_goes_on(deskbus: System, service: str) -> None:
    deskbus.start()
    await traffic(deskbus)
    refused = await run(deskbus, service)
    assert refused.exit_code == 2
    assert "has 1 running consumers: stop the service" in refused.output
    await asyncio.to_thread(deskbus.fleet.stop)
    with MongoClient[dict[str, Any]](deskbus.environment["DESKBUS_MONGO"], tz_aware=True) as client:
        before = stored(client, deskbus, service)
        ends = await bounds(deskbus.kafka, [TOPIC[service]], prefix=deskbus.prefix)
        refused = await run(deskbus, service)
        assert refused.exit_code == 2
        assert f"the database of {service} is not empty" in refused.output
        compared = await run(deskbus, service, "--compare")
        assert compared.exit_code == 0, compared.output

        client.drop_database(database(client, deskbus, service))
        kind = KINDS[service][0]
        database(client, deskbus, service)[MARKER].insert_one({"_id": MARKER, "state": "running", "at": None})
        database(client, deskbus, service)[kind.collection].insert_one({"_id": "half", "version": 1})
        await waits(deskbus.one(service))
        rebuilt = await run(deskbus, service)
        assert rebuilt.exit_code == 0, rebuilt.output
        assert stored(client, deskbus, service) == before
        assert await bounds(deskbus.kafka, [TOPIC[service]], prefix=deskbus.prefix) == ends, "nothing was said"

    deskbus.fleet.start()
    async with deskbus.doors() as doors:
        await doors.send_all(pieces(deskbus, 8))
        (ticket, *_) = sorted(await deskbus.ticket_ids(topics.TICKETS))
        await doors.post_command(ticket, "reply", {"text": "Again", "by": AGENT})
    report = await deskbus.settled(35)
    assert report.clean, report.faults


async def test_ingest_goes_on_in_the_middle_of_conversations(deskbus: System) -> None:
    deskbus.start()
    await deskbus.agents()
    made, sender = deskbus.traffic, "jan@mail.example"
    mail, hook = made.mail("Where is it?", sender=sender), made.webhook("coupang-kr", text="Where?", sender="kim")
    stuck = made.webhook("allegro-pl", text="Gdzie?", sender="ola")
    async with deskbus.doors() as doors:
        await doors.send_all([mail, hook, stuck])
        await deskbus.settled(3)
        tickets = {e.data.message.text: e.subject for e in await deskbus.events(topics.TICKETS, TicketOpened.type)}
        await doors.post_command(tickets["Where is it?"], "reply", {"text": "Here", "by": AGENT})
        await doors.post_command(tickets["Where?"], "note", {"text": "Known", "by": AGENT}, key="once")
        await until(partial(happened, deskbus, MessageSent.type), 60, "the mail is answered")
        deskbus.receiver.status = 503
        await doors.post_command(tickets["Gdzie?"], "reply", {"text": "Tutaj", "by": AGENT})
        await until(partial(asked, deskbus), 60, "the reply is tried")
    await asyncio.to_thread(deskbus.fleet.stop)
    deskbus.receiver.status, tried = 200, len(replies(deskbus))

    with MongoClient[dict[str, Any]](deskbus.environment["DESKBUS_MONGO"], tz_aware=True) as client:
        client.drop_database(database(client, deskbus, "ingest"))
    rebuilt = await run(deskbus, "ingest")
    assert rebuilt.exit_code == 0, rebuilt.output
    assert "1 replies have no outcome in Kafka" in rebuilt.output

    deskbus.fleet.start()
    (sent,) = await deskbus.events(topics.TICKETS, MessageSent.type)
    own = sent.data.message.channel_message_id
    async with deskbus.doors() as doors:
        await doors.send_all([hook, made.mail("Thank you", sender=sender, in_reply_to=own)])
        await doors.post_command(tickets["Where?"], "note", {"text": "Known", "by": AGENT}, key="once")
        await doors.post_command(tickets["Where?"], "set_status", {"status": "solved", "by": AGENT})
        await until(partial(happened, deskbus, TicketStatusChanged.type, "command"), 60, "the command is carried out")
        await until(partial(happened, deskbus, MessageFailed.type), 60, "the reply without an outcome fails")
        report = await deskbus.settled(5)  # three were opened, one was answered by us and then by the customer
    assert report.clean, report.faults
    assert {e.subject for e in await deskbus.events(topics.TICKETS, TicketOpened.type)} == set(tickets.values())
    (thanks,) = await deskbus.events(topics.TICKETS, MessageReceived.type)
    assert thanks.subject == tickets["Where is it?"]
    assert len(await deskbus.events(topics.TICKETS, NoteAdded.type)) == 1
    (failed,) = await deskbus.events(topics.TICKETS, MessageFailed.type)
    assert failed.subject == tickets["Gdzie?"]
    assert "the database was rebuilt" in failed.data.error
    assert len(replies(deskbus)) == tried, "nothing is sent twice"


async def happened(deskbus: System, kind: str, reason: str | None = None) -> bool:
    """Return whether an event of this type is published, if its data has a reason, with this one."""
    events = await deskbus.events(topics.TICKETS, kind)
    return any(reason is None or event.data.reason == reason for event in events)


def replies(deskbus: System) -> list[Any]:
    """Return the requests to the connector of a marketplace."""
    return deskbus.receiver.to("/allegro")


async def asked(deskbus: System) -> bool:
    return bool(replies(deskbus))
