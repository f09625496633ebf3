"""A customer's message becomes a ticket, an assignment, a clock and, when time runs out, an escalation."""

from __future__ import annotations

import pytest
from standardwebhooks import Webhook

from cli import traffic
from contracts import topics
from tests.system.rig import System, pieces, until

pytestmark = pytest.mark.timeout(180)


async def test_every_message_becomes_a_ticket_with_one_agent_and_a_clock(deskbus: System) -> None:
    deskbus.start()
    await deskbus.agents()
    async with deskbus.doors() as doors:
        await doors.send_all(pieces(deskbus, 60))
    report = await deskbus.settled(60)
    assert report.clean, report.faults
    assert report.counts["assigned"] == report.counts["tickets"]


async def test_a_breach_reaches_the_team_lead_with_a_valid_signature(deskbus: System) -> None:
    deskbus.start()
    await deskbus.agents()
    async with deskbus.doors() as doors:
        await doors.send(deskbus.traffic.webhook("allegro-pl", text="Gdzie jest paczka?", tags=["quick"]))

    async def told() -> bool:
        return bool(deskbus.receiver.to("/lead"))

    await until(told, 60, "the team lead is told")
    headers, body = deskbus.receiver.to("/lead")[0]
    secret = traffic.secrets_environment()["DESKBUS_NOTIFY_LEAD_SECRET"]
    assert Webhook(secret).verify(body, headers)
    (breach,) = await deskbus.events(topics.SLA, "deskbus.sla.breached.v1")
    assert breach.data.metric == "first_reply"


async def test_a_reply_is_really_sent_and_stops_the_clock(deskbus: System) -> None:
    deskbus.start()
    await deskbus.agents()
    async with deskbus.doors() as doors:
        await doors.send(deskbus.traffic.whatsapp("สวัสดี"))
        await deskbus.settled(1)
        (opened,) = await deskbus.events(topics.TICKETS, "deskbus.ticket.opened.v1")
        await doors.post_command(
            opened.subject, "reply", {"text": "ส่งแล้ว", "by": {"kind": "agent", "id": "a1", "name": "Agent 1"}}
        )

    async def met() -> bool:
        return bool(await deskbus.events(topics.SLA, "deskbus.sla.met.v1"))

    await until(met, 60, "the clock is stopped by the reply")
    assert len(deskbus.receiver.to("/whatsapp")) == 1
    assert len(await deskbus.events(topics.TICKETS, "deskbus.message.sent.v1")) == 1
