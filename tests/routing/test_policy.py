"""The policy file: what it may say, what is refused and where, and which queue a ticket comes to."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from contracts.ticket import Status
from kit.base.errors import InvalidPolicy
from kit.policy.file import load, parse
from services.routing.core.policy import RoutingPolicy
from tests.routing.scenario import ticket

QUEUES = b"queues: {a: {}, b: {}}\n"


def queue_of(rules: bytes, **facts: Any) -> str | None:
    rule = parse("routing.yaml", QUEUES + rules, RoutingPolicy).place(ticket(**facts).facts())
    return rule.queue if rule else None


def test_first_rule_that_matches_wins() -> None:
    rules = b"rules: [{match: {brand: korale}, queue: a}, {match: {brand: nimbus}, queue: b}, {queue: a}]"
    assert queue_of(rules) == "b"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (b"rules: [{queue: a}]", 1, "queues"),
        (QUEUES + b"rules:\n  - {queue: c}", 1, "names the unknown queue 'c'"),
        (QUEUES + b"rules:\n  - {queue: a, mach: {}}", 3, "mach"),
        (b"queues:\n  a: {overflow: {after: 1m, to: z}}", 1, "overflows to the unknown queue 'z'"),
        (b"queues:\n  a: {overflow: {after: 1m, to: b}}\n  b: {overflow: {after: 1m, to: a}}", 1, "cycle"),
        (b"queues:\n  a: {}\n  b: {required: {x: 6}}", 3, "less than or equal to 5"),
        (b"queues:\n  a: {relax_after: [2m, 30s]}", 2, "increasing"),
        (QUEUES + b"look: {first: 0s}", 2, "must be longer than 0"),
        (b"queues:\n  a:\n    overflow: {after: soon, to: a}", 3, "not a duration"),
        (QUEUES + b"channel_weights: {email: 0}", 2, "greater than 0"),
        (QUEUES + b"language_skill: thai", 1, "{language}"),
    ],
)
def test_faults_name_line_and_reason(text: bytes, line: int, reason: str) -> None:
    with pytest.raises(InvalidPolicy) as fault:
        parse("routing.yaml", text, RoutingPolicy)
    assert reason in str(fault.value)
    assert fault.value.line == line


def test_example_policy_is_valid_and_places_every_ticket(root: Path) -> None:
    policy = load(root / "deploy" / "config" / "routing.yaml", RoutingPolicy)
    assert policy.rules[-1].match.holds(ticket(language=None, brand=None).facts())
    placed = policy.place(ticket(language="th", tier="gold").facts())
    assert placed is not None
    assert placed.queue == "vip"


# -- values. A fresh policy each, since it remembers what it has worked out. --


def fresh(**more: Any) -> RoutingPolicy:
    return RoutingPolicy.model_validate({"queues": {"a": {}}, **more})


def test_a_weight_is_the_agents_own_else_the_channels_else_the_default_times_the_share() -> None:
    rules = fresh(channel_weights={"email": 2}, default_weight=3)
    assert [rules.weight(*asked) for asked in (("email", {}), ("fax", {}), ("email", {"email": 5}))] == [2, 3, 5]
    assert rules.weight("email", {"fax": 7}, 0.5) == 1


def test_a_share_goes_by_status_unless_the_customer_is_on_the_line() -> None:
    rules = fresh(status_weights={"new": 0.9, "open": 0.8, "pending": 0.1, "on_hold": 0.2})
    for status, share in (("new", 0.9), ("open", 0.8), ("pending", 0.1), ("on_hold", 0.2), ("solved", 1.0)):
        assert rules.share("email", Status(status)) == share
        assert rules.share("phone", Status(status)) == rules.share("chat", Status(status)) == 1.0
    assert rules.shares == (0.1, 0.2, 0.8, 0.9, 1.0)
    assert rules.least_share == 0.8
    assert fresh().shares == (0.0, 1.0)
    assert fresh(status_weights={"new": 0.3}).least_share == 0.3


def test_a_language_is_the_skill_of_that_name_at_its_highest_level_whatever_its_region() -> None:
    rules = fresh(language_skill="speaks {language}")
    assert rules.language_skills(("pt-BR", "TH", "zh_Hant_TW")) == {"speaks pt": 5, "speaks th": 5, "speaks zh": 5}
    assert rules.language_skills(()) == {}


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"rules": [{"queue": "a"}, {"queue": "z"}]}, "rule 2 names the unknown queue 'z'"),
        ({"rules": [{"queue": "z"}]}, "rule 1 names the unknown queue 'z'"),
        ({"rules": [{"name": "all", "queue": "z"}]}, "rule all names the unknown queue 'z'"),
        ({"queues": {"a": {"overflow": {"after": "1s", "to": "z"}}}}, "queue a overflows to the unknown queue 'z'"),
        ({"queues": {"a": {"overflow": {"after": "1s", "to": "a"}}}}, "queues overflow in a cycle: a -> a"),
        ({"queues": {n: {"overflow": {"after": "1s", "to": to}} for n, to in (("a", "b"), ("b", "c"), ("c", "b"))}},
         "queues overflow in a cycle: a -> b -> c -> b"),
        ({"queues": {"a": {"relax_after": ["1s", "1s"]}}}, "relax_after must be strictly increasing"),
        ({"queues": {}}, "at least 1 item"),
    ],
)  # fmt: skip
def test_a_policy_that_leads_nowhere_is_refused(more: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){re.escape(reason)}"):
        fresh(**more)


def test_a_queue_may_overflow_to_one_that_overflows_further() -> None:
    chain = {"a": {"overflow": {"after": "1s", "to": "b"}}, "b": {"overflow": {"after": "1s", "to": "c"}}, "c": {}}
    assert list(fresh(queues=chain).queues) == ["a", "b", "c"]
    assert fresh(queues={"a": {"relax_after": ["1s", "2s"]}}).queues["a"].relax_after == (
        timedelta(seconds=1),
        timedelta(seconds=2),
    )
