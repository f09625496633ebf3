"""Escalations, alarms and planned notifications as values, and what a decision changed of them. No tests."""

from typing import Any

from contracts.notifications import (
    Alert,
)
from kit.protocol.document import Decision
from services.notify.core.state import Alarm, Escalation, Planned
from tests.notify.examples import START, TICKET, at, policy

RULES = policy(
    receivers={
        "lead": {
            "sink": "webhook",
            "url": "https://hooks.nimbus.example/lead",
            "signing": "env:S",
            "retry_for": "100s",
        },
        "oncall": {"kind": "schedule", "sink": "webhook", "url": "https://hooks.nimbus.example/o", "signing": "env:S"},
        "slack": {"sink": "slack", "access": "env:T", "channel": "C1"},
        "mail": {"sink": "email", "to": "desk@nimbus.example", "send_resolved": False},
    }
)
ALERT = Alert(name="FirstReplyBreached", labels={"kind": "breached"}, summary="Too late", started_at=START)


def alarm(key: str = "a1", **more: Any) -> Alarm:
    fields: dict[str, Any] = {
        "key": key, "kind": "breached", "about": "c1", "alert": ALERT, "route": "breached", "chain": "breach",
        "repeat_interval": 60.0, "opened_at": at(0), "raised_at": at(0), "step": 0,
    }  # fmt: skip
    return Alarm(**{**fields, **more})


def planned(number: int = 1, **more: Any) -> Planned:
    fields: dict[str, Any] = {
        "id": f"n{number}", "number": number, "alarm": "a1", "kind": "firing", "alert": ALERT, "step": 0,
        "receiver": "lead", "target": "person", "sink": "webhook", "planned_at": at(1), "next_try": at(1),
    }  # fmt: skip
    return Planned(**{**fields, **more})


def escalation(*waits: Planned, alarms: tuple[Alarm, ...] = (alarm(),), **more: Any) -> Escalation:
    return Escalation(ticket_id=TICKET, alarms=alarms, planned=waits, count=len(waits), **more)


def changed(before: Escalation, decision: Decision[Escalation]) -> dict[str, Any]:
    """The fields that a decision changed."""
    after = decision.state
    assert after is not None
    return {n: v for n in Escalation.model_fields if getattr(before, n) != (v := getattr(after, n))}
