"""What the audit must find: for each kind of fault a small log that has it, and a log that has none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cli.audit import audit
from cli.collector import Report
from cli.reading import TopicRecord
from contracts import agents, assignments, commands, contacts, notifications, sla, tickets, topics
from contracts.dlq import DeadLetter
from contracts.envelope import Command, Event
from contracts.inbound import InboundRecord
from contracts.payload import Payload
from contracts.ticket import Author, ContactRef, Direction, Message, Status, Ticket
from services.ingest.core.arrivals import message_id

T0 = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SOURCES = {
    "tickets": ("/deskbus/ingest", topics.TICKETS),
    "assignments": ("/deskbus/routing", topics.ASSIGNMENTS),
    "agents": ("/deskbus/routing/agents", topics.AGENTS),
    "sla": ("/deskbus/sla", topics.SLA),
    "notify": ("/deskbus/notify", topics.NOTIFICATIONS),
}
AGENT = assignments.AgentRef(id="a1", name="Ewa")
ALERT = notifications.Alert(name="sla_breached", summary="late", cause="sla:t1:2", started_at=T0)
SOMEBODY = Author(kind="agent", id="a1", name="Ewa")


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def line(topic: str, value: bytes, headers: Iterable[tuple[str, bytes]] = ()) -> TopicRecord:
    return TopicRecord(topic, 0, 0, b"k", value, list(headers), 0)


def event(kind: str, subject: str, sequence: int, payload: Payload, cause: str | None = None) -> TopicRecord:
    source, topic = SOURCES[kind]
    told = Event.of(payload, source=source, subject=subject, sequence=sequence, time=T0, causationid=cause)
    return line(topic, told.encode())


def ticket(identifier: str = "t1", **fields: Any) -> Ticket:
    return Ticket(
        id=identifier, version=1, channel="webhook", account="coupang-kr", contact=ContactRef(id="c1"),
        status=fields.pop("status", Status.OPEN), created_at=T0, updated_at=T0, **fields,
    )  # fmt: skip


M1 = message_id("webhook", "coupang-kr", "x-m1")


def message(identifier: str = M1, direction: Direction = Direction.IN) -> Message:
    author = Author(kind="contact", id="c1") if direction == Direction.IN else SOMEBODY
    return Message(
        id=identifier, direction=direction, author=author, text="?", sent_at=T0, channel_message_id=f"x-{identifier}"
    )


def inbound(receipt: str, body: bytes, channel: str = "webhook") -> TopicRecord:
    record = InboundRecord(
        receipt=receipt, channel=channel, account="coupang-kr", key="k", received_at=T0, body=body, size=len(body)
    )
    return line(topics.INBOUND, body, record.to_headers())


def opened(subject: str = "t1", sequence: int = 1, receipt: str = "r1", said: str = M1, **fields: Any) -> TopicRecord:
    payload = tickets.TicketOpened(ticket=ticket(subject, **fields), message=message(said))
    return event("tickets", subject, sequence, payload, receipt)


def answered(sequence: int, said: str = "m2", command: str = "c1") -> TopicRecord:
    payload = tickets.MessageSent(ticket=ticket(), message=message(said, Direction.OUT), command_id=command)
    return event("tickets", "t1", sequence, payload, command)


def reply(identifier: str = "c1") -> TopicRecord:
    wanted = Command.of(
        commands.Reply(by=SOMEBODY, text="!"), id=identifier, source="/deskbus/door/commands", subject="t1", time=T0
    )
    return line(topics.COMMAND, wanted.encode())


def queued(sequence: int = 1, subject: str = "t1") -> TopicRecord:
    payload = assignments.TicketQueued(ticket_id=subject, queue="q", reason="opened", queued_at=T0)
    return event("assignments", subject, sequence, payload)


def assigned(sequence: int, agent: str = "a1", subject: str = "t1", since: float = 1) -> TopicRecord:
    payload = assignments.TicketAssigned(
        ticket_id=subject, queue="q", agent=assignments.AgentRef(id=agent), reason="best_match", queued_at=T0,
        assigned_at=at(since), waited_ms=1000, load_before=0, load_after=1,
    )  # fmt: skip
    return event("assignments", subject, sequence, payload)


def unassigned(sequence: int, until: float, subject: str = "t1") -> TopicRecord:
    payload = assignments.TicketUnassigned(
        ticket_id=subject, queue="q", agent=AGENT, reason="solved", unassigned_at=at(until)
    )
    return event("assignments", subject, sequence, payload)


def agent(capacity: float) -> TopicRecord:
    told = agents.AgentUpdated(agent=agents.Agent(id="a1", name="Ewa", capacity=capacity))
    return event("agents", "a1", 1, told)


def clock(kind: type[sla.ClockEvent], sequence: int, due: float | None = 60, **fields: Any) -> TopicRecord:
    payload = kind(
        ticket_id="t1", clock_id="t1:first", metric="first_reply", policy=sla.PolicyRef(name="p", version="1"),
        calendar=sla.CalendarRef(name="always", version="1"), target_seconds=60, started_at=T0,
        due_at=None if due is None else at(due), **fields,
    )  # fmt: skip
    return event("sla", "t1", sequence, payload)


def breached(sequence: int) -> TopicRecord:
    return clock(sla.ClockBreached, sequence, breached_at=at(60))


def escalation(sequence: int, payload: type[Payload], /, **fields: Any) -> TopicRecord:
    return event("notify", "esc-t1", sequence, payload(escalation_id="esc-t1", ticket_id="t1", **fields))


def step(sequence: int, number: int = 0) -> TopicRecord:
    return escalation(sequence, notifications.EscalationStepReached, alert=ALERT, chain="c", step=number, reached_at=T0)


def notified(sequence: int, identifier: str = "n1") -> TopicRecord:
    return escalation(
        sequence, notifications.NotificationSent, notification_id=identifier, kind="firing", sink="webhook",
        target=notifications.Target(kind="team", name="lead"), dedup_key="esc-t1", sent_at=T0,
    )  # fmt: skip


def letter(of: TopicRecord) -> TopicRecord:
    told = DeadLetter(
        service="ingest", handler="x", error_type="Unreadable", error="Unreadable: no", at=T0, topic=of.topic,
        partition=0, offset=0, key=of.key, value=of.value, original_headers=tuple(of.headers),
    )  # fmt: skip
    return line(topics.dlq("ingest"), of.value or b"", told.to_headers())


CLEAN = [
    inbound("r1", b'{"id":"x-m1"}'), opened(), reply(), answered(2), queued(), agent(2), assigned(2),
    clock(sla.ClockStarted, 1), breached(2), step(1), notified(2),
]  # fmt: skip


def test_a_log_of_a_ticket_that_went_its_way_is_clean() -> None:
    report = audit(CLEAN, at(3600))
    assert dict(report.faults) == {}
    assert dict(report.open) == {}
    assert report.holds(settled=True)
    counts = report.counts
    assert (counts["inbound"], counts["tickets"], counts["messages"], counts["breaches"]) == (1, 1, 2, 1)


FAULTS: dict[str, list[TopicRecord]] = {
    "gaps": [opened(), answered(3)],
    "events out of order": [opened(), answered(3), event("tickets", "t1", 2, tickets.TicketTagged(
        ticket=ticket(), added=("x",), actor=SOMEBODY))],
    "two different events with one id": [opened(), opened(said="m9")],
    "unreadable records": [line(topics.TICKETS, b"{")],
    "messages without effect": [inbound("r1", b'{"id":"x-m1"}')],
    "messages taken twice": [opened(), opened("t2")],
    "replies sent twice": [opened(), answered(2), answered(3, said="m3")],
    "tickets with two agents": [queued(), assigned(2), assigned(3, agent="a2")],
    "agents above capacity": [agent(1), assigned(1), assigned(1, subject="t2", since=2)],
    "breaches announced twice": [clock(sla.ClockStarted, 1), breached(2), breached(3)],
    "deadlines that passed in silence": [clock(sla.ClockStarted, 1)],
    "escalation steps reached twice": [step(1), step(2)],
    "notifications sent twice": [notified(1), notified(2)],
}  # fmt: skip


def test_files_that_leave_by_themselves_are_no_second_reply_unless_one_leaves_twice() -> None:
    def file(sequence: int, said: str, kind: type[Payload] = tickets.MessageSent, **fields: Any) -> TopicRecord:
        sent = message(said, Direction.OUT).model_copy(update={"text": ""})
        payload = kind(ticket=ticket(), message=sent, command_id="c1", **fields)
        return event("tickets", "t1", sequence, payload, "c1")

    once = [opened(), answered(2), file(3, "f1"), file(4, "f2", tickets.MessageFailed, error="too large")]
    assert "replies sent twice" not in audit(once).faults
    assert "replies sent twice" in audit([*once, file(5, "f1")]).faults
    assert "replies sent twice" in audit([*once, file(5, "f2")]).faults


def test_a_contact_is_no_effect_of_a_message() -> None:
    contact = contacts.Contact(id="c1", created_at=T0, updated_at=T0)
    told = Event.of(
        contacts.ContactUpdated(contact=contact), source="/deskbus/ingest/contacts", subject="c1", sequence=1, time=T0,
        causationid="r1",
    )  # fmt: skip
    report = audit([inbound("r1", b'{"id":"x-m1"}'), line(topics.CONTACTS, told.encode())])
    assert set(report.faults) == {"messages without effect"}


def test_a_mail_that_came_twice_is_known_by_its_message_id() -> None:
    body = b"From: a@b.pl\r\nMessage-ID: <1@x>\r\n\r\nhello"
    told = Event.of(
        tickets.TicketOpened(
            ticket=ticket().model_copy(update={"channel": "email"}),
            message=message("an id with the sender in it").model_copy(update={"channel_message_id": "<1@x>"}),
        ),
        source="/deskbus/ingest", subject="t1", sequence=1, time=T0, causationid="r1",
    )  # fmt: skip
    again = [inbound(receipt, body, "email") for receipt in ("r1", "r2")]
    assert audit([*again, line(topics.TICKETS, told.encode())]).clean
    assert set(audit(again).faults) == {"messages without effect"}


def test_of_two_messages_in_one_body_each_must_have_its_effect() -> None:
    body = b'{"events":[{"type":"message","message":{"id":"1"}},{"type":"message","message":{"id":"2"}}]}'
    first, second = (message_id("line", "coupang-kr", number) for number in ("1", "2"))
    half = [inbound("r1", body, "line"), opened(said=first)]
    assert set(audit(half).faults) == {"messages without effect"}
    assert audit([*half, opened("t2", said=second)]).clean


@pytest.mark.parametrize("kind", FAULTS)
def test_each_fault_is_found_and_called_by_its_name(kind: str) -> None:
    report = audit(FAULTS[kind], at(3600))
    assert set(report.faults) == {kind}
    assert not report.clean


OPEN: dict[str, list[TopicRecord]] = {
    "tickets without a clock": [opened(), queued(), assigned(2)],
    "tickets that routing has not seen": [opened(), clock(sla.ClockMet, 1, met_at=at(5))],
    "tickets that wait for an agent": [queued()],
    "replies that were not sent": [reply()],
}


@pytest.mark.parametrize("kind", OPEN)
def test_what_is_not_done_yet_is_a_fault_only_once_all_should_be_settled(kind: str) -> None:
    report = audit(OPEN[kind])
    assert set(report.open) == {kind}
    assert report.holds(settled=False)
    assert not report.holds(settled=True)


def test_a_ticket_that_is_solved_while_it_waits_waits_for_nobody() -> None:
    solved = tickets.TicketStatusChanged(
        ticket=ticket(status=Status.SOLVED), old=Status.OPEN, new=Status.SOLVED, actor=SOMEBODY
    )
    report = audit([opened(), queued(), event("tickets", "t1", 2, solved), clock(sla.ClockStarted, 1)])
    assert "tickets that wait for an agent" not in report.open


EXCUSED: dict[str, Callable[[], list[TopicRecord]]] = {
    "a resend of the same event": lambda: [opened(), opened(), answered(2), opened()],
    "a message that comes twice with another body": lambda: [
        inbound("r1", b'{"id":"x-m1"}'), inbound("r2", b'{"id": "x-m1", "again": true}'), opened()],
    "a record that says what became of a message": lambda: [inbound("r1", b'{"type":"status","message_id":"1"}')],
    "a record that nobody can read, with a dead letter": lambda: [
        inbound("r1", b"{"), letter(inbound("r1", b"{"))],
    "a ticket that nobody can serve, said so": lambda: [event("assignments", "t1", 1, assignments.TicketUnroutable(
        ticket_id="t1", reason="no_agent_with_skills"))],
    "one agent after the other": lambda: [queued(), assigned(2), unassigned(3, 5), assigned(4, agent="a2", since=6)],
    "work that ends as other work begins": lambda: [
        agent(1), assigned(1), unassigned(2, 5), assigned(1, subject="t2", since=5)],
    "work that waits for the customer takes no room": lambda: [
        agent(1), opened(), event("tickets", "t1", 2, tickets.TicketStatusChanged(
            ticket=ticket(status=Status.PENDING), old=Status.OPEN, new=Status.PENDING, actor=SOMEBODY)),
        queued(), assigned(2), assigned(1, subject="t2", since=2)],
    "a transfer that was refused": lambda: [event("assignments", "t1", 1, assignments.TicketTransferAnswered(
        ticket_id="t1", command_id="c1", outcome="refused", reason="unknown_ticket"))],
    "a deadline that is only just over": lambda: [clock(sla.ClockStarted, 1, due=3599)],
    "a clock that stands still": lambda: [
        clock(sla.ClockStarted, 1), clock(sla.ClockPaused, 2, due=None, reason="pending")],
    "a chain that begins again after an acknowledgement": lambda: [
        step(1), escalation(2, notifications.EscalationAcknowledged, by="Ewa", acknowledged_at=T0), step(3)],
}  # fmt: skip


@pytest.mark.parametrize("kind", EXCUSED)
def test_what_looks_like_a_fault_and_is_none_is_not_one(kind: str) -> None:
    report: Report = audit(EXCUSED[kind](), at(3600))
    assert dict(report.faults) == {}
