"""One vocabulary for operators: what a word means is tried in all four policy files, wherever it may stand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, get_origin

import pytest
from pydantic import BaseModel

from cli.checking import models
from contracts.matching import Match
from deploy.policies import parts
from kit.base.errors import InvalidPolicy
from kit.policy import duration
from kit.policy.address import Address, Hosts, Url
from kit.policy.secrets import SecretRef
from tests.architecture.vocabulary import FILES, Key, covers, fields, held, marker, read, shown, types, written
from tests.kit import test_address as address
from tests.kit import test_secrets as secrets

DURATIONS = [
    Key("ingest", ("accounts", 0, "poll_every"), positive=True),
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


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


@pytest.mark.parametrize("service", FILES)
def test_the_small_file_is_in_order(service: str) -> None:
    read(service, FILES[service])


def test_the_table_has_every_duration_of_the_four_files() -> None:
    shapes = set(fields(timedelta))
    assert len(shapes) >= 15
    assert [shape for shape in shapes if not any(covers(key, shape) for key in DURATIONS)] == []


@pytest.mark.parametrize("key", DURATIONS, ids=shown)
@pytest.mark.parametrize("text", ["90s", "1h30m", "1.5h", "1d", "250ms", "3650d"])
def test_a_duration_is_the_same_in_all_files(key: Key, text: str) -> None:
    found = held(key, text)
    assert found in (duration.parse(text), (duration.parse(text),))


@pytest.mark.parametrize("key", SLA_DURATIONS, ids=shown)
@pytest.mark.parametrize("text", ["90s", "1h30m", "1.5h", "1d", "250ms", "3650d"])
def test_a_promise_and_a_warning_take_the_same_durations(key: Key, text: str) -> None:
    written(key, text)


@pytest.mark.parametrize("key", [*DURATIONS, *SLA_DURATIONS], ids=shown)
@pytest.mark.parametrize(
    ("value", "reason"),
    [(90, "90 has no unit"), ("90", "is not a duration"), ("1 h", "is not a duration"), ("3651d", "longer than 3650d")],
)
def test_what_is_no_duration_is_none_in_any_file(key: Key, value: Any, reason: str) -> None:
    with pytest.raises(InvalidPolicy, match=reason):
        written(key, value)


@pytest.mark.parametrize("key", [*DURATIONS, *SLA_DURATIONS], ids=shown)
@pytest.mark.parametrize("value", [0, "0", "0s"])
def test_nothing_is_a_duration_unless_it_would_mean_for_ever_at_once(key: Key, value: Any) -> None:
    if key.positive:
        with pytest.raises(InvalidPolicy, match="must be longer than 0"):
            written(key, value)
    else:
        assert held(key, value) in (timedelta(0), (timedelta(0),))


# --- One or many. ---

LISTS: list[tuple[Key, Any]] = [
    (Key("ingest", ("allow_hosts",)), "h"),
    (Key("ingest", ("accounts", 0, "tags")), "t"),
    (Key("ingest", ("accounts", 0, "aliases", 0, "tags")), "t"),
    (Key("ingest", ("accounts", 0, "addresses")), "a@b.example"),
    (Key("ingest", ("accounts", 0, "signing")), "env:S"),
    (Key("ingest", ("accounts", 0, "access")), "env:S"),
    (Key("ingest", ("accounts", 0, "refresh")), "env:S"),
    (Key("ingest", ("accounts", 0, "verify_token")), "env:S"),
    (Key("routing", ("live_channels",)), "phone"),
    (Key("routing", ("queues", "a", "relax_after")), "1m"),
    (Key("sla", ("calendars", "c", "holidays")), "TH"),
    (Key("sla", ("policies", 0, "pause_on")), "on_hold"),
    (Key("sla", ("policies", 0, "warn", "due_soon")), "5m"),
    (Key("sla", ("policies", 0, "warn", "at_risk")), "80%"),
    (Key("notify", ("allow_hosts",)), "h"),
    (Key("notify", ("receivers", "hook", "signing")), "env:S"),
    (Key("notify", ("receivers", "mail", "to")), "a@b.example"),
    (Key("notify", ("chains", "c", "steps", 0, "targets")), "mail"),
]


@pytest.mark.parametrize(("key", "value"), LISTS, ids=[key.path for key, _ in LISTS])
def test_one_value_needs_no_brackets_in_any_file(key: Key, value: Any) -> None:
    assert written(key, value) == written(key, [value])


def test_the_table_has_every_list_of_the_four_files() -> None:
    shapes = [
        f"{service}: {path}.{name}"
        for service, model in models().items()
        for path, part in parts(model)
        for name, field in part.model_fields.items()
        if get_origin(field.annotation) is tuple and not any(map(_is_model, types(field.annotation)))
        if not issubclass(part, Match)  # the table of matches has single values and lists
    ]
    assert len(shapes) >= 14
    assert [shape for shape in shapes if not any(covers(key, shape) for key, _ in LISTS)] == []


# --- Secrets, URLs, addresses, hosts. ---

HOOK, SLACK, MAIL = (("receivers", name) for name in ("hook", "slack", "mail"))
SECRETS = [
    Key("ingest", ("accounts", 0, "signing")),
    Key("ingest", ("accounts", 0, "access")),
    Key("ingest", ("accounts", 0, "refresh")),
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
ADDRESSES = [
    Key("ingest", ("accounts", 0, "addresses")),
    Key("ingest", ("accounts", 0, "aliases", 0, "address")),
    Key("notify", (*MAIL, "to")),
]
HOSTS = [Key("ingest", ("allow_hosts",)), Key("notify", ("allow_hosts",))]


@pytest.mark.parametrize(
    ("kind", "keys", "least"), [(SecretRef, SECRETS, 6), (Url, URLS, 4), (Address, ADDRESSES, 3), (Hosts, HOSTS, 2)]
)
def test_the_tables_have_every_key_of_these_types_of_the_four_files(kind: Any, keys: list[Key], least: int) -> None:
    shapes = list(fields(marker(kind)))
    assert len(shapes) >= least
    assert [shape for shape in shapes if not any(covers(key, shape) for key in keys)] == []


@pytest.mark.parametrize("key", SECRETS, ids=shown)
@pytest.mark.parametrize("text", secrets.REFS)
def test_a_secret_is_named_alike_in_all_files(key: Key, text: str) -> None:
    assert held(key, text) in (text, (text,))


@pytest.mark.parametrize("key", SECRETS, ids=shown)
@pytest.mark.parametrize("text", secrets.NO_REFS)
def test_a_secret_itself_is_refused_in_all_files_and_never_shown(key: Key, text: str) -> None:
    with pytest.raises(InvalidPolicy, match="env:NAME or file:/path, never the secret itself") as refusal:
        written(key, text)
    assert not text or f"{text!r}" not in str(refusal.value)


@pytest.mark.parametrize("key", URLS, ids=shown)
@pytest.mark.parametrize("text", address.URLS)
def test_a_url_is_written_alike_in_all_files(key: Key, text: str) -> None:
    assert held(key, text) == text


@pytest.mark.parametrize("key", URLS, ids=shown)
@pytest.mark.parametrize(("text", "reason"), address.NO_URLS)
def test_what_is_no_url_is_none_in_any_file(key: Key, text: str, reason: str) -> None:
    with pytest.raises(InvalidPolicy) as refusal:
        written(key, text)
    assert reason in str(refusal.value)


@pytest.mark.parametrize("key", ADDRESSES, ids=shown)
@pytest.mark.parametrize(("text", "kept"), address.ADDRESSES)
def test_an_address_is_written_alike_in_all_files(key: Key, text: str, kept: str) -> None:
    assert held(key, text) in (kept, (kept,))


@pytest.mark.parametrize("key", ADDRESSES, ids=shown)
@pytest.mark.parametrize("text", address.NO_ADDRESSES)
def test_what_is_no_address_is_none_in_any_file(key: Key, text: str) -> None:
    with pytest.raises(InvalidPolicy, match="is not a mail address"):
        written(key, text)


@pytest.mark.parametrize("key", HOSTS, ids=shown)
@pytest.mark.parametrize(("text", "kept"), address.HOSTS)
def test_a_host_is_written_alike_in_all_files(key: Key, text: str, kept: str) -> None:
    assert held(key, text) == held(key, [text]) == (kept,)


@pytest.mark.parametrize("key", HOSTS, ids=shown)
@pytest.mark.parametrize("text", address.NO_HOSTS)
def test_what_is_no_host_is_none_in_any_file(key: Key, text: str) -> None:
    with pytest.raises(InvalidPolicy, match="is not a host or host:port"):
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
    assert f"{key.place[-1]}: was renamed to {today}" in str(refusal.value)


def test_the_table_has_every_renamed_key() -> None:
    table = {(key.service, key.place[-1], today) for key, _, today in RENAMED}
    assert table == {
        (service, old, today)
        for service, model in models().items()
        for old, today in getattr(model, "renamed_keys", {}).items()
    }
