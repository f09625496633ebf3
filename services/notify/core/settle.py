"""The outcome of an attempt to send a notification: sent, to be retried, failed or dropped.

Rules: an attempt is recorded before it is made, so a notification that may have arrived never counts as unsent. An
outcome is settled once; reporting it again changes nothing.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from contracts.notifications import (
    NotificationFailed,
    NotificationKind,
    NotificationSent,
    NotificationWithdrawn,
    Target,
)
from kit.protocol.document import Decision
from services.notify.core.draft import Draft
from services.notify.core.escalation import next_step
from services.notify.core.policy import NotifyPolicy
from services.notify.core.state import Alarm, Escalation, Planned, Standing, dedup_key

MAX_RETRY_AFTER = 86_400.0
"""Longest wait that a receiver can ask for, in seconds."""
RETRY_FOR_UNKNOWN = timedelta(days=1)
"""How long to retry for a receiver that the policy no longer has."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The receiver accepted it."""

    status: int | None = None
    thread: str | None = None
    """The receiver's id for the thread of this escalation."""


@dataclass(frozen=True, slots=True)
class TemporaryFailure:
    """Not accepted; a later attempt may be."""

    error: str
    status: int | None = None
    after: float | None = None
    """Seconds to wait, if the receiver asked for that."""
    unsure: bool = False
    """No complete answer came: the receiver may have accepted it."""


@dataclass(frozen=True, slots=True)
class PermanentFailure:
    """Not accepted, and no later attempt would be."""

    error: str
    status: int | None = None
    gone: bool = False
    """The receiver answered 410 Gone: send it nothing else about this escalation."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Withdrawn before the next attempt."""


Outcome = Sent | TemporaryFailure | PermanentFailure | Dropped


def begin_attempt(
    state: Escalation | None, planned_id: str, policy: NotifyPolicy, *, now: datetime
) -> Decision[Escalation] | None:
    """Record that an attempt is made; None if the notification is withdrawn or settled."""
    planned = _find(state, planned_id)
    if state is None or planned is None or planned.withdrawn:
        return None
    draft = Draft.of(state, policy, now)
    draft.planned[draft.planned.index(planned)] = planned.model_copy(update={"unsettled": planned.unsettled + 1})
    return draft.decision()


def _find(state: Escalation | None, planned_id: str) -> Planned | None:
    return next((p for p in state.planned if p.id == planned_id), None) if state else None


def settle(
    state: Escalation | None, planned_id: str, outcome: Outcome, policy: NotifyPolicy, *, now: datetime, jitter: float
) -> Decision[Escalation] | None:
    """Record an outcome; None if it was settled before. `jitter` is a number from 0 to 1."""
    planned = _find(state, planned_id)
    if state is None or planned is None:
        return None
    draft = Draft.of(state, policy, now)
    match outcome:
        case Dropped():
            if not planned.withdrawn:
                return None
            _drop(draft, planned, planned.unsettled)
        case Sent():
            _mark_sent(draft, planned, outcome)
        case TemporaryFailure() if planned.withdrawn:
            _drop(draft, planned, _unsettled_after(planned, outcome))
        case TemporaryFailure():
            _retry_later(draft, planned, outcome, jitter)
        case PermanentFailure():
            _fail(draft, planned, outcome.error, outcome.status, gone=outcome.gone)
    return draft.decision()


def _mark_sent(draft: Draft, planned: Planned, sent: Sent) -> None:
    draft.planned.remove(planned)
    draft.events.append(
        NotificationSent(
            **_facts(draft, planned),
            status=sent.status,
            sent_at=draft.now,
            after_ms=max(0, round((draft.now - planned.planned_at).total_seconds() * 1000)),
            thread=sent.thread,
        )
    )
    if sent.thread is not None:
        draft.changes["threads"] = {**draft.old.threads, planned.receiver: sent.thread}
    _mark_notified(draft, planned)


def _drop(draft: Draft, planned: Planned, unsettled: int) -> None:
    """Drop a withdrawn notification. If it may have arrived, its receiver counts as notified and gets "resolved"."""
    draft.planned.remove(planned)
    if unsettled:
        draft.events.append(NotificationWithdrawn(**_facts(draft, planned), withdrawn_at=draft.now))
        _mark_notified(draft, planned)


