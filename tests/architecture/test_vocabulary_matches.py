"""One match on facts: a rule of routing, a policy of sla and a route of notify hold for the same tickets."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from contracts.matching import Match
from contracts.ticket import TicketFacts
from kit.base.errors import InvalidPolicy
from services.notify.core import alerts
from services.notify.core.policy import AlertMatch
from services.notify.core.route import route
from tests.architecture.vocabulary import FILES, Key, Place, fields, held, read, written
from tests.contracts.test_matching import FACTS, FAULTS, MATCHES
from tests.notify.examples import breached

PLACES: dict[str, Place] = {
    "routing": ("rules", 0, "match"),
    "sla": ("policies", 0, "match"),
    "notify": ("route", "routes", 0, "match"),
}
"""Where each file has a match."""


def matching(service: str, match: Any) -> Any:
    document: dict[str, Any] = deepcopy(FILES[service])
    at: Any = document
    for step in PLACES[service][:-1]:
        at = at[step]
    at["match"] = match
    return read(service, document)


def holds(service: str, match: Any, facts: TicketFacts) -> bool:
    """Whether the service takes the rule for a ticket of these facts."""
    policy = matching(service, match)
    if service == "routing":
        return policy.place(facts) is not None
    if service == "sla":
        return policy.match(facts) is not None
    event = breached(0)
    event = event.model_copy(update={"data": event.data.model_copy(update={"facts": facts})})
    (raised,) = (said for said in alerts.read(event, None) if isinstance(said, alerts.Raised))
    return [end.route for end in route(policy, raised.alert.labels, raised.alert.tags).destinations] == ["this"]


@pytest.mark.parametrize("service", PLACES)
@pytest.mark.parametrize(("match", "facts", "expected"), MATCHES)
def test_a_match_means_the_same_in_all_files(service: str, match: Any, facts: Any, expected: bool) -> None:
    assert holds(service, match, TicketFacts(**{**FACTS, **facts})) is expected


@pytest.mark.parametrize("service", PLACES)
@pytest.mark.parametrize(("match", "reason"), FAULTS)
def test_what_a_match_may_not_ask_is_refused_alike_in_all_files(service: str, match: Any, reason: str) -> None:
    with pytest.raises(InvalidPolicy) as refusal:
        matching(service, match)
    assert reason in str(refusal.value)


def test_every_match_is_in_the_table() -> None:
    found = sorted(shape for kind in (Match, AlertMatch) for shape in fields(kind))
    assert found == ["notify: route.match", "notify: route.unless", "routing: rules[].match", "sla: policies[].match"]


@pytest.mark.parametrize("place", [("accounts", 0, "language"), ("accounts", 0, "aliases", 0, "language")])
def test_an_account_s_language_is_a_tag(place: Place) -> None:
    key = Key("ingest", place)
    assert held(key, "PT_br") == "pt-BR"
    with pytest.raises(InvalidPolicy, match="language: 'portuguese' is not a language tag"):
        written(key, "portuguese")


@pytest.mark.parametrize("place", [("market", "country"), ("aliases", 0, "market", "country")])
def test_an_account_s_country_is_a_code(place: Place) -> None:
    key = Key("ingest", ("accounts", 0, *place))
    assert held(key, "th") == "TH"
    with pytest.raises(InvalidPolicy, match="country: 'Thailand' is not a country"):
        written(key, "Thailand")
