"""A timeline of one escalation, with a clock that the test controls and receivers whose answers it chooses."""

from collections.abc import Callable, Sequence
from datetime import datetime

from contracts.envelope import Event
from contracts.payload import Payload
from kit.protocol.document import Decision
from services.notify.core import escalation
from services.notify.core.policy import NotifyPolicy
from services.notify.core.settle import Dropped, Outcome, Sent, begin_attempt, settle
from services.notify.core.state import Escalation, Planned, Standing, dedup_key
from tests.notify.examples import ESCALATION, START, at, policy

Answer = Callable[[Planned, datetime], Outcome]


def takes_all(planned: Planned, now: datetime) -> Outcome:
    return Sent(200)


class Timeline:
    """Records all events and notifications, with their time in seconds."""

    def __init__(self, rules: NotifyPolicy | None = None, answer: Answer = takes_all) -> None:
        self.policy = rules or policy()
        self.answer = answer
        self.state: Escalation | None = None
        self.now = 0.0
        self.notified: list[tuple[float, str, str]] = []
        """(Second, receiver, kind) of every notification that was accepted."""
        self.keys: list[tuple[float, str, str]] = []
        """(Second, kind, dedup key) of the same notifications."""
        self.tries: list[tuple[float, str]] = []
        self.said: list[tuple[float, Payload]] = []
        self.lost: list[Event] = []

    def happens(self, event: Event) -> None:
        """Advance the time to the event, handle it, and deliver what is due."""
        self.until((event.time - START).total_seconds())
        self.takes(event)
        self._deliver()

    def loses(self, event: Event) -> None:
        """Advance the time to the event, which becomes a dead letter."""
        self.until((event.time - START).total_seconds())
        self.lost.append(event)

    def replays(self) -> None:
        """Handle the dead letters, in order."""
        while self.lost:
            self.takes(self.lost[0])
            del self.lost[0]
            self._deliver()

    def takes(self, event: Event) -> None:
        """Handle an event without delivering notifications."""
        self.now = max(self.now, (event.time - START).total_seconds())
        incomplete = any(lost.source == event.source for lost in self.lost)
        self._apply(escalation.decide(self.state, event, self.policy, at(self.now), incomplete=incomplete))

    def acknowledged(self, seconds: float, by: str = "mali") -> bool:
        self.until(seconds)
        decision = escalation.acknowledge(self.state, by, "rest", self.policy, at(self.now))
        self._apply(decision)
        self._deliver()
        return decision is not None

    def until(self, seconds: float) -> None:
        """Advance the time, firing timers and delivering notifications when they are due."""
        for _ in range(1000):
            due = self._next()
            if due is None or due > seconds:
                break
            self.now = max(self.now, due)
            if self.state is not None:
                self._apply(escalation.fire(self.state, self.policy, at(self.now)))
            self._deliver()
        else:
            raise AssertionError("time makes no end of things happen")
        self.now = max(self.now, seconds)

    def standing(self) -> Standing | None:
        return self.state.standing if self.state is not None else None

    def events(self, kind: str) -> list[Payload]:
        return [data for _, data in self.said if data.type == f"deskbus.{kind}.v1"]

    def _next(self) -> float | None:
        state = self.state
        instants = [instant for instant in (state.due, state.next_try) if instant is not None] if state else []
        return (min(instants) - START).total_seconds() if instants else None

    def _deliver(self) -> None:
        for _ in range(100):
            due = [p for p in self.state.planned if p.next_try <= at(self.now)] if self.state else []
            if not due:
                return
            self._try(due[0])
        raise AssertionError("deliveries find no end")

    def _try(self, planned: Planned) -> None:
        if planned.withdrawn:
            outcome: Outcome = Dropped()
        else:
            self.begins(planned)
            outcome = self.answer(planned, at(self.now))
        if isinstance(outcome, Sent):
            self.notified.append((self.now, planned.receiver, planned.kind))
            self.keys.append((self.now, planned.kind, dedup_key(ESCALATION, planned.alarm)))
        self._apply(settle(self.state, planned.id, outcome, self.policy, now=at(self.now), jitter=1.0))

    def begins(self, planned: Planned) -> None:
        """Record the start of an attempt, without its outcome."""
        self.tries.append((self.now, planned.receiver))
        self._apply(begin_attempt(self.state, planned.id, self.policy, now=at(self.now)))

    def _apply(self, decision: Decision[Escalation] | None) -> None:
        if decision is None:
            return
        self.said += [(self.now, data) for data in decision.events]
        self.state = decision.state or self.state


def of(told: Sequence[tuple[float, str, str]], kind: str) -> list[tuple[float, str]]:
    return [(when, who) for when, who, what in told if what == kind]
