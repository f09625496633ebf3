"""What came in time and is heard of only after its breach was announced: the breach was none."""

from __future__ import annotations

import pytest

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
