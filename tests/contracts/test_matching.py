"""One match on facts: the table that routing, sla and notify are held to, and what a file may not ask for."""

from typing import Any

import pytest

from contracts.matching import LABELS, Match, labels
from contracts.ticket import Market, TicketFacts

FACTS: dict[str, Any] = {"channel": "email", "account": "support", "brand": "nimbus"}
MATCHES: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({}, {}, True),
    ({"brand": "nimbus"}, {}, True),
    ({"brand": "Nimbus"}, {}, False),
    ({"brand": ["korale", "nimbus"]}, {}, True),
    ({"brand": "support"}, {}, False),
    ({"channel": "email"}, {}, True),
    ({"channel": "line"}, {}, False),
    ({"account": "support"}, {}, True),
    ({"account": "nimbus"}, {}, False),
    ({"marketplace": "shopee"}, {"market": Market(marketplace="shopee")}, True),
    ({"marketplace": "shopee"}, {"market": Market(country="shopee")}, False),
    ({"marketplace": "shopee"}, {}, False),
    ({"country": ["TH", "PL"]}, {"market": Market(country="PL")}, True),
    ({"country": "th"}, {"market": Market(country="TH")}, True),
    ({"country": "TH"}, {"market": Market(country="th")}, True),
    ({"country": "TH"}, {}, False),
    ({"tier": "gold"}, {"tier": "gold"}, True),
    ({"tier": "gold"}, {}, False),
    ({"priority": "high"}, {"priority": "high"}, True),
    ({"priority": ["low", "high"]}, {}, False),
    ({"language": "pt"}, {"language": "pt-BR"}, True),
    ({"language": "pt-BR"}, {"language": "pt-br"}, True),
    ({"language": "PT-BR"}, {"language": "pt_BR"}, True),
    ({"language": "PT"}, {"language": "pt"}, True),
    ({"language": "pt-BR"}, {"language": "pt"}, False),
    ({"language": ["de", "zh-TW"]}, {"language": "zh-Hant-TW"}, True),
    ({"language": "pt"}, {"language": "ptx"}, False),
    ({"language": "pt"}, {}, False),
    ({"language": "pt"}, {"language": ""}, False),
    ({"tags": "x"}, {"tags": ("x", "y")}, True),
    ({"tags": ["x", "y"]}, {"tags": ("y", "z")}, True),
    ({"tags": ["x", "y"]}, {"tags": ("z",)}, False),
    ({"tags": "x"}, {}, False),
    ({"all_tags": ["y", "z"]}, {"tags": ("x", "y", "z")}, True),
    ({"all_tags": ["x", "y"]}, {"tags": ("y", "z")}, False),
    ({"all_tags": "x"}, {}, False),
    ({"tags": ["x", "y"], "all_tags": "z"}, {"tags": ("y", "z")}, True),
    ({"brand": "nimbus", "tier": "gold"}, {"tier": "gold"}, True),
    ({"brand": "nimbus", "tier": "gold"}, {}, False),
    # any value, and none
    ({"tier": "*"}, {"tier": "gold"}, True),
    ({"tier": "*"}, {}, False),
    ({"tier": ""}, {}, True),
    ({"tier": ""}, {"tier": ""}, True),
    ({"tier": ""}, {"tier": "gold"}, False),
    ({"tier": ["", "gold"]}, {"tier": "gold"}, True),
    ({"tier": ["", "gold"]}, {"tier": "silver"}, False),
    ({"tier": ["", "*"]}, {}, True),
    ({"language": "*"}, {"language": "th"}, True),
    ({"language": "*"}, {}, False),
    ({"language": ""}, {}, True),
    ({"country": "*"}, {"market": Market(country="TH")}, True),
    ({"country": ""}, {}, True),
    ({"priority": "*"}, {}, True),
    ({"tags": "*"}, {"tags": ("x",)}, True),
    ({"tags": "*"}, {}, False),
    ({"tags": ""}, {}, True),
    ({"tags": ""}, {"tags": ("x",)}, False),
]
"""Match, facts besides FACTS, whether it holds."""
FAULTS: list[tuple[dict[str, Any], str]] = [
    *(({key: []}, f"{key}: has no value: omit the key to match any ticket") for key in Match.model_fields),
    *(({key: None}, f"{key}: has no value: omit the key") for key in Match.model_fields),
    ({"language": "thai language"}, "language: 'thai language' is not a language (BCP 47)"),
    ({"language": ["pt", "portuguese"]}, "'portuguese' is not a language (BCP 47)"),
    ({"country": "Thailand"}, "country: 'Thailand' is not a country, such as TH"),
    ({"country": "T1"}, "'T1' is not a country"),
    ({"priority": "highest"}, "priority: 'highest' is not a priority: low, normal, high, urgent"),
    ({"all_tags": "*"}, "all_tags: all_tags takes tags, not '*'"),
    ({"all_tags": ["x", ""]}, "all_tags takes tags, not ''"),
    ({"tear": "gold"}, "tear: "),
]
"""Match, and what its refusal says."""


@pytest.mark.parametrize(("match", "facts", "holds"), MATCHES)
def test_a_match_holds_when_each_of_its_keys_has_one_of_its_values(match: Any, facts: Any, holds: bool) -> None:
    assert Match.model_validate(match).holds(TicketFacts(**{**FACTS, **facts})) is holds


@pytest.mark.parametrize("expected", [True, False])
def test_the_table_has_every_key_where_it_holds_and_where_it_does_not(expected: bool) -> None:
    assert {key for match, _, holds in MATCHES if holds is expected for key in match} == set(Match.model_fields)


def test_labels_are_the_facts_of_which_a_ticket_has_one_value() -> None:
    facts = TicketFacts(**FACTS, priority="high", tier="", tags=("x",), market=Market(country="TH"))
    told = {"channel": "email", "account": "support", "brand": "nimbus", "country": "TH", "priority": "high"}
    assert labels(facts) == told
    assert set(told) < set(LABELS) == set(Match.model_fields) - {"tags", "all_tags"}


@pytest.mark.parametrize(("match", "reason"), FAULTS)
def test_what_would_be_read_in_two_ways_or_never_hold_is_refused(match: Any, reason: str) -> None:
    with pytest.raises(ValueError) as refusal:
        Match.model_validate(match)
    assert reason.partition(": ")[2] in str(refusal.value)


def test_one_value_is_the_list_of_it() -> None:
    assert Match.model_validate({"priority": "high"}) == Match.model_validate({"priority": ["high"]})


def test_a_match_is_written_as_what_it_asks_for_and_read_back() -> None:
    match = Match.model_validate({"tier": "gold", "language": "PT-br", "country": "th"})
    assert match.model_dump(mode="json") == {"tier": ["gold"], "language": ["pt-BR"], "country": ["TH"]}
    assert Match.model_validate_json(match.model_dump_json()) == match
    assert match.holds(TicketFacts(channel="x", tier="gold", language="pt-BR", market=Market(country="TH")))


def test_the_first_key_that_decides_is_named() -> None:
    match = Match.model_validate({"brand": "nimbus", "tier": "gold", "tags": "x"})

    def given(key: str) -> tuple[str, ...]:
        return {"brand": ("nimbus",), "tier": ("silver",)}.get(key, ())

    assert (match.failing(given), match.holding(given)) == ("tier", "brand")
    assert (match.failing(lambda _: ()), match.holding(lambda _: ())) == ("brand", None)
    assert (Match().failing(given), Match().holding(given)) == (None, None)
