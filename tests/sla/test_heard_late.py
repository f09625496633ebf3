"""What came in time and is heard of only after its breach was announced: the breach was none."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.envelope import Event
from tests.sla.desk import Writer
from tests.sla.policies import FIRST, opened


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("solved", ["resolution cancelled in_time", "resolution paused solved"]),
        ("pending", ["resolution cancelled in_time", "resolution paused pending"]),
        ("closed", ["resolution cancelled in_time"]),
        ("merged", ["resolution cancelled in_time"]),
    ],
)
@pytest.mark.parametrize("when", [110, 120])
def test_a_breach_is_none_whatever_came_in_time_and_is_heard_of_later(what: str, said: list[str], when: float) -> None:
    desk = opened("policies: [{name: p, targets: {resolution: 120m}, pause_on: [pending]}]")
    assert desk.tick(121) == ["resolution breached"]
    write = desk.write
    event = {"closed": write.closed, "merged": write.merged}.get(what)
    assert desk.take(event(when) if event else write.status(when, what), now=125) == said
    assert desk.state is not None
    assert desk.state.breaches == ()


def test_a_solve_in_time_that_is_heard_of_late_ends_a_reply_clock_without_a_breach() -> None:
    desk = opened(FIRST)
    desk.tick(31)
    assert desk.take(desk.write.status(20, "solved"), now=33) == ["first_reply cancelled in_time"]
    assert desk.state is not None
    assert desk.state.breaches == ()
    assert desk.state.ended[0].outcome == "solved"


def test_a_clock_that_stood_still_in_time_has_what_was_left() -> None:
    desk = opened("policies: [{name: p, targets: {resolution: 120m}, pause_on: [pending]}]")
    desk.tick(121)
    desk.take(desk.write.status(110, "pending"), now=125)
    desk.take(desk.write.status(200, "open"))
    assert desk.due("resolution") == 210
    assert desk.tick(211) == ["resolution breached"]


MANY = """
policies:
  - name: default
    targets: {first_reply: 30m, next_reply: 20m, resolution: 60m, total_resolution: 90m}
    pause_on: [pending]
"""
moves = st.lists(
    st.tuples(
        st.sampled_from(["received", "reply", "pending", "open", "solved", "note"]),
        st.sampled_from([1, 3, 10, 20, 31]),
        st.sampled_from([0, 0, 5, 25, 60]),
    ),
    max_size=12,
)


@settings(max_examples=200)
@given(moves)
def test_what_is_heard_of_late_leaves_what_is_heard_of_at_once_would(story: list[tuple[str, int, int]]) -> None:
    at_once, late = opened(MANY), opened(MANY)
    now = 0
    for kind, wait, delay in story:
        now += wait
        at_once.tick(now - 0.01)
        late.tick(now + delay - 0.01)
        for event in _happens(at_once.write, now, kind):
            at_once.take(event)
            late.take(event, now=now + delay)
    views = []
    for desk in (at_once, late):
        desk.tick(now + 200)
        assert desk.state is not None
        clocks = {(c.id, c.phase, c.breached_at, c.ended_at, c.outcome) for c in (*desk.state.live, *desk.state.ended)}
        views.append((clocks, {(breach.clock_id, breach.breached_at) for breach in desk.state.breaches}))
    assert views[0] == views[1]


def _happens(write: Writer, now: float, kind: str) -> list[Event]:
    status = write.ticket.status
    if kind == "received":
        moved = [write.reopened(now)] if status == "solved" else []
        return [*moved, write.received(now)]
    if kind == "reply":
        return [write.replied(now)]
    if kind == "note" or status in {kind, "solved"}:
        return [write.noted(now)]
    return [write.status(now, kind)]
