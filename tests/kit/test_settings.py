"""Settings: a service's own variable wins over the shared one, and nonsense stops the start."""

import hashlib
from pathlib import Path

import pytest
from pydantic import ValidationError

from contracts.topics import MAX_VALUE_BYTES
from kit.base.settings import ServiceSettings
from kit.base.tokens import parse_tokens

DIGEST = hashlib.sha256(b"let-me").hexdigest()


class RoutingSettings(ServiceSettings, env_prefix="DESKBUS_ROUTING_"):
    service = "routing"
    port: int = 8082
    offer_seconds: int = 30


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAFKA", "MONGO", "TOPIC_PREFIX", "MONGO_PREFIX", "TOKENS", "SECRETS_DIR", "HOST", "PORT"):
        monkeypatch.delenv(f"DESKBUS_{name}", raising=False)


def test_own_variable_wins_over_the_shared_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESKBUS_KAFKA", "shared:9092")
    assert RoutingSettings().kafka == "shared:9092"
    monkeypatch.setenv("DESKBUS_ROUTING_KAFKA", "own:9092")
    assert RoutingSettings().kafka == "own:9092"


def test_a_variable_without_a_value_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DESKBUS_ROUTING_PORT", "DESKBUS_BATCH_RECORDS", "DESKBUS_ROUTING_KAFKA", "DESKBUS_LOG_LEVEL"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("DESKBUS_KAFKA", "shared:9092")
    settings = RoutingSettings()
    assert (settings.port, settings.batch_records, settings.kafka) == (8082, 500, "shared:9092")
    assert settings.log_level == "info"


def test_what_must_differ_between_services_is_never_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESKBUS_PORT", "1")
    monkeypatch.setenv("DESKBUS_POLICY", "x.yaml")
    monkeypatch.setenv("DESKBUS_OFFER_SECONDS", "7")
    settings = RoutingSettings()
    assert (settings.port, settings.policy, settings.offer_seconds) == (8082, None, 30)


@pytest.mark.parametrize(
    ("given", "ops_port"), [({}, 9082), ({"port": 7000}, 8000), ({"port": 0}, 0), ({"port": 1, "ops_port": 2}, 2)]
)
def test_operators_port_is_a_thousand_above_unless_it_is_named(given: dict[str, int], ops_port: int) -> None:
    settings = RoutingSettings(**given)  # type: ignore[arg-type]
    assert settings.ops_port == ops_port


def test_group_and_database_are_named_after_the_service() -> None:
    settings = RoutingSettings(topic_prefix="t1.", mongo_prefix="t1")
    assert (settings.group, settings.database) == ("t1.deskbus.routing", "t1_routing")


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 70_000},
        {"mongo": "http://x"},
        {"batch_records": 0},
        {"log_level": "loud"},
        {"topic_prefix": "a b"},
        {"heartbeat_ms": 5000, "session_timeout_ms": 10_000},
        {"retry_backoff_ms": 20_000},
        {"tokens": "anna:short:things"},
    ],
)
def test_nonsense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RoutingSettings(**wrong)  # type: ignore[arg-type]


def test_secrets_are_shown_neither_by_settings_nor_by_their_errors() -> None:
    settings = RoutingSettings(mongo="mongodb://u:hunter2@h", tokens=f"anna:{DIGEST}:a")
    assert "hunter2" not in repr(settings)
    assert DIGEST not in repr(settings)
    with pytest.raises(ValidationError) as refused:
        RoutingSettings(mongo="http://u:hunter2@h")
    assert "hunter2" not in str(refused.value)


def test_secrets_may_be_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "deskbus_mongo").write_text("mongodb://shared")
    monkeypatch.setenv("DESKBUS_SECRETS_DIR", str(tmp_path))
    assert RoutingSettings().mongo.get_secret_value() == "mongodb://shared"
    (tmp_path / "deskbus_routing_mongo").write_text("mongodb://own")
    assert RoutingSettings().mongo.get_secret_value() == "mongodb://own"


def test_tokens_come_inline_or_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# who may\nanna:{DIGEST}:a,b\n\nbob:{DIGEST}: # nothing yet\n")
    for tokens in (f"anna:{DIGEST}:a,b; bob:{DIGEST}:", str(file)):
        anna, bob = RoutingSettings(tokens=tokens).callers
        assert (anna.name, anna.scopes, anna.digest.hex()) == ("anna", frozenset({"a", "b"}), DIGEST)
        assert (bob.name, bob.scopes) == ("bob", frozenset())


def test_token_file_that_is_missing_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises((ValidationError, OSError)):
        RoutingSettings(tokens=str(tmp_path / "nothing"))


@pytest.mark.parametrize("text", ["let-me", f":{DIGEST}:a", f"anna:{DIGEST}00:a", "anna"])
def test_token_that_is_no_hash_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected name:sha256hex"):
        parse_tokens(text)


def test_token_says_what_its_scopes_are_limited_to() -> None:
    text = (
        f"bot:{DIGEST}:tickets:read, commands:write brands=nimbus,korale accounts=wa-th authors=bot/faq; x:{DIGEST}:a"
    )
    bot, free = parse_tokens(text)
    assert bot.scopes == {"tickets:read", "commands:write"}
    assert bot.limits == {"brands": {"nimbus", "korale"}, "accounts": {"wa-th"}, "authors": {"bot/faq"}}
    assert free.scopes == {"a"}
    assert not free.limits


@pytest.mark.parametrize(
    "limit", ["brand=nimbus", "brands=", "brands=,", "brands=a brands=b", "=a", "authors=a tiers=b"]
)
def test_limit_that_is_not_understood_stops_the_start(limit: str) -> None:
    with pytest.raises(ValueError, match="invalid limit"):
        parse_tokens(f"bot:{DIGEST}:tickets:read {limit}")


def test_a_record_that_no_topic_would_take_cannot_be_allowed() -> None:
    assert ServiceSettings(max_record_bytes=MAX_VALUE_BYTES).max_record_bytes == MAX_VALUE_BYTES
    with pytest.raises(ValidationError, match="max_record_bytes"):
        ServiceSettings(max_record_bytes=MAX_VALUE_BYTES + 1)
