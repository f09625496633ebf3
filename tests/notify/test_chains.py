"""How a chain ends when nobody acknowledges, and what a refusal does to it: timelines in seconds."""

import pytest

from contracts.notifications import EscalationExhausted
from services.notify.core import escalation
from services.notify.core.settle import PermanentFailure, Sent, TemporaryFailure, settle
from services.notify.core.state import Standing
from tests.notify.examples import (
    at,
    breached,
    cancelled,
    policy,
    types,
)
from tests.notify.timeline import Timeline, of

# -- the end of a chain ------------------------------------------------------------------------------------------------


def test_an_exhausted_chain_says_so_once() -> None:
    line = Timeline()
    line.happens(breached(1))
    line.until(240)
    assert line.events("escalation.exhausted") == []
    line.until(10_000)
    (said,) = line.events("escalation.exhausted")
    assert isinstance(said, EscalationExhausted)
    assert (said.chain, said.round, said.exhausted_at, said.alert.name) == ("breach", 1, at(241), "sla_breached")
    assert line.standing() == Standing.OPEN


def test_a_chain_in_which_nobody_can_be_reached_is_exhausted_at_once() -> None:
    line = Timeline(answer=lambda planned, now: PermanentFailure("gone", 410, gone=True))
    line.happens(breached(1))
    (said,) = line.events("escalation.exhausted")
    assert isinstance(said, EscalationExhausted)
    assert said.exhausted_at == at(1)


def test_an_acknowledged_chain_is_not_exhausted_and_one_begun_again_may_be() -> None:
    line = Timeline()
    line.happens(breached(0))
    line.acknowledged(10)
    line.until(909)
    assert line.events("escalation.exhausted") == []
    line.until(10_000)
    assert len(line.events("escalation.exhausted")) == 1


def test_a_silent_route_is_not_a_chain_that_nobody_acknowledged() -> None:
    line = Timeline(policy(route={"name": "all", "silent": True}))
    line.happens(breached(1))
    line.until(10_000)
    assert types([data for _, data in line.said]) == ["escalation.opened"]
    assert line.state is not None
    assert not line.state.alarms[0].exhausted


# -- acknowledgements --------------------------------------------------------------------------------------------------


def test_a_reminder_goes_to_all_who_were_told() -> None:
    line = Timeline()
    line.happens(breached(0))
    line.acknowledged(70)
    line.until(670)
    assert of(line.notified, "reminder") == [(670, "lead"), (670, "oncall")]


def test_what_was_acknowledged_before_anybody_was_told_reminds_those_who_would_have_been() -> None:
    line = Timeline()
    line.takes(breached(0))
    line._apply(escalation.acknowledge(line.state, "mali", "rest", line.policy, at(0)))
    line.until(600)
    assert line.notified == [(600, "lead", "reminder")]


def test_a_step_that_the_policy_lost_reminds_nobody_who_was_not_told() -> None:
    line = Timeline()
    line.happens(breached(0))
    line.until(60)
    assert line.state is not None
    untold = [alarm.model_copy(update={"notified": ()}) for alarm in line.state.alarms]
    line.state = line.state.model_copy(update={"alarms": tuple(untold)})
    line.policy = policy(chains={"breach": {"steps": [{"targets": "lead"}], "remind_after": "10m"}})
    line.acknowledged(70)
    line.until(670)
    assert of(line.notified, "reminder") == []


def test_an_acknowledgement_that_was_undone_may_be_given_and_forgotten_again() -> None:
    line = Timeline()
    line.happens(breached(0))
    line.acknowledged(10)
    line.until(910)
    assert line.state is not None
    (alarm,) = line.state.alarms
    assert (alarm.standing, alarm.acked_by, alarm.acked_at, alarm.exhausted) == (Standing.OPEN, None, None, False)
    line.acknowledged(920, by="nok")
    (alarm,) = line.state.alarms
    assert (alarm.acked_by, alarm.acked_at) == ("nok", at(920))
    line.until(1820)
    assert of(line.notified, "reminder") == [(610, "lead"), (1520, "lead")]
    assert of(line.notified, "firing")[-1] == (1820, "lead")


def test_a_chain_that_was_exhausted_begins_anew_when_its_acknowledgement_is_undone() -> None:
    line = Timeline()
    line.happens(breached(0))
    line.until(300)
    assert line.acknowledged(300)
    line.until(1200)
    assert line.state is not None
    assert not line.state.alarms[0].exhausted
    line.until(5000)
    assert [when for when, _ in of(line.notified, "firing")] == [0, 60, 120, 180, 1200, 1260, 1320, 1380]
    assert len(line.events("escalation.exhausted")) == 2


# -- refusals ----------------------------------------------------------------------------------------------------------

BOTH = {
    "breach": {
        "steps": [{"targets": ["lead", "slack"], "wait": "60s"}, {"targets": "oncall", "wait": "60s"}],
        "remind_after": "10s",
    }
}


@pytest.mark.parametrize("first", ["lead", "slack"])
def test_a_refusal_does_not_advance_the_chain_while_another_of_the_step_may_be_reached(first: str) -> None:
    def answer(planned: object, now: object) -> TemporaryFailure | PermanentFailure | Sent:
        who = getattr(planned, "receiver", "")
        return PermanentFailure("no", 400) if who == first else Sent(200)

    line = Timeline(policy(chains=BOTH), answer)
    line.happens(breached(0))
    line.until(59)
    assert [who for _, who in of(line.notified, "firing")] == [{"lead": "slack", "slack": "lead"}[first]]
    line.until(60)
    assert line.notified[-1] == (60, "oncall", "firing")


def test_a_refusal_while_another_of_the_step_is_still_tried_advances_nothing() -> None:
    line = Timeline(
        policy(chains=BOTH),
        lambda planned, now: PermanentFailure("no", 400) if planned.receiver == "lead" else TemporaryFailure("away"),
    )
    line.happens(breached(0))
    line.until(59)
    assert "oncall" not in {who for _, who in line.tries}


@pytest.mark.parametrize("kind", ["reminder", "resolved"])
def test_a_refused_reminder_or_end_advances_no_chain(kind: str) -> None:
    line = Timeline(
        policy(chains=BOTH), lambda planned, now: PermanentFailure("no", 400) if planned.kind == kind else Sent(200)
    )
    line.happens(breached(0))
    line.acknowledged(1)
    line.until(12)
    line.happens(cancelled(13, sequence=2))
    line.until(59)
    assert len(line.events("escalation.step_reached")) == 1


def test_a_refusal_of_what_was_acknowledged_meanwhile_advances_no_chain() -> None:
    line = Timeline()
    line.takes(breached(0))
    assert line.state is not None
    (flying,) = line.state.planned
    line.begins(flying)
    line.acknowledged(1)
    line._apply(settle(line.state, flying.id, PermanentFailure("no", 400), line.policy, now=at(2), jitter=0))
    line.until(50)
    assert len(line.events("escalation.step_reached")) == 1
