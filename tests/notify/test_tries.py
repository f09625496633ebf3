"""What receivers answer, or do not: tries again, failures, and who counts as told."""

from datetime import datetime

import pytest

from contracts.notifications import NotificationFailed, NotificationWithdrawn
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
from services.notify.core.state import Planned
from services.notify.policy_file import NotifyFile
from tests.notify.examples import at, breached, cancelled, policy, unroutable
from tests.notify.timeline import Timeline, of


def away_until(seconds: float, after: float | None = None) -> Timeline:
    def answer(planned: Planned, now: datetime) -> Outcome:
        return TemporaryFailure("away", 503, after) if now < at(seconds) else Sent(200)

    return Timeline(answer=answer)


def test_tries_back_off_until_the_receiver_is_there() -> None:
    line = away_until(100)
    line.happens(breached(0))
    line.until(400)
    assert [when for when, who in line.tries if who == "lead"][:5] == [0, 10, 30, 70, 150]
    assert of(line.notified, "firing").count((150, "lead")) == 1


def test_a_receiver_that_is_still_being_tried_does_not_get_the_next_round_on_top() -> None:
    line = away_until(250)
    line.happens(breached(0))
    line.until(2_000)
    assert len([who for _, who in of(line.notified, "firing") if who == "lead"]) == 1


def test_retry_after_is_kept() -> None:
    line = away_until(1, after=500)
    line.happens(breached(0))
    line.until(2_000)
    assert [when for when, who in line.tries if who == "lead"] == [0, 500]


def test_a_receiver_delays_us_by_a_day_at_most() -> None:
    line = away_until(1, after=1e9)
    line.happens(breached(0))
    line.until(100_000)
    assert [when for when, who in line.tries if who == "lead"] == [0, 86_400]


@pytest.mark.parametrize(("retry_for", "tries"), [("69s", [0, 10, 30]), ("70s", [0, 10, 30, 70])])
def test_a_notification_fails_after_its_time_and_says_so_once(retry_for: str, tries: list[float]) -> None:
    rules = policy(
        receivers={"mail": {"sink": "email", "to": "a@b.example", "retry_for": retry_for}},
        chains={},
        route={"name": "all", "receiver": "mail", "repeat_interval": "1d"},
    )
    line = Timeline(rules, lambda planned, now: TemporaryFailure("away", 451))
    line.happens(breached(0))
    line.until(3600)
    assert [when for when, _ in line.tries] == tries
    (failed,) = line.events("notification.failed")
    assert isinstance(failed, NotificationFailed)
    assert (failed.attempts, failed.status, failed.permanent) == (len(tries), 451, True)
    assert (failed.error, failed.failed_at) == ("given up: away", at(tries[-1]))


@pytest.mark.parametrize(("said", "told"), [("", "no reason given"), ("x" * 501, "x" * 500), ("no", "no")])
def test_a_refusal_says_why(said: str, told: str) -> None:
    line = Timeline(answer=lambda planned, now: PermanentFailure(said))
    line.happens(breached(0))
    failed = line.events("notification.failed")[0]
    assert isinstance(failed, NotificationFailed)
    assert failed.error == told


def test_what_waits_for_a_receiver_that_the_policy_lost_is_tried_for_a_day() -> None:
    line = Timeline(answer=lambda planned, now: TemporaryFailure("away"))
    line.happens(unroutable(0))
    lost = policy().model_dump(mode="json", by_alias=True)
    lost["route"] = {"name": "all", "receiver": "slack"}
    lost["receivers"].pop("mail")
    line.policy = NotifyFile.model_validate(lost)
    line.until(100_000)
    (first, *_) = line.events("notification.failed")
    assert isinstance(first, NotificationFailed)
    assert first.target.name == "mail"
    assert at(80_000) < first.failed_at <= at(86_400)


def test_a_refusal_advances_the_chain_although_another_alarm_is_still_tried() -> None:
    line = Timeline(
        answer=lambda planned, now: TemporaryFailure("away") if "c1" in planned.alarm else PermanentFailure("no", 400)
    )
    line.happens(breached(0, clock="c1"))
    line.happens(breached(1, clock="c2", sequence=2))
    line.until(2)
    assert (1, "oncall") in line.tries


def test_a_refusal_at_a_step_that_the_policy_lost_starts_the_next_round() -> None:
    line = Timeline(
        answer=lambda planned, now: PermanentFailure("no", 400) if planned.receiver == "oncall" else Sent(200)
    )
    line.happens(breached(0))
    assert line.state is not None
    line._apply(escalation.fire(line.state, line.policy, at(60)))
    line.policy = policy(chains={"breach": {"steps": [{"targets": "lead"}], "repeat": 1}})
    line.now = 61
    line._deliver()
    assert line.notified == [(0, "lead", "firing"), (61, "lead", "firing")]


