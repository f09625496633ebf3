"""What must hold for every order of events, times and answers."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.envelope import Event
from contracts.notifications import (
    EscalationExhausted,
    EscalationOpened,
    EscalationResolved,
    EscalationStepReached,
    NotificationFailed,
    NotificationSent,
    NotificationWithdrawn,
)
from kit.protocol import document
from kit.protocol.document import Document
from services.notify.core import escalation
from services.notify.core.settle import (
    Dropped,
    Outcome,
    PermanentFailure,
    Sent,
    TemporaryFailure,
    begin_attempt,
    settle,
)
from services.notify.core.state import Escalation, Standing
from services.notify.store import ESCALATIONS, dump, load
from tests.kit.fake_store import copied
from tests.notify.examples import (
    ESCALATION,
    assigned,
    at,
    at_risk,
    breached,
    cancelled,
    due_soon,
    met,
    paused,
    policy,
    queued,
    reopened,
    resumed,
    solved,
    unroutable,
)

MAKERS = (breached, at_risk, due_soon, met, cancelled, paused, resumed)
OTHERS = (queued, assigned, unroutable, solved, reopened)
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("clock"), st.sampled_from(MAKERS), st.sampled_from(["c1", "c2"])),
        st.tuples(st.just("event"), st.sampled_from(OTHERS), st.just("")),
        st.tuples(st.just("lost"), st.sampled_from(MAKERS), st.sampled_from(["c1", "c2"])),
        st.tuples(st.just("replay"), st.just(0), st.just("")),
        st.tuples(st.just("wait"), st.sampled_from([1, 59, 61, 700, 4000]), st.just("")),
        st.tuples(st.just("ack"), st.just(0), st.just("")),
        st.tuples(st.just("send"), st.sampled_from(["sent", "later", "unsure", "refused", "gone"]), st.just("")),
        st.tuples(st.just("try"), st.just(0), st.just("")),
        st.tuples(st.just("settle"), st.sampled_from(["sent", "dropped"]), st.just("")),
    ),
    max_size=40,
)
RULES = policy()
OUTCOMES: dict[str, Outcome] = {
    "sent": Sent(200),
    "later": TemporaryFailure("away", 503),
    "unsure": TemporaryFailure("no answer", unsure=True),
    "dropped": Dropped(),
    "refused": PermanentFailure("no", 400),
    "gone": PermanentFailure("gone", 410, gone=True),
}


class World:
    """Documents as kit keeps them; every state goes through BSON."""

    def __init__(self) -> None:
        self.doc: Document[Escalation] = Document(ESCALATION)
        self.now = 0.0
        self.sequences: Counter[str] = Counter()
        self.taken: list[Event] = []
        self.lost: list[Event] = []

    def apply(self, decision: document.Decision[Escalation] | None) -> None:
        if decision is not None:
            document.apply(ESCALATIONS, self.doc, decision, now=at(self.now), cause=None, limit=100_000)
            if decision.state is not None:
                self.doc.state = load(copied(dump(decision.state)))
                assert self.doc.state == decision.state

    def take(self, event: Event) -> None:
        if not self.doc.has_seen(event.source, event.sequence):
            incomplete = self.doc.lacks(event.source, event.sequence)
            self.apply(escalation.decide(self.doc.state, event, RULES, at(self.now), incomplete=incomplete))
            self.doc.take(event.source, event.sequence)

    def move(self, what: str, how: object, clock: str) -> None:
        state = self.doc.state
        if what in {"clock", "event", "lost"}:
            assert callable(how)
            source = "sla" if what != "event" else "ingest" if how in {solved, reopened} else "routing"
            self.sequences[source] += 1
            more = {"clock": clock} if clock else {}
            event = how(self.now, sequence=self.sequences[source], **more)
            if what == "lost":
                self.lost.append(event)
                self.doc.take(event.source, event.sequence, dead=True)
                return
            self.taken.append(event)
            self.take(event)
        elif what == "replay" and self.lost:
            self.taken.append(self.lost.pop(0))
            self.take(self.taken[-1])
        elif what == "wait":
            assert isinstance(how, int)
            self.now += how
            if state is not None:
                self.apply(escalation.fire(state, RULES, at(self.now)))
        elif what == "ack":
            self.apply(escalation.acknowledge(state, "mali", "rest", RULES, at(self.now)))
        elif state is not None and state.planned:
            planned = state.planned[0]
            if what in {"send", "try"}:
                self.apply(begin_attempt(state, planned.id, RULES, now=at(self.now)))
            if what in {"send", "settle"}:
                outcome = OUTCOMES[str(how)]
                self.apply(settle(self.doc.state, planned.id, outcome, RULES, now=at(self.now), jitter=0.5))

    def said(self) -> list[Event]:
        return [Event.parse(entry.event) for entry in self.doc.outbox + self.doc.fresh]


@settings(max_examples=300)
@given(MOVES)
def test_whatever_happens(moves: list[tuple[str, object, str]]) -> None:
    world = World()
    for move in moves:
        world.move(*move)
    before = (world.doc.state, len(world.said()))
    for event in world.taken:
        world.take(event)
    assert (world.doc.state, len(world.said())) == before, "decide is not idempotent under redelivery"

    said = [event.data for event in world.said()]
    ends = NotificationSent | NotificationFailed | NotificationWithdrawn
    settled = Counter(d.notification_id for d in said if isinstance(d, ends))
    assert all(count == 1 for count in settled.values()), "a notification is settled once"

    opened: Counter[str] = Counter()
    steps: Counter[tuple[str, int, int]] = Counter()
    for data in said:
        match data:
            case EscalationOpened():
                opened[data.alert.cause or ""] += 1
                opened["open"] += 1
            case EscalationResolved():
                opened["open"] -= 1
            case EscalationStepReached():
                assert data.alert is not None
                steps[data.alert.cause or "", data.step, data.round] += 1
        assert opened["open"] >= 0, "nothing ends that was not opened"
    state = world.doc.state
    holding = [alarm for alarm in state.alarms if alarm.standing != Standing.RESOLVED] if state is not None else []
    assert opened["open"] == len(holding), "what is opened is resolved once, and is open until then"
    assert not any(alarm.superseded and alarm.next_at is not None for alarm in holding), "superseded is not told again"
    exhausted = sum(isinstance(data, EscalationExhausted) for data in said)
    assert exhausted >= sum(alarm.exhausted for alarm in holding), "an exhausted chain says so"

    told = {
        d.target.name for d in said if isinstance(d, NotificationSent | NotificationWithdrawn) and d.kind == "firing"
    }
    over = {d.target.name for d in said if isinstance(d, NotificationSent) and d.kind in {"resolved", "reminder"}}
    acknowledged = any(what == "ack" for what, _, _ in moves)
    assert acknowledged or over <= told, "resolved goes only to those who were told"
    assert acknowledged or all(n == 1 for n in steps.values()), "each step is taken once a round"


CLOCK = st.lists(st.sampled_from(["breached", "due_soon", "at_risk", "paused", "resumed", "met"]), max_size=9)


@settings(max_examples=300)
@given(CLOCK, st.data())
def test_no_alarm_of_a_clock_that_is_over_stays_open_whatever_was_replayed(
    story: list[str], data: st.DataObject
) -> None:
    """A clock that goes on until it ends, of which any events but the last were dead letters, replayed in any order."""
    makers = {maker.__name__: maker for maker in MAKERS}
    world = World()
    events = [makers[kind](number, sequence=number) for number, kind in enumerate([*story, "cancelled"], 1)]
    lost = data.draw(st.sets(st.sampled_from(events[:-1]))) if story else set()
    for event in events:
        world.now += 1
        if event in lost:
            world.doc.take(event.source, event.sequence, dead=True)
        else:
            world.take(event)
    for event in data.draw(st.permutations(sorted(lost, key=lambda each: each.sequence))):
        world.take(event)
    state = world.doc.state
    assert state is None or state.standing in {Standing.QUIET, Standing.RESOLVED}
    assert state is None or state.due is None


def test_a_storm_of_breaches_keeps_the_document_bounded() -> None:
    world = World()
    for turn in range(120):
        for data in (breached, cancelled):
            world.now += 1
            world.move("clock", data, f"c{turn}")
            world.move("send", "sent", "")
    assert world.doc.state is not None
    assert len(world.doc.state.alarms) <= 31
    assert world.doc.state.planned == ()
