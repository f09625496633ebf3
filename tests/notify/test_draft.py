"""The moves that every decision of an escalation is made of, one by one."""

from typing import Any

import pytest

from contracts.notifications import (
    EscalationResolved,
    NotificationKind,
)
from kit.base.ids import stable_id
from kit.protocol.document import Decision
from services.notify.core.draft import KEPT, Draft
from services.notify.core.state import Alarm, Planned, Standing
from tests.notify.examples import ESCALATION, TICKET, at
from tests.notify.values import ALERT, RULES, alarm, changed, escalation, planned


def draft(*waits: Planned, alarms: tuple[Alarm, ...] = (alarm(),), **more: Any) -> Draft:
    return Draft.of(escalation(*waits, alarms=alarms, **more), RULES, at(7))


def test_a_draft_that_changes_nothing_decides_nothing() -> None:
    made = draft(planned())
    made.set(made.alarms["a1"], step=0)
    made.changes["queue"] = None
    assert made.decision() == Decision(None)


def test_a_draft_decides_what_differs() -> None:
    made = draft()
    assert made.set(made.alarms["a1"], step=1) == alarm(step=1)
    made.changes["queue"] = "thai"
    assert changed(made.old, made.decision()) == {"alarms": (alarm(step=1),), "queue": "thai"}


def test_each_receiver_is_planned_once_and_told_what_was_known_then() -> None:
    made = draft(planned(1, receiver="slack"), disabled=("mail",), agent="Ana")
    heard = made.plan(made.alarms["a1"], NotificationKind.FIRING, ["slack", "lost", "mail", "lead", "lead"])
    lead = Planned(
        id=stable_id(ESCALATION, "2"), number=2, alarm="a1", kind="firing", alert=ALERT, agent="Ana", step=0,
        receiver="lead", target=RULES.receivers["lead"].kind, sink="webhook", planned_at=at(7), next_try=at(7),
    )  # fmt: skip
    assert heard == 2  # slack hears of it by what waits for it already
    assert made.planned == [planned(1, receiver="slack"), lead]
    assert changed(made.old, made.decision()) == {"planned": (planned(1, receiver="slack"), lead), "count": 2}


@pytest.mark.parametrize(
    ("waits", "plans"),
    [({}, False), ({"kind": "resolved"}, True), ({"withdrawn": True}, True), ({"alarm": "a2"}, True)],
)
def test_the_same_news_does_not_queue_up_behind_itself(waits: dict[str, Any], plans: bool) -> None:
    made = draft(planned(**waits))
    assert made.plan(made.alarms["a1"], NotificationKind.FIRING, ["lead"]) == 1
    assert len(made.planned) == 1 + plans


def test_what_this_decision_disables_or_learns_counts_at_once() -> None:
    made = draft(disabled=("mail",), agent="Ana")
    made.changes |= {"disabled": ("lead",), "agent": "Bo"}
    assert made.plan(made.alarms["a1"], NotificationKind.FIRING, ["lead", "mail"]) == 1
    assert [(each.receiver, each.agent) for each in made.planned] == [("mail", "Bo")]


def test_what_is_withdrawn_is_due_at_once_to_be_dropped() -> None:
    other, gone = planned(2, alarm="a2"), planned(3, withdrawn=True, next_try=at(3))
    made = draft(planned(1), other, gone)
    made.withdraw(["a1"])
    assert made.planned == [planned(1, withdrawn=True, next_try=at(7)), other, gone]


@pytest.mark.parametrize(("standing", "withdrawn"), [(Standing.OPEN, True), (Standing.RESOLVED, False)])
def test_what_is_superseded_says_nothing_more_but_its_end(standing: Standing, withdrawn: bool) -> None:
    old = alarm(standing=standing, next_at=at(9), remaining=3)
    made = draft(planned(), alarms=(old,))
    made.supersede(old)
    assert made.alarms["a1"] == alarm(standing=standing, superseded=True)
    assert made.planned[0].withdrawn is withdrawn


@pytest.mark.parametrize(("ends", "ended"), [(5, 5), (-5, 0)])
def test_an_end_is_told_to_those_who_heard_and_want_to_know(ends: float, ended: float) -> None:
    old = alarm(next_at=at(9), remaining=3, notified=("lead", "mail", "lost", "slack"))
    made = draft(planned(1, receiver="oncall"), alarms=(old,))
    made.end(old, "met", at(ends))
    over = alarm(standing=Standing.RESOLVED, ended_at=at(ended), ended_reason="met")
    assert made.alarms["a1"] == over
    assert [(p.receiver, p.kind, p.withdrawn) for p in made.planned] == [
        ("oncall", "firing", True),
        ("lead", "resolved", False),
        ("slack", "resolved", False),
    ]
    assert made.events == [
        EscalationResolved(
            escalation_id=ESCALATION, ticket_id=TICKET, alert=ALERT, reason="met", resolved_at=at(ends)
        )
    ]  # fmt: skip


def test_only_the_latest_that_are_over_are_remembered_and_none_that_something_waits_for() -> None:
    over = [
        alarm(f"o{n}", standing=Standing.RESOLVED, opened_at=at(0), ended_at=at(100 - n)) for n in range(KEPT + 2)
    ]  # fmt: skip
    waits = planned(alarm=f"o{KEPT + 1}")
    never = alarm("never", standing=Standing.RESOLVED, opened_at=at(0))
    kept = draft(waits, alarms=(alarm(), *over)).decision().state
    assert kept is not None
    assert [each.key for each in kept.alarms] == ["a1", *(f"o{n}" for n in range(KEPT)), f"o{KEPT + 1}"]
    kept = draft(alarms=(*over[:KEPT], never)).decision().state
    assert kept is not None
    assert [each.key for each in kept.alarms] == [each.key for each in over[:KEPT]]
    assert draft(alarms=tuple(over[:KEPT])).decision().state is None
