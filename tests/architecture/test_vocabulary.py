"""One vocabulary for operators: what a word means is tried in all four policy files, wherever it may stand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from datetime import timedelta
from typing import Any, NamedTuple, get_args

import pytest
from pydantic import BaseModel

from cli.checking import models
from contracts.matching import Match
from contracts.ticket import TicketFacts
from deploy.policies import parts
from kit.errors import InvalidPolicy
from kit.policy import duration
from kit.policy.file import parse
from services.notify.core import alerts
from services.notify.core.policy import AlertMatch
from services.notify.core.route import route
from tests.contracts.test_matching import FACTS, FAULTS, MATCHES
from tests.kit import test_address as address
from tests.kit import test_secrets as secrets
from tests.notify.examples import breached

Place = tuple[str | int, ...]
FILES: dict[str, dict[str, Any]] = {
    "ingest": {"accounts": [{"name": "a", "channel": "webhook", "signing": "env:S"}]},
    "routing": {
        "queues": {"a": {"overflow": {"after": "1m", "to": "b"}}, "b": {}},
        "rules": [{"queue": "a"}],
    },
    "sla": {"policies": [{"name": "a", "targets": {"first_reply": "1h"}}]},
    "notify": {
        "receivers": {
            "hook": {"sink": "webhook", "url": "https://h.example", "signing": "env:S"},
            "slack": {"sink": "slack", "webhook": "env:S"},
            "thread": {"sink": "slack", "access": "env:S", "channel": "C1"},
            "mail": {"sink": "email", "to": "a@b.example"},
        },
        "chains": {"c": {"steps": [{"targets": "mail"}], "remind_after": "1h"}},
        "route": {"name": "all", "receiver": "mail"},
    },
}
"""A small valid file of each service."""


class Key(NamedTuple):
    """A key of a service's file."""

    service: str
    place: Place
    positive: bool = False
    """`0` is refused."""

    @property
    def path(self) -> str:
        """As docs/policies.md writes it."""
        return f"{self.service}: " + ".".join(str(step) for step in self.place)


DURATIONS = [
    Key("ingest", ("accounts", 0, "quiet_after"), positive=True),
    Key("ingest", ("accounts", 0, "reopen_window")),
    Key("ingest", ("accounts", 0, "retry_for")),
    Key("routing", ("unroutable_after",)),
    Key("routing", ("requeue", "offline")),
    Key("routing", ("requeue", "away")),
    Key("routing", ("transfer", "wait")),
    Key("routing", ("look", "first"), positive=True),
    Key("routing", ("look", "most"), positive=True),
    Key("routing", ("queues", "a", "relax_after")),
    Key("routing", ("queues", "a", "overflow", "after")),
    Key("notify", ("receivers", "hook", "retry_for"), positive=True),
    Key("notify", ("receivers", "slack", "retry_for"), positive=True),
    Key("notify", ("receivers", "mail", "retry_for"), positive=True),
    Key("notify", ("chains", "c", "steps", 0, "wait"), positive=True),
    Key("notify", ("chains", "c", "remind_after"), positive=True),
    Key("notify", ("chains", "c", "undo_after"), positive=True),
    Key("notify", ("route", "repeat_interval"), positive=True),
    Key("notify", ("backoff", "first"), positive=True),
    Key("notify", ("backoff", "most"), positive=True),
]
SLA_DURATIONS = [  # kept as milliseconds, or as written
    Key("sla", ("policies", 0, "targets", "first_reply"), positive=True),
    Key("sla", ("policies", 0, "targets", "first_reply", "default"), positive=True),
    Key("sla", ("policies", 0, "warn", "due_soon"), positive=True),
    Key("sla", ("policies", 0, "warn", "at_risk"), positive=True),
]


def read(service: str, document: dict[str, Any]) -> Any:
    return parse(f"{service}.yaml", json.dumps(document).encode(), models()[service])


def written(key: Key, value: Any, **account: Any) -> Any:
    """The file of the key's service with this value there; `account` are further keys of ingest's account."""
    document: dict[str, Any] = deepcopy(FILES[key.service])
    if account:
        document["accounts"][0] |= deepcopy(account)
    at: Any = document
    for step in key.place[:-1]:
        if isinstance(step, str) and not isinstance(at.get(step), dict | list):
            at[step] = {}
        at = at[step]
    at[key.place[-1]] = value
    return read(key.service, document)


def held(key: Key, value: Any, **account: Any) -> Any:
    """What the file means at the key, once it is read."""
    found = written(key, value, **account)
    for step in key.place:
        found = getattr(found, str(step)) if isinstance(found, BaseModel) else found[step]
    return found


def ids(key: Key) -> str:
    return key.path


