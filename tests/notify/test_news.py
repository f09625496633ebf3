"""What is news and is told, what holds already and is not, and what is over: timelines in seconds."""

from services.notify.core.settle import Sent, TemporaryFailure
from services.notify.core.state import Standing
from tests.notify.examples import (
    ESCALATION,
    TICKET,
    assigned,
    at_risk,
    breached,
    cancelled,
    paused,
    policy,
    reopened,
    resumed,
    solved,
    types,
    unroutable,
)
from tests.notify.timeline import Timeline, of

# -- again -------------------------------------------------------------------------------------------------------------


def test_what_was_resolved_and_holds_again_is_told_at_once() -> None:
    line = Timeline()
    line.happens(unroutable(0))
    line.happens(assigned(10, sequence=2))
    line.happens(unroutable(20, sequence=3))
    assert line.notified == [(0, "mail", "firing"), (10, "mail", "resolved"), (20, "mail", "firing")]
    line.until(3620)
    assert line.notified[3:] == [(3620, "mail", "firing")]


def test_what_is_unchanged_is_told_again_after_the_repeat_interval_only() -> None:
    line = Timeline()
    line.happens(unroutable(0))
    line.happens(unroutable(100, sequence=2))
    assert line.notified == [(0, "mail", "firing")]
    line.until(3600)
    assert of(line.notified, "firing") == [(0, "mail"), (3600, "mail")]


def test_another_queue_that_nobody_serves_is_news() -> None:
    line = Timeline()
    line.happens(unroutable(0))
    line.happens(unroutable(10, queue="english", sequence=2))
    line.happens(unroutable(20, sequence=3))
    assert of(line.notified, "firing") == [(0, "mail"), (10, "mail"), (20, "mail")]
    line.until(3619)
    assert len(line.notified) == 3
    line.until(3620)
    assert len(line.notified) == 4
    line.happens(assigned(3700, sequence=4))
    assert of(line.notified, "resolved") == [(3700, "mail"), (3700, "mail")]
    assert len(line.events("escalation.opened")) == len(line.events("escalation.resolved")) == 2


def test_who_was_told_and_not_told_the_end_before_it_holds_again_is_told_the_next_end() -> None:
    away: set[str] = set()
    line = Timeline(answer=lambda planned, now: TemporaryFailure("away") if planned.receiver in away else Sent(200))
    line.happens(breached(1))
    line.until(61)
    away = {"oncall"}
    line.happens(cancelled(70, sequence=2))
    line.happens(breached(71, sequence=3))
    away = set()
    line.happens(cancelled(72, sequence=4))
    line.until(1000)
    assert of(line.notified, "firing") == [(1, "lead"), (61, "oncall"), (71, "lead")]
    assert sorted(of(line.notified, "resolved")) == [(70, "lead"), (72, "lead"), (72, "oncall")]


# -- one key an alarm --------------------------------------------------------------------------------------------------


def test_the_end_of_one_alarm_carries_its_own_key_and_no_other() -> None:
    line = Timeline()
    line.happens(breached(1, clock="c1"))
    line.happens(breached(2, clock="c2", metric="resolution", sequence=2))
    line.happens(cancelled(3, clock="c1", sequence=3))
    (_, _, first), (_, _, second), (_, _, ended) = line.keys
    assert ended == first != second
    line.happens(cancelled(4, clock="c2", sequence=4))
    assert line.keys[-1] == (4, "resolved", second)


def test_a_key_is_the_same_for_every_receiver_and_every_time() -> None:
    line = Timeline()
    line.happens(breached(1))
    line.until(61)
    line.happens(solved(70))
    line.happens(resumed(80, sequence=2))
    assert len(line.notified) == 5
    assert len({key for _, _, key in line.keys}) == 1


def test_a_key_names_its_escalation_and_is_short_enough_for_every_receiver() -> None:
    rules = policy(route={"name": "a" * 63, "receiver": "mail"})
    line = Timeline(rules)
    line.happens(at_risk(1, clock="c" * 200, detail="d" * 200))
    ((_, _, key),) = line.keys
    assert key.startswith(f"{ESCALATION}:")
    assert len(key) <= 255


def test_the_event_about_a_notification_has_the_key_that_the_receiver_saw() -> None:
    line = Timeline()
    line.happens(breached(1))
    (sent,) = line.events("notification.sent")
    assert sent.model_dump()["dedup_key"] == line.keys[0][2]


# -- solved and reopened -----------------------------------------------------------------------------------------------


