"""Samples of what sla says, and of what notify makes of it."""

from collections.abc import Iterator
from typing import Any

from contracts import notifications, sla
from contracts.samples.ingest import Sample
from contracts.samples.stories import ENGLISH, POLISH, THAI, at


def clock_samples() -> Iterator[Sample]:
    """Clocks."""
    thai: dict[str, Any] = {
        "ticket_id": THAI.id,
        "clock_id": f"{THAI.id}:first_reply:1",
        "metric": sla.Metric.FIRST_REPLY,
        "policy": sla.PolicyRef(name="gold-chat", version="2026-11-01"),
        "calendar": sla.CalendarRef(name="always", version="1", tzdata="2026a"),
        "target_seconds": 600.0,
        "started_at": at("08:30:00.412"),
        "facts": THAI.facts(),
    }
    polish: dict[str, Any] = {
        "ticket_id": POLISH.id,
        "clock_id": f"{POLISH.id}:resolution:1",
        "metric": sla.Metric.RESOLUTION,
        "policy": sla.PolicyRef(name="allegro-mail", version="2026-10-12"),
        "calendar": sla.CalendarRef(name="warsaw-office", version="4", holidays="pl-2026", tzdata="2026a"),
        "target_seconds": 28_800.0,
        "started_at": at("09:02:11.030"),
        "facts": POLISH.facts(),
    }
    due = {"due_at": at("08:40:00.412")}
    yield "first-reply", THAI.id, at("08:30:00.450"), sla.ClockStarted(**thai, **due, remaining_seconds=600.0)
    yield (
        "resolution",
        POLISH.id,
        at("09:02:11.100"),
        sla.ClockStarted(**polish, due_at=at("17:02:11.030"), remaining_seconds=28_800.0),
    )
    yield (
        "pending",
        POLISH.id,
        at("09:19:55.800"),
        sla.ClockPaused(
            **polish,
            paused_at=at("09:19:55.730"),
            elapsed_seconds=1064.7,
            remaining_seconds=27_735.3,
            reason=sla.PauseReason.PENDING,
        ),
    )
    yield (
        "customer-replied",
        POLISH.id,
        at("10:19:55.900"),
        sla.ClockResumed(
            **polish,
            due_at=at("18:02:11.030"),
            elapsed_seconds=1064.7,
            remaining_seconds=27_735.3,
            reason=sla.ResumeReason.CUSTOMER_REPLIED,
            resumed_at=at("10:19:55.730"),
            paused_seconds=3600.0,
        ),
    )
    yield (
        "two-minutes-left",
        THAI.id,
        at("08:38:00.412"),
        sla.ClockDueSoon(**thai, **due, elapsed_seconds=480.0, remaining_seconds=120.0, before_seconds=120.0),
    )
    yield (
        "unassigned",
        THAI.id,
        at("08:36:00"),
        sla.ClockAtRisk(
            **thai,
            **due,
            elapsed_seconds=359.588,
            remaining_seconds=240.412,
            reason=sla.RiskReason.UNASSIGNED,
            detail="still in delivery-th",
        ),
    )
    yield (
        "first-reply",
        THAI.id,
        at("08:40:00.520"),
        sla.ClockBreached(
            **thai,
            **due,
            elapsed_seconds=600.0,
            breached_at=at("08:40:00.412"),
            noticed_at=at("08:40:00.520"),
            breached_by_seconds=0.108,
        ),
    )
    yield (
        "in-time",
        THAI.id,
        at("08:39:22.300"),
        sla.ClockMet(
            **thai,
            **due,
            elapsed_seconds=561.888,
            remaining_seconds=38.112,
            met_at=at("08:39:22.300"),
            message_id="msg-7c31a240e9fb6d58c203f4e5d6",
        ),
    )
    yield (
        "answered-late",
        THAI.id,
        at("08:41:22.300"),
        sla.ClockCancelled(
            **thai,
            **due,
            elapsed_seconds=681.888,
            reason=sla.CancelReason.STOPPED_LATE,
            cancelled_at=at("08:41:22.300"),
            breached_by_seconds=81.888,
        ),
    )


