"""Credentials for Kafka are those of the files as they are now; while a file cannot be read, those of before."""

from __future__ import annotations

import shlex
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from kit.base import metrics
from kit.base.clock import Clock, SystemClock
from kit.base.kafka_settings import KafkaSettings
from kit.kafka import credentials
from kit.kafka.credentials import CredentialsError, Reader, expiry
from tests.fake_clock import FakeClock
from tests.secured.authority import Authority, Issuer, write

START = datetime(2026, 3, 2, 9, tzinfo=UTC)


def reader(at: Clock | None = None, /, **given: Any) -> Reader:
    values = {f"kafka_{name}": str(value) for name, value in given.items()}
    return Reader(KafkaSettings.model_validate(values), at or SystemClock())


def with_token(command: str, clock: Clock | None = None) -> Reader:
    return reader(clock, security="sasl_ssl", mechanism="oauthbearer", token_command=command)


def put(file: Path, content: str | bytes | None) -> None:
    """Write a file anew; None removes it."""
    file.unlink(missing_ok=True)
    if content is not None:
        file.write_bytes(content.encode() if isinstance(content, str) else content)


def counting(file: Path) -> str:
    """A command that prints how many times it was run."""
    code = f"f=open({str(file)!r}, 'a+'); f.write('x'); f.seek(0); print(f'token-{{len(f.read())}}')"
    return shlex.join([sys.executable, "-c", code])


