"""Events, a policy and instants for the tests of notify."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from contracts.assignments import AgentRef, TicketAssigned, TicketQueued, TicketRoutable, TicketUnroutable
from contracts.envelope import Event, Payload
from contracts.sla import (
    CalendarRef,
    ClockAtRisk,
    ClockBreached,
    ClockCancelled,
    ClockDueSoon,
    ClockMet,
    ClockPaused,
    ClockResumed,
    PolicyRef,
)
from contracts.ticket import Author, ContactRef, Market, Priority, Status, Ticket, TicketFacts
from contracts.tickets import TicketReopened, TicketStatusChanged
from services.notify.core.policy import NotifyPolicy
from services.notify.policy_file import NotifyFile

START = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
TICKET = "0193a000-0000-7000-8000-000000000001"
ESCALATION = f"esc-{TICKET}"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SOURCES = {"sla": "/deskbus/sla", "routing": "/deskbus/routing", "ingest": "/deskbus/ingest"}
FACTS = TicketFacts(
    channel="whatsapp",
    account="wa-th",
    brand="nimbus",
    market=Market(marketplace="shopee", country="TH"),
    priority=Priority.HIGH,
    language="th",
    tier="gold",
)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def policy(**changes: Any) -> NotifyPolicy:
    """Return a policy: breaches to lead, to on-call after 60 s, repeated once; warnings to Slack; others by mail."""
    document: dict[str, Any] = {
        "receivers": {
            "lead": {"sink": "webhook", "url": "https://hooks.nimbus.example/lead", "signing": "env:S"},
            "oncall": {
                "kind": "schedule",
                "sink": "webhook",
                "url": "https://hooks.nimbus.example/oncall",
                "signing": "env:S",
            },
            "slack": {"sink": "slack", "access": "env:T", "channel": "C1"},
            "mail": {"sink": "email", "to": "desk@nimbus.example"},
        },
        "chains": {
            "breach": {
                "steps": [{"targets": "lead", "wait": "60s"}, {"targets": "oncall", "wait": "60s"}],
                "repeat": 1,
                "remind_after": "10m",
                "undo_after": "5m",
            }
        },
        "route": {
            "name": "all",
            "receiver": "mail",
            "repeat_interval": "1h",
            "routes": [
                {"name": "breached", "match": {"kind": "breached"}, "chain": "breach"},
                {"name": "warnings", "match": {"kind": ["at_risk", "due_soon"]}, "receiver": "slack"},
            ],
        },
        "backoff": {"first": "10s", "most": "1h"},
    }
    return NotifyFile.model_validate(document | changes)


def event(data: Payload, when: datetime, source: str = "sla", sequence: int = 1, ticket: str = TICKET) -> Event:
    return Event.of(data, source=SOURCES[source], subject=ticket, sequence=sequence, time=when)


def _clock(clock: str, metric: str, ticket: str) -> dict[str, Any]:
    return {
        "ticket_id": ticket,
        "clock_id": clock,
        "metric": metric,
        "policy": PolicyRef(name="marketplace", version="1"),
        "calendar": CalendarRef(name="always", version="1"),
        "target_seconds": 14_400,
        "started_at": START,
        "facts": FACTS,
    }


def breached(
    seconds: float, clock: str = "c1", metric: str = "first_reply", ticket: str = TICKET, **more: Any
) -> Event:
    data = ClockBreached(**_clock(clock, metric, ticket), breached_at=at(seconds))
    return event(data, at(seconds), ticket=ticket, **more)


def at_risk(seconds: float, clock: str = "c1", detail: str | None = None, **more: Any) -> Event:
    data = ClockAtRisk(**_clock(clock, "first_reply", TICKET), reason="time", detail=detail)
    return event(data, at(seconds), **more)


def due_soon(seconds: float, clock: str = "c1", before: float = 60, **more: Any) -> Event:
    return event(ClockDueSoon(**_clock(clock, "first_reply", TICKET), before_seconds=before), at(seconds), **more)


def met(seconds: float, clock: str = "c1", **more: Any) -> Event:
    return event(ClockMet(**_clock(clock, "first_reply", TICKET), met_at=at(seconds)), at(seconds), **more)


def cancelled(
    seconds: float, clock: str = "c1", reason: str = "stopped_late", ticket: str = TICKET, **more: Any
) -> Event:
    data = ClockCancelled(**_clock(clock, "first_reply", ticket), reason=reason, cancelled_at=at(seconds))
    return event(data, at(seconds), ticket=ticket, **more)


def paused(seconds: float, clock: str = "c1", reason: str = "pending", **more: Any) -> Event:
    return event(ClockPaused(**_clock(clock, "first_reply", TICKET), reason=reason), at(seconds), **more)


def resumed(seconds: float, clock: str = "c1", reason: str = "status", **more: Any) -> Event:
    data = ClockResumed(**_clock(clock, "first_reply", TICKET), reason=reason, resumed_at=at(seconds))
    return event(data, at(seconds), **more)


def queued(seconds: float, queue: str = "thai", **more: Any) -> Event:
    data = TicketQueued(ticket_id=TICKET, queue=queue, facts=FACTS, reason="opened", queued_at=at(seconds))
    return event(data, at(seconds), "routing", **more)


def assigned(seconds: float, agent: str = "Somchai", queue: str = "thai", **more: Any) -> Event:
    data = TicketAssigned(
        ticket_id=TICKET,
        queue=queue,
        facts=FACTS,
        agent=AgentRef(id=agent.lower(), name=agent),
        reason="best_match",
        queued_at=START,
        assigned_at=at(seconds),
        waited_ms=0,
    )
    return event(data, at(seconds), "routing", **more)


def unroutable(seconds: float, reason: str = "no_agent_with_skills", queue: str = "thai", **more: Any) -> Event:
    data = TicketUnroutable(ticket_id=TICKET, queue=queue, facts=FACTS, reason=reason, detail="lang-th at level 4")
    return event(data, at(seconds), "routing", **more)


def routable(seconds: float, **more: Any) -> Event:
    data = TicketRoutable(ticket_id=TICKET, queue="thai", facts=FACTS, reason="agent_found")
    return event(data, at(seconds), "routing", **more)


def ticket_with(status: Status, version: int | None = None) -> Ticket:
    return Ticket(
        id=TICKET,
        channel="whatsapp",
        account="wa-th",
        contact=ContactRef(id="contact-1"),
        status=status,
        version=version,
        created_at=START,
        updated_at=START,
    )


AGENT = Author(kind="agent", id="somchai")


def solved(seconds: float, version: int | None = None, **more: Any) -> Event:
    ticket = ticket_with(Status.SOLVED, version)
    data = TicketStatusChanged(ticket=ticket, old=Status.OPEN, new=Status.SOLVED, actor=AGENT)
    return event(data, at(seconds), "ingest", **more)


def reopened(seconds: float, version: int | None = None, **more: Any) -> Event:
    data = TicketReopened(ticket=ticket_with(Status.OPEN, version), old=Status.SOLVED, actor=AGENT)
    return event(data, at(seconds), "ingest", **more)


def types(events: Sequence[Payload]) -> list[str]:
    """Return the short types of events, such as `escalation.opened`."""
    return [data.type.removeprefix("deskbus.").removesuffix(".v1") for data in events]