def notification_samples() -> Iterator[Sample]:
    """Escalations and notifications."""
    name = f"esc-{THAI.id}"
    about: dict[str, Any] = {"escalation_id": name, "ticket_id": THAI.id}
    alert = notifications.Alert(
        name="sla_breached",
        labels={
            "brand": "Lumina",
            "channel": "whatsapp",
            "country": "TH",
            "metric": "first_reply",
            "priority": "high",
            "tier": "gold",
        },
        summary="First reply overdue: พัสดุยังไม่ถึงเลยครับ (Lumina, WhatsApp)",
        cause=f"sla:{THAI.id}:3",
        started_at=at("08:40:00.412"),
    )
    lead = notifications.Target(kind="person", name="lead-th")
    sent: dict[str, Any] = {
        **about,
        "notification_id": f"{name}:0:0:slack",
        "kind": notifications.NotificationKind.FIRING,
        "step": 0,
        "target": lead,
        "sink": notifications.Sink.SLACK,
        "dedup_key": name,
    }
    yield (
        "breach",
        name,
        at("08:40:00.700"),
        notifications.EscalationOpened(
            **about, alert=alert, route="sla/gold", chain="thai-leads", opened_at=at("08:40:00.700")
        ),
    )
    yield (
        "first-step",
        name,
        at("08:40:00.700"),
        notifications.EscalationStepReached(
            **about, alert=alert, chain="thai-leads", step=0, targets=(lead,), reached_at=at("08:40:00.700")
        ),
    )
    yield (
        "lead-takes-over",
        name,
        at("08:41:00"),
        notifications.EscalationAcknowledged(
            **about, by="lead-th", via="slack", step=0, acknowledged_at=at("08:41:00"), after_ms=59_300
        ),
    )
    yield (
        "answered-late",
        name,
        at("08:41:22.600"),
        notifications.EscalationResolved(
            **about, alert=alert, reason=notifications.ResolveReason.STOPPED_LATE, resolved_at=at("08:41:22.600")
        ),
    )
    yield (
        "slack",
        name,
        at("08:40:01.100"),
        notifications.NotificationSent(**sent, status=200, sent_at=at("08:40:01.100"), after_ms=400),
    )
    yield (
        "webhook-gone",
        f"esc-{ENGLISH.id}",
        at("10:36:00"),
        notifications.NotificationFailed(
            **{
                **sent,
                "sink": notifications.Sink.WEBHOOK,
                "attempts": 1,
                "escalation_id": f"esc-{ENGLISH.id}",
                "ticket_id": ENGLISH.id,
                "dedup_key": f"esc-{ENGLISH.id}",
                "notification_id": f"esc-{ENGLISH.id}:0:0:hook",
            },
            status=410,
            error="410 Gone: the receiver is disabled",
            failed_at=at("10:36:00"),
        ),
    )
    yield (
        "answered-meanwhile",
        name,
        at("08:41:24"),
        notifications.NotificationWithdrawn(
            **{**sent, "notification_id": f"{name}:0:1:hook", "sink": notifications.Sink.WEBHOOK},
            withdrawn_at=at("08:41:24"),
        ),
    )
    yield (
        "nobody-acknowledged",
        name,
        at("09:40:00.700"),
        notifications.EscalationExhausted(
            **about, alert=alert, chain="thai-leads", round=1, exhausted_at=at("09:40:00.700")
        ),
    )
    ended = {"kind": notifications.NotificationKind.RESOLVED, "notification_id": f"{name}:0:2:slack", "step": 1}
    yield (
        "resolved-with-the-key-of-its-alarm",
        name,
        at("09:44:12.300"),
        notifications.NotificationSent(
            **{**sent, **ended, "dedup_key": f"{name}:u5wq3m4u2t6kq7xk7c2f4yb3pe"},
            status=200,
            sent_at=at("09:44:12.300"),
            after_ms=210,
        ),
    )
