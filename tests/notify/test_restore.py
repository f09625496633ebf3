"""An escalation, restored from the events that notify heard and published, is the one that was stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from contracts.dlq import REPLAY_OF
from contracts.envelope import Event
from contracts.notifications import EscalationOpened, NotificationSent
from contracts.topics import TOPIC_OF, retry
from kit.protocol import document
from kit.protocol.document import Cause
from kit.protocol.handling import event_item
from kit.protocol.restoring import Heard, Restored, fold
from services.notify.core import escalation
from services.notify.core.alerts import EVENT_TYPES
from services.notify.core.restore import RestoreEscalations
from services.notify.core.settle import (
    Dropped,
    Outcome,
    PermanentFailure,
    Sent,
    TemporaryFailure,
    begin_attempt,
    settle,
)
from services.notify.core.state import Escalation
from services.notify.store import ESCALATIONS
from tests.kit.fake_store import copied
from tests.kit.raw import Raw
from tests.notify.examples import ESCALATION, at, at_risk, breached, paused, policy, reopened, resumed, solved
from tests.notify.test_properties import MAKERS, OTHERS, World

RULES = policy()
LATENCY = 0.02
"""Seconds from Kafka to a decision. Doors and outcomes of sending that come in between are not told apart."""
OUTCOMES: dict[str, Outcome] = {
    "sent": Sent(200),
    "thread": Sent(200, "1763628001.004500"),
    "later": TemporaryFailure("away", 503),
    "unsure": TemporaryFailure("no answer", unsure=True),
    "refused": PermanentFailure("no", 400),
    "gone": PermanentFailure("gone", 410, gone=True),
}
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("clock"), st.sampled_from(MAKERS), st.sampled_from(["c1", "c2"])),
        st.tuples(st.just("event"), st.sampled_from(OTHERS), st.just("")),
        st.tuples(st.just("lost"), st.sampled_from(MAKERS), st.sampled_from(["c1", "c2"])),
        st.tuples(st.just("replay"), st.just(0), st.just("")),
        st.tuples(st.just("wait"), st.sampled_from([1, 59, 61, 299, 301, 700, 4000]), st.just("")),
        st.tuples(st.just("ack"), st.just(0), st.just("")),
        st.tuples(st.just("send"), st.sampled_from(list(OUTCOMES)), st.just("")),
    ),
    max_size=40,
)


class Past(World):
    """A history whose records are kept. Time passes a little between any two decisions, and timers fire when due."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Heard] = []
        self.cause: Cause | None = None

    def apply(self, decision: document.Decision[Escalation] | None) -> None:
        if decision is not None:
            document.apply(ESCALATIONS, self.doc, decision, now=at(self.now), cause=self.cause, limit=100_000)
        self.now += 0.001

    def take(self, event: Event) -> None:
        self._note(event, replayed=event in self.lost)
        self.cause = Cause.of(event)
        if event.type in EVENT_TYPES:
            incomplete = self.doc.lacks(event.source, event.sequence)
            self.apply(escalation.decide(self.doc.state, event, RULES, at(self.now), incomplete=incomplete))
        self.doc.take(event.source, event.sequence)
        self.cause = None

    def _note(self, event: Event, *, dead: bool = False, replayed: bool = False) -> None:
        headers = [(REPLAY_OF, b"0/0")] if replayed else []
        topic = retry("notify") if replayed else TOPIC_OF[event.type]
        record = Raw(topic, 0, len(self.heard), event.encode(), headers=headers)
        self.heard.append(Heard(event_item(record, EVENT_TYPES), at(self.now - LATENCY), dead=dead))

    def move(self, what: str, how: object, clock: str) -> None:
        self.now += LATENCY
        if what in {"clock", "event", "lost"}:
            assert callable(how)
            source = "sla" if what != "event" else "ingest" if how in {solved, reopened} else "routing"
            self.sequences[source] += 1
            event = how(self.now, sequence=self.sequences[source], **({"clock": clock} if clock else {}))
            if what == "lost":
                self.lost.append(event)
                self._note(event, dead=True)
                self.doc.take(event.source, event.sequence, dead=True)
                self.now += 0.001
            else:
                self.take(event)
        elif what == "replay" and self.lost:
            self.take(self.lost[0])
            del self.lost[0]
        elif what == "wait":
            assert isinstance(how, int)
            self.wait(self.now + how)
        elif what == "ack":
            self.apply(escalation.acknowledge(self.doc.state, "mali", "rest", RULES, at(self.now)))
        elif what == "send":
            self.send(OUTCOMES[str(how)])
        self.drop()

    def wait(self, until: float) -> None:
        """Let time pass; each timer fires a moment after it was due, and what it planned is sent."""
        while self.doc.state is not None and self.doc.state.due is not None and self.doc.state.due <= at(until):
            self.now = max(self.now, (self.doc.state.due - at(0)).total_seconds() + 0.004)
            self.apply(escalation.fire(self.doc.state, RULES, at(self.now)))
            self.send(OUTCOMES["sent"])
            self.drop()
        self.now = max(self.now, until)

    def send(self, outcome: Outcome) -> None:
        state = self.doc.state
        open_ones = [planned for planned in state.planned if not planned.withdrawn] if state is not None else []
        if open_ones:
            self.apply(begin_attempt(self.doc.state, open_ones[0].id, RULES, now=at(self.now)))
            self._settle(open_ones[0].id, outcome)

    def drop(self) -> None:
        """Drop what is withdrawn, as the deliverer does at once."""
        while self.doc.state is not None and (gone := [p.id for p in self.doc.state.planned if p.withdrawn]):
            self._settle(gone[0], Dropped())

    def _settle(self, planned: str, outcome: Outcome) -> None:
        self.apply(settle(self.doc.state, planned, outcome, RULES, now=at(self.now), jitter=0.5))

    def restored(self) -> Restored[Escalation]:
        return fold(RestoreEscalations(RULES), ESCALATION, self.heard, self.said())


