"""The verdict sees a message that is lost or doubled, and an escalation that did not come."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from cli.reading import TopicRecord
from contracts import notifications, sla, tickets, topics
from contracts.envelope import Event
from contracts.payload import Payload
from contracts.ticket import Author, ContactRef, Direction, Message, Status, Ticket
from tests.crash import stores, verdict
from tests.crash.people import mark

T0 = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SEED = 5
CLOCK: dict[str, Any] = {
    "clock_id": "c", "metric": "first_reply", "policy": sla.PolicyRef(name="p", version="1"),
    "calendar": sla.CalendarRef(name="always", version="1"), "target_seconds": 2, "started_at": T0,
}  # fmt: skip
TOLD: dict[str, Any] = {
    "escalation_id": "esc-t", "ticket_id": "t", "kind": "firing", "sink": "webhook", "dedup_key": "esc-t",
    "target": notifications.Target(kind="team", name="lead"),
}  # fmt: skip


def line(topic: str, source: str, subject: str, payload: Payload, sequence: int = 1) -> TopicRecord:
    event = Event.of(payload, source=source, subject=subject, sequence=sequence, time=T0)
    return TopicRecord(topic, 0, 0, b"k", event.encode(), (), 0)


def opened(number: int, ticket: str = "t") -> TopicRecord:
    text, author = f"hello {mark(SEED, number)} please", Author(kind="contact", id="c")
    message = Message(
        id=f"m{ticket}{number}", direction=Direction.IN, author=author, text=text, sent_at=T0, received_at=T0
    )
    new = Ticket(
        id=ticket, version=1, channel="webhook", account="allegro-pl", contact=ContactRef(id="c"), status=Status.NEW,
        created_at=T0, updated_at=T0,
    )  # fmt: skip
    return line(topics.TICKETS, "/deskbus/ingest", ticket, tickets.TicketOpened(ticket=new, message=message))


def found(kind: str, count: int, lines: list[TopicRecord], told: tuple[str, ...] = ()) -> list[str]:
    kept: dict[tuple[str, str], list[Any]] = {where: [] for where in stores.SOURCES}
    return verdict.faults(SEED, count, lines, kept, told, verdict.report(lines, T0)).get(kind, [])


LOST = "messages not in exactly one ticket"
ALARMS = "breaches and escalations"


def test_a_message_that_no_ticket_has_is_lost() -> None:
    assert found(LOST, 2, [opened(0), opened(1, "u")]) == []
    assert found(LOST, 2, [opened(0)]) == [f"{mark(SEED, 1)}: 0"]


def test_a_message_in_two_tickets_is_doubled_and_a_resend_is_not() -> None:
    assert found(LOST, 1, [opened(0), opened(0)]) == []
    assert found(LOST, 1, [opened(0), opened(0, "u")]) == [f"{mark(SEED, 0)}: 2"]


def test_a_breach_of_which_nobody_was_told_is_a_fault() -> None:
    breach = line(topics.SLA, "/deskbus/sla", "t", sla.ClockBreached(
        ticket_id="t", due_at=T0, breached_at=T0, noticed_at=T0, breached_by_seconds=0, **CLOCK))  # fmt: skip
    assert found(ALARMS, 0, [breach]) == ["t is breached and nobody was told"]


def test_what_is_said_to_be_sent_must_have_come_and_the_other_way_round() -> None:
    sent = notifications.NotificationSent(notification_id="n", attempts=1, sent_at=T0, **TOLD)
    lines = [line(topics.NOTIFICATIONS, "/deskbus/notify", "esc-t", sent)]
    assert found(ALARMS, 0, lines, ("n",)) == []
    assert found(ALARMS, 0, lines) == ["n is said to be sent and did not come"]
    assert found(ALARMS, 0, lines, ("n", "x")) == ["x came and is not said to be sent"]


def test_what_was_withdrawn_may_have_come_or_not() -> None:
    withdrawn = notifications.NotificationWithdrawn(notification_id="n", attempts=1, withdrawn_at=T0, **TOLD)
    lines = [line(topics.NOTIFICATIONS, "/deskbus/notify", "esc-t", withdrawn)]
    assert found(ALARMS, 0, lines, ("n",)) == []
    assert found(ALARMS, 0, lines) == []
