"""What became of a notification that was tried: sent, to be tried again, refused or dropped.

Rules: a try is noted before it is made, so that nobody takes for unsent what may have arrived; an outcome is settled
once; who reports the same one later changes nothing.
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

MOST_RETRY_AFTER = 86_400.0
RETRY_FOR_UNKNOWN = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Sent:
    """The receiver took it."""

    status: int | None = None
    thread: str | None = None
    """Where the receiver keeps this escalation together."""


@dataclass(frozen=True, slots=True)
class TemporaryFailure:
    """Not taken, for a reason that may pass."""

    error: str
    status: int | None = None
    after: float | None = None
    """Seconds that the receiver asked us to wait."""
    unsure: bool = False
    """No answer came, or not all of it: the receiver may have taken it."""


@dataclass(frozen=True, slots=True)
class PermanentFailure:
    """Not taken, and no later try will be."""

    error: str
    status: int | None = None
    gone: bool = False
    """The receiver says that it is no more: nothing else of this escalation goes there."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """It was withdrawn before it was tried again."""


Outcome = Sent | TemporaryFailure | PermanentFailure | Dropped


def begin(
    state: Escalation | None, planned_id: str, policy: NotifyPolicy, *, now: datetime
) -> Decision[Escalation] | None:
    """Note that a try is made; None when none is to be made any more."""
    planned = _find(state, planned_id)
    if state is None or planned is None or planned.moot:
        return None
    draft = Draft.of(state, policy, now)
    draft.planned[draft.planned.index(planned)] = planned.model_copy(update={"begun": planned.begun + 1})
    return draft.decision()


def _find(state: Escalation | None, planned_id: str) -> Planned | None:
    return next((p for p in state.planned if p.id == planned_id), None) if state else None


def settle(
    state: Escalation | None, planned_id: str, outcome: Outcome, policy: NotifyPolicy, *, now: datetime, jitter: float
) -> Decision[Escalation] | None:
    """Write down an outcome; None when it was settled before. `jitter` is a number from 0 to 1."""
    planned = _find(state, planned_id)
    if state is None or planned is None:
        return None
    draft = Draft.of(state, policy, now)
    match outcome:
        case Dropped():
            if not planned.moot:
                return None
            _dropped(draft, planned, planned.begun)
        case Sent():
            _sent(draft, planned, outcome)
        case TemporaryFailure() if planned.moot:
            _dropped(draft, planned, _unknown(planned, outcome))
        case TemporaryFailure():
            _later(draft, planned, outcome, jitter)
        case PermanentFailure():
            _failed(draft, planned, outcome.error, outcome.status, gone=outcome.gone)
    return draft.decision()


def _sent(draft: Draft, planned: Planned, sent: Sent) -> None:
    draft.planned.remove(planned)
    draft.events.append(
        NotificationSent(
            **_facts(draft, planned),
            status=sent.status,
            sent_at=draft.now,
            after_ms=max(0, round((draft.now - planned.planned_at).total_seconds() * 1000)),
        )
    )
    if sent.thread is not None:
        draft.changes["threads"] = {**draft.old.threads, planned.receiver: sent.thread}
    _heard(draft, planned)


def _dropped(draft: Draft, planned: Planned, unknown: int) -> None:
    """Let go of what is moot. Who may have taken it counts as told: else it would never end for them."""
    draft.planned.remove(planned)
    if unknown:
        draft.events.append(NotificationWithdrawn(**_facts(draft, planned), withdrawn_at=draft.now))
        _heard(draft, planned)


def _unknown(planned: Planned, later: TemporaryFailure) -> int:
    """How many tries may have arrived, after one that came to this."""
    return planned.begun if later.unsure else max(0, planned.begun - 1)


def _heard(draft: Draft, planned: Planned) -> None:
    alarm = draft.alarms.get(planned.alarm)
    if alarm is None or planned.kind != NotificationKind.FIRING:
        return
    if alarm.standing == Standing.RESOLVED:
        # It went out while it ended: who took it is told that it is over.
        receiver = draft.policy.receivers.get(planned.receiver)
        if receiver is not None and receiver.send_resolved:
            draft.plan(alarm, NotificationKind.RESOLVED, [planned.receiver])
        return
    draft.set(alarm, notified=tuple(dict.fromkeys((*alarm.notified, planned.receiver))))


def _later(draft: Draft, planned: Planned, later: TemporaryFailure, jitter: float) -> None:
    receiver = draft.policy.receivers.get(planned.receiver)
    limit = planned.planned_at + (receiver.retry_for if receiver else RETRY_FOR_UNKNOWN)
    wait = backoff(draft.policy, planned.attempts, jitter)
    if later.after is not None:
        wait = max(wait, min(later.after, MOST_RETRY_AFTER))
    next_try = draft.now + timedelta(milliseconds=round(wait * 1000))
    if next_try > limit:
        _failed(draft, planned, f"given up: {later.error}", later.status)
        return
    at = draft.planned.index(planned)
    tried = {"attempts": planned.attempts + 1, "next_try": next_try, "begun": _unknown(planned, later)}
    draft.planned[at] = planned.model_copy(update=tried)


def backoff(policy: NotifyPolicy, attempts: int, jitter: float) -> float:
    """Seconds to wait after a try that was the `attempts`+1st: doubling, half of it left to chance."""
    first, most = policy.backoff.first.total_seconds(), policy.backoff.most.total_seconds()
    full = min(most, first * 2.0 ** min(attempts, 40))
    return full * (0.5 + jitter / 2)


def _failed(draft: Draft, planned: Planned, error: str, status: int | None, *, gone: bool = False) -> None:
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
        and not planned.moot
        and _nobody_left(draft, alarm)
    ):
        next_step(draft, alarm)


def _nobody_left(draft: Draft, alarm: Alarm) -> bool:
    """Whether the present step of a chain reached nobody and is trying nobody any more."""
    if alarm.standing != Standing.OPEN or alarm.chain is None or alarm.exhausted:
        return False
    trying = any(p.alarm == alarm.key and not p.moot for p in draft.planned)
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
