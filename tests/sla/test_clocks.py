"""One clock: every transition that there is, every one that there is not, and what holds for all sequences of them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.sla import CalendarRef, ClockBreached, ClockEvent, ClockResumed, Metric, PolicyRef
from contracts.ticket import TicketFacts
from kit.calendar.hours import ALWAYS, parse_week
from kit.calendar.working_time import Calendar
from services.sla.core import clocks
from services.sla.core.clocks import (
    TOTAL_RESOLUTION,
    TRANSITIONS,
    ClockContext,
    IllegalTransition,
    Phase,
    SlaClock,
    Step,
    Terms,
    Threshold,
    Trigger,
)
from tests.sla.desk import START, at

TARGET = 60 * 60_000
TERMS = Terms(
    PolicyRef(name="default", version="1"),
    CalendarRef(name="always", version="1"),
    TARGET,
    (Threshold(TARGET // 2), Threshold(TARGET * 3 // 4, at_risk=True)),
    ("pending",),
)


def setting(calendar: Calendar | None = None, now: datetime = START) -> ClockContext:
    return ClockContext("t-1", TicketFacts(channel="email"), calendar or Calendar("UTC", ALWAYS), now)


def in_phase(phase: Phase, metric: str = Metric.RESOLUTION) -> SlaClock:
    clock, _ = clocks.start("c-1", metric, TERMS, at(0), setting())
    if phase is Phase.PAUSED:
        clock, _ = clocks.pause(clock, at(1), "pending", setting())
    if phase is Phase.ENDED:
        clock, _ = clocks.stop(clock, at(1), setting())
    return clock


MOVES: dict[Trigger, Callable[[SlaClock, datetime], Step]] = {
    Trigger.PAUSE: lambda clock, t: clocks.pause(clock, t, "solved", setting()),
    Trigger.RESUME: lambda clock, t: clocks.resume(clock, t, "status", setting()),
    Trigger.STOP: lambda clock, t: clocks.stop(clock, t, setting()),
    Trigger.CANCEL: lambda clock, t: clocks.cancel(clock, t, "closed", setting()),
    Trigger.REINSTATE: lambda clock, t: clocks.reinstate(clock, t, setting()),
}
SAYS = {
    Trigger.PAUSE: "paused", Trigger.RESUME: "resumed", Trigger.STOP: "met", Trigger.CANCEL: "cancelled",
    Trigger.REINSTATE: "resumed",
}  # fmt: skip


@pytest.mark.parametrize(("phase", "trigger"), list(product(Phase, Trigger)))
def test_a_step_is_in_the_table_or_refused(phase: Phase, trigger: Trigger) -> None:
    clock = in_phase(phase)
    if (phase, trigger) not in TRANSITIONS:
        with pytest.raises(IllegalTransition):
            MOVES[trigger](clock, at(2))
        return
    moved, events = MOVES[trigger](clock, at(2))
    assert moved.phase is TRANSITIONS[phase, trigger]
    assert [event.type for event in events] == [f"deskbus.sla.{SAYS[trigger]}.v1"]


@pytest.mark.parametrize("phase", Phase)
def test_time_may_always_pass_and_moves_only_what_runs(phase: Phase) -> None:
    clock = in_phase(phase)
    moved, events = clocks.tick(clock, at(500), setting())
    assert bool(events) == (phase is Phase.RUNNING)
    assert (moved == clock) == (phase is not Phase.RUNNING)


def test_a_clock_says_when_it_wants_to_be_looked_at_next() -> None:
    clock = in_phase(Phase.RUNNING)
    wanted = []
    while clock.next_at is not None:
        wanted.append((clock.next_at - START) / timedelta(minutes=1))
        clock, _ = clocks.tick(clock, clock.next_at, setting())
    assert wanted == [30, 45, 60]


def test_a_clock_that_goes_on_wants_to_be_looked_at_for_what_it_has_not_said_yet() -> None:
    clock, _ = clocks.tick(in_phase(Phase.RUNNING), at(30), setting())
    clock, _ = clocks.pause(clock, at(35), "pending", setting())
    clock, _ = clocks.resume(clock, at(100), "status", setting())
    assert (clock.next_at, clock.due_at) == (at(110), at(125))
    clock, _ = clocks.tick(clock, at(110), setting())
    clock, _ = clocks.pause(clock, at(115), "pending", setting())
    clock, _ = clocks.resume(clock, at(200), "status", setting())
    assert clock.next_at == clock.due_at == at(210)


def test_a_pause_that_gets_another_reason_keeps_its_beginning() -> None:
    clock, _ = clocks.pause(in_phase(Phase.PAUSED), at(9), "solved", setting())
    assert (clock.paused_at, clock.pause_reason) == (at(1), "solved")


def test_a_pause_heard_of_after_the_deadline_comes_after_the_breach() -> None:
    clock, events = clocks.pause(in_phase(Phase.RUNNING), at(61), "pending", setting())
    assert [type(event).__name__ for event in events] == ["ClockBreached", "ClockPaused"]
    assert clock.breached_at == at(60)
    resumed, (event,) = clocks.resume(clock, at(90), "status", setting())
    assert (resumed.due_at, resumed.next_at) == (at(60), None)
    assert isinstance(event, ClockResumed)
    assert event.due_at is None  # no new deadline: the old one was told


def test_a_successor_carries_what_has_elapsed_and_the_beginning() -> None:
    clock = in_phase(Phase.RUNNING)
    terms = Terms(TERMS.policy, TERMS.calendar, 2 * TARGET)
    (_, _), (successor, _) = clocks.change_terms(clock, terms, at(40), clock_id="c-2", old=setting(), new=setting())
    assert (successor.id, successor.started_at, successor.due_at) == ("c-2", at(0), at(120))


# -- what must always hold ---------------------------------------------------------------------------------------------

OFFICE = Calendar("Europe/Warsaw", parse_week({"mon-fri": "08:00-12:00, 13:00-16:00"}))
gaps = st.lists(st.tuples(st.sampled_from(["pause", "resume", "tick", "solve"]), st.integers(0, 400)), max_size=14)


def play(moves: list[tuple[str, int]], metric: str, calendar: Calendar) -> tuple[list[SlaClock], list[ClockEvent], int]:
    """Play what is possible of it; returns the clocks after each step, what they said, and the end as a minute."""
    where = setting(calendar)
    clock, said = clocks.start("c-1", metric, TERMS, at(0), where)
    seen, now, events = [clock], 0, list(said)
    for move, wait in moves:
        now += wait
        if move == "tick":
            clock, said = clocks.tick(clock, at(now), where)
        elif move == "resume" and clock.phase is Phase.PAUSED:
            clock, said = clocks.resume(clock, at(now), "status", where)
        elif move in {"pause", "solve"} and clock.phase is Phase.RUNNING:
            clock, said = clocks.pause(clock, at(now), "solved" if move == "solve" else "pending", where)
        else:
            said = []
        seen.append(clock)
        events += said
    return seen, [event for event in events if isinstance(event, ClockEvent)], now


@given(gaps, st.sampled_from([Metric.RESOLUTION, TOTAL_RESOLUTION]))
@settings(max_examples=60)
def test_elapsed_time_and_the_deadline_never_go_back(moves: list[tuple[str, int]], metric: str) -> None:
    seen, _, now = play(moves, metric, OFFICE)
    used = [clock.elapsed_ms for clock in seen]
    assert used == sorted(used)
    dues = [clock.due_at for clock in seen if clock.due_at is not None]
    assert dues == sorted(dues)
    assert clocks.elapsed(seen[-1], at(now), OFFICE) <= OFFICE.ms_between(at(0), at(now))


@given(gaps)
@settings(max_examples=60)
def test_running_and_standing_still_make_up_all_working_time(moves: list[tuple[str, int]]) -> None:
    seen, events, now = play(moves, Metric.RESOLUTION, OFFICE)
    last = seen[-1]
    stood = sum(round(getattr(event, "paused_seconds", 0) * 1000) for event in events)
    still = OFFICE.ms_between(last.paused_at, at(now)) if last.paused_at else 0
    assert clocks.elapsed(last, at(now), OFFICE) + stood + still == OFFICE.ms_between(at(0), at(now))


@given(gaps, st.sampled_from([Metric.RESOLUTION, TOTAL_RESOLUTION]))
@settings(max_examples=60)
def test_a_breach_is_told_once_and_never_taken_back(moves: list[tuple[str, int]], metric: str) -> None:
    seen, events, _ = play(moves, metric, OFFICE)
    assert sum(isinstance(event, ClockBreached) for event in events) == (seen[-1].breached_at is not None)
    first = next((n for n, clock in enumerate(seen) if clock.breached_at), len(seen))
    assert all(clock.breached_at == seen[-1].breached_at for clock in seen[first:])


@given(gaps)
@settings(max_examples=60)
def test_ticks_in_between_change_nothing_that_is_decided(moves: list[tuple[str, int]]) -> None:
    plain = [move for move in moves if move[0] != "tick"]
    ticked = [part for move in plain for part in (("tick", move[1] // 2), (move[0], -(-move[1] // 2)))]
    one, two = (play([*some, ("tick", 1)], Metric.RESOLUTION, OFFICE)[0][-1] for some in (plain, ticked))
    assert (one.phase, one.elapsed_ms, one.breached_at, one.due_at) == (
        two.phase, two.elapsed_ms, two.breached_at, two.due_at,
    )  # fmt: skip
