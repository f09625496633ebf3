"""Warnings: each level is told, the breach supersedes them, a pause resolves nothing. Timelines in seconds."""

from contracts.notifications import EscalationResolved
from services.notify.core.settle import PermanentFailure, Sent, settle
from services.notify.core.state import Standing
from tests.notify.examples import (
    at,
    at_risk,
    breached,
    cancelled,
    due_soon,
    met,
    paused,
    policy,
    reopened,
    resumed,
    solved,
)
from tests.notify.timeline import Timeline, of

# -- warnings ----------------------------------------------------------------------------------------------------------


def test_each_warning_level_is_told() -> None:
    line = Timeline()
    line.happens(due_soon(1, before=3600))
    line.happens(due_soon(2, before=900, sequence=2))
    line.happens(at_risk(3, detail="50% of the time is used", sequence=3))
    line.happens(at_risk(4, detail="75% of the time is used", sequence=4))
    assert of(line.notified, "firing") == [(1, "slack"), (2, "slack"), (3, "slack"), (4, "slack")]
    assert len({key for _, _, key in line.keys}) == 4
    texts = [event.model_dump()["alert"]["summary"] for event in line.events("escalation.opened")]
    assert "1 h of working time before its end" in texts[0]
    assert "15 min of working time before its end" in texts[1]
    assert "75% of the time is used" in texts[3]


def test_only_the_latest_warning_of_a_kind_is_told_again() -> None:
    line = Timeline()
    line.happens(due_soon(0, before=3600))
    line.happens(at_risk(10, sequence=2))
    line.happens(due_soon(20, before=900, sequence=3))
    line.until(3620)
    assert [when for when, _ in of(line.notified, "firing")] == [0, 10, 20, 3610, 3620]


def test_a_warning_is_superseded_by_the_breach_and_ends_with_it() -> None:
    line = Timeline()
    line.happens(due_soon(1))
    line.happens(at_risk(2, sequence=2))
    line.happens(breached(3, sequence=3))
    assert of(line.notified, "resolved") == []
    line.until(4000)
    assert of(line.notified, "firing")[:3] == [(1, "slack"), (2, "slack"), (3, "lead")]
    assert "slack" not in {who for when, who in of(line.notified, "firing") if when > 3}
    line.happens(cancelled(4000, sequence=4))
    assert of(line.notified, "resolved") == [(4000, "slack"), (4000, "slack"), (4000, "lead"), (4000, "oncall")]
    assert {r.reason for r in line.events("escalation.resolved") if isinstance(r, EscalationResolved)} == {
        "stopped_late"
    }


def test_the_breach_of_one_clock_supersedes_no_warning_of_another() -> None:
    line = Timeline()
    line.happens(at_risk(1, clock="c1"))
    line.happens(breached(2, clock="c2", sequence=2))
    line.until(3601)
    assert (3601, "slack") in of(line.notified, "firing")


def test_a_warning_that_is_not_out_yet_when_the_breach_comes_is_not_sent() -> None:
    line = Timeline()
    line.takes(at_risk(1))
    line.takes(breached(2, sequence=2))
    line.until(10)
    assert line.notified == [(2, "lead", "firing")]


def test_a_warning_that_goes_out_while_it_is_superseded_ends_with_the_breach() -> None:
    line = Timeline()
    line.takes(at_risk(1))
    assert line.state is not None
    (flying,) = line.state.planned
    line.begins(flying)
    line.takes(breached(2, sequence=2))
    line._apply(settle(line.state, flying.id, Sent(200), line.policy, now=at(3), jitter=0))
    line.happens(cancelled(4, sequence=3))
    assert (4, "slack") in of(line.notified, "resolved")


def test_an_acknowledged_warning_does_not_acknowledge_the_breach() -> None:
    line = Timeline()
    line.happens(at_risk(1))
    line.acknowledged(2)
    line.happens(breached(3, sequence=2))
    assert line.standing() == Standing.OPEN
    assert line.acknowledged(4)
    line.until(604)
    assert of(line.notified, "reminder") == [(604, "lead")]


def test_an_acknowledgement_of_the_breach_leaves_its_warnings_out() -> None:
    line = Timeline()
    line.happens(at_risk(1))
    line.happens(breached(2, sequence=2))
    line.acknowledged(3)
    assert line.standing() == Standing.ACKNOWLEDGED
    assert not line.acknowledged(4)


def test_a_pause_resolves_nothing_and_a_warning_is_not_repeated_while_its_clock_stands_still() -> None:
    line = Timeline()
    line.happens(at_risk(0))
    line.happens(breached(1, clock="c2", sequence=2))
    line.happens(resumed(500, sequence=9))  # it runs already
    line.happens(paused(600, sequence=3))
    line.happens(paused(600, clock="c2", sequence=4))
    line.until(10_000)
    assert of(line.notified, "resolved") == []
    assert [who for _, who in of(line.notified, "firing")] == ["slack", "lead", "oncall", "lead", "oncall"]
    line.happens(resumed(10_000, sequence=5))
    line.until(12_999)
    assert len(line.notified) == 5
    line.happens(resumed(12_000, sequence=6))
    line.until(13_000)
    assert line.notified[-1] == (13_000, "slack", "firing")