def _unsettled_after(planned: Planned, failure: TemporaryFailure) -> int:
    """Return how many attempts may have arrived, including the one that failed like this."""
    return planned.unsettled if failure.unsure else max(0, planned.unsettled - 1)


def _mark_notified(draft: Draft, planned: Planned) -> None:
    alarm = draft.alarms.get(planned.alarm)
    if alarm is None or planned.kind != NotificationKind.FIRING:
        return
    if alarm.standing == Standing.RESOLVED:
        # The alarm ended while "firing" was in flight: send "resolved" after it.
        receiver = draft.policy.receivers.get(planned.receiver)
        if receiver is not None and receiver.send_resolved:
            draft.plan(alarm, NotificationKind.RESOLVED, [planned.receiver])
        return
    draft.set(alarm, notified=tuple(dict.fromkeys((*alarm.notified, planned.receiver))))


def _retry_later(draft: Draft, planned: Planned, failure: TemporaryFailure, jitter: float) -> None:
    """Schedule the next attempt, or give up when the receiver's `retry_for` is over."""
    receiver = draft.policy.receivers.get(planned.receiver)
    limit = planned.planned_at + (receiver.retry_for if receiver else RETRY_FOR_UNKNOWN)
    wait = backoff(draft.policy, planned.attempts, jitter)
    if failure.after is not None:
        wait = max(wait, min(failure.after, MAX_RETRY_AFTER))
    next_try = draft.now + timedelta(milliseconds=round(wait * 1000))
    if next_try > limit:
        _fail(draft, planned, f"given up: {failure.error}", failure.status)
        return
    at = draft.planned.index(planned)
    changes = {
        "attempts": planned.attempts + 1,
        "next_try": next_try,
        "unsettled": _unsettled_after(planned, failure),
    }
    draft.planned[at] = planned.model_copy(update=changes)


def backoff(policy: NotifyPolicy, attempts: int, jitter: float) -> float:
    """Return the seconds to wait after attempt number `attempts` + 1: doubling, with up to half of it as jitter."""
    first, most = policy.backoff.first.total_seconds(), policy.backoff.most.total_seconds()
    full = min(most, first * 2.0 ** min(attempts, 40))
    return full * (0.5 + jitter / 2)


def _fail(draft: Draft, planned: Planned, error: str, status: int | None, *, gone: bool = False) -> None:
    """Give a notification up. If that leaves the current step of its chain without a receiver, take the next one."""
    draft.planned.remove(planned)
    draft.events.append(
        NotificationFailed(
            **_facts(draft, planned),
            status=status,
            error=error[:500] or "no reason given",
            permanent=True,
            failed_at=draft.now,
        )
    )
    if gone:
        draft.changes["disabled"] = (*draft.old.disabled, planned.receiver)
        draft.planned = [p for p in draft.planned if p.receiver != planned.receiver]
    alarm = draft.alarms.get(planned.alarm)
    if (
        alarm is not None
        and planned.kind == NotificationKind.FIRING
        and not planned.withdrawn
        and _step_failed(draft, alarm)
    ):
        next_step(draft, alarm)


def _step_failed(draft: Draft, alarm: Alarm) -> bool:
    """Return whether the current step of a chain has reached no receiver and no attempt is left."""
    if alarm.standing != Standing.OPEN or alarm.chain is None or alarm.exhausted:
        return False
    trying = any(p.alarm == alarm.key and not p.withdrawn for p in draft.planned)
    chain = draft.policy.chains.get(alarm.chain)
    targets = (
        chain.steps[alarm.step].targets if chain and alarm.step is not None and alarm.step < len(chain.steps) else ()
    )
    return not trying and not any(target in alarm.notified for target in targets)


def _facts(draft: Draft, planned: Planned) -> dict[str, object]:
    return {
        **draft.facts(),
        "notification_id": planned.id,
        "kind": planned.kind,
        "step": planned.step,
        "target": Target(kind=planned.target, name=planned.receiver),
        "sink": planned.sink,
        "dedup_key": dedup_key(draft.old.id, planned.alarm),
        "attempts": planned.attempts + 1,
    }
