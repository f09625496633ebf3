"""Warnings, priorities and policies that change while clocks run."""

from datetime import UTC, datetime

import pytest

from contracts.sla import ClockBreached
from tests.sla.desk import Desk, at, book, minute
from tests.sla.policies import FIRST, RESOLUTION, TIERS, opened

# -- first reply -------------------------------------------------------------------------------------------------------


WARNED = """
policies:
  - name: default
    calendar: office
    targets: {first_reply: 60m, resolution: 120m}
    warn: {due_soon: [10m, 90m], at_risk: 50%}
calendars:
  office: {zone: UTC, hours: {mon-fri: "09:00-09:40, 10:40-18:00"}}
"""


def test_warnings_come_in_working_time_before_the_breach() -> None:
    desk = opened(WARNED)
    assert desk.due("first_reply") == 120  # 09:40 to 10:40 is lunch
    assert desk.tick(29) == []
    assert desk.tick(30) == ["first_reply at_risk time", "resolution due_soon"]
    assert desk.tick(100) == []
    assert desk.tick(110) == ["first_reply due_soon"]
    assert desk.tick(119) == []
    assert desk.tick(120) == ["first_reply breached", "resolution at_risk time"]


def test_a_warning_that_nobody_could_use_is_not_given() -> None:
    desk = opened(WARNED)
    assert "first_reply at_risk time" not in desk.tick(500)
    assert desk.tick(600) == []
    assert [event.metric for event in desk.said if isinstance(event, ClockBreached)] == ["first_reply", "resolution"]


def test_a_pause_moves_the_warnings_too() -> None:
    desk = opened(WARNED)
    desk.take(desk.write.replied(5))
    desk.take(desk.write.status(10, "pending"))
    desk.take(desk.write.status(110, "open"))
    assert desk.tick(129) == []
    assert desk.tick(130) == ["resolution due_soon"]


# -- other terms -------------------------------------------------------------------------------------------------------


def test_a_higher_priority_counts_from_that_instant_on_and_what_has_elapsed_carries_over() -> None:
    desk = opened(TIERS)
    assert desk.due("first_reply") == 60
    assert desk.take(desk.write.priority(10, "high")) == [
        "first_reply cancelled policy_changed",
        "first_reply started",
    ]
    assert desk.due("first_reply") == 25
    assert desk.said[-1].elapsed_seconds == 600
    assert desk.said[-1].started_at == at(0)


def test_a_priority_whose_time_is_over_already_is_breached_when_it_is_set() -> None:
    desk = opened(TIERS)
    desk.take(desk.write.priority(20, "urgent"))
    assert desk.due("first_reply") == 20
    assert desk.tick(20) == ["first_reply breached"]
    assert minute(desk.said[-1].due_at) == 20


def test_a_breach_stays_whatever_the_priority_becomes() -> None:
    desk = opened(TIERS)
    desk.take(desk.write.priority(1, "urgent"))
    desk.tick(15)
    assert desk.take(desk.write.priority(16, "low")) == []
    assert desk.tick(1000) == []


def test_facts_that_come_later_may_bring_another_policy() -> None:
    desk = opened(TIERS)
    assert desk.take(desk.write.tier(2, "gold")) == ["first_reply cancelled policy_changed", "first_reply started"]
    assert desk.due("first_reply") == 10
    assert desk.said[-1].policy.name == "vip"


KEEP, REBASE = "on_change: keep\n", "on_change: rebase\n"
CHANGED = ["first_reply cancelled policy_changed", "first_reply started"]


def test_a_new_file_leaves_running_clocks_alone() -> None:
    desk = opened(TIERS)
    desk.shelf.put(book(TIERS.replace("60m", "5m")))
    assert desk.take(desk.write.noted(1)) == []
    assert desk.rebase(2) == []
    assert desk.due("first_reply") == 60
    fresh = Desk(desk.shelf.current)
    fresh.take(fresh.write.opened(0))
    assert fresh.due("first_reply") == 5


def test_a_running_clock_stays_with_its_file_when_the_priority_changes() -> None:
    desk = opened(TIERS)
    desk.shelf.put(book(TIERS.replace("25m", "5m")))
    assert desk.take(desk.write.priority(1, "high")) == CHANGED
    assert desk.due("first_reply") == 25


