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


@pytest.mark.parametrize(("second", "ends"), [(11, "met"), (25, "met"), (25.5, "cancelled stopped_late")])
def test_a_next_reply_is_the_next_that_arrived(second: float, ends: str) -> None:
    desk = opened(FIRST)
    sent(desk, 1)
    desk.take(desk.write.received(5))
    reply = sent(desk, 10)
    later = sent(desk, second)
    breached = ["next_reply breached"] if second > 25 else []
    assert desk.take(desk.write.bounced(40, reply)) == ["next_reply resumed bounced", *breached, f"next_reply {ends}"]
    assert desk.state is not None
    (*_, clock) = desk.state.ended
    assert (minute(clock.started_at), minute(clock.ended_at), clock.answered_by) == (5, second, later)
    assert [minute(breach.breached_at) for breach in desk.state.breaches] == ([25] if breached else [])
    assert desk.running() == set()


def test_what_was_answered_after_a_bounce_and_asked_since_leaves_the_newer_wait_alone() -> None:
    desk = opened(FIRST)
    sent(desk, 1)
    desk.take(desk.write.received(5))
    reply = sent(desk, 10)
    sent(desk, 12)
    desk.take(desk.write.received(20))
    assert desk.take(desk.write.bounced(30, reply)) == ["next_reply resumed bounced", "next_reply met"]
    assert desk.due("next_reply") == 40


@pytest.mark.parametrize("metric", ["first_reply", "next_reply"])
def test_a_wait_goes_on_from_reply_to_reply_until_one_arrives(metric: str) -> None:
    desk = opened(FIRST)
    if metric == "next_reply":
        sent(desk, 0.5)
        desk.take(desk.write.received(1))
    first, second, third = (sent(desk, t) for t in (2, 3, 4))
    assert desk.take(desk.write.bounced(6, first)) == [f"{metric} resumed bounced", f"{metric} met"]
    assert desk.take(desk.write.bounced(7, second)) == [f"{metric} resumed bounced", f"{metric} met"]
    assert desk.take(desk.write.bounced(8, third)) == [f"{metric} resumed bounced"]
    assert desk.state is not None
    (clock,) = [clock for clock in desk.state.live if clock.metric == metric]
    assert minute(clock.started_at) == (1 if metric == "next_reply" else 0)


def test_a_reply_that_is_lost_behind_one_that_is_lost_ends_nothing() -> None:
    desk = opened(FIRST)
    sent(desk, 1)
    desk.take(desk.write.received(5))
    first, second = sent(desk, 10), sent(desk, 11)
    third = sent(desk, 12)
    assert desk.take(desk.write.bounced(13, second)) == []
    desk.take(desk.write.bounced(14, first))
    assert desk.state is not None
    assert desk.state.ended[-1].answered_by == third


def test_the_oldest_of_the_waits_that_one_reply_ended_goes_on() -> None:
    desk = opened(FIRST)
    sent(desk, 1)
    desk.take(desk.write.received(5))
    first = sent(desk, 10)
    desk.take(desk.write.received(12))
    second = sent(desk, 14)
    desk.take(desk.write.bounced(15, first))
    assert desk.take(desk.write.bounced(16, second)) == ["next_reply resumed bounced"]
    assert desk.due("next_reply") == 25


def test_a_reply_that_was_heard_of_late_stands_where_it_went_out() -> None:
    desk = opened(FIRST)
    sent(desk, 1)
    desk.take(desk.write.received(5))
    first = sent(desk, 10)
    second, third = desk.write.replied(11), desk.write.replied(12)
    desk.take(third)
    desk.take(second)
    desk.take(desk.write.bounced(20, first))
    assert desk.state is not None
    assert minute(desk.state.ended[-1].ended_at) == 11


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


@settings(max_examples=300)
@given(st.lists(st.integers(1, 12), min_size=2, max_size=6), st.data())
def test_a_question_waited_until_the_first_reply_that_arrived(waits: list[int], data: st.DataObject) -> None:
    """Whichever replies come back, and in whatever order: the clock ends as if they had never gone out."""
    desk, plain = opened(FIRST), opened(FIRST)
    for each in (desk, plain):
        sent(each, 1)
        each.take(each.write.received(2))
    instants = [2 + sum(waits[: n + 1]) for n in range(len(waits))]
    replies = [sent(desk, t) for t in instants]
    lost = data.draw(st.sets(st.sampled_from(replies)))
    for t, reply in zip(instants, replies, strict=True):
        if reply not in lost:
            sent(plain, t)
    for number, reply in enumerate(data.draw(st.permutations(sorted(lost)))):
        desk.take(desk.write.bounced(100 + number, reply))
    for each in (desk, plain):
        each.tick(200)
    assert _ends(desk) == _ends(plain)


def _ends(desk: Desk) -> tuple[object, ...]:
    assert desk.state is not None
    ended = {(c.metric, c.started_at, c.ended_at, c.breached_at, c.outcome) for c in desk.state.ended}
    return ended, _view(desk), {(b.metric, b.breached_at) for b in desk.state.breaches}


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
