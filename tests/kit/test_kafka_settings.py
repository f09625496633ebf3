"""How to reach Kafka: what is not safe, complete or readable stops the start, with an error that names the variable."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError

from kit.base.environment import explain
from kit.base.kafka_settings import KafkaSettings
from kit.base.settings import ServiceSettings

SASL = {"kafka_security": "sasl_ssl", "kafka_username": "sla", "kafka_password": "hunter2"}
TOKEN = {"kafka_security": "sasl_ssl", "kafka_mechanism": "oauthbearer"}


class SlaSettings(ServiceSettings, env_prefix="DESKBUS_SLA_"):
    service = "sla"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*KafkaSettings.model_fields, "secrets_dir"):
        monkeypatch.delenv(f"DESKBUS_{name.upper()}", raising=False)


@pytest.fixture
def pem(tmp_path: Path) -> str:
    file = tmp_path / "any.pem"
    file.write_text("certificate")
    return str(file)


def faults(given: Mapping[str, str]) -> list[str]:
    with pytest.raises(ValidationError) as refused:
        KafkaSettings.model_validate(given)
    return explain(refused.value, KafkaSettings)


def test_without_security_nothing_else_is_needed() -> None:
    settings = KafkaSettings()
    assert (settings.kafka_security, settings.kafka_tls, settings.kafka_sasl) == ("plaintext", False, False)


@pytest.mark.parametrize(
    ("security", "tls", "sasl"), [("ssl", True, False), ("sasl_plaintext", False, True), ("sasl_ssl", True, True)]
)
def test_security_says_what_protects_a_connection(security: str, tls: bool, sasl: bool) -> None:
    login = {"kafka_username": "sla", "kafka_password": "x"} if sasl else {}
    settings = KafkaSettings.model_validate({"kafka_security": security, **login})
    assert (settings.kafka_tls, settings.kafka_sasl) == (tls, sasl)


@pytest.mark.parametrize(
    ("given", "variable", "reason"),
    [
        ({"kafka_security": "tls"}, "KAFKA_SECURITY", "'plaintext', 'ssl', 'sasl_plaintext' or 'sasl_ssl'"),
        ({"kafka_security": "sasl_ssl", "kafka_password": "x"}, "KAFKA_USERNAME", "is required for scram-sha-512"),
        ({"kafka_security": "sasl_ssl", "kafka_username": "x"}, "KAFKA_PASSWORD_FILE", "requires a password"),
        ({**SASL, "kafka_password_file": "PEM"}, "KAFKA_PASSWORD_FILE", "set one of the two"),
        ({**SASL, "kafka_security": "ssl"}, "KAFKA_USERNAME", "has no effect with DESKBUS_KAFKA_SECURITY=ssl"),
        ({**SASL, "kafka_security": "plaintext"}, "KAFKA_PASSWORD", "has no effect"),
        ({**SASL, "kafka_token_file": "PEM"}, "KAFKA_TOKEN_FILE", "DESKBUS_KAFKA_MECHANISM=scram-sha-512"),
        ({**TOKEN, "kafka_username": "x"}, "KAFKA_USERNAME", "DESKBUS_KAFKA_MECHANISM=oauthbearer"),
        (TOKEN, "KAFKA_TOKEN_COMMAND", "requires a token"),
        ({**TOKEN, "kafka_token_file": "PEM", "kafka_token_command": "cat x"}, "KAFKA_TOKEN_COMMAND", "one of the two"),
        ({**TOKEN, "kafka_token_command": "no-such-program"}, "KAFKA_TOKEN_COMMAND", "does not exist"),
        ({**TOKEN, "kafka_token_command": "cat 'x"}, "KAFKA_TOKEN_COMMAND", "quotes do not match"),
        ({"kafka_ca": "PEM"}, "KAFKA_CA", "has no effect with DESKBUS_KAFKA_SECURITY=plaintext"),
        ({"kafka_security": "ssl", "kafka_certificate": "PEM"}, "KAFKA_KEY", "takes a certificate and its key"),
        ({"kafka_security": "ssl", "kafka_key": "PEM"}, "KAFKA_KEY", "takes a certificate and its key"),
        ({"kafka_security": "ssl", "kafka_ca": "/none/ca"}, "KAFKA_CA", "cannot be read: No such file"),
        ({**TOKEN, "kafka_token_file": "/none/token"}, "KAFKA_TOKEN_FILE", "cannot be read: No such file"),
    ],
)
def test_what_would_not_work_is_refused_by_name(pem: str, given: dict[str, str], variable: str, reason: str) -> None:
    found = faults({name: pem if value == "PEM" else value for name, value in given.items()})
    named = [fault for fault in found if fault.startswith(f"DESKBUS_{variable}: ")]
    assert reason in "\n".join(named), found


def test_an_error_shows_no_secret(tmp_path: Path) -> None:
    given = {**SASL, "kafka_security": "plaintext", "kafka_token_command": "print-token --secret hunter2"}
    assert "hunter2" not in "\n".join(faults(given))
    assert "hunter2" not in repr(KafkaSettings.model_validate(SASL))


def test_a_service_has_its_own_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**SASL, "sla_kafka_username": "own", "sla_kafka_password": "other"}.items():
        monkeypatch.setenv(f"DESKBUS_{name.upper()}", value)
    own, shared = SlaSettings(), KafkaSettings()
    assert own.kafka_password is not None
    assert (own.kafka_username, own.kafka_password.get_secret_value()) == ("own", "other")
    assert shared.kafka_username == "sla"


def test_a_mounted_password_is_read_as_a_file_so_that_it_may_rotate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "deskbus_kafka_password").write_text("shared")
    monkeypatch.setenv("DESKBUS_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("DESKBUS_KAFKA_SECURITY", "sasl_ssl")
    monkeypatch.setenv("DESKBUS_KAFKA_USERNAME", "sla")
    assert SlaSettings().kafka_password_file == tmp_path / "deskbus_kafka_password"
    (tmp_path / "deskbus_sla_kafka_password").write_text("own")
    assert SlaSettings().kafka_password_file == tmp_path / "deskbus_sla_kafka_password"
    monkeypatch.setenv("DESKBUS_SLA_KAFKA_PASSWORD", "own variable")
    assert SlaSettings().kafka_password_file is None


def test_the_command_line_takes_variables_from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESKBUS_KAFKA", "environment:9092")
    assert KafkaSettings.of({"DESKBUS_KAFKA": "given:9092", "DESKBUS_MONGO": "x"}).kafka == "given:9092"