def test_clocks_that_start_after_a_new_file_are_on_its_terms_whatever_the_ticket_began_with() -> None:
    desk = opened(FIRST)
    desk.take(desk.write.replied(1))
    desk.shelf.put(book(KEEP + FIRST.replace("20m", "5m")))
    assert desk.take(desk.write.received(10)) == ["next_reply started"]
    assert desk.due("next_reply") == 15
    assert desk.said[-1].policy.version == desk.shelf.current.version


def test_a_wait_stays_with_the_file_that_it_began_with() -> None:
    desk = opened(TIERS)
    desk.shelf.put(book(KEEP + TIERS.replace("10m", "5m")))
    desk.take(desk.write.tier(1, "gold"))
    assert desk.due("first_reply") == 10


def test_a_new_file_brings_no_metric_to_tickets_that_are_there_unless_it_rebases() -> None:
    text = RESOLUTION.replace("resolution: 120m", "resolution: 120m, total_resolution: 200m")
    desk = opened(RESOLUTION)
    desk.shelf.put(book(KEEP + text))
    assert desk.take(desk.write.noted(5)) == []
    desk.shelf.put(book(REBASE + text))
    assert desk.rebase(50) == ["total_resolution started"]
    assert (desk.due("resolution"), desk.due("total_resolution")) == (120, 200)


def test_a_new_file_that_rebases_takes_running_tickets_along() -> None:
    desk = opened(TIERS)
    desk.shelf.put(book(REBASE + TIERS.replace("60m", "40m")))
    assert desk.rebase(10) == CHANGED
    assert desk.due("first_reply") == 40
    assert desk.rebase(11) == []


@pytest.mark.parametrize(
    ("old", "new", "disturbed"),
    [
        ("first_reply: 10m", "first_reply: 11m", False),  # of another policy
        ("# nothing", "# something", False),
        ("- name: vip", "- name: first\n    match: {tier: lead}\n    targets: {first_reply: 1m}\n  - name: vip", False),
        ("zone: Asia/Tokyo", "zone: Asia/Seoul", False),  # a calendar of another policy
        ("default: 60m", "default: 50m", True),
        ("urgent: 15m", "urgent: 14m", False),  # of another priority
        ("due_soon: 5m", "due_soon: 6m", True),
        ("zone: UTC", "zone: Europe/Paris", True),
        ("2026-12-25: Christmas", "2026-12-24: Christmas Eve", True),
        ("- name: default", "- name: other", True),
    ],
)
def test_a_rebase_disturbs_those_whose_own_policy_has_changed(old: str, new: str, disturbed: bool) -> None:
    text = (
        REBASE
        + """
# nothing
policies:
  - name: vip
    match: {tier: gold}
    calendar: japan
    targets: {first_reply: 10m}
  - name: default
    calendar: office
    targets: {first_reply: {urgent: 15m, default: 60m}}
    warn: {due_soon: 5m}
calendars:
  office: {zone: UTC, hours: {daily: "06:00-20:00"}, holidays: [ours]}
  japan: {zone: Asia/Tokyo}
holidays:
  ours: {2026-12-25: Christmas}
"""
    )
    desk = opened(text)
    assert old in text
    desk.shelf.put(book(text.replace(old, new)))
    assert desk.rebase(10) == (CHANGED if disturbed else [])
    assert desk.state is not None
    assert desk.state.version == desk.shelf.current.version


def test_what_stands_still_is_rebased_and_stands_still() -> None:
    desk = opened(RESOLUTION)
    desk.take(desk.write.status(10, "pending"))
    desk.shelf.put(book(REBASE + RESOLUTION.replace("120m", "60m")))
    assert desk.rebase(30)[-1] == "resolution paused pending"
    desk.take(desk.write.status(40, "open"))
    assert desk.due("resolution") == 90


def test_pausing_on_other_statuses_is_another_policy() -> None:
    desk = opened(RESOLUTION)
    desk.take(desk.write.status(10, "pending"))
    desk.shelf.put(book(REBASE + RESOLUTION + "    pause_on: []\n"))
    assert desk.rebase(30) == ["resolution cancelled policy_changed", "resolution started"]
    assert desk.due("resolution") == 140


