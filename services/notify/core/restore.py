"""An escalation from the events that raised and ended its alerts, and from its own. No IO, and nobody is notified.

Steps, acknowledgements and outcomes of sending are applied as they were published. Reminders are published only once
they are sent; before that, they follow from the acknowledgement. Of a notification that is still to be sent, the
attempts are unknown: it counts as one that may have arrived.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from contracts.envelope import Command, Event
from contracts.notifications import (
    EscalationAcknowledged,
    EscalationExhausted,
    EscalationOpened,
    EscalationResolved,
    EscalationStepReached,
    NotificationEvent,
    NotificationFailed,
    NotificationKind,
    NotificationSent,
    NotificationWithdrawn,
)
from contracts.payload import Payload
from kit.protocol.document import Decision
from services.notify.core import escalation
from services.notify.core.policy import NotifyPolicy
from services.notify.core.settle import Dropped, Outcome, PermanentFailure, Sent, settle
from services.notify.core.state import Escalation, Planned, Standing

GONE = 410
"""Status with which a receiver wants nothing more."""


class RestoreEscalations:
    """See `Restore` in kit/protocol/restoring.py."""

    def __init__(self, policy: NotifyPolicy) -> None:
        self._policy = policy

    def heard(
        self, state: Escalation | None, what: Event | Command, at: datetime, said: Sequence[Event], *, incomplete: bool
    ) -> Decision[Escalation]:
        """Decide an event again, at the instant at which it was decided then."""
        assert isinstance(what, Event)
        now = _instant(said[0]) if said else at
        state = self._remind(state, now, None)
        decision = escalation.decide(state, what, self._policy, now, incomplete=incomplete)
        after = decision.state or state
        return Decision(None if after is None else _as_opened(after, decision.events, said), decision.events)

    def said(self, state: Escalation | None, said: Sequence[Event]) -> Decision[Escalation]:
        """Apply steps, acknowledgements and outcomes; several decisions may have the same instant."""
        events: list[Payload] = []
        while state is not None and len(events) < len(said):
            event = said[len(events)]
            state = self._remind(state, _instant(event), event.data)
            decision = self._again(state, event)
            if decision is None or not decision.events:
                break
            state = decision.state or state
            events += decision.events
        return Decision(state, events)

    def _again(self, state: Escalation | None, event: Event) -> Decision[Escalation] | None:
        match event.data:
            case NotificationEvent() as data:
                return self._settle(state, data, _instant(event))
            case EscalationAcknowledged() as data:
                return escalation.acknowledge(state, data.by, data.via or "rest", self._policy, data.acknowledged_at)
        return None if state is None else escalation.fire(state, self._policy, _instant(event))

    def _settle(self, state: Escalation | None, data: NotificationEvent, now: datetime) -> Decision[Escalation] | None:
        planned = _planned(state, data.notification_id)
        if state is None or planned is None:
            return None
        outcome: Outcome = Dropped()
        if isinstance(data, NotificationSent):
            outcome = Sent(data.status, data.thread)
        elif isinstance(data, NotificationFailed):
            outcome = PermanentFailure(data.error, data.status, gone=data.status == GONE)
        tried = planned.model_copy(update={"attempts": max(0, data.attempts - 1), "unsettled": 1})
        before = state.model_copy(update={"planned": tuple(tried if p is planned else p for p in state.planned)})
        return settle(before, planned.id, outcome, self._policy, now=now, jitter=0.0)

    def _remind(self, state: Escalation | None, until: datetime, data: object) -> Escalation | None:
        """Plan the reminders that were due by then. Nothing told of them when they were planned."""
        due = [
            alarm.next_at
            for alarm in (state.alarms if state is not None else ())
            if alarm.standing == Standing.ACKNOWLEDGED and not alarm.reminded and alarm.next_at is not None
        ]
        if state is None or not due or min(due) > until:
            return state
        now = min(due)
        if isinstance(data, NotificationSent) and data.kind == NotificationKind.REMINDER and data.after_ms is not None:
            now = max(now, data.sent_at - timedelta(milliseconds=data.after_ms))
        decision = escalation.fire(state, self._policy, now)
        silent = decision is not None and not decision.events
        return decision.state or state if decision is not None and silent else state

    def finished(self, state: Escalation) -> Escalation:
        """Leave out what was withdrawn: it is dropped without a word, unless an attempt was under way."""
        planned = [p.model_copy(update={"unsettled": 1}) for p in state.planned if not p.withdrawn]
        return state.model_copy(update={"planned": tuple(planned)})

    def agrees(self, mine: Payload, said: Payload) -> bool:
        """Return whether it is the same of the same alert or notification. Texts, and how long it took, may differ."""
        return mine.type == said.type and _about(mine) == _about(said)


def _planned(state: Escalation | None, identifier: str) -> Planned | None:
    return next((p for p in state.planned if p.id == identifier), None) if state is not None else None


def _instant(event: Event) -> datetime:
    """Return the instant that was decided for: an event's own, or that of the envelope, which is a moment later."""
    match event.data:
        case EscalationOpened() as data:
            return data.opened_at
        case EscalationStepReached() as data:
            return data.reached_at
        case EscalationExhausted() as data:
            return data.exhausted_at
        case EscalationAcknowledged() as data:
            return data.acknowledged_at
        case NotificationSent() as data:
            return data.sent_at
        case NotificationFailed() as data:
            return data.failed_at
        case NotificationWithdrawn() as data:
            return data.withdrawn_at
    return event.time


def _about(data: Payload) -> tuple[object, ...]:
    match data:
        case EscalationOpened():
            return data.alert.name, data.alert.cause, data.route, data.chain
        case EscalationStepReached():
            return data.alert and data.alert.cause, data.chain, data.step, data.round, data.targets
        case EscalationExhausted():
            return data.alert.cause, data.chain, data.round
        case EscalationResolved():
            return data.alert and data.alert.cause, data.reason, data.resolved_at
        case EscalationAcknowledged():
            return data.by, data.via, data.step
        case NotificationEvent():
            return data.notification_id, data.kind, data.step, data.target, data.attempts
    return ()


def _as_opened(state: Escalation, mine: Sequence[Payload], said: Sequence[Event]) -> Escalation:
    """Give alarms the alerts that were published: topics have no common order, so a label may have been another."""
    ours = [data.alert for data in mine if isinstance(data, EscalationOpened)]
    theirs = [event.data.alert for event in said if isinstance(event.data, EscalationOpened)]
    for our, their in zip(ours, theirs, strict=False):
        if our != their and our.cause == their.cause:
            changed = {
                name: tuple(each.model_copy(update={"alert": their}) if each.alert == our else each for each in found)
                for name, found in (("alarms", state.alarms), ("planned", state.planned))
            }
            state = state.model_copy(update=changed)
    return state
