"""An escalation while it is being decided on: alarms by key, notifications planned and withdrawn, facts to announce.

Here are the moves that every decision is made of; which move when is in escalation.py and settle.py.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self

from contracts.notifications import EscalationResolved, NotificationKind
from contracts.payload import Payload
from kit.base.ids import stable_id
from kit.protocol.document import Decision
from services.notify.core import heard
from services.notify.core.heard import Word
from services.notify.core.policy import NotifyPolicy
from services.notify.core.state import Alarm, Escalation, Planned, Standing

KEPT = 30
"""Alarms that are over are remembered up to this number, the latest ones."""


@dataclass(slots=True)
class Draft:
    """Mutable for the length of one decision."""

    old: Escalation
    policy: NotifyPolicy
    now: datetime
    alarms: dict[str, Alarm]
    planned: list[Planned]
    count: int
    incomplete: bool = False
    """Events of the same source are missing: what is heard now is remembered, to know them by when they come."""
    events: list[Payload] = field(default_factory=list)
    changes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, state: Escalation, policy: NotifyPolicy, now: datetime, *, incomplete: bool = False) -> Self:
        """Begin."""
        alarms = {alarm.key: alarm for alarm in state.alarms}
        return cls(state, policy, now, alarms, list(state.planned), state.count, incomplete)

    def decision(self) -> Decision[Escalation]:
        """End: the new state, unless nothing changed."""
        alarms, planned = self._kept(), tuple(self.planned)
        changes = dict(self.changes)
        if alarms != self.old.alarms:
            changes["alarms"] = alarms
        if planned != self.old.planned:
            changes |= {"planned": planned, "count": self.count}
        changes = {name: value for name, value in changes.items() if getattr(self.old, name) != value}
        return Decision(self.old.model_copy(update=changes) if changes else None, tuple(self.events))

    def set(self, alarm: Alarm, **changes: Any) -> Alarm:
        """Put an alarm's new values in its place."""
        alarm = alarm.model_copy(update=changes)
        self.alarms[alarm.key] = alarm
        return alarm

    def wait(self, alarm: Alarm, wait: timedelta | None) -> Alarm:
        """Let it wait from now on, or from when its clock goes on; None: for nothing."""
        if alarm.paused:
            return self.set(alarm, next_at=None, left=None if wait is None else wait.total_seconds())
        return self.set(alarm, next_at=None if wait is None else self.now + wait, left=None)

    def heard(self, about: str) -> Word:
        """What was heard last about it."""
        return heard.last(self.changes.get("words", self.old.words), about)

    def hear(self, word: Word) -> None:
        """Note what was heard, if anything from before it may still come."""
        if self.incomplete:
            self.changes["words"] = heard.hear(self.changes.get("words", self.old.words), word)

    def facts(self) -> Mapping[str, str]:
        """What every event says."""
        return {"escalation_id": self.old.id, "ticket_id": self.old.ticket_id}

    def plan(self, alarm: Alarm, kind: NotificationKind, receivers: Iterable[str]) -> int:
        """Plan notifications; returns how many of these receivers will hear of it, by these or by ones on their way."""
        heard = 0
        disabled = self.changes.get("disabled", self.old.disabled)
        for name in dict.fromkeys(receivers):
            receiver = self.policy.receivers.get(name)
            if receiver is None or name in disabled:
                continue
            heard += 1
            if any(p.alarm == alarm.key and p.receiver == name and p.kind == kind and not p.moot for p in self.planned):
                continue  # still being tried: the same news does not queue up behind itself
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
        return heard

    def withdraw(self, keys: Iterable[str]) -> None:
        """Let go of what was planned for these alarms. It may be on its way, so it is dropped by who sends."""
        gone = set(keys)
        self.planned = [
            p.model_copy(update={"moot": True, "next_try": self.now}) if p.alarm in gone and not p.moot else p
            for p in self.planned
        ]

    def supersede(self, alarm: Alarm) -> None:
        """Say nothing more about it, as worse is told in its place. It ends when that does, if it has not already."""
        if alarm.standing != Standing.RESOLVED:  # what says that it is over still goes out
            self.withdraw([alarm.key])
        self.set(alarm, superseded=True, next_at=None, paused=False, left=None)

    def end(self, alarm: Alarm, reason: str, at: datetime) -> None:
        """It is over: say so to those who heard that it was not."""
        self.withdraw([alarm.key])
        ended = self.set(
            alarm,
            standing=Standing.RESOLVED,
            next_at=None,
            paused=False,
            left=None,
            notified=(),
            ended_at=max(at, alarm.opened_at),
            ended_reason=reason,
        )
        told = [
            name for name in alarm.notified if (to := self.policy.receivers.get(name)) is not None and to.send_resolved
        ]
        self.plan(ended, NotificationKind.RESOLVED, told)
        self.events.append(EscalationResolved(**self.facts(), alert=alarm.alert, reason=reason, resolved_at=at))

    def _kept(self) -> tuple[Alarm, ...]:
        waiting = {p.alarm for p in self.planned}
        over = [a for a in self.alarms.values() if a.standing == Standing.RESOLVED and a.key not in waiting]
        if len(over) <= KEPT:
            return tuple(self.alarms.values())
        gone = {a.key for a in sorted(over, key=lambda a: a.ended_at or a.opened_at)[: len(over) - KEPT]}
        return tuple(a for a in self.alarms.values() if a.key not in gone)
