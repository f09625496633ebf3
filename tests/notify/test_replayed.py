"""What comes out of the dead letters after its end was heard of: it opens nothing that stays open."""

import pytest

from contracts.envelope import Event
from services.notify.core.state import Standing
from services.notify.handlers import NotifyHandling
from tests.notify.examples import (
    ESCALATION,
    assigned,
    at,
    at_risk,
    breached,
    cancelled,
    due_soon,
    met,
    paused,
    queued,
    reopened,
    resumed,
    routable,
    solved,
    unroutable,
)
from tests.notify.rig import Rig
from tests.notify.timeline import Timeline, of


def said(line: Timeline) -> list[str]:
    kinds = [data.type.removeprefix("deskbus.escalation.").removesuffix(".v1") for _, data in line.said]
    return [kind for kind in kinds if kind in {"opened", "resolved", "step_reached"}]


@pytest.mark.parametrize(
    ("raises", "ends", "reason"),
    [
        (breached(1), cancelled(5, sequence=2), "stopped_late"),
        (breached(1), cancelled(5, reason="solved", sequence=2), "cancelled"),
        (breached(1), cancelled(5, reason="in_time", sequence=2), "met"),
        (breached(1), paused(5, reason="solved", sequence=2), "cancelled"),
        (at_risk(1), met(5, sequence=2), "met"),
        (due_soon(1), met(5, sequence=2), "met"),
        (unroutable(1), assigned(5, sequence=2), "assigned"),
        (unroutable(1), routable(5, sequence=2), "cancelled"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_replayed_after_its_end_is_opened_and_resolved_at_once(raises: Event, ends: Event, reason: str) -> None:
    line = Timeline()
    line.loses(raises)
    line.happens(ends)
    line.until(100)
    line.replays()
    line.until(10_000)
    assert (line.notified, line.standing()) == ([], Standing.RESOLVED)
    assert said(line) == ["opened", "resolved"]
    (resolved,) = line.events("escalation.resolved")
    assert resolved.model_dump()["reason"] == reason
    assert resolved.model_dump()["resolved_at"] == at(5)


def test_what_is_replayed_before_its_end_is_told() -> None:
    line = Timeline()
    line.loses(breached(1))
    line.happens(met(3, clock="c2", sequence=2))
    line.until(100)
    line.replays()
    assert line.notified == [(100, "lead", "firing")]
    line.happens(cancelled(110, sequence=3))
    assert line.notified[1:] == [(110, "lead", "resolved")]


def test_a_replayed_breach_of_a_clock_that_goes_on_since_is_told() -> None:
    line = Timeline()
    line.loses(breached(1))
    line.happens(cancelled(5, reason="solved", sequence=2))
    line.happens(solved(5))
    line.happens(reopened(10))
    line.happens(resumed(10, reason="reopened", sequence=3))
    line.until(100)
    line.replays()
    assert line.notified == [(100, "lead", "firing")]


def test_a_replayed_breach_that_was_none_is_not_told_although_its_clock_goes_on() -> None:
    line = Timeline()
    line.loses(breached(1))
    line.happens(cancelled(5, reason="in_time", sequence=2))
    line.happens(resumed(10, reason="bounced", sequence=3))
    line.replays()
    line.happens(paused(20, sequence=4))
    line.happens(resumed(30, sequence=5))
    assert (line.notified, line.standing()) == ([], Standing.RESOLVED)
    line.happens(breached(40, sequence=6))
    assert line.notified == [(40, "lead", "firing")]


def test_a_breach_that_was_ended_before_it_was_replayed_is_told_when_the_ticket_is_reopened() -> None:
    line = Timeline()
    line.loses(breached(1))
    line.happens(cancelled(5, sequence=2))
    line.replays()
    line.happens(resumed(10, reason="bounced", sequence=3))
    assert line.notified == [(10, "lead", "firing")]


def test_a_replayed_end_leaves_alone_what_goes_on_since() -> None:
    line = Timeline()
    line.happens(breached(1))
    line.loses(cancelled(5, reason="solved", sequence=2))
    line.happens(resumed(10, reason="reopened", sequence=3))
    line.replays()
    assert line.standing() == Standing.OPEN
    line.happens(cancelled(20, sequence=4))
    assert line.standing() == Standing.RESOLVED


@pytest.mark.parametrize("after", [cancelled(20, sequence=4), paused(20, reason="solved", sequence=4)])
def test_a_replayed_resume_reopens_nothing_that_ended_since(after: Event) -> None:
    line = Timeline()
    line.happens(breached(1))
    line.happens(paused(5, reason="solved", sequence=2))
    line.loses(resumed(10, reason="reopened", sequence=3))
    line.happens(after)
    line.replays()
    line.until(10_000)
    assert of(line.notified, "firing") == [(1, "lead")]
    assert line.standing() == Standing.RESOLVED


def test_a_replayed_resume_or_pause_does_not_undo_the_later_one() -> None:
    line = Timeline()
    line.happens(at_risk(0))
    line.happens(paused(10, sequence=2))
    line.loses(resumed(20, sequence=3))
    line.happens(paused(30, sequence=4))
    line.replays()
    line.until(9000)
    assert line.notified == [(0, "slack", "firing")]
    line.loses(paused(9000, sequence=5))
    line.happens(resumed(9001, sequence=6))
    line.replays()
    line.until(20_000)
    assert len(line.notified) > 1


def test_a_replayed_resume_lets_a_warning_go_on_that_was_forgotten_in_the_pause() -> None:
    line = Timeline()
    line.happens(at_risk(0))
    line.happens(paused(10, sequence=2))
    line.loses(resumed(20, sequence=3))
    line.happens(due_soon(30, sequence=4))
    line.replays()
    line.until(3630)  # the clock was paused for ten seconds, whenever its resumption became known
    assert sorted(of(line.notified, "firing")) == [(0, "slack"), (30, "slack"), (3610, "slack"), (3630, "slack")]


def test_who_has_the_ticket_is_not_taken_from_what_is_replayed() -> None:
    line = Timeline()
    line.loses(queued(1, "english"))
    line.happens(assigned(2, sequence=2))
    line.replays()
    assert line.state is not None
    assert (line.state.queue, line.state.agent) == ("thai", "Somchai")


def test_a_replayed_word_that_nobody_can_take_it_stands_back_behind_a_later_one_in_another_queue() -> None:
    line = Timeline()
    line.loses(unroutable(1))
    line.happens(unroutable(2, queue="english", sequence=2))
    line.replays()
    assert line.notified == [(2, "mail", "firing")]
    line.until(3602)
    assert line.notified[1:] == [(3602, "mail", "firing")]
    line.happens(assigned(4000, sequence=3))
    assert line.standing() == Standing.RESOLVED


def test_a_replayed_word_that_nobody_can_take_it_is_told_where_the_ticket_still_waits() -> None:
    line = Timeline()
    line.loses(unroutable(1))
    line.happens(queued(2, sequence=2))
    line.replays()
    assert line.notified == [(2, "mail", "firing")]


def test_what_is_missing_of_one_source_costs_nothing_of_another() -> None:
    line = Timeline()
    line.loses(unroutable(1))
    line.happens(met(2))
    assert line.state is None


async def test_what_nobody_could_read_is_known_to_be_missing_by_its_end() -> None:
    rig = Rig()
    await rig.take(paused(0, sequence=1), cancelled(5, sequence=3), breached(1, sequence=2))
    await rig.wait(10_000)
    assert rig.sink.told() == []
    assert len(rig.sender.events("escalation.resolved")) == 1


async def test_a_dead_letter_that_is_replayed_after_the_end_is_told_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    breach = breached(1, sequence=2)
    await rig.take(paused(0, sequence=1))
    with monkeypatch.context() as broken:
        broken.setattr(NotifyHandling, "decide", lambda *_: 1 / 0)
        await rig.take(breach)
    await rig.take(cancelled(5, sequence=3))
    await rig.take(breach)
    await rig.wait(10_000)
    state = await rig.state(ESCALATION)
    assert state is not None
    assert (rig.sink.told(), state.standing) == ([], Standing.RESOLVED)
    await rig.take(met(20, clock="c2", sequence=4))
    assert [event.about for event in (await rig.state(ESCALATION) or state).latest_events] == ["c1"]
