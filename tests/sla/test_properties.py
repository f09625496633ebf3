"""What holds for every sequence of events of a ticket."""

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.envelope import Event
from contracts.sla import ClockBreached, ClockStarted
from kit.protocol.document import Document, Seen
from services.sla import store
from services.sla.core import tickets
from tests.sla.desk import BOT, BookVersions, Desk, Writer, at, book

POLICIES = book(
    """
policies:
  - name: vip
    match: {tier: gold}
    targets: {first_reply: 10m, resolution: 60m}
  - name: default
    calendar: office
    targets: {first_reply: {urgent: 20m, default: 45m}, next_reply: 30m, resolution: 90m, total_resolution: 200m}
    warn: {due_soon: [5m, 15m], at_risk: 75%}
calendars:
  office: {zone: Europe/Warsaw, hours: {mon-fri: "08:00-12:00, 12:30-16:00"}}
"""
)
KINDS = (
    "received", "automated", "reply", "bot", "note", "pending", "open", "solved", "on_hold", "reopened", "urgent",
    "low", "gold", "handed_off", "closed", "merged",
)  # fmt: skip
stories = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 90)), min_size=1, max_size=14)


def written(story: list[tuple[str, int]], *, bot: bool) -> list[Event]:
    write, now = Writer(handled_by_bot=bot), 0
    events = [write.opened(0)]
    for kind, wait in story:
        now += wait
        events.append(
            {
                "received": write.received,
                "automated": lambda t: write.received(t, automated=True),
                "reply": write.replied,
                "bot": lambda t: write.replied(t, BOT),
                "note": write.noted,
                "reopened": write.reopened,
                "urgent": lambda t: write.priority(t, "urgent"),
                "low": lambda t: write.priority(t, "low"),
                "gold": lambda t: write.tier(t, "gold"),
                "handed_off": write.handed_off,
                "closed": write.closed,
                "merged": write.merged,
            }.get(kind, lambda t, kind=kind: write.status(t, kind))(now)
        )
    return events


def played(events: list[Event], *, ticks: bool) -> Desk:
    desk = Desk(POLICIES)
    for event in events:
        minute = (event.time - at(0)).total_seconds() / 60
        if ticks and desk.state is not None:
            desk.tick(minute - 0.001)
        desk.take(event)
    return desk


@given(stories, st.booleans())
@settings(max_examples=80)
def test_an_event_taken_twice_says_nothing_more(story: list[tuple[str, int]], bot: bool) -> None:
    desk = Desk(POLICIES)
    for event in written(story, bot=bot):
        desk.take(event)
        once = desk.state
        assert desk.take(event) == []
        assert desk.state == once


@given(stories, st.booleans(), st.booleans())
@settings(max_examples=80)
def test_every_clock_starts_once_ends_at_most_once_and_is_breached_at_most_once(
    story: list[tuple[str, int]], bot: bool, ticks: bool
) -> None:
    desk = played(written(story, bot=bot), ticks=ticks)
    assert desk.state is not None
    for clock in (*desk.state.live, *desk.state.ended):
        said = [event for event in desk.said if event.clock_id == clock.id]
        assert isinstance(said[0], ClockStarted)
        assert sum(isinstance(event, ClockStarted) for event in said) == 1
        assert sum(isinstance(event, ClockBreached) for event in said) == (clock.breached_at is not None)
    metrics = [clock.metric for clock in desk.state.live]
    assert len(metrics) == len(set(metrics))
    assert {breach.clock_id for breach in desk.state.breaches} == {
        event.clock_id for event in desk.said if isinstance(event, ClockBreached)
    }


@given(stories, st.booleans())
@settings(max_examples=80)
def test_who_ticks_late_finds_the_same_breaches(story: list[tuple[str, int]], bot: bool) -> None:
    events = written(story, bot=bot)
    live, late = played(events, ticks=True), played(events, ticks=False)
    assert live.state is not None
    assert late.state is not None
    end = (events[-1].time - at(0)).total_seconds() / 60 + 0.001
    live.tick(end)
    late.tick(end)
    assert set(live.state.breaches) == set(late.state.breaches)


@given(stories, st.booleans())
@settings(max_examples=60)
def test_a_state_comes_back_from_the_database_as_it_was(story: list[tuple[str, int]], bot: bool) -> None:
    desk = played(written(story, bot=bot), ticks=True)
    assert desk.state is not None
    stored = store.dump(desk.state)
    assert store.load(stored) == desk.state


@given(stories, st.lists(st.integers(0, 13), max_size=6))
@settings(max_examples=40)
def test_redelivery_changes_nothing(story: list[tuple[str, int]], repeats: list[int]) -> None:
    events = written(story, bot=False)
    shelf = BookVersions(POLICIES)
    plain = Desk(POLICIES)
    for event in events:
        plain.take(event)
    again = [*events]
    for index in repeats:  # a batch that comes again from some record on
        again[index % len(again) + 1 : index % len(again) + 1] = again[: index % len(again) + 1][-3:]
    doc: Document[object] = Document("t-1", seen={"/deskbus/ingest": Seen()})
    state = None
    for event in again:
        if not doc.has_seen(event.source, event.sequence):
            doc.take(event.source, event.sequence)
            state = tickets.decide(state, event, shelf, event.time).state or state
    assert state == plain.state