@pytest.fixture
def password(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("first\n")
    return file


async def test_a_password_file_is_read_each_time(password: Path) -> None:
    files = reader(security="sasl_ssl", username="sla", password_file=password)
    first = await files.read()
    put(password, "second\n")
    second = await files.read()
    assert [(each.username, each.password) for each in (first, second)] == [("sla", "first"), ("sla", "second")]


@pytest.mark.parametrize("damaged", [None, b"", b"\xff"], ids=["missing", "empty", "not UTF-8"])
async def test_a_file_in_the_middle_of_a_rotation_changes_nothing(password: Path, damaged: bytes | None) -> None:
    files = reader(security="sasl_ssl", username="sla", password_file=password)
    before = await files.read()
    put(password, damaged)
    with capture_logs() as logs:
        for _ in range(2):
            assert await files.read() == before
    assert [line["event"] for line in logs] == ["keeping the former credentials for Kafka"]
    assert metrics.CERTIFICATE_REFUSED.labels("kafka")._value.get() == 1
    put(password, "second")
    assert (await files.read()).password == "second"
    assert metrics.CERTIFICATE_REFUSED.labels("kafka")._value.get() == 0


async def test_without_any_credentials_the_reason_names_the_file(password: Path) -> None:
    files = reader(security="sasl_ssl", username="sla", password_file=password)
    put(password, None)
    with pytest.raises(CredentialsError, match=r"password cannot be read: No such file"):
        await files.read()


async def test_a_new_ca_replaces_the_former_one(tmp_path: Path) -> None:
    ca = write(tmp_path, ca=Authority("former").pem)["ca"]
    files = reader(security="ssl", ca=ca)
    former = (await files.read()).ssl_context
    assert (await files.read()).ssl_context is former
    put(ca, Authority("new").pem)
    new = (await files.read()).ssl_context
    assert new is not None
    assert [each["subject"] for each in new.get_ca_certs()] == [((("commonName", "new"),),)]


async def test_a_certificate_waits_for_its_key(tmp_path: Path) -> None:
    """A rotation writes one file after the other, and a connection may be made between them."""
    authority = Authority()
    old, old_key = authority.issue("sla")
    new, new_key = authority.issue("sla")
    files = write(tmp_path, ca=authority.pem, certificate=old, key=old_key)
    connecting = reader(security="ssl", **files)
    before = (await connecting.read()).ssl_context
    put(files["certificate"], new)
    assert (await connecting.read()).ssl_context is before
    put(files["key"], new_key)
    assert (await connecting.read()).ssl_context is not before


async def test_a_new_ca_is_used_although_the_password_could_not_be_read_with_it(tmp_path: Path, password: Path) -> None:
    ca = write(tmp_path, ca=Authority("former").pem)["ca"]
    files = reader(security="sasl_ssl", username="sla", password_file=password, ca=ca)
    former = await files.read()
    put(ca, Authority("new").pem)
    put(password, None)
    assert await files.read() == former
    put(password, "second")
    new = (await files.read()).ssl_context
    assert new is not None
    assert [each["subject"] for each in new.get_ca_certs()] == [((("commonName", "new"),),)]


async def test_an_encrypted_key_is_an_error_and_asks_nobody(tmp_path: Path) -> None:
    certificate, key = Authority().issue("sla", password=b"secret")
    files = write(tmp_path, certificate=certificate, key=key)
    with pytest.raises(CredentialsError, match="the certificates cannot be used"):
        await reader(security="ssl", **files).read()


async def test_a_command_is_asked_again_after_a_while_or_after_a_refusal(tmp_path: Path) -> None:
    clock = FakeClock(START)
    tokens = with_token(counting(tmp_path / "runs"), clock)
    assert [(await tokens.read()).token for _ in range(2)] == ["token-1", "token-1"]
    tokens.forget_token()
    assert (await tokens.read()).token == "token-2"
    clock.advance(credentials.TOKEN_SECONDS + 1)
    assert (await tokens.read()).token == "token-3"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import sys; print('secret', file=sys.stderr); sys.exit(3)", "the token command exited with 3"),
        ("pass", "the token is empty"),
        ("print('two words')", "characters that no token has"),
        ("print('a\\x01auth=Bearer b')", "characters that no token has"),
        ("import time; time.sleep(60)", "did not end within 0.5 s"),
        ("while True: print('x' * 1000)", "the token command printed more than 1048576 bytes"),
    ],
)
async def test_a_command_that_prints_no_token_is_a_reason(
    monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    if "sleep" in code:
        monkeypatch.setattr(credentials, "COMMAND_SECONDS", 0.5)
    with pytest.raises(CredentialsError, match=reason) as refused:
        await with_token(shlex.join([sys.executable, "-c", code])).read()
    assert "secret" not in str(refused.value)


async def test_a_token_may_be_printed_in_pieces() -> None:
    code = "import time; print('abc', end='', flush=True); time.sleep(0.3); print('def')"
    assert (await with_token(shlex.join([sys.executable, "-c", code])).read()).token == "abcdef"


async def test_a_command_is_no_shell() -> None:
    assert (await with_token("echo $HOME;ls").read()).token == "$HOME;ls"


@pytest.mark.parametrize("token", ["", "opaque", "a.b.c", "a.bnVsbA.c", "a.e30.c"])
def test_a_token_without_an_end_has_none(token: str) -> None:
    assert expiry(token) is None


def test_a_token_says_when_it_ends() -> None:
    issuer = Issuer()
    now = SystemClock().now().timestamp()
    assert expiry(issuer.token("sla", lasts=70)) == pytest.approx(now + 70, abs=5)


def test_when_certificate_and_token_expire_is_exported_as_the_files_are_now(tmp_path: Path) -> None:
    def exported(kind: str) -> float | None:
        return REGISTRY.get_sample_value(f"deskbus_{kind}_expiry_timestamp_seconds", {"name": "kafka"})

    authority, now = Authority(), SystemClock().now().timestamp()
    certificate, key = authority.issue("sla", lasts=timedelta(days=3))
    files = write(tmp_path, ca=authority.pem, certificate=certificate, key=key, token=Issuer().token("sla", lasts=70))
    mutual = {"ca": files["ca"], "certificate": files["certificate"], "key": files["key"]}
    asked = reader(security="sasl_ssl", mechanism="oauthbearer", token_file=files["token"], **mutual)
    asked.note_expiry()
    assert exported("certificate") == pytest.approx(now + 3 * 86_400, abs=60)
    assert exported("token") == pytest.approx(now + 70, abs=5)
    put(files["token"], Issuer().token("sla", lasts=700))
    put(files["certificate"], None)
    asked.note_expiry()
    assert exported("token") == pytest.approx(now + 700, abs=5)
    assert exported("certificate") == pytest.approx(now + 3 * 86_400, abs=60), "what cannot be read changes nothing"


def test_secrets_are_not_shown() -> None:
    assert "hunter2" not in repr(credentials.Credentials(username="sla", password="hunter2", token="hunter2"))
