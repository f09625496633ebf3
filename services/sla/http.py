"""REST API: the clocks of a ticket, breaches, and which policy would apply. Views of the state; no rules."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Query
from pydantic import BaseModel

from contracts.sla import CalendarRef, PolicyRef
from contracts.ticket import TicketFacts
from contracts.values import Instant
from kit.base.clock import Clock
from kit.doors.http import Problem, door, requires
from kit.protocol.outbox import Documents
from services.sla.core.clocks import SlaClock, elapsed, paused_by_solve
from services.sla.core.preview import promises
from services.sla.core.state import TicketClocks
from services.sla.settings import SlaSettings
from services.sla.store import Archive, breach_key

Reader = Depends(requires("sla:read"))
#: How far from now `at` of a preview may be: calendars compute, and cache, every year in between.
MAX_DISTANCE = timedelta(days=3660)


class ClockView(BaseModel):
    """One clock. Durations are working time of its calendar."""

    clock_id: str
    metric: str
    state: Literal["running", "paused", "ended"]
    policy: PolicyRef
    calendar: CalendarRef
    target_seconds: float
    elapsed_seconds: float
    remaining_seconds: float
    started_at: Instant
    due_at: Instant | None = None
    paused_at: Instant | None = None
    pause_reason: str | None = None
    breached_at: Instant | None = None
    ended_at: Instant | None = None
    outcome: str | None = None
    message_id: str | None = None


class ClocksView(BaseModel):
    """The clocks of a ticket: the live ones, then the ended ones, latest first."""

    ticket_id: str
    policy_version: str
    clocks: list[ClockView]


class BreachView(BaseModel):
    """A target that was missed, whatever happened later."""

    ticket_id: str
    clock_id: str
    metric: str
    policy: str
    breached_at: Instant
    target_seconds: float
    open: bool
    """Whether the clock is still waiting, e.g. for the reply."""
    facts: TicketFacts


class BreachesView(BaseModel):
    """Breaches, grouped by ticket, the ticket with the latest breach first."""

    items: list[BreachView]
    next: str | None = None
    """Cursor of the next page; null on the last one."""


class MatchRequest(TicketFacts):
    """A hypothetical ticket."""

    at: Instant | None = None
    """When the ticket would be opened. Default: now."""


class WarningView(BaseModel):
    at: Instant
    kind: Literal["due_soon", "at_risk"]


class PromiseView(BaseModel):
    metric: str
    target_seconds: float
    due_at: Instant
    warnings: list[WarningView]


class MatchView(BaseModel):
    """The policy that would apply, and its clocks; none without a policy."""

    policy: PolicyRef | None
    calendar: CalendarRef | None
    at: Instant
    clocks: list[PromiseView]


def build_app(settings: SlaSettings, documents: Documents[TicketClocks], archive: Archive, wall: Clock) -> FastAPI:
    """Build the public API."""
    app = door("Deskbus SLA", settings)

    @app.get("/v1/tickets/{ticket_id}/clocks", dependencies=[Reader])
    async def clocks(ticket_id: str) -> ClocksView:
        state = (await documents.load([ticket_id]))[ticket_id].state
        if state is None:
            raise Problem(404, detail="Unknown ticket")
        found = (*state.live, *reversed(state.ended))
        await archive.ensure_loaded({clock.terms.policy.version for clock in found})
        views = [_clock(clock, archive, wall.now()) for clock in found]
        return ClocksView(ticket_id=ticket_id, policy_version=state.version, clocks=views)

    @app.get("/v1/breaches", dependencies=[Reader])
    async def breaches(
        metric: str | None = None,
        policy: str | None = None,
        since: Annotated[Instant | None, Query(description="Breached at or after.")] = None,
        until: Annotated[Instant | None, Query(description="Breached before.")] = None,
        cursor: Annotated[str | None, Query(description="`next` of the previous page.")] = None,
        limit: Annotated[int, Query(ge=1, le=200, description="Maximum number of tickets per page.")] = 50,
    ) -> BreachesView:
        # `until` filters below, not in the query: a ticket whose latest breach is later may have an earlier one.
        after = breach_key(since) if since is not None else ""
        query: dict[str, Any] = {"state.last_breach": {"$gte": after, **({"$lt": cursor} if cursor else {})}}
        for name, value in (("metric", metric), ("policy", policy)):
            if value is not None:
                query[f"state.breaches.{name}"] = value
        docs = await documents.find(query, sort=[("state.last_breach", -1)], limit=limit + 1)
        states = [doc.state for doc in docs[:limit] if doc.state is not None]
        items = [
            view
            for state in states
            for view in _breaches(state)
            if metric in {None, view.metric}
            and policy in {None, view.policy}
            and (since is None or view.breached_at >= since)
            and (until is None or view.breached_at < until)
        ]
        return BreachesView(items=items, next=_key(states[-1]) if len(docs) > limit else None)

    @app.post("/v1/policies/match", dependencies=[Reader])
    async def match(request: MatchRequest) -> MatchView:
        at, book = request.at or wall.now(), archive.current
        if abs(at - wall.now()) > MAX_DISTANCE:
            raise Problem(422, detail=f"`at` is more than {MAX_DISTANCE.days} days from now")
        policy = book.match(request)
        views = [
            PromiseView(
                metric=promise.metric,
                target_seconds=promise.terms.target_ms / 1000,
                due_at=promise.due_at,
                warnings=[WarningView(at=i, kind="at_risk" if risk else "due_soon") for i, risk in promise.warnings],
            )
            for promise in promises(book, request, at)
        ]
        if policy is None:
            return MatchView(policy=None, calendar=None, at=at, clocks=[])
        ref = PolicyRef(name=policy.name, version=book.version)
        return MatchView(policy=ref, calendar=book.calendar_ref(policy.calendar_for(request)), at=at, clocks=views)

    return app


def _clock(clock: SlaClock, archive: Archive, now: datetime) -> ClockView:
    calendar = archive.version(clock.terms.policy.version).calendar(clock.terms.calendar.name)
    used, target = elapsed(clock, now, calendar), clock.terms.target_ms
    return ClockView(
        clock_id=clock.id,
        metric=clock.metric,
        state=clock.phase.value,
        policy=clock.terms.policy,
        calendar=clock.terms.calendar,
        target_seconds=target / 1000,
        elapsed_seconds=used / 1000,
        remaining_seconds=max(0, target - used) / 1000,
        started_at=clock.started_at,
        due_at=clock.due_at,
        paused_at=clock.paused_at,
        pause_reason=clock.pause_reason,
        breached_at=clock.breached_at,
        ended_at=clock.ended_at,
        outcome=clock.outcome,
        message_id=clock.message_id,
    )


def _breaches(state: TicketClocks) -> list[BreachView]:
    live = {clock.id for clock in state.live if not paused_by_solve(clock)}
    return [
        BreachView(
            ticket_id=state.ticket_id,
            clock_id=breach.clock_id,
            metric=breach.metric,
            policy=breach.policy,
            breached_at=breach.breached_at,
            target_seconds=breach.target_ms / 1000,
            open=breach.clock_id in live,
            facts=state.facts,
        )
        for breach in sorted(state.breaches, key=lambda b: b.breached_at, reverse=True)
    ]


def _key(state: TicketClocks) -> str:
    return breach_key(max(breach.breached_at for breach in state.breaches), state.ticket_id)
