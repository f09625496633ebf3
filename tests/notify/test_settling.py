"""One outcome at a time: the whole state and every event after each."""

from typing import Any

import pytest

from contracts.notifications import (
    NotificationFailed,
    NotificationSent,
    NotificationWithdrawn,
    Target,
)
from kit.base.ids import stable_id
from kit.protocol.document import Decision
from services.notify.core.policy import NotifyPolicy
from services.notify.core.settle import (
    Dropped,
    Outcome,
    PermanentFailure,
    Sent,
    TemporaryFailure,
    backoff,
    begin_attempt,
    settle,
)
from services.notify.core.state import Escalation, Planned, Standing, dedup_key
from tests.notify.examples import ESCALATION, TICKET, at
from tests.notify.values import ALERT, RULES, alarm, changed, escalation, planned


def said(of: Planned, attempts: int = 1) -> dict[str, Any]:
    return {
        "escalation_id": ESCALATION, "ticket_id": TICKET, "notification_id": of.id, "kind": of.kind, "step": of.step,
        "target": Target(kind=of.target, name=of.receiver), "sink": of.sink,
        "dedup_key": dedup_key(ESCALATION, of.alarm), "attempts": attempts,
    }  # fmt: skip


def settled(
    state: Escalation,
    outcome: Outcome,
    *,
    jitter: float = 1,
    now: float = 5,
    which: str = "n1",
    rules: NotifyPolicy = RULES,
) -> Decision[Escalation]:
    decision = settle(state, which, outcome, rules, now=at(now), jitter=jitter)
    assert decision is not None
    return decision


# -- a try --------------------------------------------------------------------------------------------------------


def test_a_try_is_counted_before_it_is_made_and_nothing_else_changes() -> None:
    before = escalation(planned(1), planned(2, unsettled=1))
    decision = begin_attempt(before, "n2", RULES, now=at(5))
    assert decision is not None
    assert changed(before, decision) == {"planned": (planned(1), planned(2, unsettled=2))}
    assert list(decision.events) == []


@pytest.mark.parametrize("state", [None, escalation(), escalation(planned(2)), escalation(planned(withdrawn=True))])
def test_what_is_gone_or_withdrawn_is_not_tried(state: Escalation | None) -> None:
    assert begin_attempt(state, "n1", RULES, now=at(5)) is None


@pytest.mark.parametrize("outcome", [Sent(), TemporaryFailure("x"), PermanentFailure("x"), Dropped()])
def test_what_is_settled_already_is_not_settled_again(outcome: Outcome) -> None:
    for state in (None, escalation(), escalation(planned(2))):
        assert settle(state, "n1", outcome, RULES, now=at(5), jitter=1) is None


# -- it was taken -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("after", "told"), [(4.0006, 3001), (1, 0), (0, 0)])
def test_what_was_taken_is_told_with_how_long_it_took(after: float, told: int) -> None:
    before = escalation(planned(1, attempts=2), planned(2, receiver="mail"))
    decision = settled(before, Sent(202), now=after)
    assert changed(before, decision) == {
        "alarms": (alarm(notified=("lead",)),), "planned": (planned(2, receiver="mail"),),
    }  # fmt: skip
    assert list(decision.events) == [
        NotificationSent(**said(planned(1), 3), status=202, sent_at=at(after), after_ms=told),
    ]  # fmt: skip


def test_a_thread_is_remembered_beside_those_of_other_receivers() -> None:
    before = escalation(planned(), threads={"slack": "t1", "lead": "t0"})
    assert changed(before, settled(before, Sent(200, "t2")))["threads"] == {"slack": "t1", "lead": "t2"}
    assert "threads" not in changed(before, settled(before, Sent(200)))


def test_a_receiver_counts_as_told_once_and_only_of_what_fires() -> None:
    before = escalation(planned(receiver="slack"), alarms=(alarm(notified=("lead", "slack")),))
    assert changed(before, settled(before, Sent())) == {"planned": ()}
    before = escalation(planned(kind="reminder"))
    assert changed(before, settled(before, Sent())) == {"planned": ()}
    before = escalation(planned(alarm="a9"))
    assert changed(before, settled(before, Sent())) == {"planned": ()}


def test_who_took_it_while_it_ended_is_told_that_it_is_over_unless_they_want_no_such_thing() -> None:
    over = alarm(standing=Standing.RESOLVED, ended_at=at(2))
    before = escalation(planned(), alarms=(over,))
    end = Planned(
        id=stable_id(ESCALATION, "2"), number=2, alarm="a1", kind="resolved", alert=ALERT, step=0, receiver="lead",
        target="person", sink="webhook", planned_at=at(5), next_try=at(5),
    )  # fmt: skip
    expected = {"planned": (end.model_copy(update={"target": RULES.receivers["lead"].kind}),), "count": 2}
    assert changed(before, settled(before, Sent())) == expected
    for receiver in ("mail", "lost"):
        before = escalation(planned(receiver=receiver), alarms=(over,))
        assert changed(before, settled(before, Sent())) == {"planned": ()}


# -- not yet ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempts", "jitter", "seconds"),
    [(0, 1, 10), (0, 0, 5), (0, 0.5, 7.5), (1, 1, 20), (8, 1, 2560), (9, 1, 3600), (9, 0, 1800), (10_000, 1, 3600)],
)
def test_waits_double_up_to_the_most_and_half_of_each_is_chance(attempts: int, jitter: float, seconds: float) -> None:
    assert backoff(RULES, attempts, jitter) == seconds


