"""What clocks say, field by field, and the corners of a ticket's life that no timeline passes."""

from datetime import timedelta
from typing import Any

from contracts.envelope import Event
from contracts.sla import (
    ClockAtRisk,
    ClockBreached,
    ClockCancelled,
    ClockDueSoon,
    ClockEvent,
    ClockMet,
    ClockPaused,
    ClockResumed,
    ClockStarted,
)
from contracts.tickets import CommandRejected, TicketOpened
from kit.calendar.working_time import TZDATA
from kit.protocol.document import Decision
from services.sla.core import tickets
from services.sla.core.clocks import Phase, SlaClock
from services.sla.core.update import KEPT_BREACHES, KEPT_CLOCKS
from tests.sla.desk import BOT, BookVersions, Desk, Writer, at, book
from tests.sla.policies import FIRST, RESOLUTION, opened

ALL = """
policies:
  - name: default
    targets: {first_reply: 60m, resolution: 120m}
    warn: {due_soon: 15m, at_risk: 50%}
"""


def last(desk: Desk, kind: type[ClockEvent]) -> dict[str, Any]:
    """The last event of that kind, without what all events of a clock say the same."""
    event = next(event for event in reversed(desk.said) if isinstance(event, kind))
    said = event.model_dump()
    assert (event.ticket_id, event.clock_id, event.facts) == (
        "t-1",
        f"t-1:{event.metric}:{1 if event.metric == 'first_reply' else 2}",
        desk.write.ticket.facts(),
    )
    assert event.policy.model_dump() == {"name": "default", "version": desk.shelf.current.version}
    assert event.calendar.model_dump() == {"name": "always", "version": "1", "holidays": None, "tzdata": TZDATA}
    same = {"ticket_id", "clock_id", "facts", "policy", "calendar"}
    return {name: value for name, value in said.items() if name not in same}


def test_every_event_of_a_clock_says_all_that_is_known_then() -> None:
    desk = opened(ALL)
    first = {"metric": "first_reply", "target_seconds": 3600, "started_at": at(0), "due_at": at(60), "paused_at": None}
    whole = {"metric": "resolution", "target_seconds": 7200, "started_at": at(0), "due_at": at(120), "paused_at": None}
    desk.take(desk.write.noted(1))
    assert isinstance(desk.said[0], ClockStarted)
    assert desk.said[0].message_id == "m-1"
    desk.said.reverse()
    assert last(desk, ClockStarted) == {**first, "elapsed_seconds": 0, "remaining_seconds": 3600, "message_id": "m-1"}
    desk.said.reverse()
    desk.tick(30)
    assert last(desk, ClockAtRisk) == {
        **first, "elapsed_seconds": 1800, "remaining_seconds": 1800,
        "reason": "time", "detail": "50% of the time is used",
    }  # fmt: skip
    desk.tick(46)
    assert last(desk, ClockDueSoon) == {
        **first, "elapsed_seconds": 2760, "remaining_seconds": 840, "before_seconds": 900,
    }  # fmt: skip
    desk.tick(63)
    assert [e for e in desk.said if isinstance(e, ClockBreached)]
    assert last(desk, ClockBreached) == {
        **first, "elapsed_seconds": 3780, "remaining_seconds": 0,
        "breached_at": at(60), "noticed_at": at(63), "breached_by_seconds": 180,
    }  # fmt: skip
    desk.take(desk.write.replied(64))
    assert last(desk, ClockCancelled) == {
        **first, "elapsed_seconds": 3840, "remaining_seconds": 0,
        "reason": "stopped_late", "cancelled_at": at(64), "breached_by_seconds": 240, "reopens": 0,
    }  # fmt: skip
    desk.take(desk.write.status(70, "pending"))
    assert last(desk, ClockPaused) == {
        **whole, "due_at": None, "paused_at": at(70), "elapsed_seconds": 4200, "remaining_seconds": 3000,
        "reason": "pending",
    }  # fmt: skip
    desk.take(desk.write.status(80, "open"))
    assert last(desk, ClockResumed) == {
        **whole, "due_at": at(130), "elapsed_seconds": 4200, "remaining_seconds": 3000,
        "reason": "status", "resumed_at": at(80), "paused_seconds": 600,
    }  # fmt: skip
    desk.take(desk.write.closed(90))
    assert last(desk, ClockMet) == {
        **whole, "due_at": at(130), "elapsed_seconds": 4800, "remaining_seconds": 2400,
        "met_at": at(90), "message_id": None,
    }  # fmt: skip