def stored(doc: document.Document[Escalation]) -> dict[str, Any]:
    """Return the stored form without what is told to nobody: attempts at notifications that are still to be sent."""
    if doc.state is not None:
        planned = tuple(
            each.model_copy(update={"attempts": 0, "unsettled": 0, "next_try": each.planned_at})
            for each in doc.state.planned
        )
        doc = replace(doc, _state=doc.state.model_copy(update={"planned": planned}))
    return copied(document.fields(ESCALATIONS, doc, 0))


#: A reminder is published once it is sent; that it was planned follows from the acknowledgement.
REMINDED = [("clock", breached, "c1"), ("wait", 1, ""), ("ack", 0, ""), ("wait", 700, "")]
#: A warning that is held while its clock is paused comes again later. Nothing is said of the pause.
HELD = [
    ("clock", at_risk, "c1"), ("wait", 59, ""), ("clock", paused, "c1"), ("wait", 700, ""), ("clock", resumed, "c1"),
    ("wait", 4000, ""), ("wait", 4000, ""),
]  # fmt: skip


@example(REMINDED)
@example(HELD)
@settings(max_examples=300)
@given(MOVES)
def test_the_escalation_is_the_same_again(moves: list[tuple[str, object, str]]) -> None:
    past = Past()
    for move in moves:
        past.move(*move)
    restored = past.restored()
    assert restored.differences == []
    assert stored(restored.document) == stored(past.doc)


def test_a_notification_that_is_still_to_be_sent_counts_as_one_that_may_have_arrived() -> None:
    past = Past()
    past.move("clock", breached, "c1")
    state = past.restored().document.state
    assert state is not None
    (planned,) = state.planned
    assert (planned.unsettled, planned.attempts) == (1, 0)
    assert past.doc.state is not None
    assert planned.id == past.doc.state.planned[0].id, "a receiver that got it knows it by its id"


def test_a_policy_that_has_changed_since_is_told() -> None:
    past = Past()
    past.move("clock", breached, "c1")
    other = policy(route={"name": "all", "receiver": "mail", "repeat_interval": "1h"})
    restored = fold(RestoreEscalations(other), ESCALATION, past.heard, past.said())
    assert len(restored.differences) == 1


def test_who_acknowledged_and_where_is_as_it_was() -> None:
    past = Past()
    past.move("clock", breached, "c1")
    past.apply(escalation.acknowledge(past.doc.state, "mali", "slack", RULES, at(past.now)))
    past.drop()
    assert past.restored().differences == []


def test_an_alarm_keeps_the_alert_that_was_published() -> None:
    """Topics have no common order: a label may have been another when it was decided."""
    past = Past()
    past.move("clock", breached, "c1")
    first, *others = past.said()
    data = first.data
    assert isinstance(data, EscalationOpened)
    published = data.alert.model_copy(update={"labels": {**data.alert.labels, "queue": "thai"}})
    said = [first.model_copy(update={"data": data.model_copy(update={"alert": published})}), *others]
    restored = fold(RestoreEscalations(RULES), ESCALATION, past.heard, said)
    assert restored.differences == []
    state = restored.document.state
    assert state is not None
    assert len(state.alarms) == len(state.planned) == 1
    assert all(each.alert == published for each in state.alarms)
    assert all(each.alert == published for each in state.planned)


def test_what_was_sent_agrees_only_if_it_is_the_same_attempt_at_the_same_notification() -> None:
    past = Past()
    past.move("clock", breached, "c1")
    past.move("send", "sent", "")
    (data,) = (event.data for event in past.said() if isinstance(event.data, NotificationSent))
    agrees = RestoreEscalations(RULES).agrees
    assert agrees(data.model_copy(update={"after_ms": 99}), data), "how long it took may differ"
    for change in ({"notification_id": "other"}, {"attempts": 7}, {"step": 9}):
        assert not agrees(data.model_copy(update=change), data), change
