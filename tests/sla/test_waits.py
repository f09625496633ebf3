"""Since when a customer waits: timelines, and stories against a walk through every minute that knows no clocks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.sla import ClockBreached, ClockStarted
from tests.sla.desk import Desk, at, book, minute
from tests.sla.policies import FIRST, opened


def test_a_question_asked_while_a_reply_is_on_its_way_keeps_its_clock() -> None:
    desk = opened(FIRST)
    assert desk.take(desk.write.received(10)) == []
    assert desk.take(desk.write.replied(25, asked=5)) == ["first_reply met", "next_reply started"]
    started = desk.said[-1]
    assert isinstance(started, ClockStarted)
    assert minute(started.started_at) == 10
    assert desk.due("next_reply") == 30
    assert desk.take(desk.write.replied(29)) == ["next_reply met"]


def test_a_question_whose_time_ran_out_while_a_reply_was_on_its_way_is_breached_when_it_ran_out() -> None:
    desk = opened(FIRST)
    desk.take(desk.write.received(10))
    desk.tick(40)
    assert desk.take(desk.write.replied(40, asked=5)) == ["first_reply cancelled stopped_late", "next_reply started"]
    assert desk.tick(41) == ["next_reply breached"]
    breach = desk.said[-1]
    assert isinstance(breach, ClockBreached)
    assert minute(breach.breached_at) == 30


def test_a_reply_from_before_the_question_leaves_the_clock_of_the_question_alone() -> None:
    desk = opened(FIRST)
    desk.take(desk.write.replied(1))
    assert desk.take(desk.write.received(10)) == ["next_reply started"]
    assert desk.take(desk.write.replied(20, asked=5)) == []
    assert desk.due("next_reply") == 30
    assert desk.take(desk.write.replied(21)) == ["next_reply met"]


def test_the_next_question_is_waited_for_from_when_it_was_asked() -> None:
    desk = opened(FIRST)
    desk.take(desk.write.replied(1))
    desk.take(desk.write.received(3))
    desk.take(desk.write.received(10))
    assert desk.take(desk.write.replied(15, asked=5)) == ["next_reply met", "next_reply started"]
    assert desk.due("next_reply") == 30


def test_the_first_answer_of_a_person_is_the_first_reply_whatever_it_answers() -> None:
    desk = Desk(FIRST)
    desk.take(desk.write.opened(0, automated=True))
    assert desk.take(desk.write.received(10)) == ["first_reply started"]
    assert desk.take(desk.write.replied(20, asked=5)) == ["first_reply met", "next_reply started"]
    assert desk.due("next_reply") == 30


def test_a_question_on_a_solved_ticket_is_waited_for_from_the_reopening() -> None:
    desk = opened(FIRST)
    desk.take(desk.write.status(5, "solved"))
    assert desk.take(desk.write.received(10)) == []  # reopened too often: the ticket stays solved
    assert desk.take(desk.write.reopened(50)) == ["next_reply started"]
    assert desk.due("next_reply") == 70


def test_an_earlier_question_that_comes_later_moves_no_clock() -> None:
    desk = opened(FIRST)
    desk.take(desk.write.replied(1))
    desk.take(desk.write.received(10))
    desk.write.unanswered.append(at(4))  # of a ticket that was merged into this one
    assert desk.take(desk.write.received(12)) == []
    assert desk.due("next_reply") == 30
    assert desk.take(desk.write.replied(13)) == ["next_reply met"]


@pytest.mark.parametrize(("days", "due"), [(29, 30 - 29 * 1440), (31, 30)])
def test_what_the_door_took_long_ago_counts_from_then_within_reason(days: int, due: float) -> None:
    desk = Desk(FIRST)
    desk.take(desk.write.opened(0, taken=-days * 1440))
    assert desk.due("first_reply") == due


def test_what_is_said_to_come_from_the_future_counts_from_its_event() -> None:
    desk = Desk(FIRST)
    desk.take(desk.write.opened(0, taken=5))
    assert desk.due("first_reply") == 30


# -- against every minute ----------------------------------------------------------------------------------------------

POLICIES = book(FIRST)
TARGETS = {"first_reply": 30, "next_reply": 20}
END = 400


@dataclass(frozen=True)
class Story:
    """Minutes of everything that happens; no two things happen in one minute."""

    questions: tuple[int, ...]
    replies: tuple[tuple[int, int], ...]
    """When each was asked for and when it went out, which it does in order."""
    solves: tuple[int, ...]
    notes: tuple[int, ...]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    now, out = 0, -1
    found: dict[str, list[int]] = {"question": [0], "solve": [], "note": []}
    replies = []
    for kind in draw(
        st.lists(st.sampled_from(["question", "question", "reply", "reply", "solve", "note"]), max_size=14)
    ):
        now += 2 * draw(st.integers(1, 12))
        if kind == "reply":
            out = max(out + 2, now + 1 + 2 * draw(st.sampled_from([0, 0, 3, 10, 25])))
            replies.append((now, out))
        else:
            found[kind].append(now)
    return Story(tuple(found["question"]), tuple(replies), tuple(found["solve"]), tuple(found["note"]))


Row = tuple[str, int, int | None, int | None]
"""Metric, minute it started, minute it was breached, minute it ended."""


def walked(story: Story) -> set[Row]:
    """Ask at every minute which question is the oldest open one: each answer that holds for a while is a clock."""

    def over(question: int) -> int:
        ends = [sent for asked, sent in story.replies if question <= asked]
        return min([*ends, *(solve for solve in story.solves if solve > question)], default=END)

    first = min([*(sent for _, sent in story.replies), *story.solves], default=END)
    clocks: dict[tuple[str, int], list[int]] = {}
    for now in range(END):
        waiting = [question for question in story.questions if question <= now < over(question)]
        if waiting:
            clocks.setdefault(("first_reply" if now < first else "next_reply", min(waiting)), []).append(now)
    rows = set()
    for (metric, start), minutes in clocks.items():
        end = minutes[-1] + 1
        due = start + TARGETS[metric]
        rows.add((metric, start, due if due < end else None, end if end < END else None))
    return rows


def played(story: Story) -> set[Row]:
    desk = Desk(POLICIES)
    happens = sorted(
        [(q, "question", 0) for q in story.questions]
        + [(sent, "reply", asked) for asked, sent in story.replies]
        + [(solve, "solve", 0) for solve in story.solves]
        + [(note, "note", 0) for note in story.notes]
    )
    for now, kind, asked in happens:
        if desk.state is not None:
            desk.tick(now - 0.5)
        solved = desk.write.ticket.status == "solved"
        if kind == "reply":
            desk.take(desk.write.replied(now, asked=asked))
        elif kind == "solve" and not solved:
            desk.take(desk.write.status(now, "solved"))
        elif kind == "note":
            desk.take(desk.write.noted(now))
        elif kind == "question":
            if solved:
                desk.take(desk.write.reopened(now))
            desk.take(desk.write.received(now) if now else desk.write.opened(0))
    desk.tick(END - 0.5)
    assert desk.state is not None
    return {
        (str(clock.metric), *(_whole(i) for i in (clock.started_at, clock.breached_at, clock.ended_at)))  # type: ignore[misc]
        for clock in (*desk.state.live, *desk.state.ended)
    }


def _whole(instant: object) -> int | None:
    return None if instant is None else (instant - at(0)) // timedelta(minutes=1)  # type: ignore[operator]


@settings(max_examples=300)
@given(stories())
def test_reply_clocks_agree_with_a_walk_through_every_minute(story: Story) -> None:
    assert played(story) == walked(story)