def test_a_clock_that_is_met_names_the_reply() -> None:
    desk = opened(FIRST)
    reply = desk.write.replied(5)
    desk.take(reply)
    met = desk.said[-1]
    assert isinstance(met, ClockMet)
    assert met.message_id == reply.data.message.id


def test_a_clock_that_is_moot_says_since_when_and_that_it_was_not_breached() -> None:
    desk = opened(FIRST)
    desk.take(desk.write.status(4, "solved"))
    moot = desk.said[-1]
    assert isinstance(moot, ClockCancelled)
    assert (moot.cancelled_at, moot.breached_by_seconds, moot.elapsed_seconds) == (at(4), None, 240)


def test_what_a_late_timer_finds_is_told_in_the_order_in_which_it_was_due() -> None:
    desk = opened("policies: [{name: a, targets: {first_reply: 40m, resolution: 20m, total_resolution: 30m}}]")
    assert desk.tick(100) == ["resolution breached", "total_resolution breached", "first_reply breached"]


def test_an_event_that_is_dated_before_the_last_one_happens_after_it() -> None:
    desk = opened(RESOLUTION)
    desk.take(desk.write.noted(20))
    desk.take(desk.write.status(10, "pending"))
    paused = desk.said[-1]
    assert isinstance(paused, ClockPaused)
    assert (paused.paused_at, paused.elapsed_seconds) == (at(20), 1200)


def test_a_refused_command_says_nothing_about_clocks() -> None:
    write = Writer()
    write.opened(0)
    rejected = CommandRejected(
        ticket=write.ticket, ticket_id="t-1", command_id="c", command_type="t", reason="invalid", actor=BOT
    )
    event = Event.of(rejected, source="/deskbus/ingest", subject="t-1", sequence=1, time=at(0))
    assert tickets.decide(None, event, BookVersions(book(ALL)), at(0)) == Decision()


def test_a_ticket_that_was_split_off_without_a_message_has_a_resolution_to_keep_and_nobody_to_answer() -> None:
    desk = Desk(ALL)
    assert desk.take(desk.write.event(0, TicketOpened, message=None)) == ["resolution started"]
    assert desk.take(desk.write.received(5)) == ["first_reply started"]
    assert (desk.due("first_reply"), desk.due("resolution")) == (65, 120)


def test_a_close_by_a_merge_is_a_merge() -> None:
    desk = opened(FIRST)
    assert desk.take(desk.write.closed(5, "merged")) == ["first_reply cancelled merged"]


def test_a_bot_that_takes_over_ends_all_clocks_and_the_hand_off_starts_new_ones() -> None:
    desk = opened(ALL)
    desk.write.ticket = desk.write.ticket.model_copy(update={"handled_by_bot": True})
    assert desk.take(desk.write.noted(10)) == [
        "first_reply cancelled handled_by_bot",
        "resolution cancelled handled_by_bot",
    ]
    desk.shelf.put(book(ALL.replace("120m", "90m")))
    assert desk.take(desk.write.handed_off(30)) == ["first_reply started", "resolution started"]
    assert (desk.due("first_reply"), desk.due("resolution")) == (90, 120)


def test_a_person_who_answers_a_solved_question_of_a_bot_gives_the_first_reply() -> None:
    desk = Desk(FIRST, handled_by_bot=True)
    desk.take(desk.write.opened(0))
    desk.take(desk.write.handed_off(5))
    desk.take(desk.write.status(6, "solved"))
    desk.take(desk.write.reopened(50))
    assert desk.take(desk.write.received(50)) == ["next_reply started"]


def test_a_ticket_first_seen_after_its_first_reply_waits_for_the_next_one() -> None:
    desk = Desk(FIRST)
    desk.write.opened(0)
    desk.write.replied(1)
    assert desk.take(desk.write.received(3)) == ["next_reply started"]


def test_what_is_kept_of_a_long_story_is_bounded() -> None:
    desk = opened(FIRST)
    for number in range(70):
        start = 100 * (number + 1)
        desk.take(desk.write.replied(start))
        desk.take(desk.write.received(start + 1))
        desk.tick(start + 50)
    assert desk.state is not None
    assert (len(desk.state.ended), len(desk.state.breaches)) == (KEPT_CLOCKS, KEPT_BREACHES)
    assert desk.state.breaches[-1].breached_at == at(7021)
    assert desk.state.ended[-1].ended_at == at(7000)
    assert desk.state.serial == 71


