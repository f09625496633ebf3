"""Samples of what routing, sla and notify say."""

from collections.abc import Iterator
from typing import Any

from contracts import agents, assignments, notifications, queues, sla
from contracts.samples.ingest import Sample
from contracts.samples.stories import ENGLISH, KOREAN, POLISH, THAI, at
from contracts.ticket import Priority

ANONG = assignments.AgentRef(id="anong", name="Anong Srisai")
DECISION = assignments.AssignmentDecision(
    candidates=(
        assignments.Candidate(
            agent_id="anong", chosen=True, skill_score=6.0, load=1.0, capacity=4.0, idle_seconds=312.5
        ),
        assignments.Candidate(
            agent_id="niran", passed_over=assignments.PassedOver.HIGHER_LOAD, skill_score=6.0, load=2.0, capacity=4.0
        ),
        assignments.Candidate(
            agent_id="kasia",
            passed_over=assignments.PassedOver.LANGUAGE,
            detail="does not speak th",
            load=0.0,
            capacity=3.0,
        ),
    ),
    looked_at=12,
    skills_dropped=("shopee",),
)


def assignment_samples() -> Iterator[Sample]:
    """Assignments."""
    thai: dict[str, Any] = {"ticket_id": THAI.id, "queue": "delivery-th", "facts": THAI.facts()}
    offer: dict[str, Any] = {"offer_id": "offer-019aa0b1-1", "agent": ANONG}
    yield (
        "opened",
        THAI.id,
        at("08:30:00.500"),
        assignments.TicketQueued(
            **thai,
            reason=assignments.QueueReason.OPENED,
            priority=Priority.HIGH,
            required_skills=THAI.required_skills,
            preferred_skills=THAI.preferred_skills,
            queued_at=at("08:30:00.412"),
        ),
    )
    yield (
        "to-anong",
        THAI.id,
        at("08:30:01"),
        assignments.TicketOffered(
            **thai, **offer, offered_at=at("08:30:01"), expires_at=at("08:30:31"), decision=DECISION
        ),
    )
    yield (
        "no-answer",
        THAI.id,
        at("08:30:31"),
        assignments.TicketOfferExpired(**thai, **offer, expired_at=at("08:30:31"), unanswered_in_row=2),
    )
    yield (
        "busy",
        THAI.id,
        at("08:30:20"),
        assignments.TicketOfferDeclined(**thai, **offer, declined_at=at("08:30:20"), reason="กำลังคุยโทรศัพท์อยู่"),
    )
    yield (
        "best-match",
        THAI.id,
        at("08:30:00.640"),
        assignments.TicketAssigned(
            **thai,
            agent=ANONG,
            reason=assignments.AssignReason.BEST_MATCH,
            queued_at=at("08:30:00.412"),
            assigned_at=at("08:30:00.640"),
            waited_ms=228,
            load_before=1.0,
            load_after=2.0,
            decision=DECISION,
        ),
    )
    yield (
        "sticky",
        POLISH.id,
        at("12:30:01.200"),
        assignments.TicketAssigned(
            ticket_id=POLISH.id,
            queue="returns-pl",
            facts=POLISH.facts(),
            agent=assignments.AgentRef(id="kasia"),
            reason=assignments.AssignReason.STICKY,
            sticky=True,
            queued_at=at("12:30:01"),
            assigned_at=at("12:30:01.200"),
            waited_ms=200,
            load_before=0.5,
            load_after=1.5,
        ),
    )
    yield (
        "went-offline",
        THAI.id,
        at("08:55:00"),
        assignments.TicketUnassigned(
            **thai,
            agent=ANONG,
            reason=assignments.UnassignReason.AGENT_OFFLINE,
            assigned_at=at("08:30:00.640"),
            unassigned_at=at("08:55:00"),
        ),
    )
    yield (
        "nobody-speaks-korean",
        KOREAN.id,
        at("09:16:31"),
        assignments.TicketUnroutable(
            ticket_id=KOREAN.id,
            queue="warranty-kr",
            facts=KOREAN.facts(),
            queued_at=at("09:16:30"),
            reason=assignments.UnroutableReason.NO_AGENT_WITH_LANGUAGE,
            detail="no agent of warranty-kr speaks ko",
            decision=assignments.AssignmentDecision(looked_at=12),
        ),
    )


def agent_samples() -> Iterator[Sample]:
    """Agents and queues."""
    anong = agents.Agent(
        id="anong",
        name="Anong Srisai",
        email="anong@lumina.example",
        skills={"delivery": 4, "shopee": 3},
        languages=("th", "en"),
        brands=("Lumina",),
        queues=("delivery-th",),
        capacity=4.0,
        channel_weights={"email": 0.5, "phone": 4.0},
        presence=agents.Presence.ONLINE,
        presence_since=at("08:00"),
        version=7,
    )
    away = anong.model_copy(update={"presence": "away", "presence_since": at("08:30:31"), "version": 8})
    yield "anong", "anong", at("08:00"), agents.AgentUpdated(agent=anong)
    yield (
        "two-offers-unanswered",
        "anong",
        at("08:30:31"),
        agents.AgentPresenceChanged(
            agent=away,
            old=agents.Presence.ONLINE,
            new=agents.Presence.AWAY,
            reason=agents.PresenceReason.OFFERS_UNANSWERED,
        ),
    )
    yield "left", "anong", at("18:00"), agents.AgentRemoved(agent_id="anong", removed_at=at("18:00"))
    yield (
        "quarter",
        "delivery-th",
        at("08:45:00"),
        queues.QueueReported(
            queue="delivery-th",
            period_start=at("08:30:00"),
            period_end=at("08:45:00"),
            depth=3,
            oldest_wait_seconds=41.2,
            arrivals=18,
            handled=16,
            agents_online=4,
            occupancy=0.81,
        ),
    )


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