def fields(what: Any) -> Iterator[str]:
    """`service: key` of all fields that hold such a value, as their models have it."""
    for service, model in models().items():
        for path, part in parts(model):
            for name, field in part.model_fields.items():
                if what in _types(field.annotation):
                    yield f"{service}: {path}.{name}"


def _types(annotation: Any) -> set[Any]:
    return {annotation, *(found for inner in get_args(annotation) for found in _types(inner))}


def matches(key: Key, shape: str) -> bool:
    """Whether a key of the table is this field, whose path has `*` and `[]` for what an operator chooses."""
    steps = iter(key.place)
    service, _, path = shape.partition(": ")
    if service != key.service:
        return False
    for part in path.lstrip(".").split("."):
        if part != "*" and next(steps, None) != part.removesuffix("[]"):
            return False
        if part == "*" or part.endswith("[]"):
            next(steps, None)
    return next(steps, None) is None


@pytest.mark.parametrize("service", FILES)
def test_the_small_file_is_in_order(service: str) -> None:
    read(service, FILES[service])


def test_the_table_has_every_duration_of_the_four_files() -> None:
    shapes = set(fields(timedelta))
    assert len(shapes) >= 15
    assert [shape for shape in shapes if not any(matches(key, shape) for key in DURATIONS)] == []


@pytest.mark.parametrize("key", DURATIONS, ids=ids)
@pytest.mark.parametrize("text", ["90s", "1h30m", "1.5h", "1d", "250ms", "3650d"])
def test_a_duration_is_the_same_in_all_files(key: Key, text: str) -> None:
    found = held(key, text)
    assert found in (duration.parse(text), (duration.parse(text),))


@pytest.mark.parametrize("key", SLA_DURATIONS, ids=ids)
@pytest.mark.parametrize("text", ["90s", "1h30m", "1.5h", "1d", "250ms", "3650d"])
def test_a_promise_and_a_warning_take_the_same_durations(key: Key, text: str) -> None:
    written(key, text)


@pytest.mark.parametrize("key", [*DURATIONS, *SLA_DURATIONS], ids=ids)
@pytest.mark.parametrize(
    ("value", "reason"),
    [(90, "90 has no unit"), ("90", "is not a duration"), ("1 h", "is not a duration"), ("3651d", "longer than 3650d")],
)
def test_what_is_no_duration_is_none_in_any_file(key: Key, value: Any, reason: str) -> None:
    with pytest.raises(InvalidPolicy, match=reason):
        written(key, value)


@pytest.mark.parametrize("key", [*DURATIONS, *SLA_DURATIONS], ids=ids)
@pytest.mark.parametrize("value", [0, "0", "0s"])
def test_nothing_is_a_duration_unless_it_would_mean_for_ever_at_once(key: Key, value: Any) -> None:
    if key.positive:
        with pytest.raises(InvalidPolicy, match="must be longer than 0"):
            written(key, value)
    else:
        assert held(key, value) in (timedelta(0), (timedelta(0),))


# --- Matches. ---

PLACES: dict[str, Place] = {
    "routing": ("rules", 0, "match"),
    "sla": ("policies", 0, "match"),
    "notify": ("route", "routes", 0, "match"),
}
"""Where each file has a match."""


def matching(service: str, match: Any) -> Any:
    document: dict[str, Any] = deepcopy(FILES[service])
    if service == "notify":
        document["route"]["routes"] = [{"name": "this"}]
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
    return [end.route for end in route(policy, raised.alert.labels, raised.alert.tags).ends] == ["this"]


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
    aliases = {"aliases": [{"address": "a@b.example"}]}
    assert held(key, "PT_br", **aliases) == "pt-BR"
    with pytest.raises(InvalidPolicy, match="language: 'portuguese' is not a language tag"):
        written(key, "portuguese", **aliases)


@pytest.mark.parametrize("place", [("market", "country"), ("aliases", 0, "market", "country")])
def test_an_account_s_country_is_a_code(place: Place) -> None:
    key = Key("ingest", ("accounts", 0, *place))
    aliases = {"aliases": [{"address": "a@b.example"}]}
    assert held(key, "th", **aliases) == "TH"
    with pytest.raises(InvalidPolicy, match="country: 'Thailand' is not a country"):
        written(key, "Thailand", **aliases)


# --- Secrets, URLs, addresses, hosts. ---

