"""Samples of what routing says."""

from collections.abc import Iterator
from typing import Any

from contracts import agents, assignments, queues
from contracts.samples.ingest import Sample
from contracts.samples.stories import KOREAN, POLISH, THAI, at
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
    korean: dict[str, Any] = {"ticket_id": KOREAN.id, "queue": "warranty-kr", "facts": KOREAN.facts()}
    yield (
        "minho-was-hired",
        KOREAN.id,
        at("09:29:00"),
        assignments.TicketRoutable(**korean, reason=assignments.RoutableReason.AGENT_FOUND, queued_at=at("09:16:30")),
    )
    minho: dict[str, Any] = {**korean, "to_agent": assignments.AgentRef(id="minho", name="Kim Min-ho")}
    yield (
        "waits-for-minho",
        KOREAN.id,
        at("09:31:00.200"),
        assignments.TicketTransferAnswered(
            **minho,
            command_id="transfer-0001",
            outcome=assignments.TransferOutcome.WAITING,
            reason=assignments.TransferReason.AGENT_FULL,
            detail="4 of 4 in use, 1 wanted",
            until=at("09:36:00.200"),
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
