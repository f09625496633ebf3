"""The policy file as a value: each condition, the terms in full, versions, and each fault with its place and words."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from contracts.sla import CalendarRef, PolicyRef
from contracts.ticket import Market, Status, TicketFacts
from kit.calendar.spec import CalendarSpec, Holiday
from kit.calendar.working_time import TZDATA
from services.sla.core.clocks import Terms, Threshold
from services.sla.core.policy import Book, SlaPolicy
from tests.sla.desk import START, at

TARGETS = {"first_reply": "1h"}


def book(**more: Any) -> Book:
    return Book.model_validate({"policies": [{"name": "a", "targets": TARGETS}], **more})


def facts(**given: Any) -> TicketFacts:
    return TicketFacts(**{"channel": "email", **given})


def shop(*lists: str, **more: Any) -> dict[str, Any]:
    return {"shop": {"zone": "UTC", "hours": {"mon-fri": "09:00-17:00"}, "holidays": list(lists), **more}}


@pytest.mark.parametrize(
    ("calendar", "country", "name"),
    [
        ("always", "TH", "always"),
        ("shop", None, "shop"),
        ({"TH": "thai", "default": "shop"}, "TH", "thai"),
        ({"TH": "thai", "default": "shop"}, "PL", "shop"),
        ({"TH": "thai", "default": "shop"}, None, "shop"),
        ({"TH": "thai", "default": "shop"}, "th", "thai"),
    ],
)
def test_a_calendar_goes_by_the_country_with_a_default(calendar: Any, country: str | None, name: str) -> None:
    policy = SlaPolicy.model_validate({"name": "a", "calendar": calendar, "targets": TARGETS})
    assert policy.calendar_for(facts(market=Market(country=country))) == name
    assert policy.calendars == (calendar if isinstance(calendar, dict) else {"default": calendar})


def test_a_calendar_s_country_is_a_code_whatever_its_case() -> None:
    policy = SlaPolicy.model_validate({"name": "a", "calendar": {"th": "thai", "default": "shop"}, "targets": TARGETS})
    assert policy.calendar_for(facts(market=Market(country="TH"))) == "thai"
    with pytest.raises(ValueError, match="'Thailand' is not a country"):
        SlaPolicy.model_validate({"name": "a", "calendar": {"Thailand": "x", "default": "shop"}, "targets": TARGETS})


def test_terms_are_all_that_a_clock_needs_to_know() -> None:
    policy = {
        "name": "vip", "calendar": "shop", "pause_on": ["pending", "on_hold"], "warn": {"due_soon": "30m"},
        "targets": {"first_reply": {"urgent": "1h", "default": "2h"}, "resolution": "4h", "total_resolution": "9h"},
    }  # fmt: skip
    rules = book(policies=[policy], calendars=shop())
    ref, hour = PolicyRef(name="vip", version=rules.version), 3_600_000
    hours = rules.calendar_ref("shop")
    half = (Threshold(hour // 2, at_risk=False),)
    assert rules.terms(facts(priority="urgent"), "first_reply") == Terms(ref, hours, hour, half)
    assert rules.terms(facts(), "first_reply") == Terms(
        ref, hours, 2 * hour, (Threshold(3 * hour // 2, at_risk=False),)
    )
    later = (Threshold(7 * hour // 2, at_risk=False),)
    pauses = (Status.PENDING, Status.ON_HOLD)
    assert rules.terms(facts(), "resolution") == Terms(ref, hours, 4 * hour, later, pauses)
    total = rules.terms(facts(), "total_resolution")
    assert total is not None
    assert total.pauses == ()
    assert rules.terms(facts(), "next_reply") is None


def test_a_ticket_that_no_policy_is_for_is_promised_nothing() -> None:
    rules = book(policies=[{"name": "a", "match": {"tier": "gold"}, "targets": TARGETS}])
    assert (rules.match(facts()), rules.terms(facts(), "first_reply")) == (None, None)
    assert rules.match(facts(tier="gold")) == rules.policies[0]


def test_what_runs_always_is_there_without_being_written_down() -> None:
    rules = book(calendars=shop())
    assert rules.calendar_ref("always") == CalendarRef(name="always", version="1", tzdata=TZDATA)
    for name in ("always", "lost"):
        assert rules.calendar(name).ms_between(START, at(24 * 60)) == 24 * 3_600_000
    assert rules.calendar("shop").ms_between(START, at(24 * 60)) == 8 * 3_600_000
    hidden = book(calendars={"always": shop()["shop"]})
    assert hidden.calendar("always").ms_between(START, at(24 * 60)) == 8 * 3_600_000


def test_a_calendar_is_named_with_the_versions_of_what_it_is_made_of() -> None:
    lists = {"TH": {"2026-11-24": "A"}, "PL": {"2026-11-25": "B"}}
    plain, thai = (book(calendars=shop(*names), holidays=lists).calendar_ref("shop") for names in ((), ("TH",)))
    assert (plain.name, plain.holidays, plain.tzdata) == ("shop", None, TZDATA)
    assert thai.holidays is not None
    assert len(thai.holidays) == len(thai.version) == len(book().version) == 12
    renamed = {"TH": {"2026-11-24": "Another name"}, "PL": {}}
    assert book(calendars=shop("TH"), holidays=renamed).calendar_ref("shop").holidays == thai.holidays
    shorter = {"TH": {"2026-11-24": {"name": "A", "hours": "09:00-10:00"}}, "PL": {}}
    assert book(calendars=shop("TH"), holidays=shorter).calendar_ref("shop").holidays != thai.holidays
    both = [book(calendars=shop(*names), holidays=lists).calendar_ref("shop") for names in (("TH", "PL"), ("PL", "TH"))]
    assert both[0].holidays == both[1].holidays != thai.holidays


def test_dates_of_all_lists_count_and_what_one_closes_is_closed() -> None:
    open_late = {"name": "Sale", "hours": "09:00-11:00"}
    lists = {"a": {"2026-11-24": open_late, "2026-11-25": open_late}, "b": {"2026-11-24": "Shut", "2026-11-26": "Shut"}}
    for names in (("a", "b"), ("b", "a")):
        calendar = book(calendars=shop(*names), holidays=lists).calendar("shop")
        days = [calendar.ms_between(at(15 * 60 + n * 1440), at(39 * 60 + n * 1440)) // 3_600_000 for n in range(4)]
        assert days == [0, 2, 0, 8]
    same = {"a": {"2026-11-24": open_late}, "b": {"2026-11-24": {"name": "x", "hours": "09:00-12:00"}}}
    calendar = book(calendars=shop("a", "b"), holidays=same).calendar("shop")
    assert calendar.ms_between(at(15 * 60), at(39 * 60)) == 3 * 3_600_000


def test_a_holiday_is_closed_unless_it_has_hours() -> None:
    assert Holiday.model_validate("New Year") == Holiday(name="New Year", hours="closed")
    assert CalendarSpec(zone="UTC").hours == "always"


def faults(**more: Any) -> list[tuple[tuple[Any, ...], str]]:
    with pytest.raises(ValidationError) as caught:
        book(**more)
    return [(fault["loc"], fault["msg"]) for fault in caught.value.errors()]


def named(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "match": {"tier": name}, "targets": TARGETS, **more}


def test_all_faults_are_told_each_at_its_place() -> None:
    assert faults(
        calendars={**shop("TH", "PL"), "other": {"zone": "UTC", "holidays": ["KR"]}},
        holidays={"TH": {}},
        policies=[
            named("a", calendar="none"),
            named("b", match={}, calendar={"TH": "lost", "default": "shop"}),
            named("a"),
            named("c", match={}),
            named("d"),
        ],
    ) == [
        (("calendars", "shop", "holidays", 1), "unknown holiday list 'PL'"),
        (("calendars", "other", "holidays", 0), "unknown holiday list 'KR'"),
        (("policies", 0, "calendar", "default"), "unknown calendar 'none'"),
        (("policies", 1, "calendar", "TH"), "unknown calendar 'lost'"),
        (("policies", 2, "name"), "duplicate policy name 'a'"),
        (("policies", 2), "never reached: the policy above matches every ticket"),
        (("policies", 4), "never reached: the policy above matches every ticket"),
    ]


def test_each_target_that_is_never_due_by_one_of_its_calendars_is_told() -> None:
    calendars = {"seldom": {"zone": "UTC", "hours": {"mon": "09:00-09:01"}}, "often": {"zone": "UTC"}}
    targets = {"first_reply": "1m", "resolution": {"low": "1000h", "default": "1m"}}
    found = faults(
        calendars=calendars,
        policies=[named("a"), named("b", calendar={"TH": "seldom", "default": "often"}, targets=targets)],
    )
    assert [place for place, _ in found] == [("policies", 1, "targets", "resolution")]
    assert found[0][1].startswith("by the calendar 'seldom' ")
    assert "do not fit into" in found[0][1]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"policies": [named("a", calendar={"TH": "always"})]}, "calendars by country require a default"),
        ({"policies": [named("a", targets={"first_answer": "1h"})]},
         "'first_answer' is not a metric: first_reply, next_reply, resolution, total_resolution"),
        ({"policies": [named("a", targets={})]}, "at least 1 item"),
        ({"policies": []}, "at least 1 item"),
        ({"policies": [named("a", when={"tags": []})]}, "at least 1 item"),
        ({"policies": [named("a", pause_on=["open"])]}, "Input should be 'pending' or 'on_hold'"),
        ({"calendars": {"x": {"zone": "Mars/Base"}}}, "is not a time zone"),
        ({"calendars": {"x": {"zone": "UTC", "hours": {"mon": "9-5"}}}}, "9-5"),
        ({"holidays": {"x": {"2026-02-30": "A"}}}, "is not a date"),
        ({"holidays": {"x": {"2026-02-03": {"name": "A", "hours": "25:00-26:00"}}}}, "25:00"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused(more: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(reason)):
        book(**more)


def test_a_version_tells_any_content_from_any_other() -> None:
    versions = {
        each.version
        for each in (book(), book(on_change="rebase"), book(calendars=shop()), book(holidays={"x": {}}))
    }  # fmt: skip
    assert len(versions) == 4
    assert book().version == book().version
