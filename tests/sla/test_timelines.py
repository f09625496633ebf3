"""What happens to a ticket, and what its clocks say: timelines in minutes from Monday 09:00."""

import pytest

from contracts.sla import ClockBreached, ClockCancelled, ClockMet, ClockResumed, ClockStarted
from contracts.ticket import Status
from tests.sla.desk import BOT, CUSTOMER, Desk, minute
from tests.sla.policies import FIRST, RESOLUTION, TOTAL, opened

# -- first reply -------------------------------------------------------------------------------------------------------


def test_opened_at_0_answered_at_12_is_met() -> None:
    desk = Desk(FIRST)
    assert desk.take(desk.write.opened(0)) == ["first_reply started"]
    assert desk.due("first_reply") == 30
    assert desk.take(desk.write.replied(12)) == ["first_reply met"]
    met = desk.said[-1]
    assert isinstance(met, ClockMet)
    assert (minute(met.met_at), met.elapsed_seconds, met.remaining_seconds) == (12, 720, 1080)


def test_opened_at_0_with_nobody_answering_is_breached_at_30() -> None:
    desk = opened(FIRST)
    assert desk.tick(29.99) == []
    assert desk.tick(30) == ["first_reply breached"]
    breach = desk.said[-1]
    assert isinstance(breach, ClockBreached)
    assert minute(breach.breached_at) == 30
    assert desk.tick(31) == []
    assert desk.state is not None
    assert [b.metric for b in desk.state.breaches] == ["first_reply"]


def test_met_exactly_at_the_deadline_is_met() -> None:
    desk = opened(FIRST)
    assert desk.take(desk.write.replied(30)) == ["first_reply met"]


def test_a_reply_after_the_deadline_that_no_timer_saw_is_a_breach_and_then_too_late() -> None:
    desk = opened(FIRST)
    assert desk.take(desk.write.replied(33)) == ["first_reply breached", "first_reply cancelled stopped_late"]
    late = desk.said[-1]
    assert isinstance(late, ClockCancelled)
    assert late.breached_by_seconds == 180


@pytest.mark.parametrize(("minutes", "kept"), [(29, True), (30, True), (30.001, False)])
def test_a_breach_is_none_if_a_reply_in_time_is_heard_of_later(minutes: float, kept: bool) -> None:
    desk = opened(FIRST)
    assert desk.tick(30) == ["first_reply breached"]
    end = "in_time" if kept else "stopped_late"
    assert desk.take(desk.write.replied(minutes), now=31) == [f"first_reply cancelled {end}"]
    told = desk.said[-1]
    assert isinstance(told, ClockCancelled)
    assert (told.breached_by_seconds is None) == kept
    assert desk.state is not None
    assert len(desk.state.breaches) == (0 if kept else 1)
    assert desk.state.ended[-1].outcome == ("met" if kept else "late")


def test_a_breach_that_was_none_leaves_others_of_its_ticket() -> None:
    desk = opened("policies: [{name: default, targets: {first_reply: 30m, resolution: 20m}}]")
    desk.tick(30)
    desk.take(desk.write.replied(29), now=31)
    assert desk.state is not None
    assert [breach.metric for breach in desk.state.breaches] == ["resolution"]


def test_the_clock_starts_when_the_door_took_the_message_however_late_we_hear_of_it() -> None:
    desk = Desk(FIRST)
    desk.take(desk.write.opened(20, taken=0))
    assert desk.due("first_reply") == 30


def test_notes_bots_and_automatic_answers_are_no_reply() -> None:
    desk = opened(FIRST)
    assert desk.take(desk.write.noted(1)) == []
    assert desk.take(desk.write.replied(2, BOT)) == []
    assert desk.take(desk.write.replied(3, automated=True)) == []
    assert desk.tick(30) == ["first_reply breached"]


def test_with_a_bot_in_front_the_clocks_start_at_the_hand_off() -> None:
    desk = Desk(handled_by_bot=True)
    assert desk.take(desk.write.opened(0)) == []
    assert desk.take(desk.write.replied(1, BOT)) == []
    assert desk.take(desk.write.received(2)) == []
    assert desk.take(desk.write.handed_off(5)) == [
        "first_reply started",
        "resolution started",
        "total_resolution started",
    ]
    assert desk.due("first_reply") == 35