def test_a_ticket_without_a_live_clock_is_rebased_and_so_is_its_next_clock() -> None:
    desk = opened(FIRST)
    desk.take(desk.write.replied(1))
    assert desk.state is not None
    assert desk.state.live == ()
    desk.shelf.put(book(REBASE + FIRST + "    warn: {due_soon: 1m}\n"))
    assert desk.rebase(2) == []
    assert desk.state.version == desk.shelf.current.version


def test_a_wait_that_began_under_another_file_than_the_ticket_is_rebased_too() -> None:
    desk = opened(FIRST)
    desk.take(desk.write.replied(1))
    desk.shelf.put(book(KEEP + FIRST.replace("20m", "40m")))
    desk.take(desk.write.received(10))
    assert desk.due("next_reply") == 50
    desk.shelf.put(book(REBASE + FIRST.replace("20m", "30m")))
    assert desk.rebase(11) == ["next_reply cancelled policy_changed", "next_reply started"]
    assert desk.due("next_reply") == 40
    assert desk.take(desk.write.priority(12, "high")) == []


def test_a_ticket_without_clocks_gets_those_that_the_new_file_brings() -> None:
    desk = opened("policies: [{name: gold, match: {tier: gold}, targets: {first_reply: 1m}}]")
    assert desk.state is not None
    assert desk.state.live == ()
    desk.shelf.put(book(REBASE + FIRST))
    assert desk.rebase(12) == ["first_reply started"]
    assert desk.due("first_reply") == 30
    desk.take(desk.write.priority(13, "high"))
    assert desk.due("first_reply") == 30


def test_a_new_file_does_not_touch_a_closed_ticket() -> None:
    desk = opened(FIRST)
    desk.take(desk.write.closed(5))
    desk.shelf.put(book(REBASE + TIERS))
    assert desk.rebase(6) == []
    assert desk.state is not None
    assert desk.state.version != desk.shelf.current.version


def test_a_new_file_does_not_decide_whether_a_deadline_that_has_passed_was_kept() -> None:
    desk = opened(TIERS)
    desk.shelf.put(book(REBASE + TIERS.replace("60m", "40m")))
    assert desk.rebase(60) == []
    assert desk.take(desk.write.replied(59), now=62) == ["first_reply met"]


def test_a_bot_that_solves_leaves_the_first_reply_of_a_person_to_come() -> None:
    desk = Desk(FIRST, handled_by_bot=True)
    for event in (desk.write.opened(0), desk.write.status(1, "solved"), desk.write.reopened(50)):
        assert desk.take(event) == []
    desk.take(desk.write.received(50))
    assert desk.take(desk.write.handed_off(52)) == ["first_reply started"]
    assert desk.due("first_reply") == 82


def test_without_a_policy_there_are_no_clocks_until_one_applies() -> None:
    desk = Desk(TIERS.replace("  - name: default\n", "  - name: default\n    match: {tags: paid}\n"))
    assert desk.take(desk.write.opened(0)) == []
    assert desk.take(desk.write.tagged(7, "paid")) == ["first_reply started"]
    assert desk.due("first_reply") == 60


# -- calendars ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("country", "due"), [("TH", "2026-11-25T06:00"), ("DE", "2026-11-23T15:00")])
def test_the_country_decides_by_whose_hours_a_clock_runs(country: str, due: str) -> None:
    desk = opened(
        """
policies:
  - name: default
    calendar: {TH: thailand, default: always}
    targets: {first_reply: 6h}
calendars:
  thailand: {zone: Asia/Bangkok, hours: {mon-fri: "09:00-18:00"}, holidays: [TH]}
holidays:
  TH: {2026-11-24: Loy Krathong}
""",
        market={"country": country},
    )
    assert desk.said[0].due_at == datetime.fromisoformat(due).replace(tzinfo=UTC)
    assert desk.said[0].calendar.tzdata
    assert (desk.said[0].calendar.holidays is None) == (country == "DE")
