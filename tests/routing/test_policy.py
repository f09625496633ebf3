"""The policy file: what it may say, what is refused and where, and which queue a ticket comes to."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kit.errors import InvalidPolicy
from kit.policy import load, parse
from services.routing.core.policy import Policy
from tests.routing.scenario import ticket

QUEUES = b"queues: {a: {}, b: {}}\n"


def queue_of(rules: bytes, **facts: Any) -> str | None:
    rule = parse("routing.yaml", QUEUES + rules, Policy).place(ticket(**facts).facts())
    return rule.queue if rule else None


@pytest.mark.parametrize(
    ("match", "facts", "matches"),
    [
        (b"{}", {}, True),
        (b"{brand: nimbus}", {}, True),
        (b"{brand: korale}", {}, False),
        (b"{brand: [korale, nimbus]}", {}, True),
        (b"{channel: whatsapp}", {"channel": "whatsapp"}, True),
        (b"{account: support-nimbus}", {}, True),
        (b"{language: th}", {"language": "th-TH"}, True),
        (b"{language: th}", {"language": "TH"}, True),
        (b"{language: th}", {"language": None}, False),
        (b"{language: TH}", {"language": "th"}, True),
        (b"{language: pt-BR}", {"language": "pt-br"}, True),
        (b"{language: pt-BR}", {"language": "pt_BR"}, True),
        (b"{language: pt-BR}", {"language": "pt"}, False),
        (b"{language: pt-BR}", {"language": "pt-PT"}, False),
        (b"{language: fi}", {"language": "fil"}, False),
        (b"{country: TH}", {"country": "TH"}, True),
        (b"{tier: gold}", {"tier": "gold"}, True),
        (b"{tier: gold}", {}, False),
        (b"{priority: urgent}", {"priority": "urgent"}, True),
        (b"{priority: [high, urgent]}", {"priority": "normal"}, False),
        (b"{tags: [x, y]}", {"tags": ("y", "z")}, True),
        (b"{all_tags: [x, y]}", {"tags": ("y", "z")}, False),
        (b"{all_tags: [y, z]}", {"tags": ("y", "z")}, True),
        (b"{brand: nimbus, tier: gold}", {}, False),
    ],
)
def test_rule_applies_when_every_field_it_names_does(match: bytes, facts: dict[str, Any], matches: bool) -> None:
    assert queue_of(b"rules: [{match: " + match + b", queue: a}]", **facts) == ("a" if matches else None)


def test_first_rule_that_matches_wins() -> None:
    rules = b"rules: [{match: {brand: korale}, queue: a}, {match: {brand: nimbus}, queue: b}, {queue: a}]"
    assert queue_of(rules) == "b"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (b"rules: [{queue: a}]", 1, "queues"),
        (QUEUES + b"rules:\n  - {queue: c}", 1, "names the queue 'c'"),
        (QUEUES + b"rules:\n  - {queue: a, mach: {}}", 3, "mach"),
        (b"queues:\n  a: {overflow: {after: 1m, to: z}}", 1, "overflows to 'z'"),
        (b"queues:\n  a: {overflow: {after: 1m, to: b}}\n  b: {overflow: {after: 1m, to: a}}", 1, "circle"),
        (b"queues:\n  a: {}\n  b: {required: {x: 6}}", 3, "less than or equal to 5"),
        (b"queues:\n  a: {relax_after: [2m, 30s]}", 2, "rise"),
        (b"queues:\n  a:\n    overflow: {after: soon, to: a}", 3, "no duration"),
        (QUEUES + b"channel_weights: {email: 0}", 2, "greater than 0"),
        (QUEUES + b"language_skill: thai", 1, "{language}"),
    ],
)
def test_faults_name_line_and_reason(text: bytes, line: int, reason: str) -> None:
    with pytest.raises(InvalidPolicy) as fault:
        parse("routing.yaml", text, Policy)
    assert reason in str(fault.value)
    assert fault.value.line == line


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90", 90), ("1.5", 1.5), ("30s", 30), ("2m", 120), ("1h", 3600), ("1d", 86_400), ("5ms", 0.005)],
)
def test_durations_are_written_as_people_write_them(written: str, seconds: float) -> None:
    text = f"queues: {{a: {{}}}}\nunroutable_after: {written}".encode()
    assert parse("routing.yaml", text, Policy).unroutable_after == timedelta(seconds=seconds)


def test_example_policy_is_valid_and_places_every_ticket(root: Path) -> None:
    policy = load(root / "deploy" / "config" / "routing.yaml", Policy)
    assert policy.rules[-1].match.holds(ticket(language=None, brand=None).facts())
    placed = policy.place(ticket(language="th", tier="gold").facts())
    assert placed is not None
    assert placed.queue == "vip"
