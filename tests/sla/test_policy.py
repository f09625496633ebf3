"""The policy file: which policy applies, what it promises, and what is refused with its line."""

from pathlib import Path
from typing import Any

import pytest

from contracts.ticket import Market, Priority, TicketFacts
from kit.base.errors import InvalidPolicy
from kit.policy.file import load
from services.sla.core.policy import Book
from services.sla.core.preview import promises
from tests.sla.desk import START, at, book

ORDERED = """\
policies:
  - name: vip
    match: {tier: [gold, platinum]}
    targets: {first_reply: 15m}
  - name: thai-line
    match: {marketplace: shopee, country: TH, channel: [line, whatsapp]}
    targets: {first_reply: 1h}
  - name: nimbus-returns
    match: {brand: nimbus, tags: [returns, refund]}
    targets: {first_reply: 2h}
  - name: urgent
    match: {priority: [urgent]}
    targets: {first_reply: 30m}
  - name: portuguese
    match: {language: pt}
    targets: {first_reply: 3h}
  - name: mailbox
    match: {account: support-nimbus}
    targets: {first_reply: 5h}
  - name: default
    targets: {first_reply: 8h}
"""


def facts(**given: Any) -> TicketFacts:
    market = Market(marketplace=given.pop("marketplace", None), country=given.pop("country", None))
    return TicketFacts(**{"channel": "email", "market": market, **given})


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "default"),
        ({"tier": "gold"}, "vip"),
        ({"tier": "silver"}, "default"),
        ({"tier": "gold", "priority": "urgent"}, "vip"),  # the first that holds, not the strictest
        ({"marketplace": "shopee", "country": "TH", "channel": "line"}, "thai-line"),
        ({"marketplace": "shopee", "country": "TH"}, "default"),  # all conditions, not some
        ({"marketplace": "shopee", "channel": "line"}, "default"),  # what is not known does not hold
        ({"brand": "nimbus", "tags": ("late", "refund")}, "nimbus-returns"),
        ({"brand": "nimbus", "tags": ("late",)}, "default"),
        ({"priority": "urgent"}, "urgent"),
        ({"language": "pt-BR"}, "portuguese"),
        ({"language": "PT"}, "portuguese"),
        ({"language": "ptx"}, "default"),
        ({"account": "support-nimbus"}, "mailbox"),
        ({"channel": "carrier-pigeon"}, "default"),
    ],
)
def test_the_first_policy_whose_conditions_all_hold_applies(given: dict[str, Any], name: str) -> None:
    policy = book(ORDERED).match(facts(**given))
    assert policy is not None
    assert policy.name == name