def test_automatic_mail_starts_no_clock_and_a_person_after_it_does() -> None:
    desk = Desk(FIRST)
    assert desk.take(desk.write.opened(0, automated=True)) == []
    assert desk.take(desk.write.received(5, automated=True)) == []
    assert desk.take(desk.write.received(9)) == ["first_reply started"]
    assert desk.due("first_reply") == 39


def test_a_solve_without_an_answer_ends_the_wait_for_one() -> None:
    desk = opened(FIRST)
    assert desk.take(desk.write.status(4, "solved")) == ["first_reply cancelled solved"]


def test_a_ticket_first_seen_in_the_middle_gets_the_clocks_that_it_needs() -> None:
    desk = Desk()
    desk.write.opened(0)  # never heard of
    assert desk.take(desk.write.received(3)) == [
        "first_reply started",
        "resolution started",
        "total_resolution started",
    ]


# -- next reply --------------------------------------------------------------------------------------------------------


def test_next_reply_runs_from_the_oldest_unanswered_message() -> None:
    desk = opened(FIRST)
    desk.take(desk.write.replied(1))
    assert desk.take(desk.write.received(10)) == ["next_reply started"]
    assert desk.take(desk.write.received(15)) == []
    assert desk.due("next_reply") == 30
    started = desk.said[-1]
    assert isinstance(started, ClockStarted)
    assert started.message_id == "m-3"


def test_every_exchange_has_a_clock_of_its_own() -> None:
    desk = opened(FIRST)
    desk.take(desk.write.replied(1))
    for start in (10, 100):
        desk.take(desk.write.received(start))
        assert desk.take(desk.write.replied(start + 5)) == ["next_reply met"]
    assert len({event.clock_id for event in desk.said if event.metric == "next_reply"}) == 2


def test_solving_ends_the_wait_for_the_next_reply() -> None:
    desk = opened(FIRST)
    desk.take(desk.write.replied(1))
    desk.take(desk.write.received(10))
    assert desk.take(desk.write.status(12, "solved")) == ["next_reply cancelled solved"]


def test_the_message_that_reopens_starts_the_wait_whichever_event_comes_first() -> None:
    for message_first in (True, False):
        desk = opened(FIRST)
        desk.take(desk.write.replied(1))
        desk.take(desk.write.status(2, "solved"))
        events = [desk.write.received, desk.write.reopened]
        said = [desk.take(event(50)) for event in (events if message_first else events[::-1])]
        assert sorted(said) == [[], ["next_reply started"]]
        assert desk.due("next_reply") == 70


# -- resolution --------------------------------------------------------------------------------------------------------


def test_opened_at_0_pending_from_30_to_90_is_breached_at_180() -> None:
    desk = opened(RESOLUTION)
    assert desk.take(desk.write.status(30, "pending")) == ["resolution paused pending"]
    assert desk.due("resolution") is None
    assert desk.tick(150) == []
    assert desk.take(desk.write.status(90, "open")) == ["resolution resumed status"]
    resumed = desk.said[-1]
    assert isinstance(resumed, ClockResumed)
    assert (resumed.paused_seconds, resumed.elapsed_seconds) == (3600, 1800)
    assert desk.due("resolution") == 180
    assert desk.tick(180) == ["resolution breached"]


def test_an_answer_of_the_customer_is_why_it_goes_on() -> None:
    desk = opened(RESOLUTION)
    desk.take(desk.write.status(30, "pending"))
    # Ingest says what the message did to the ticket before it says the message.
    assert desk.take(desk.write.status(40, "open", CUSTOMER)) == ["resolution resumed customer_replied"]
    assert desk.take(desk.write.received(40)) == []
    desk.take(desk.write.status(50, "pending"))
    desk.write.ticket = desk.write.ticket.model_copy(update={"status": Status.OPEN})
    assert desk.take(desk.write.received(60)) == ["resolution resumed customer_replied"]