def test_what_is_still_breached_when_the_ticket_is_reopened_is_told_again() -> None:
    line = Timeline()
    line.happens(breached(1))
    line.happens(solved(5))
    line.happens(cancelled(6, sequence=2))
    line.happens(reopened(10, sequence=2))
    line.happens(resumed(11, reason="reopened", sequence=3))
    assert line.notified == [(1, "lead", "firing"), (5, "lead", "resolved"), (11, "lead", "firing")]
    line.until(71)
    assert of(line.notified, "firing")[-1] == (71, "oncall")
    causes = [event.model_dump()["alert"]["cause"] for event in line.events("escalation.opened")]
    assert causes == [f"sla:{TICKET}:1", f"sla:{TICKET}:3"]
    said = types([data for _, data in line.said if data.type.startswith("deskbus.escalation")])
    assert said[:5] == [
        "escalation.opened",
        "escalation.step_reached",
        "escalation.resolved",
        "escalation.opened",
        "escalation.step_reached",
    ]


def test_a_warning_that_still_holds_when_the_ticket_is_reopened_is_told_again_but_not_beside_the_breach() -> None:
    line = Timeline()
    line.happens(at_risk(1, clock="c1"))
    line.happens(at_risk(1, clock="c2", sequence=2))
    line.happens(breached(2, clock="c2", sequence=3))
    line.happens(solved(5))
    line.happens(resumed(10, clock="c1", sequence=4))
    line.happens(resumed(11, clock="c2", sequence=5))
    assert [(when, who) for when, who in of(line.notified, "firing") if when >= 10] == [(10, "slack"), (11, "lead")]


def test_news_of_the_reopening_that_comes_before_news_of_the_solve_stands() -> None:
    line = Timeline()
    line.happens(breached(1))
    line.happens(cancelled(6, sequence=2))
    line.happens(resumed(11, sequence=3))
    line.takes(solved(5))
    line.takes(reopened(10, sequence=2))
    line.until(20)
    assert line.notified == [(1, "lead", "firing"), (6, "lead", "resolved"), (11, "lead", "firing")]
    assert line.standing() == Standing.OPEN


def test_news_of_a_reopening_that_was_solved_again_meanwhile_is_told_to_nobody() -> None:
    line = Timeline()
    line.happens(breached(1))
    line.happens(solved(5))
    line.happens(reopened(10, sequence=2))
    line.happens(solved(20, sequence=3))
    line.takes(resumed(11, sequence=2))
    line.until(30)
    assert line.notified == [(1, "lead", "firing"), (5, "lead", "resolved")]


def test_a_clock_that_goes_on_raises_nothing_that_was_not_the_matter() -> None:
    line = Timeline()
    line.happens(breached(1, clock="c1"))
    line.happens(unroutable(2))
    line.happens(solved(5))
    line.happens(resumed(10, clock="c2", sequence=2))
    assert of(line.notified, "firing") == [(1, "lead"), (2, "mail")]


def test_a_pause_in_between_does_not_make_a_breach_news() -> None:
    line = Timeline()
    line.happens(breached(1))
    line.happens(paused(2, sequence=2))
    line.happens(resumed(3, sequence=3))
    assert line.notified == [(1, "lead", "firing")]
    assert len(line.events("escalation.opened")) == 1


# -- replayed ----------------------------------------------------------------------------------------------------------


def test_an_old_solve_that_is_replayed_ends_nothing_that_is_the_matter_since() -> None:
    line = Timeline()
    line.happens(reopened(10, version=6))
    line.happens(unroutable(20))
    line.happens(solved(5, version=5))
    assert line.standing() == Standing.OPEN
    line.happens(solved(30, version=7))
    assert line.standing() == Standing.RESOLVED


def test_an_old_reopening_that_is_replayed_reopens_nothing() -> None:
    line = Timeline()
    line.happens(solved(20, version=7))
    line.happens(reopened(10, version=6))
    line.happens(breached(15))
    assert line.notified == []
    assert line.standing() == Standing.RESOLVED


def test_a_breach_that_was_none_does_not_come_back_when_its_clock_goes_on() -> None:
    line = Timeline()
    line.happens(breached(5))
    line.happens(cancelled(10, reason="in_time"))
    line.happens(paused(10))
    line.happens(resumed(20))
    assert line.standing() == Standing.RESOLVED
    line.happens(breached(30))
    assert line.standing() == Standing.OPEN


def test_a_breach_that_was_none_does_not_come_back_although_the_solve_was_heard_of_first() -> None:
    line = Timeline()
    line.happens(breached(5))
    line.happens(solved(10))
    line.happens(cancelled(11, reason="in_time"))
    line.happens(reopened(20))
    line.happens(resumed(20, reason="reopened"))
    assert line.standing() == Standing.RESOLVED
