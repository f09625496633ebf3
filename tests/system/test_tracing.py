"""One trace leads from the door to the team lead who hears of a breach. A lost collector disturbs nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cli.traffic import Hook
from contracts import topics
from tests.system.collector import Collector, Reported, collector
from tests.system.rig import System, system, until

pytestmark = pytest.mark.timeout(180)
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
TEXT = "Gdzie jest paczka Kowalskiego?"
SENDER = "kowalski@example.pl"


@pytest.fixture
def spans() -> Iterator[Collector]:
    with collector() as made:
        yield made


@pytest.fixture
async def deskbus(environment: dict[str, str], topics: str, tmp_path: Path, spans: Collector) -> AsyncIterator[System]:
    async with system(environment | spans.environment(), tmp_path / "logs") as made:
        yield made


def question(deskbus: System) -> Hook:
    hook = deskbus.traffic.webhook("allegro-pl", text=TEXT, tags=["quick"], sender=SENDER)
    return hook._replace(headers={**hook.headers, "traceparent": f"00-{TRACE}-{CALLER}-01"})


def named(span: Reported) -> str:
    return f"{span.service.removeprefix('deskbus-')}: {span.name}"


def path(spans: list[Reported], last: Reported) -> list[str]:
    """Return services and names from the root of a trace to a span."""
    by_id, found = {span.id: span for span in spans}, [last]
    while found[-1].parent in by_id:
        found.append(by_id[found[-1].parent])
    return [named(span) for span in reversed(found)]


async def reported(spans: Collector, *names: str) -> list[Reported]:
    """Wait until the collector has these spans of the trace: each service sends its own when it likes."""

    async def come() -> bool:
        return {*names} <= {named(span) for span in spans.of(TRACE)}

    await until(come, 90, f"the trace has {', '.join(names)}")
    return spans.of(TRACE)


async def test_one_trace_leads_from_the_door_to_the_notification(deskbus: System, spans: Collector) -> None:
    deskbus.start()
    await deskbus.agents()
    async with deskbus.doors() as doors:
        await doors.send(question(deskbus))

    way = [
        "ingest: POST /v1/channels/{channel}/webhook",
        "ingest: accept webhook",
        f"ingest: process {deskbus.prefix}{topics.INBOUND}",
        "sla: process ticket.opened.v1",
        "sla: timer clocks",
        "notify: process sla.breached.v1",
        "notify: notify webhook",
        "notify: POST",
    ]
    found = await reported(spans, *way, "routing: process ticket.opened.v1")
    (post,) = [span for span in found if named(span) == way[-1]]
    assert path(found, post) == way
    assert next(span for span in found if span.name.startswith("POST /")).parent == CALLER
    headers, _ = deskbus.receiver.to("/lead")[0]
    assert headers["traceparent"] == f"00-{TRACE}-{post.id}-01"  # the receiver continues the trace
    told_of = str(spans.spans)
    assert TEXT not in told_of
    assert SENDER not in told_of


async def test_a_reply_is_in_the_trace_of_its_command(deskbus: System, spans: Collector) -> None:
    deskbus.start()
    await deskbus.agents()
    async with deskbus.doors() as doors:
        await doors.send(deskbus.traffic.whatsapp("สวัสดี"))
    await deskbus.settled(1)
    (opened,) = await deskbus.events(topics.TICKETS, "deskbus.ticket.opened.v1")
    command = {
        "type": "deskbus.command.reply.v1",
        "ticket_id": opened.subject,
        "data": {"text": "ส่งแล้ว", "by": {"kind": "agent", "id": "a1", "name": "Agent 1"}},
    }
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "idempotency-key": "reply-1"}
    answer = await deskbus.http.post(f"{deskbus.one('ingest').url}/v1/commands", json=command, headers=headers)
    answer.raise_for_status()

    way = [
        "ingest: POST /v1/commands",
        f"ingest: process {deskbus.prefix}{topics.COMMAND}",
        "ingest: reply",
        "ingest: POST",
    ]
    found = await reported(spans, *way)
    (post,) = [span for span in found if named(span) == way[-1]]
    assert path(found, post) == way
    ((given, _),) = deskbus.receiver.to("/whatsapp")
    assert given["traceparent"].split("-")[1] == TRACE


async def test_a_lost_collector_delays_neither_messages_nor_the_end(deskbus: System, spans: Collector) -> None:
    spans.away = True
    deskbus.start()
    await deskbus.agents()
    async with deskbus.doors() as doors:
        await doors.send(question(deskbus))
    assert (await deskbus.settled(1)).clean

    async def refused() -> bool:
        return spans.refused > 0

    await until(refused, 30, "the collector has refused spans")
    codes = [replica.stop() for replica in deskbus.fleet.replicas]
    assert codes == [0, 0, 0, 0]


async def test_what_is_recorded_is_sent_on_sigterm(deskbus: System, spans: Collector) -> None:
    ingest = deskbus.fleet.add("ingest")
    ingest.environment = {**ingest.environment, "OTEL_BSP_SCHEDULE_DELAY": "600000"}
    deskbus.fleet.start()
    async with deskbus.doors() as doors:
        await doors.send(question(deskbus))
    assert spans.of(TRACE) == []
    assert ingest.stop() == 0
    assert "accept webhook" in {span.name for span in spans.of(TRACE)}