def test_410_drops_what_else_waits_for_that_receiver_and_nothing_else() -> None:
    answers: dict[str, Outcome] = {}
    line = Timeline(
        policy(chains={"breach": {"steps": [{"targets": ["lead", "slack"]}]}}),
        lambda planned, now: answers.get(planned.receiver, TemporaryFailure("away")),
    )
    line.happens(breached(0, clock="c1"))
    line.happens(breached(1, clock="c2", sequence=2))
    answers["lead"] = PermanentFailure("gone", 410, gone=True)
    line.until(11)
    assert line.state is not None
    assert sorted((p.receiver, p.alarm) for p in line.state.planned) == [
        ("slack", "breached:c1@breached"),
        ("slack", "breached:c2@breached"),
    ]


def test_when_nobody_of_a_step_can_be_reached_the_next_step_comes_at_once() -> None:
    def answer(planned: Planned, now: datetime) -> Outcome:
        return PermanentFailure("no such hook", 404) if planned.receiver == "lead" else Sent(200)

    line = Timeline(answer=answer)
    line.happens(breached(0))
    line.until(10)
    assert line.notified == [(0, "oncall", "firing")]


def test_410_disables_the_receiver_for_this_escalation_alone() -> None:
    def answer(planned: Planned, now: datetime) -> Outcome:
        return PermanentFailure("gone", 410, gone=True) if planned.receiver == "lead" else Sent(200)

    line = Timeline(answer=answer)
    line.happens(breached(0))
    line.until(10_000)
    line.happens(breached(10_001, clock="c2", sequence=2))
    assert [who for _, who in line.tries].count("lead") == 1
    assert line.state is not None
    assert line.state.disabled == ("lead",)


def test_a_chain_whose_receivers_are_all_gone_ends() -> None:
    line = Timeline(answer=lambda planned, now: PermanentFailure("gone", 410, gone=True))
    line.happens(breached(0))
    line.until(100_000)
    assert line.tries == [(0, "lead"), (0, "oncall")]
    assert line.state is not None
    assert line.state.alarms[0].exhausted


def test_an_outcome_is_settled_once() -> None:
    line = Timeline()
    line.takes(breached(0))
    assert line.state is not None
    (planned,) = line.state.planned
    first = settle(line.state, planned.id, Sent(200), line.policy, now=at(1), jitter=0)
    assert first is not None
    assert first.state is not None
    assert settle(first.state, planned.id, Sent(200), line.policy, now=at(2), jitter=0) is None


def test_only_the_withdrawn_is_dropped() -> None:
    line = Timeline()
    line.takes(breached(0))
    assert line.state is not None
    assert settle(line.state, line.state.planned[0].id, Dropped(), line.policy, now=at(1), jitter=0) is None


# --- Tries of which nobody knows what came. ---


def begun(line: Timeline) -> Planned:
    """Let a breach's notification be begun and nothing be written down: it may arrive, and whoever sent it is dead."""
    line.takes(breached(1))
    assert line.state is not None
    (planned,) = line.state.planned
    line.begins(planned)
    return planned


def test_who_may_have_been_told_hears_that_it_is_over() -> None:
    line = Timeline()
    flying = begun(line)
    line.takes(cancelled(5, sequence=2))
    line.until(10)
    assert line.notified == [(5, "lead", "resolved")]
    assert line.tries == [(1, "lead"), (5, "lead")], "it is not sent again once it is over"
    (said,) = line.events("notification.withdrawn")
    assert isinstance(said, NotificationWithdrawn)
    assert (said.notification_id, said.attempts) == (flying.id, 1)


def test_no_answer_is_not_a_no() -> None:
    line = Timeline(
        answer=lambda planned, now: TemporaryFailure("no answer", unsure=True) if now < at(5) else Sent(200)
    )
    line.happens(breached(1))
    line.happens(cancelled(5, sequence=2))
    line.until(10)
    assert line.notified == [(5, "lead", "resolved")]
    assert len(line.events("notification.withdrawn")) == 1


def test_a_no_after_a_try_without_outcome_leaves_it_open() -> None:
    line = Timeline(answer=lambda planned, now: TemporaryFailure("away") if now < at(5) else Sent(200))
    begun(line)
    line.until(2)
    line.happens(cancelled(5, sequence=2))
    line.until(10)
    assert line.notified == [(5, "lead", "resolved")]


def test_who_may_have_been_told_before_an_acknowledgement_hears_the_end_and_no_alarm_again() -> None:
    line = Timeline()
    begun(line)
    line._apply(escalation.acknowledge(line.state, "mali", "rest", line.policy, at(2)))
    line.happens(cancelled(5, sequence=2))
    line.until(10)
    assert line.notified == [(5, "lead", "resolved")]


def test_what_is_withdrawn_or_settled_is_not_begun() -> None:
    line = Timeline()
    line.takes(breached(1))
    assert line.state is not None
    (planned,) = line.state.planned
    line.takes(cancelled(1, sequence=2))
    assert begin_attempt(line.state, planned.id, line.policy, now=at(2)) is None
    assert begin_attempt(line.state, "another", line.policy, now=at(2)) is None
    assert begin_attempt(None, planned.id, line.policy, now=at(2)) is None