def test_on_hold_does_not_pause_unless_the_policy_says_so() -> None:
    assert opened(RESOLUTION).take(opened(RESOLUTION).write.status(5, "on_hold")) == []
    desk = opened(RESOLUTION + "    pause_on: [pending, on_hold]\n")
    assert desk.take(desk.write.status(5, "on_hold")) == ["resolution paused on_hold"]
    assert desk.take(desk.write.status(9, "pending")) == ["resolution paused pending"]
    assert desk.take(desk.write.status(10, "open")) == ["resolution resumed status"]
    assert desk.due("resolution") == 125


def test_a_reopened_ticket_goes_on_with_the_same_clock() -> None:
    desk = opened(RESOLUTION)
    assert desk.take(desk.write.status(100, "solved")) == ["resolution paused solved"]
    assert desk.take(desk.write.reopened(1000)) == ["resolution resumed reopened"]
    assert desk.due("resolution") == 1020
    assert len({event.clock_id for event in desk.said}) == 1
    assert desk.tick(1020) == ["resolution breached"]


def test_the_total_counts_the_time_that_a_ticket_was_solved_once_it_is_reopened() -> None:
    desk = opened(TOTAL)
    desk.take(desk.write.status(10, "pending"))
    assert desk.running() == {"total_resolution"}
    desk.take(desk.write.status(50, "solved"))
    assert desk.take(desk.write.reopened(80)) == ["total_resolution resumed reopened"]
    assert desk.due("total_resolution") == 120
    desk.take(desk.write.status(90, "solved"))
    assert desk.tick(500) == []
    desk.take(desk.write.reopened(600))
    assert desk.due("total_resolution") == 600  # it ran out while nobody had to act: now it is late at once
    assert desk.tick(600) == ["total_resolution breached"]


def test_a_solve_in_time_is_met_once_the_ticket_is_closed() -> None:
    desk = opened(RESOLUTION)
    desk.take(desk.write.status(100, "solved"))
    assert desk.take(desk.write.closed(5000)) == ["resolution met"]
    met = desk.said[-1]
    assert isinstance(met, ClockMet)
    assert minute(met.met_at) == 100


def test_a_breached_ticket_that_is_solved_is_over_and_may_come_back_without_a_second_breach() -> None:
    desk = opened(RESOLUTION)
    desk.tick(120)
    assert desk.take(desk.write.status(150, "solved")) == ["resolution cancelled stopped_late"]
    assert desk.take(desk.write.reopened(200)) == ["resolution resumed reopened"]
    assert desk.tick(10_000) == []
    assert desk.take(desk.write.status(210, "solved")) == ["resolution cancelled stopped_late"]
    late = desk.said[-1]
    assert isinstance(late, ClockCancelled)
    assert (late.breached_by_seconds, late.reopens) == (40 * 60, 1)
    assert desk.take(desk.write.closed(300)) == []


def test_a_closed_ticket_is_frozen() -> None:
    desk = opened(FIRST)
    assert desk.take(desk.write.closed(5, "command")) == ["first_reply cancelled closed"]
    frozen = desk.state
    assert desk.take(desk.write.replied(6)) == []
    assert desk.take(desk.write.received(7)) == []
    assert desk.tick(1000) == []
    assert desk.state is frozen


def test_a_merged_ticket_has_no_clocks_any_more() -> None:
    desk = Desk()
    desk.take(desk.write.opened(0))
    assert desk.take(desk.write.merged(5)) == [
        "first_reply cancelled merged",
        "resolution cancelled merged",
        "total_resolution cancelled merged",
    ]


def test_stop_outranks_pause_outranks_start() -> None:
    desk = Desk()
    desk.take(desk.write.opened(0))
    desk.write.ticket = desk.write.ticket.model_copy(update={"status": Status.SOLVED})
    assert desk.take(desk.write.replied(5)) == [  # one event: the answer that solves
        "first_reply met",
        "resolution paused solved",
        "total_resolution paused solved",
    ]


# -- warnings ----------------------------------------------------------------------------------------------------------