def test_targets_go_by_priority_with_a_default() -> None:
    policies = book("policies: [{name: a, targets: {first_reply: {urgent: 10m, low: 2h, default: 1h}}}]")
    found = {p: policies.terms(facts(priority=p), "first_reply") for p in Priority}
    assert [terms.target_ms // 60_000 for terms in found.values() if terms] == [120, 60, 60, 10]
    assert policies.terms(facts(), "resolution") is None


def test_warnings_are_shares_of_the_target_or_offsets_before_the_end() -> None:
    text = "policies: [{name: a, targets: {first_reply: 1h}, warn: {due_soon: [10m, 90m], at_risk: [50%, 75%]}}]"
    terms = book(text).terms(facts(), "first_reply")
    assert terms is not None
    assert [(warn.after_ms // 60_000, warn.at_risk) for warn in terms.warnings] == [
        (30, True),
        (45, True),
        (50, False),  # 90 minutes before an hour is over never comes
    ]


@pytest.mark.parametrize(
    ("target", "mark", "after_ms"),
    [
        ("333ms", "50%", [166]),
        ("1h", "1%", [36_000]),
        ("1h", "99%", [3_564_000]),
        ("99ms", "1%", []),
        ("1h", "1h", []),
        ("1h", "59m59s999ms", [1]),
        ("1h", "1ms", [3_599_999]),
    ],
)
def test_a_warning_comes_in_whole_milliseconds_after_the_start_and_before_the_end(
    target: str, mark: str, after_ms: list[int]
) -> None:
    terms = book(f"policies: [{{name: a, targets: {{first_reply: {target}}}, warn: {{due_soon: {mark}}}}}]").terms(
        facts(), "first_reply"
    )
    assert terms is not None
    assert [warn.after_ms for warn in terms.warnings] == after_ms


@pytest.mark.parametrize("mark", ["0%", "00%", "100%", "%", "1.5%"])
def test_a_share_is_1_to_99_per_cent(mark: str) -> None:
    with pytest.raises(InvalidPolicy, match="1% to 99%"):
        book(f"policies: [{{name: a, targets: {{first_reply: 1h}}, warn: {{due_soon: '{mark}'}}}}]")


def test_equal_content_has_the_equal_version_whatever_the_layout() -> None:
    spread = "policies:\n  - name: a   # ours\n    targets:\n      first_reply: 15m\n"
    assert book(spread).version == book("policies: [{name: a, targets: {first_reply: 15m}}]").version
    assert book(spread).version != book(spread.replace("15m", "16m")).version


def test_a_book_comes_back_from_the_archive_as_it_was(root: Path) -> None:
    policies = load(root / "deploy/config/sla.yaml", Book)
    again = Book.model_validate_json(policies.model_dump_json())
    assert again.version == policies.version
    assert promises(again, facts(country="KR", marketplace="coupang"), START) == promises(
        policies, facts(country="KR", marketplace="coupang"), START
    )


def test_a_deadline_names_the_versions_of_all_that_it_was_computed_with() -> None:
    text = """
policies: [{name: a, calendar: shop, targets: {first_reply: 1h}}]
calendars: {shop: {zone: Asia/Seoul, hours: {mon-fri: "09:00-18:00"}, holidays: [KR]}}
holidays: {KR: {2026-12-25: Christmas}}
"""
    old = book(text).calendar_ref("shop")
    holidays = book(text.replace("12-25", "12-24")).calendar_ref("shop")
    hours = book(text.replace("18:00", "17:00")).calendar_ref("shop")
    assert old.version == holidays.version != hours.version
    assert old.holidays == hours.holidays != holidays.holidays
    assert old.tzdata is not None


@pytest.mark.parametrize("lists", ["short, shut", "shut, short"])
def test_a_date_that_one_list_closes_is_closed(lists: str) -> None:
    text = (
        f"""
policies: [{{name: a, calendar: shop, targets: {{first_reply: 1h}}}}]
calendars: {{shop: {{zone: UTC, holidays: [{lists}]}}}}
"""
        """
holidays:
  short: {2026-11-24: {name: Eve, hours: "09:00-12:00"}, 2026-11-25: {name: Eve, hours: "09:00-12:00"}}
  shut: {2026-11-24: Closed}
"""
    )
    shop = book(text).calendar("shop")
    assert shop.ms_between(at(15 * 60), at(39 * 60)) == 0
    assert shop.ms_between(at(39 * 60), at(63 * 60)) == 3 * 3_600_000


VALID = """\
calendars:
  shop:
    zone: Asia/Bangkok
    hours: {mon-fri: "09:00-12:00, 13:00-18:00"}
    holidays: [TH]
holidays:
  TH:
    2026-12-31: New Year's Eve
policies:
  - name: vip
    match: {tier: gold}
    targets: {first_reply: 15m}
    warn: {due_soon: 5m}
  - name: default
    calendar: shop
    targets:
      first_reply: {urgent: 1h, default: 4h}
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("Asia/Bangkok", "Asia/Bangkog", 3, "is not a time zone"),
        ("13:00", "11:00", 4, "overlap at 11:00"),
        ("[TH]", "[PL]", 5, "unknown holiday list 'PL'"),
        ("2026-12-31", "2026-12-32", 8, "is not a date"),
        ("New Year's Eve", '{name: x, hours: "22:00-02:00"}', 8, "past midnight"),
        ("tier: gold", "tear: gold", 11, "unknown key, did you mean tier?"),
        ("{tier: gold}", "{}", 14, "never reached"),
        ("15m", "15", 12, "has no unit"),
        ("first_reply: 15m", "first_answer: 15m", 12, "is not a metric"),
        ("due_soon: 5m", "due_soon: 100%", 13, "1% to 99%"),
        ("name: default", "name: vip", 14, "duplicate policy name"),
        ("calendar: shop", "calendar: shops", 15, "unknown calendar 'shops'"),
        ("calendar: shop", "calendar: {TH: shop}", 15, "require a default"),
        (", default: 4h", "", 17, "no target for low, normal, high"),
        ("urgent: 1h", "urgentest: 1h", 17, "is not a priority"),
    ],
)
def test_a_fault_is_told_with_its_line(old: str, new: str, line: int, reason: str) -> None:
    assert old in VALID
    with pytest.raises(InvalidPolicy) as caught:
        book(VALID.replace(old, new))
    assert reason in str(caught.value)
    assert caught.value.line == line


def test_a_target_that_would_never_be_due_is_refused() -> None:
    hours = '{mon: "09:00-09:01"}'
    with pytest.raises(InvalidPolicy, match="do not fit into 20 years"):
        book(f"policies: [{{name: a, calendar: c, targets: {{resolution: 72h}}}}]\n"
             f"calendars: {{c: {{zone: UTC, hours: {hours}}}}}")  # fmt: skip


@pytest.mark.parametrize(
    ("given", "policy", "due"),
    [
        ({"tier": "gold", "marketplace": "shopee", "country": "TH"}, "vip", "2026-12-30T11:15"),
        (
            {"marketplace": "shopee", "country": "TH"},
            "marketplace",
            "2027-01-02T06:00",
        ),  # New Year, then a Saturday morning
        ({"marketplace": "allegro", "country": "PL"}, "marketplace", "2026-12-30T15:00"),
        ({"marketplace": "coupang", "country": "KR"}, "marketplace", "2026-12-31T05:00"),  # over lunch
        ({"country": "GB", "tags": ("returns",)}, "returns", "2026-12-30T15:00"),
        ({"country": "DE", "tags": ("returns",)}, "returns", "2026-12-30T15:00"),
        ({"marketplace": "amazon", "country": "DE"}, "default", "2026-12-30T19:00"),
        ({}, "default", "2026-12-30T19:00"),
    ],
)
def test_the_example_file_promises_what_it_says(root: Path, given: dict[str, Any], policy: str, due: str) -> None:
    asked = at(37 * 24 * 60 + 120)  # 2026-12-30T11:00Z, a Wednesday
    policies = load(root / "deploy/config/sla.yaml", Book)
    first = promises(policies, facts(**given), asked)[0]
    assert (first.terms.policy.name, first.due_at.strftime("%Y-%m-%dT%H:%M")) == (policy, due)


def test_a_target_that_is_never_due_is_refused_whichever_priority_has_it() -> None:
    text = "policies: [{name: a, calendar: seldom, targets: {first_reply: {urgent: 1h, default: 1h}}}]\n"
    text += 'calendars: {seldom: {zone: UTC, hours: {mon: "09:00-09:01"}}}\n'
    book(text)
    with pytest.raises(InvalidPolicy, match="do not fit into"):
        book(text.replace("default: 1h", "default: 1000h"))
