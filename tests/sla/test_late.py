"""A metric that begins to apply late goes on from where it would be, had it applied from the start."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.sla import ClockStarted
from contracts.ticket import CustomerFacts, Status
from kit.calendar.hours import ALWAYS
from kit.calendar.working_time import Calendar
from services.sla.core.clocks import elapsed
from services.sla.core.history import KEPT_SPANS, Span, append_status, working_ms
from tests.sla.desk import Desk, at, book, minute

GOLD = """
policies:
  - name: vip
    match: {tier: gold}
    calendar: office
    targets: {first_reply: 60m, next_reply: 30m, resolution: 120m, total_resolution: 300m}
    pause_on: [pending, on_hold]
calendars:
  office: {zone: UTC, hours: {daily: "09:00-09:40, 10:10-20:00"}}
"""


def test_a_tier_set_at_50_leaves_what_is_left_since_0() -> None:
    desk = Desk(GOLD)
    assert desk.take(desk.write.opened(0)) == []
    assert desk.take(desk.write.tier(50, "gold")) == [
        "first_reply started",
        "resolution started",
        "total_resolution started",
    ]
    started = desk.said[0]
    assert isinstance(started, ClockStarted)
    assert (minute(started.started_at), started.elapsed_seconds) == (0, 40 * 60)  # closed from 40 to 70
    assert (desk.due("first_reply"), desk.due("resolution"), desk.due("total_resolution")) == (90, 150, 330)


def test_what_ran_out_before_it_applied_is_due_at_once_and_not_before() -> None:
    desk = Desk(GOLD)
    desk.take(desk.write.opened(0))
    desk.take(desk.write.tier(100, "gold"))
    assert desk.due("first_reply") == 100
    assert desk.tick(100) == ["first_reply breached"]
    assert desk.state is not None
    assert minute(desk.state.breaches[0].breached_at) == 100


def test_time_that_would_have_stood_still_does_not_count() -> None:
    desk = Desk(GOLD)
    for event in (desk.write.opened(0), desk.write.status(10, "pending"), desk.write.status(20, "on_hold")):
        desk.take(event)
    desk.take(desk.write.status(80, "open"))
    desk.take(desk.write.status(90, "solved"))
    desk.take(desk.write.reopened(200))
    desk.take(desk.write.tier(210, "gold"))
    assert desk.due("resolution") == 210 + 120 - (10 + 10 + 10)
    assert desk.state is not None
    assert {clock.started_at for clock in desk.state.live} == {at(0)}
    assert desk.due("total_resolution") == 330


def test_a_metric_that_applies_while_the_ticket_is_pending_stands_still_at_once() -> None:
    desk = Desk(GOLD)
    desk.take(desk.write.opened(0))
    desk.take(desk.write.replied(5))
    desk.take(desk.write.status(10, "pending"))
    assert desk.take(desk.write.tier(30, "gold")) == [
        "resolution started",
        "total_resolution started",
        "resolution paused pending",
    ]
    desk.take(desk.write.status(100, "open"))
    assert desk.due("resolution") == 100 + 110


def test_a_metric_that_applies_while_the_ticket_is_solved_starts_with_the_reopening() -> None:
    desk = Desk(GOLD)
    desk.take(desk.write.opened(0))
    desk.take(desk.write.status(10, "solved"))
    assert desk.take(desk.write.tier(20, "gold")) == []
    assert desk.take(desk.write.reopened(100)) == ["resolution started", "total_resolution started"]
    assert desk.due("resolution") == 100 + 110
    assert desk.due("total_resolution") == 330


def test_the_time_that_a_bot_had_the_ticket_does_not_count() -> None:
    desk = Desk(GOLD, handled_by_bot=True)
    desk.take(desk.write.opened(0))
    desk.take(desk.write.handed_off(20))
    desk.take(desk.write.tier(30, "gold"))
    assert (desk.due("first_reply"), desk.due("resolution")) == (110, 170)


def test_a_policy_that_left_and_comes_back_finds_the_time_counted() -> None:
    desk = Desk(GOLD, customer=CustomerFacts(tier="gold"))
    desk.take(desk.write.opened(0))
    assert desk.take(desk.write.tier(10, "silver"))[0] == "first_reply cancelled policy_changed"
    desk.take(desk.write.tier(30, "gold"))
    assert desk.due("first_reply") == 90


def test_a_question_that_no_policy_took_when_it_came_counts_since_it_came() -> None:
    desk = Desk(GOLD)
    desk.take(desk.write.opened(0))
    desk.take(desk.write.replied(1))
    desk.take(desk.write.received(75))
    assert desk.take(desk.write.tier(80, "gold"))[0] == "next_reply started"
    assert desk.due("next_reply") == 105


WIDE = book(GOLD.replace("60m", "600m").replace("30m", "600m").replace("120m", "600m").replace("300m", "600m"))
"""The same hours and more time than a story takes: what runs out before it applies is another matter."""
moves = st.lists(
    st.tuples(st.sampled_from(["pending", "open", "on_hold", "received", "reply", "solved"]), st.integers(1, 40)),
    max_size=10,
)


def told(story: list[tuple[str, int]], *, gold_at: int) -> tuple[Desk, int]:
    """Play a story in which the customer turns gold after so many events; at the end in any case."""
    desk, now = Desk(WIDE, customer=CustomerFacts(tier="gold") if gold_at < 0 else CustomerFacts()), 0
    desk.take(desk.write.opened(0))
    for number, (kind, wait) in enumerate(story):
        now += wait
        if number == gold_at:
            desk.take(desk.write.tier(now - 0.5, "gold"))
        if kind in {"received", "open"} and desk.write.ticket.status == "solved":
            desk.take(desk.write.reopened(now))
        if kind == "received":
            desk.take(desk.write.received(now))
        elif kind == "reply":
            desk.take(desk.write.replied(now))
        elif desk.write.ticket.status.value not in {kind, "solved"}:
            desk.take(desk.write.status(now, kind))
    desk.take(desk.write.tier(now + 1, "gold"))
    return desk, now + 1


@settings(max_examples=200)
@given(moves, st.integers(0, 10))
def test_late_and_early_come_to_the_same(story: list[tuple[str, int]], gold_at: int) -> None:
    early, end = told(story, gold_at=-1)
    late, _ = told(story, gold_at=gold_at)
    assert early.state is not None
    assert late.state is not None
    calendar = WIDE.calendar("office")

    def view(desk: Desk) -> dict[str, tuple[object, ...]]:
        assert desk.state is not None
        return {
            clock.metric: (clock.phase, clock.pause_reason, clock.due_at, elapsed(clock, at(end), calendar))
            for clock in desk.state.live
            if clock.pause_reason != "solved"  # one that applies while it is solved starts with the reopening
        }

    assert view(late) == view(early)


def test_a_history_is_bounded_and_says_a_status_once() -> None:
    history: tuple[Span, ...] = ()
    for number in range(3 * KEPT_SPANS):
        history = append_status(history, at(number), [Status.OPEN, Status.OPEN, Status.PENDING][number % 3])
    assert len(history) == KEPT_SPANS
    assert history[-2:] == (Span(at(297), Status.OPEN), Span(at(299), Status.PENDING))


@pytest.mark.parametrize(("until", "minutes"), [(0, 0), (7, 7), (10, 10), (15, 10), (20, 10), (26, 16)])
def test_time_used_leaves_out_what_stands_still(until: float, minutes: int) -> None:
    history = (Span(at(0), Status.OPEN), Span(at(10), Status.PENDING), Span(at(20), Status.OPEN))
    assert working_ms(history, at(until), Calendar("UTC", ALWAYS), ["pending"]) == minutes * 60_000