HOOK, SLACK, MAIL = (("receivers", name) for name in ("hook", "slack", "mail"))
SECRETS = [
    Key("ingest", ("accounts", 0, "signing")),
    Key("ingest", ("accounts", 0, "access")),
    Key("ingest", ("accounts", 0, "verify_token")),
    Key("notify", (*HOOK, "signing")),
    Key("notify", (*SLACK, "webhook")),
    Key("notify", ("receivers", "thread", "access")),
]
URLS = [
    Key("ingest", ("accounts", 0, "base_url")),
    Key("ingest", ("accounts", 0, "public_url")),
    Key("notify", (*HOOK, "url")),
    Key("notify", (*SLACK, "base_url")),
]
ADDRESSES = [Key("ingest", ("accounts", 0, "addresses")), Key("notify", (*MAIL, "to"))]
HOSTS = [Key("ingest", ("allow_hosts",)), Key("notify", ("allow_hosts",))]


@pytest.mark.parametrize("key", SECRETS, ids=ids)
@pytest.mark.parametrize("text", secrets.REFS)
def test_a_secret_is_named_alike_in_all_files(key: Key, text: str) -> None:
    assert held(key, text) in (text, (text,))


@pytest.mark.parametrize("key", SECRETS, ids=ids)
@pytest.mark.parametrize("text", secrets.NO_REFS)
def test_a_secret_itself_is_refused_in_all_files_and_never_shown(key: Key, text: str) -> None:
    with pytest.raises(InvalidPolicy, match="env:NAME or file:/path, never the secret itself") as refusal:
        written(key, text)
    assert not text or f"{text!r}" not in str(refusal.value)


@pytest.mark.parametrize("key", URLS, ids=ids)
@pytest.mark.parametrize("text", address.URLS)
def test_a_url_is_written_alike_in_all_files(key: Key, text: str) -> None:
    assert held(key, text) == text


@pytest.mark.parametrize("key", URLS, ids=ids)
@pytest.mark.parametrize(("text", "reason"), address.NO_URLS)
def test_what_is_no_url_is_none_in_any_file(key: Key, text: str, reason: str) -> None:
    with pytest.raises(InvalidPolicy) as refusal:
        written(key, text)
    assert reason in str(refusal.value)


@pytest.mark.parametrize("key", ADDRESSES, ids=ids)
@pytest.mark.parametrize(("text", "kept"), address.ADDRESSES)
def test_an_address_is_written_alike_in_all_files(key: Key, text: str, kept: str) -> None:
    assert held(key, text) == held(key, [text]) == (kept,)


@pytest.mark.parametrize("key", ADDRESSES, ids=ids)
@pytest.mark.parametrize("text", address.NO_ADDRESSES)
def test_what_is_no_address_is_none_in_any_file(key: Key, text: str) -> None:
    with pytest.raises(InvalidPolicy, match="is not a mail address"):
        written(key, text)


@pytest.mark.parametrize("key", HOSTS, ids=ids)
@pytest.mark.parametrize(("text", "kept"), address.HOSTS)
def test_a_host_is_written_alike_in_all_files(key: Key, text: str, kept: str) -> None:
    assert held(key, text) == held(key, [text]) == (kept,)


@pytest.mark.parametrize("key", HOSTS, ids=ids)
@pytest.mark.parametrize("text", address.NO_HOSTS)
def test_what_is_no_host_is_none_in_any_file(key: Key, text: str) -> None:
    with pytest.raises(InvalidPolicy, match="is not host or host:port"):
        written(key, text)


# --- Keys. ---


RENAMED = [
    (Key("ingest", ("accounts", 0, "quiet_minutes")), 720, "quiet_after (a duration: 12h)"),
    (Key("ingest", ("accounts", 0, "reopen_days")), 14, "reopen_window (a duration: 14d)"),
    (Key("ingest", ("accounts", 0, "retry_hours")), 12, "retry_for (a duration: 12h)"),
    (Key("sla", ("policies", 0, "when")), {"tier": "gold"}, "match"),
    (Key("notify", ("route", "match", "market")), "shopee", "marketplace"),
    (Key("notify", (*HOOK, "secret")), "env:S", "signing"),
    (Key("notify", (*SLACK, "token")), "env:T", "access"),
    (Key("notify", (*SLACK, "api")), "https://slack.com/api", "base_url"),
]


@pytest.mark.parametrize(("key", "value", "today"), RENAMED, ids=[key.path for key, *_ in RENAMED])
def test_an_old_key_is_refused_with_what_it_is_called_today(key: Key, value: Any, today: str) -> None:
    with pytest.raises(InvalidPolicy) as refusal:
        written(key, value)
    assert f"{key.place[-1]}: is called {today} today" in str(refusal.value)


def test_the_table_has_every_renamed_key() -> None:
    table = {(key.service, key.place[-1], today) for key, _, today in RENAMED}
    assert table == {
        (service, old, today)
        for service, model in models().items()
        for old, today in getattr(model, "renamed_keys", {}).items()
    }
