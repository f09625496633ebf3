"""Escalations over time: who is told when, and when not."""

import pytest

from contracts.notifications import EscalationAcknowledged, EscalationOpened, EscalationResolved
from services.notify.core import escalation
from services.notify.core.settle import Sent, TemporaryFailure, settle
from services.notify.core.state import Standing
from services.notify.store import dump
from tests.notify.examples import (
    TICKET,
    assigned,
    at,
    breached,
    cancelled,
    met,
    policy,
    queued,
    reopened,
    routable,
    solved,
    types,
    unroutable,
)
from tests.notify.timeline import Timeline, of


def test_breach_at_1_is_told_at_1_the_second_step_at_61_and_all_of_it_once_more() -> None:
    line = Timeline()
    line.happens(breached(1))
    line.until(10_000)
    assert line.notified == [
        (1, "lead", "firing"),
        (61, "oncall", "firing"),
        (121, "lead", "firing"),
        (181, "oncall", "firing"),
    ]
    assert line.state is not None
    assert line.state.alarms[0].exhausted
    assert line.state.due is None


def test_an_acknowledgement_at_30_stops_the_chain_at_once() -> None:
    line = Timeline()
    line.happens(breached(1))
    assert line.acknowledged(30)
    line.until(600)
    assert line.notified == [(1, "lead", "firing")]
    (said,) = line.events("escalation.acknowledged")
    assert isinstance(said, EscalationAcknowledged)
    assert (said.by, said.via, said.step, said.after_ms) == ("mali", "rest", 0, 29_000)


def test_a_second_acknowledgement_changes_nothing() -> None:
    line = Timeline()
    line.happens(breached(1))
    line.acknowledged(30)
    assert not line.acknowledged(31, by="nok")
    assert len(line.events("escalation.acknowledged")) == 1


def test_an_acknowledgement_withdraws_what_is_still_being_tried() -> None:
    line = Timeline(answer=lambda planned, now: TemporaryFailure("away"))
    line.happens(breached(1))
    line.acknowledged(5)
    line.until(500)
    assert line.tries == [(1, "lead")]
    assert line.state is not None
    assert line.state.planned == ()


def test_a_forgotten_acknowledgement_is_reminded_then_undone() -> None:
    line = Timeline()
    line.happens(breached(0))
    line.acknowledged(10)
    line.until(10 + 600 + 300 + 60)
    assert line.notified == [
        (0, "lead", "firing"),
        (610, "lead", "reminder"),
        (910, "lead", "firing"),
        (970, "oncall", "firing"),
    ]


@pytest.mark.parametrize(
    ("reason", "end"), [("stopped_late", "stopped_late"), ("in_time", "met"), ("solved", "cancelled")]
)
def test_a_reply_ends_it_and_only_those_told_hear_so(reason: str, end: str) -> None:
    line = Timeline()
    line.happens(breached(1))
    line.happens(cancelled(40, reason=reason, sequence=2))
    line.until(10_000)
    assert line.notified == [(1, "lead", "firing"), (40, "lead", "resolved")]
    (said,) = line.events("escalation.resolved")
    assert isinstance(said, EscalationResolved)
    assert (said.reason, said.resolved_at) == (end, at(40))
    assert line.state is not None
    (alarm,) = line.state.alarms
    assert (alarm.ended_reason, alarm.ended_at, alarm.next_at) == (end, at(40), None)


def test_what_was_never_sent_is_not_resolved_either() -> None:
    line = Timeline(answer=lambda planned, now: TemporaryFailure("away"))
    line.happens(breached(1))
    line.happens(cancelled(5, sequence=2))
    line.until(10_000)
    assert line.notified == []
    assert line.tries == [(1, "lead")]


def test_breach_and_end_in_one_batch_tell_nobody() -> None:
    line = Timeline()
    line.takes(breached(1))
    line.takes(cancelled(1, sequence=2))
    line.until(1_000)
    assert line.notified == []
    assert types([data for _, data in line.said]) == [
        "escalation.opened",
        "escalation.step_reached",
        "escalation.resolved",
    ]


def test_one_that_arrives_while_it_ends_is_followed_by_its_resolved() -> None:
    line = Timeline()
    line.takes(breached(1))
    assert line.state is not None
    (flying,) = line.state.planned
    line.takes(cancelled(2, sequence=2))
    line._apply(settle(line.state, flying.id, Sent(200), line.policy, now=at(3), jitter=0))
    line.until(10)
    assert of(line.notified, "resolved") == [(3, "lead")]


def test_a_receiver_may_not_want_to_hear_that_it_is_over() -> None:
    rules = policy(
        receivers={
            "mail": {"sink": "email", "to": "a@b.example", "send_resolved": False},
        },
        chains={},
        route={"name": "all", "receiver": "mail"},
    )
    line = Timeline(rules)
    line.happens(breached(1))
    line.happens(cancelled(40, sequence=2))
    assert line.notified == [(1, "mail", "firing")]


def test_the_same_alert_again_is_not_told_again() -> None:
    line = Timeline()
    line.happens(breached(1))
    line.happens(breached(2, sequence=2))
    line.until(30)
    assert line.notified == [(1, "lead", "firing")]
    assert len(line.events("escalation.opened")) == 1


