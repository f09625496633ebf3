"""An escalation while a decision is made: alarms by key, planned notifications, events to publish.

The operations that all decisions share; escalation.py and settle.py decide which to use when.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self

from contracts.notifications import EscalationResolved, NotificationKind
from contracts.payload import Payload
from kit.base.ids import stable_id
from kit.protocol.document import Decision
from services.notify.core import latest
from services.notify.core.latest import LatestEvent
from services.notify.core.policy import NotifyPolicy
from services.notify.core.state import Alarm, Escalation, Planned, Standing

KEPT = 30
"""Resolved alarms that are kept, the latest ones."""


@dataclass(slots=True)
class Draft:
    """The mutable state of one decision."""

    old: Escalation
    policy: NotifyPolicy
    now: datetime
    alarms: dict[str, Alarm]
    planned: list[Planned]
    count: int
    incomplete: bool = False
    """Events of the same source are missing: record the latest ones, to detect late events by."""
    events: list[Payload] = field(default_factory=list)
    changes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, state: Escalation, policy: NotifyPolicy, now: datetime, *, incomplete: bool = False) -> Self:
        """Return a draft of the state."""
        alarms = {alarm.key: alarm for alarm in state.alarms}
        return cls(state, policy, now, alarms, list(state.planned), state.count, incomplete)

    def decision(self) -> Decision[Escalation]:
        """Return the decision: the events, and the new state if anything changed."""
        alarms, planned = self._kept(), tuple(self.planned)
        changes = dict(self.changes)
        if alarms != self.old.alarms:
            changes["alarms"] = alarms
        if planned != self.old.planned:
            changes |= {"planned": planned, "count": self.count}
        changes = {name: value for name, value in changes.items() if getattr(self.old, name) != value}
        return Decision(self.old.model_copy(update=changes) if changes else None, tuple(self.events))

    def set(self, alarm: Alarm, **changes: Any) -> Alarm:
        """Change fields of an alarm, and return it."""
        alarm = alarm.model_copy(update=changes)
        self.alarms[alarm.key] = alarm
        return alarm

    def schedule(self, alarm: Alarm, wait: timedelta | None) -> Alarm:
        """Set the alarm's next step or reminder: `wait` from now, or from when its clock resumes; None for neither."""
        if alarm.paused:
            return self.set(alarm, next_at=None, remaining=None if wait is None else wait.total_seconds())
        return self.set(alarm, next_at=None if wait is None else self.now + wait, remaining=None)

    def latest_event(self, about: str) -> LatestEvent:
        """Return the latest event about a clock, the owner, or (empty) the ticket being unroutable."""
        return latest.find(self.changes.get("latest_events", self.old.latest_events), about)

    def record(self, event: LatestEvent) -> None:
        """Record an event as the latest of its kind, if earlier ones may still come."""
        if self.incomplete:
            known = self.changes.get("latest_events", self.old.latest_events)
            self.changes["latest_events"] = latest.record(known, event)

    def facts(self) -> Mapping[str, str]:
        """Return the fields that all events have."""
        return {"escalation_id": self.old.id, "ticket_id": self.old.ticket_id}

    def plan(self, alarm: Alarm, kind: NotificationKind, receivers: Iterable[str]) -> int:
        """Plan notifications; return how many of the receivers will get one, counting those being sent already."""
        available = 0
        disabled = self.changes.get("disabled", self.old.disabled)
        for name in dict.fromkeys(receivers):
            receiver = self.policy.receivers.get(name)
            if receiver is None or name in disabled:
                continue
            available += 1
            if any(
                p.alarm == alarm.key and p.receiver == name and p.kind == kind and not p.withdrawn for p in self.planned
            ):
                continue  # the same notification is still being sent
            self.count += 1
            self.planned.append(
                Planned(
                    id=stable_id(self.old.id, str(self.count)),
                    number=self.count,
                    alarm=alarm.key,
                    kind=kind.value,
                    alert=alarm.alert,
                    agent=self.changes.get("agent", self.old.agent),
                    step=alarm.step,
                    receiver=name,
                    target=receiver.kind,
                    sink=receiver.sink,
                    planned_at=self.now,
                    next_try=self.now,
                )
            )
        return available

    def withdraw(self, keys: Iterable[str]) -> None:
        """Withdraw the notifications planned for these alarms. The deliverer drops them, as one may be in flight."""
        alarms = set(keys)
        self.planned = [
            p.model_copy(update={"withdrawn": True, "next_try": self.now})
            if p.alarm in alarms and not p.withdrawn
            else p
            for p in self.planned
        ]

    def supersede(self, alarm: Alarm) -> None:
        """Stop notifying about an alarm because a worse one takes its place. It still ends, with its clock."""
        if alarm.standing != Standing.RESOLVED:  # otherwise "resolved" still has to be sent
            self.withdraw([alarm.key])
        self.set(alarm, superseded=True, next_at=None, paused=False, remaining=None)

    def end(self, alarm: Alarm, reason: str, at: datetime) -> None:
        """Resolve an alarm, and notify the receivers that were notified of it."""
        self.withdraw([alarm.key])
        ended = self.set(
            alarm,
            standing=Standing.RESOLVED,
            next_at=None,
            paused=False,
            remaining=None,
            notified=(),
            ended_at=max(at, alarm.opened_at),
            ended_reason=reason,
        )
        known = self.policy.receivers
        targets = [name for name in alarm.notified if name in known and known[name].send_resolved]
        self.plan(ended, NotificationKind.RESOLVED, targets)
        self.events.append(EscalationResolved(**self.facts(), alert=alarm.alert, reason=reason, resolved_at=at))

    def _kept(self) -> tuple[Alarm, ...]:
        """Return the alarms without the oldest resolved ones beyond `KEPT`."""
        pending = {p.alarm for p in self.planned}
        resolved = [a for a in self.alarms.values() if a.standing == Standing.RESOLVED and a.key not in pending]
        if len(resolved) <= KEPT:
            return tuple(self.alarms.values())
        oldest = sorted(resolved, key=lambda a: a.ended_at or a.opened_at)[: len(resolved) - KEPT]
        dropped = {a.key for a in oldest}
        return tuple(a for a in self.alarms.values() if a.key not in dropped)