def test_clocks_are_numbered_over_the_life_of_a_ticket() -> None:
    desk = opened(FIRST)
    desk.take(desk.write.replied(1))
    desk.take(desk.write.received(10))
    assert desk.state is not None
    clocks: list[SlaClock] = [*desk.state.ended, *desk.state.live]
    assert [clock.id for clock in clocks] == ["t-1:first_reply:1", "t-1:next_reply:2"]
    assert [clock.phase for clock in clocks] == [Phase.ENDED, Phase.RUNNING]


def test_a_successor_is_found_under_a_new_number() -> None:
    desk = opened("policies: [{name: a, targets: {first_reply: {urgent: 5m, default: 60m}}}]")
    desk.take(desk.write.priority(1, "urgent"))
    desk.take(desk.write.priority(2, "low"))
    assert [event.clock_id for event in desk.said if isinstance(event, ClockStarted)] == [
        "t-1:first_reply:1",
        "t-1:first_reply:2",
        "t-1:first_reply:3",
    ]
    started = desk.said[-1]
    assert isinstance(started, ClockStarted)
    assert started.message_id == "m-1"
    assert started.due_at == at(0) + timedelta(minutes=60)


def test_terms_that_change_while_the_ticket_is_solved_hold_from_the_reopening() -> None:
    desk = opened(RESOLUTION)
    desk.take(desk.write.status(10, "solved"))
    desk.shelf.put(book("on_change: rebase\n" + RESOLUTION.replace("120m", "60m")))
    assert desk.rebase(20) == []
    assert desk.take(desk.write.reopened(100)) == [
        "resolution resumed reopened",
        "resolution cancelled policy_changed",
        "resolution started",
    ]
    assert desk.due("resolution") == 150


def test_a_priority_that_changes_while_the_ticket_is_solved_holds_from_the_reopening() -> None:
    desk = opened("policies: [{name: a, targets: {resolution: {urgent: 60m, default: 120m}}}]")
    desk.take(desk.write.status(10, "solved"))
    assert desk.take(desk.write.priority(20, "urgent")) == []
    desk.take(desk.write.reopened(100))
    assert desk.due("resolution") == 150


def test_a_breach_stays_as_it_was_told_although_no_policy_asks_for_it_any_more() -> None:
    desk = opened("policies: [{name: a, match: {priority: normal}, targets: {first_reply: 10m}}]")
    desk.tick(10)
    assert desk.take(desk.write.priority(11, "low")) == []
    assert desk.take(desk.write.replied(12)) == ["first_reply cancelled stopped_late"]


def test_a_ticket_first_seen_solved_has_clocks_from_its_reopening() -> None:
    desk = Desk("policies: [{name: a, targets: {resolution: 120m, total_resolution: 300m}}]")
    desk.write.opened(0)
    desk.write.status(10, "solved")
    assert desk.take(desk.write.noted(50)) == []
    assert desk.take(desk.write.reopened(100)) == ["resolution started", "total_resolution started"]
    assert (desk.due("resolution"), desk.due("total_resolution")) == (220, 400)


def test_a_closed_ticket_keeps_nothing_that_only_a_live_one_needs() -> None:
    desk = opened(ALL)
    desk.take(desk.write.closed(5))
    assert desk.state is not None
    assert (desk.state.live, desk.state.asked_at, desk.state.waits_since, desk.state.history) == ((), None, None, ())


def test_a_resolution_runs_since_the_door_took_the_ticket_however_late_we_hear_of_it() -> None:
    desk = Desk(ALL)
    desk.take(desk.write.opened(20, taken=0))
    assert (desk.due("first_reply"), desk.due("resolution")) == (60, 120)


def test_a_resolution_stays_with_the_file_of_its_ticket_while_a_question_has_a_newer_one() -> None:
    text = (
        "on_change: keep\npolicies: [{name: a, targets: {next_reply: 20m, resolution: {urgent: 60m, default: 120m}}}]"
    )
    desk = opened(text)
    desk.take(desk.write.replied(1))
    desk.shelf.put(book(text.replace("60m", "30m").replace("20m", "5m")))
    desk.take(desk.write.received(10))
    desk.take(desk.write.priority(12, "urgent"))
    assert (desk.due("next_reply"), desk.due("resolution")) == (15, 60)


def test_a_rebase_does_not_go_back_behind_what_has_happened() -> None:
    desk = opened(RESOLUTION)
    desk.take(desk.write.noted(20))
    desk.shelf.put(book("on_change: rebase\n" + RESOLUTION.replace("120m", "60m")))
    desk.rebase(10)
    assert (desk.said[-1].elapsed_seconds, desk.due("resolution")) == (1200, 60)
