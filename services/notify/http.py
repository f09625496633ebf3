"""REST API: list and read escalations, acknowledge one. An acknowledgement is answered once it is stored."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Query
from pydantic import BaseModel, Field

from contracts.notifications import Alert
from contracts.values import Instant
from kit.base.clock import Clock
from kit.base.tokens import Caller
from kit.doors.http import Problem, Router, door, requires
from kit.protocol.document import Decision
from kit.protocol.outbox import Documents
from services.notify import store
from services.notify.core.escalation import acknowledge, explain
from services.notify.core.policy import NotifyPolicy
from services.notify.core.state import Alarm, Escalation, Planned, Standing, dedup_key
from services.notify.settings import NotifySettings

_LISTED = (Standing.OPEN, Standing.ACKNOWLEDGED, Standing.RESOLVED)


class AlarmView(BaseModel):
    """One alert on one route."""

    alert: Alert
    standing: Standing
    route: str
    chain: str | None
    step: int | None
    round: int
    opened_at: Instant
    next_at: Instant | None
    notified: tuple[str, ...]
    acknowledged_by: str | None
    acknowledged_at: Instant | None
    exhausted: bool
    superseded: bool
    """Whether a worse alarm took its place, or its alert was withdrawn."""
    dedup_key: str
    """Key by which receivers identify the alarm."""
    ended_at: Instant | None
    ended_reason: str | None


class WaitingView(BaseModel):
    """A notification that is still to be sent or retried."""

    notification_id: str
    receiver: str
    sink: str
    kind: str
    attempts: int
    next_try: Instant


class EscalationView(BaseModel):
    """All alarms of one ticket, and who was notified."""

    id: str
    ticket_id: str
    standing: Standing
    queue: str | None
    agent: str | None
    alarms: tuple[AlarmView, ...]
    waiting: tuple[WaitingView, ...]
    disabled: tuple[str, ...]


class Page(BaseModel):
    """A page of escalations; `next` is `before` of the next page."""

    escalations: tuple[EscalationView, ...]
    next: str | None


class Acknowledgement(BaseModel):
    """Who acknowledges. Default: the owner of the token."""

    by: str | None = Field(None, min_length=1, max_length=200)
    via: str = Field(
        "rest", min_length=1, max_length=40, description="Where it was acknowledged: rest, slack, pagerduty."
    )


class Explanation(BaseModel):
    """The routes visited for an alert, and why each was taken or not."""

    routes: tuple[str, ...]


Id = Annotated[str, Path(min_length=5, max_length=200, pattern=r"^esc-")]
Reader = Annotated[Caller, Depends(requires("escalations:read"))]
Acknowledger = Annotated[Caller, Depends(requires("escalations:ack"))]


def build_app(
    settings: NotifySettings, documents: Documents[Escalation], policy: Callable[[], NotifyPolicy], clock: Clock
) -> FastAPI:
    """Build the public API."""
    app = door("Deskbus notify", settings, max_body=16 * 1024)
    app.include_router(_router(documents, policy, clock))
    return app


def _router(documents: Documents[Escalation], policy: Callable[[], NotifyPolicy], clock: Clock) -> Router:
    router = Router(prefix="/v1")

    @router.get("/escalations")
    async def list_escalations(
        _: Reader,
        standing: Annotated[list[Standing] | None, Query()] = None,
        kind: Annotated[str | None, Query(max_length=40)] = None,
        brand: Annotated[str | None, Query(max_length=100)] = None,
        queue: Annotated[str | None, Query(max_length=100)] = None,
        before: Annotated[str | None, Query(max_length=200)] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> Page:
        labels = {name: value for name, value in (("brand", brand), ("queue", queue)) if value is not None}
        docs = await store.search(
            documents, standings=standing or _LISTED, kind=kind, labels=labels, before=before, limit=limit + 1
        )
        shown = tuple(view(doc.state) for doc in docs[:limit] if doc.state is not None)
        return Page(escalations=shown, next=docs[limit - 1].id if len(docs) > limit else None)

    @router.get("/escalations/{escalation_id}")
    async def read_escalation(escalation_id: Id, _: Reader) -> EscalationView:
        docs = await documents.load([escalation_id])
        return view(_known(docs[escalation_id].state))

    @router.get("/escalations/{escalation_id}/route")
    async def explain_route(escalation_id: Id, _: Reader) -> Explanation:
        state = _known((await documents.load([escalation_id]))[escalation_id].state)
        alert = state.alarms[-1].alert
        return Explanation(routes=tuple(explain(policy(), alert.labels, alert.tags)))

    @router.post("/escalations/{escalation_id}/ack")
    async def acknowledge_escalation(
        escalation_id: Id, caller: Acknowledger, body: Acknowledgement | None = None
    ) -> EscalationView:
        """Acknowledge the escalation and stop its chains. Idempotent; also succeeds if the escalation is over."""
        body = body or Acknowledgement()
        by, via, now = body.by or caller.name, body.via, clock.now()

        def decide(state: Escalation | None) -> Decision[Escalation] | None:
            return acknowledge(state, by, via, policy(), now)

        return view(_known((await documents.change(escalation_id, decide)).state))

    return router


def _known(state: Escalation | None) -> Escalation:
    if state is None or state.standing == Standing.QUIET:
        raise Problem(404, detail="No escalation is known for this ticket")
    return state


def view(state: Escalation) -> EscalationView:
    """Return an escalation as the API shows it."""
    return EscalationView(
        id=state.id,
        ticket_id=state.ticket_id,
        standing=state.standing,
        queue=state.queue,
        agent=state.agent,
        alarms=tuple(_alarm(alarm, state.id) for alarm in state.alarms),
        waiting=tuple(_waiting(planned) for planned in state.planned if not planned.withdrawn),
        disabled=state.disabled,
    )


def _alarm(alarm: Alarm, escalation: str) -> AlarmView:
    values: dict[str, Any] = {name: getattr(alarm, name) for name in AlarmView.model_fields if hasattr(alarm, name)}
    acked_at: datetime | None = alarm.acked_at
    key = dedup_key(escalation, alarm.key)
    return AlarmView(**values, dedup_key=key, acknowledged_by=alarm.acked_by, acknowledged_at=acked_at)


def _waiting(planned: Planned) -> WaitingView:
    return WaitingView(
        notification_id=planned.id,
        receiver=planned.receiver,
        sink=planned.sink,
        kind=planned.kind,
        attempts=planned.attempts,
        next_try=planned.next_try,
    )