def test_a_superseded_warning_does_not_go_on_with_its_clock() -> None:
    line = Timeline()
    line.happens(at_risk(0))
    line.happens(paused(10, sequence=2))
    line.happens(breached(20, sequence=3))
    line.happens(resumed(30, sequence=4))
    line.until(10_000)
    assert [when for when, who in of(line.notified, "firing") if who == "slack"] == [0]


def test_a_pause_holds_back_nothing_about_another_clock() -> None:
    line = Timeline()
    line.happens(at_risk(0, clock="c1"))
    line.happens(paused(10, clock="c2", sequence=2))
    line.until(3600)
    assert line.notified[-1] == (3600, "slack", "firing")


def test_a_repeat_that_was_overdue_when_the_clock_was_paused_comes_when_it_goes_on() -> None:
    line = Timeline()
    line.happens(at_risk(0))
    line.now = 3700  # the timers were late
    line.takes(paused(3700, sequence=2))
    line.happens(resumed(5000, sequence=3))
    line.until(5000)
    assert line.notified[-1] == (5000, "slack", "firing")


def test_what_an_acknowledged_warning_waits_for_also_stands_still() -> None:
    rules = policy(route={"name": "all", "chain": "breach"})
    line = Timeline(rules)
    line.happens(at_risk(0))
    line.acknowledged(10)
    line.happens(paused(110, sequence=2))
    line.happens(resumed(5000, sequence=3))
    line.until(5499)
    assert of(line.notified, "reminder") == []
    line.until(5500)
    assert of(line.notified, "reminder") == [(5500, "lead")]


def test_an_acknowledgement_while_the_clock_stands_still_holds_until_the_clock_has_gone_on() -> None:
    line = Timeline(policy(route={"name": "all", "chain": "breach"}))
    line.happens(at_risk(0))
    line.happens(paused(10, sequence=2))
    assert line.acknowledged(20)
    line.happens(resumed(5000, sequence=3))
    assert line.standing() == Standing.ACKNOWLEDGED
    line.until(5599)
    assert line.notified == [(0, "lead", "firing")]
    line.until(5600)
    assert line.notified[1:] == [(5600, "lead", "reminder")]
    line.until(5900)
    assert line.notified[2:] == [(5900, "lead", "firing")]


def test_what_nobody_acknowledged_in_time_may_be_acknowledged_while_the_clock_stands_still() -> None:
    line = Timeline(policy(route={"name": "all", "chain": "breach"}))
    line.happens(at_risk(0))
    line.until(1000)
    assert len(line.events("escalation.exhausted")) == 1
    line.happens(paused(1000, sequence=2))
    line.happens(paused(1010, reason="on_hold", sequence=3))
    assert line.acknowledged(1020)
    line.happens(resumed(5000, sequence=4))
    line.until(5599)
    assert of(line.notified, "reminder") == []
    line.until(5600)
    assert of(line.notified, "reminder") == [(5600, "lead"), (5600, "oncall")]


def test_an_acknowledgement_before_a_pause_is_not_reminded_in_it() -> None:
    line = Timeline(policy(route={"name": "all", "chain": "breach"}))
    line.happens(at_risk(0))
    line.acknowledged(5)
    line.happens(paused(10, sequence=2))
    line.until(5000)
    assert line.notified == [(0, "lead", "firing")]
    assert line.standing() == Standing.ACKNOWLEDGED


def test_a_chain_that_goes_on_because_nobody_was_reached_waits_for_the_clock_after_that() -> None:
    answers = {"lead": PermanentFailure("no", 400)}
    rules = policy(route={"name": "all", "chain": "breach"})
    line = Timeline(rules, lambda planned, now: answers.get(planned.receiver, Sent(200)))
    line.takes(at_risk(0))
    line.takes(paused(1, sequence=2))
    line.until(4000)
    assert line.notified == [(1, "oncall", "firing")]
    line.happens(resumed(5000, sequence=3))
    line.until(5059)
    assert len(line.notified) == 1
    line.until(5061)
    assert line.notified[1:] == [(5060, "oncall", "firing")]


def test_a_warning_met_while_it_stands_still_is_over() -> None:
    line = Timeline()
    line.happens(at_risk(0))
    line.happens(paused(10, sequence=2))
    line.happens(met(20, sequence=3))
    line.until(10_000)
    assert line.notified == [(0, "slack", "firing"), (20, "slack", "resolved")]
    line.happens(resumed(10_001, clock="c9", sequence=4))
    assert len(line.notified) == 2


def test_a_warning_that_comes_behind_the_solve_ends_with_the_clock_that_the_solve_stops() -> None:
    line = Timeline()
    line.happens(solved(5))
    line.happens(at_risk(6))
    line.happens(paused(7, reason="solved", sequence=2))
    assert line.notified == [(6, "slack", "firing"), (7, "slack", "resolved")]


def test_a_warning_that_a_solve_ended_before_its_breach_was_heard_of_does_not_come_back_beside_the_breach() -> None:
    line = Timeline()
    line.happens(due_soon(1))
    line.happens(solved(20))
    line.takes(breached(10))  # before the solve, and heard of after it
    line.takes(cancelled(20))
    line.happens(reopened(30))
    line.happens(resumed(30, reason="reopened"))
    assert line.state is not None
    holding = [alarm.kind for alarm in line.state.alarms if alarm.standing != Standing.RESOLVED]
    assert holding == ["breached"]
