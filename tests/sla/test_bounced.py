"""A reply that never arrived does not count: the wait goes on from where it was."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.sla import ClockBreached, ClockResumed
from contracts.tickets import MessageSent
from services.sla.store import dump, load
from tests.sla.desk import Desk, minute
from tests.sla.policies import FIRST, opened


def sent(desk: Desk, t: float, asked: float | None = None) -> str:
    """Send a reply at `t`; returns its id."""
    event = desk.write.replied(t, asked=asked)
    desk.take(event)
    assert isinstance(event.data, MessageSent)
    return event.data.message.id


def test_a_first_reply_that_bounced_was_none() -> None:
    desk = opened(FIRST)
    reply = sent(desk, 10)
    assert desk.due("first_reply") is None
    assert desk.take(desk.write.bounced(12, reply)) == ["first_reply resumed bounced"]
    resumed = desk.said[-1]
    assert isinstance(resumed, ClockResumed)
    assert (resumed.clock_id, resumed.elapsed_seconds, minute(resumed.due_at)) == (desk.said[0].clock_id, 720, 30)
    assert desk.take(desk.write.replied(20)) == ["first_reply met"]
    assert desk.take(desk.write.received(25)) == ["next_reply started"]


def test_a_next_reply_that_bounced_was_none() -> None:
    desk = opened(FIRST)
    sent(desk, 1)
    desk.take(desk.write.received(10))
    reply = sent(desk, 12)
    assert desk.take(desk.write.bounced(13, reply)) == ["next_reply resumed bounced"]
    assert desk.due("next_reply") == 30


def test_time_that_ran_out_before_the_bounce_was_heard_of_ran_out_when_it_did() -> None:
    desk = opened(FIRST)
    reply = sent(desk, 25)
    desk.take(desk.write.bounced(90, reply))
    assert desk.tick(91) == ["first_reply breached"]
    breach = desk.said[-1]
    assert isinstance(breach, ClockBreached)
    assert (minute(breach.breached_at), minute(breach.noticed_at)) == (30, 91)


def test_a_late_reply_that_bounced_leaves_its_breach_and_is_waited_for_on() -> None:
    desk = opened(FIRST)
    desk.tick(31)
    reply = sent(desk, 40)
    assert desk.take(desk.write.bounced(41, reply)) == ["first_reply resumed bounced"]
    assert desk.tick(50) == []  # the breach is told already
    assert desk.take(desk.write.replied(60)) == ["first_reply cancelled stopped_late"]
    assert desk.state is not None
    assert len(desk.state.breaches) == 1


def test_a_question_asked_since_is_part_of_the_earlier_wait() -> None:
    desk = opened(FIRST)
    reply = sent(desk, 10)
    desk.take(desk.write.received(15))
    assert desk.take(desk.write.bounced(20, reply)) == [
        "next_reply cancelled superseded",
        "first_reply resumed bounced",
    ]
    assert (desk.due("first_reply"), desk.due("next_reply")) == (30, None)


def test_without_a_policy_for_first_replies_the_next_answer_is_still_the_first() -> None:
    desk = opened("policies: [{name: p, targets: {next_reply: 20m}}]")
    reply = sent(desk, 10)
    assert desk.take(desk.write.bounced(12, reply)) == []
    sent(desk, 13)
    assert desk.take(desk.write.received(14)) == ["next_reply started"]


@pytest.mark.parametrize(("second", "ends"), [(20, "met"), (40, "cancelled stopped_late")])
def test_the_first_reply_is_the_first_that_arrived(second: float, ends: str) -> None:
    desk = opened(FIRST)
    reply = sent(desk, 10)
    sent(desk, second)
    heard = desk.take(desk.write.bounced(50, reply))
    breached = ["first_reply breached"] if second > 30 else []
    assert heard == ["first_reply resumed bounced", *breached, f"first_reply {ends}"]
    assert desk.state is not None
    assert minute(desk.state.ended[-1].ended_at) == second
    assert desk.running() == set()


def test_a_next_reply_is_met_by_the_one_that_bounced_where_another_has_answered_since() -> None:
    desk = opened(FIRST)
    sent(desk, 1)
    desk.take(desk.write.received(5))
    reply = sent(desk, 10)
    sent(desk, 11)
    assert desk.take(desk.write.bounced(12, reply)) == []
    assert desk.running() == set()


@pytest.mark.parametrize("what", ["solved", "delayed", "unknown"])
def test_what_is_settled_or_may_still_arrive_waits_for_nothing(what: str) -> None:
    desk = opened(FIRST)
    reply = sent(desk, 10)
    if what == "solved":
        desk.take(desk.write.status(11, "solved"))
    lost = "m-other" if what == "unknown" else reply
    assert desk.take(desk.write.bounced(12, lost, permanent=what != "delayed")) == []
    assert desk.running() == set()


def test_what_ended_a_clock_is_kept() -> None:
    desk = opened(FIRST)
    sent(desk, 10)
    assert desk.state is not None
    assert load(dump(desk.state)) == desk.state


steps = st.lists(st.tuples(st.sampled_from(["ask", "ask", "reply", "bounce"]), st.integers(1, 15)), max_size=12)


@settings(max_examples=300)
@given(steps)
def test_a_wait_is_as_if_what_bounced_had_not_been(story: list[tuple[str, int]]) -> None:
    """Each bounce comes before the next reply goes out; the same story without both leaves the same clocks."""
    desk, plain = opened(FIRST), opened(FIRST)
    now, last = 0, ""
    for number, (kind, wait) in enumerate(story):
        now += wait
        lost = any(k == "bounce" for k, _ in _until_reply(story[number + 1 :]))
        if kind == "ask":
            desk.take(desk.write.received(now))
            plain.take(plain.write.received(now))
        elif kind == "reply":
            last = sent(desk, now)
            if not lost:
                sent(plain, now)
        elif last:
            desk.take(desk.write.bounced(now, last))
            last = ""
    for each in (desk, plain):
        each.tick(now + 0.5)
    assert _view(desk) == _view(plain)


def _until_reply(story: list[tuple[str, int]]) -> list[tuple[str, int]]:
    return story[: next((n for n, (kind, _) in enumerate(story) if kind == "reply"), len(story))]


def _view(desk: Desk) -> tuple[object, ...]:
    assert desk.state is not None
    return desk.state.replied, {(c.metric, c.started_at, c.due_at, c.breached_at) for c in desk.state.live}