def test_two_clocks_of_a_ticket_are_two_alarms_of_one_escalation() -> None:
    line = Timeline()
    line.happens(breached(1, clock="c1"))
    line.happens(breached(2, clock="c2", metric="resolution", sequence=2))
    assert of(line.notified, "firing") == [(1, "lead"), (2, "lead")]
    line.happens(cancelled(3, clock="c1", sequence=3))
    assert line.standing() == Standing.OPEN
    line.happens(cancelled(4, clock="c2", sequence=4))
    assert line.standing() == Standing.RESOLVED


def test_what_comes_after_an_acknowledgement_is_news() -> None:
    line = Timeline()
    line.happens(breached(1, clock="c1"))
    line.acknowledged(2)
    line.happens(breached(3, clock="c2", sequence=2))
    assert of(line.notified, "firing") == [(1, "lead"), (3, "lead")]


def test_a_route_with_a_receiver_says_again_after_the_repeat_interval_while_it_holds() -> None:
    line = Timeline()
    line.happens(unroutable(0))
    line.until(7200)
    assert line.notified == [(0, "mail", "firing"), (3600, "mail", "firing"), (7200, "mail", "firing")]
    line.happens(assigned(7300, sequence=2))
    line.until(20_000)
    assert line.notified[3:] == [(7300, "mail", "resolved")]


def test_a_ticket_that_somebody_could_serve_again_is_no_alarm_any_more_and_may_become_one_again() -> None:
    line = Timeline()
    line.happens(unroutable(0))
    line.happens(routable(60, sequence=2))
    line.until(3_000)
    line.happens(unroutable(3_000, sequence=3))
    assert line.notified == [(0, "mail", "firing"), (60, "mail", "resolved"), (3_000, "mail", "firing")]


def test_solving_the_ticket_ends_everything() -> None:
    line = Timeline()
    line.happens(breached(1))
    line.happens(unroutable(2))
    line.happens(solved(3))
    line.until(10_000)
    assert of(line.notified, "resolved") == [(3, "lead"), (3, "mail")]
    assert line.state is not None
    assert line.state.standing == Standing.RESOLVED


def test_a_breach_that_arrives_after_the_solve_it_came_before_is_not_told() -> None:
    line = Timeline()
    line.happens(solved(5))
    line.happens(breached(4))
    line.until(1_000)
    assert line.notified == []
    assert types([data for _, data in line.said]) == ["escalation.opened", "escalation.resolved"]
    assert line.standing() == Standing.RESOLVED


def test_nothing_is_late_once_the_ticket_is_reopened() -> None:
    line = Timeline()
    line.happens(solved(5))
    line.happens(reopened(6, sequence=2))
    line.happens(breached(4))
    assert line.notified == [(6, "lead", "firing")]


def test_a_breach_after_a_reopen_is_told() -> None:
    line = Timeline()
    line.happens(solved(5))
    line.happens(reopened(6, sequence=2))
    line.happens(breached(7))
    assert line.notified == [(7, "lead", "firing")]


def test_news_that_reaches_us_late_still_gives_every_step_its_wait() -> None:
    line = Timeline()
    line.until(500)
    line.happens(breached(1))
    line.until(559)
    assert line.notified == [(500, "lead", "firing")]
    line.until(561)
    assert line.notified[1:] == [(560, "oncall", "firing")]


def test_a_ticket_that_raises_nothing_keeps_at_most_its_queue_and_agent() -> None:
    line = Timeline()
    line.happens(met(5))
    line.happens(reopened(6))
    assert line.standing() is None
    line.happens(queued(7))
    assert line.state is not None
    assert dump(line.state) == {"ticket_id": TICKET, "queue": "thai"}


def test_the_alert_names_queue_and_agent() -> None:
    line = Timeline()
    line.happens(assigned(1))
    line.happens(breached(2))
    (said,) = line.events("escalation.opened")
    assert isinstance(said, EscalationOpened)
    assert said.alert.labels == {
        "kind": "breached",
        "metric": "first_reply",
        "policy": "marketplace",
        "brand": "nimbus",
        "channel": "whatsapp",
        "account": "wa-th",
        "marketplace": "shopee",
        "country": "TH",
        "priority": "high",
        "tier": "gold",
        "language": "th",
        "queue": "thai",
    }
    assert line.state is not None
    assert line.state.agent == "Somchai"


def test_a_chain_that_the_policy_lost_goes_on_where_the_alert_would_go_today() -> None:
    line = Timeline()
    line.happens(breached(0))
    line.policy = policy(chains={}, route={"name": "all", "receiver": "mail"})
    line.until(61)
    assert line.notified == [(0, "lead", "firing"), (60, "mail", "firing")]


@pytest.mark.parametrize("seconds", [0.0, 59.9])
def test_nothing_is_due_before_its_time(seconds: float) -> None:
    line = Timeline()
    line.happens(breached(0))
    assert line.state is not None
    assert escalation.fire(line.state, line.policy, at(seconds)) is None
