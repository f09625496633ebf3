"""Events that come after newer ones, as out of the dead letters: the picture that they carry has been overtaken."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.envelope import Event
from tests.sla.desk import Desk, minute
from tests.sla.policies import FIRST, opened


def test_an_old_status_and_old_facts_are_not_taken() -> None:
    desk = opened("policies: [{name: p, targets: {resolution: {urgent: 10m, default: 60m}}, pause_on: [pending]}]")
    held = [desk.write.status(5, "pending"), desk.write.priority(6, "urgent")]
    desk.take(desk.write.priority(7, "normal"))
    desk.take(desk.write.status(10, "open"))
    before = desk.state
    assert [desk.take(event) for event in held] == [[], []]
    assert desk.state == before
    assert desk.due("resolution") == 63  # it stood still from 7, when it was first heard of, to 10


def test_a_reply_in_time_that_is_replayed_makes_its_breach_none() -> None:
    desk = opened(FIRST)
    reply = desk.write.replied(20)
    desk.take(desk.write.status(21, "pending"))
    assert desk.tick(31) == ["first_reply breached"]
    assert desk.take(reply, now=50) == ["first_reply cancelled in_time"]
    assert desk.state is not None
    assert (desk.state.status, desk.state.breaches) == ("pending", ())


def test_a_replayed_reply_leaves_the_question_alone_that_came_after_it() -> None:
    desk = opened(FIRST)
    reply = desk.write.replied(5)
    desk.take(desk.write.status(6, "pending"))
    desk.take(desk.write.received(10))
    assert desk.take(reply, now=20) == ["first_reply met", "next_reply started"]
    assert desk.due("next_reply") == 30


def test_a_replayed_reply_to_an_earlier_question_ends_no_later_wait() -> None:
    desk = opened(FIRST)
    desk.take(desk.write.replied(1))
    desk.take(desk.write.received(2))
    first, second = desk.write.replied(3), desk.write.received(10)
    desk.take(desk.write.status(11, "on_hold"))
    desk.take(second)
    assert desk.due("next_reply") == 22
    desk.take(desk.write.replied(12))
    desk.take(desk.write.received(13))
    assert desk.take(first) == []
    assert desk.due("next_reply") == 33


def test_a_replayed_reply_from_before_the_first_question_gives_that_no_second_clock() -> None:
    desk = Desk(FIRST)
    desk.take(desk.write.opened(0, automated=True))
    reply = desk.write.replied(5)
    desk.take(desk.write.received(10))
    assert desk.take(reply, now=20) == []
    assert desk.running() == {"first_reply"}


moves = st.lists(st.sampled_from(["received", "reply", "pending", "open", "high", "note"]), min_size=2, max_size=12)


@settings(max_examples=200)
@given(moves, st.data())
def test_what_is_replayed_leaves_the_ticket_as_the_latest_event_has_it(kinds: list[str], data: st.DataObject) -> None:
    desk = Desk(FIRST)
    told = [desk.write.opened(0), *(_happens(desk, 2.0 * number, kind) for number, kind in enumerate(kinds, 1))]
    late = data.draw(st.lists(st.integers(0, len(told) - 2), unique=True))
    for number, event in enumerate(told):
        if number not in late:
            desk.take(event)
    assert desk.state is not None
    known = desk.state
    for number in late:
        desk.take(told[number], now=100)
    last = told[-1].data.ticket
    assert (desk.state.status, desk.state.facts, desk.state.asked_at, desk.state.at) == (
        last.status, last.facts(), last.oldest_unanswered_at, known.at,
    )  # fmt: skip
    ends = {clock.id: minute(clock.ended_at) for clock in desk.state.ended}
    assert all(end is not None and 0 < end <= minute(known.at) for end in ends.values())  # type: ignore[operator]
    assert replace(desk.state, live=(), ended=(), serial=0, replied=True, replies=(), breaches=()) == replace(
        known, live=(), ended=(), serial=0, replied=True, replies=(), breaches=()
    )


def _happens(desk: Desk, now: float, kind: str) -> Event:
    match kind:
        case "received":
            return desk.write.received(now)
        case "reply":
            return desk.write.replied(now)
        case "high":
            return desk.write.priority(now, "high")
        case "note":
            return desk.write.noted(now)
    return desk.write.status(now, kind)