@pytest.mark.parametrize(
    ("later", "tried", "wait", "unsettled"),
    [
        (TemporaryFailure("x"), {"unsettled": 1}, 10, 0),
        (TemporaryFailure("x"), {"unsettled": 3, "attempts": 1}, 20, 2),
        (TemporaryFailure("x"), {}, 10, 0),
        (TemporaryFailure("x", unsure=True), {"unsettled": 1}, 10, 1),
        (TemporaryFailure("x", after=30), {"unsettled": 1}, 30, 0),
        (TemporaryFailure("x", after=3), {"unsettled": 1}, 10, 0),
    ],
)
def test_what_was_not_taken_is_tried_again_after_the_longer_of_both_waits(
    later: TemporaryFailure, tried: dict[str, Any], wait: float, unsettled: int
) -> None:
    before = escalation(planned(1, **tried), planned(2))
    again = {**tried, "attempts": tried.get("attempts", 0) + 1, "unsettled": unsettled, "next_try": at(5 + wait)}
    decision = settled(before, later)
    assert changed(before, decision) == {"planned": (planned(1, **again), planned(2))}
    assert list(decision.events) == []


@pytest.mark.parametrize(
    ("receiver", "now", "after", "given_up"),
    [
        ("lead", 91, None, False),
        ("lead", 92, None, True),
        ("lead", 1, 100, False),
        ("lead", 1, 101, True),
        ("lost", 1, 86_400, False),
        ("lost", 2, 1e9, True),
    ],
)
def test_it_is_given_up_where_the_next_try_would_come_too_late(
    receiver: str, now: float, after: float | None, given_up: bool
) -> None:
    before = escalation(planned(receiver=receiver, attempts=0), alarms=(alarm(notified=("lead",)),))
    decision = settled(before, TemporaryFailure("away", 503, after), now=now)
    expected = NotificationFailed(
        **said(planned(receiver=receiver)), status=503, error="given up: away", permanent=True, failed_at=at(now)
    )
    assert list(decision.events) == ([expected] if given_up else [])
    assert decision.state is not None
    assert len(decision.state.planned) == (0 if given_up else 1)
    assert decision.state.disabled == ()


# -- withdrawn ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unsettled", "outcome", "unknown"),
    [
        (0, Dropped(), False),
        (1, Dropped(), True),
        (0, TemporaryFailure("x"), False),
        (1, TemporaryFailure("x"), False),
        (2, TemporaryFailure("x"), True),
        (1, TemporaryFailure("x", unsure=True), True),
        (0, TemporaryFailure("x", unsure=True), False),
    ],
)
def test_what_is_withdrawn_counts_as_told_where_a_try_may_have_arrived(
    unsettled: int, outcome: Outcome, unknown: bool
) -> None:
    moot = planned(unsettled=unsettled, withdrawn=True, attempts=4)
    before = escalation(moot, planned(2))
    decision = settled(before, outcome)
    told = {"alarms": (alarm(notified=("lead",)),)} if unknown else {}
    assert changed(before, decision) == {"planned": (planned(2),), **told}
    assert list(decision.events) == ([NotificationWithdrawn(**said(moot, 5), withdrawn_at=at(5))] if unknown else [])


# -- refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "told"), [("no", "no"), ("", "no reason given"), ("x" * 501, "x" * 500)])
def test_a_refusal_is_told_with_its_reason(error: str, told: str) -> None:
    before = escalation(planned(attempts=1), alarms=(alarm(chain=None),))
    decision = settled(before, PermanentFailure(error, 400))
    assert changed(before, decision) == {"planned": ()}
    assert list(decision.events) == [
        NotificationFailed(**said(planned(), 2), status=400, error=told, permanent=True, failed_at=at(5))
    ]


def test_a_receiver_that_is_gone_is_disabled_and_what_else_waits_for_it_is_dropped() -> None:
    mail = planned(3, receiver="mail")
    before = escalation(planned(1), planned(2, alarm="a2"), mail, alarms=(alarm(chain=None),), disabled=("slack",))
    decision = settled(before, PermanentFailure("gone", 410, gone=True))
    assert changed(before, decision) == {"planned": (mail,), "disabled": ("slack", "lead")}


@pytest.mark.parametrize(
    ("of", "others", "more", "advances"),
    [
        ({}, (), {}, True),
        ({"kind": "reminder"}, (), {}, False),
        ({"withdrawn": True}, (), {}, False),
        ({"alarm": "a9"}, (), {}, False),
        ({}, (), {"standing": Standing.ACKNOWLEDGED}, False),
        ({}, (), {"chain": None}, False),
        ({}, (), {"exhausted": True}, False),
        ({}, (), {"notified": ("lead",)}, False),
        ({}, (), {"notified": ("oncall",)}, True),
        ({}, (planned(2, receiver="slack"),), {}, False),
        ({}, (planned(2, receiver="slack", withdrawn=True),), {}, True),
        ({}, (planned(2, receiver="slack", alarm="a2"),), {}, True),
        ({}, (), {"step": None, "notified": ("lead",)}, True),
        ({}, (), {"step": 1, "notified": ("lead",)}, True),
        ({}, (), {"step": 1, "notified": ("oncall",)}, False),
        ({}, (), {"step": 2, "notified": ("lead", "oncall")}, True),
    ],
)
def test_a_chain_goes_on_at_once_where_its_step_reached_nobody_and_is_trying_nobody(
    of: dict[str, Any], others: tuple[Planned, ...], more: dict[str, Any], advances: bool
) -> None:
    before = escalation(planned(**of), *others, alarms=(alarm(**more),))
    decision = settled(before, PermanentFailure("no"))
    assert decision.state is not None
    left = before.alarms[0]
    assert (decision.state.alarms[0] != left or decision.state.count != before.count) is advances
    if not advances:
        assert changed(before, decision) == {"planned": others}
