"""Credentials for Kafka are those of the files as they are now; while a file cannot be read, those of before."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import fcntl
import os
import shlex
import signal
import ssl
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from kit.base import metrics
from kit.base.clock import Clock, SystemClock
from kit.base.kafka_settings import KafkaSettings
from kit.kafka import credentials
from kit.kafka.credentials import CredentialsError, Reader, expiry
from kit.kafka.producer import SEND_SECONDS
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


DAMAGED = {"missing": None, "empty": b"", "not UTF-8": b"\xff", "too large": b"x" * (credentials.MOST_BYTES + 1)}


@pytest.mark.parametrize("damaged", DAMAGED.values(), ids=DAMAGED)
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
    await files.look_again()  # nothing connects for hours
    assert metrics.CERTIFICATE_REFUSED.labels("kafka")._value.get() == 0
    assert (await files.read()).password == "second"
    assert metrics.CERTIFICATE_REFUSED.labels("kafka")._value.get() == 0


async def test_without_any_credentials_the_reason_names_the_file(password: Path) -> None:
    files = reader(security="sasl_ssl", username="sla", password_file=password)
    put(password, None)
    with capture_logs() as logs, pytest.raises(CredentialsError, match=r"password cannot be read: No such file"):
        await files.read()
    assert logs == []
    assert metrics.CERTIFICATE_REFUSED.labels("kafka")._value.get() == 0, "there are none that are still used"


async def test_only_what_the_kind_of_connection_asks_for_is_read() -> None:
    encrypted = await reader(security="ssl", mechanism="oauthbearer").read()
    assert (encrypted.username, encrypted.password, encrypted.token) == (None, None, None)
    named = await reader(security="sasl_plaintext", username="sla", password="hunter2").read()
    assert (named.ssl_context, named.username, named.password) == (None, "sla", "hunter2")


async def test_a_new_ca_replaces_the_former_one(tmp_path: Path) -> None:
    ca = write(tmp_path, ca=Authority("former").pem)["ca"]
    files = reader(security="ssl", ca=ca)
    former = (await files.read()).ssl_context
    assert (await files.read()).ssl_context is former
    put(ca, Authority("new").pem)
    new = (await files.read()).ssl_context
    assert new is not None
    assert [each["subject"] for each in new.get_ca_certs()] == [((("commonName", "new"),),)]
    assert (new.verify_mode, new.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert new.minimum_version == ssl.TLSVersion.TLSv1_2


async def test_a_certificate_that_is_renewed_for_the_same_key_is_used(tmp_path: Path) -> None:
    authority = Authority()
    certificate, key = authority.issue("sla")
    files = write(tmp_path, ca=authority.pem, certificate=certificate, key=key)
    connecting = reader(security="ssl", **files)
    former = (await connecting.read()).ssl_context
    put(files["certificate"], authority.renew(certificate))
    assert (await connecting.read()).ssl_context is not former


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
        ("print('a\\x01auth=Bearer=b')", "characters that no token has"),
        ("import sys; sys.stdout.buffer.write('é'.encode())", "characters that no token has"),
        ("import time; time.sleep(60)", "did not end within 0.5 s"),
        ("while True: print('x' * 1000)", "the token command printed more than 1048576 bytes"),
    ],
)
async def test_a_command_that_prints_no_token_is_a_reason(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], code: str, reason: str
) -> None:
    if "sleep" in code:
        monkeypatch.setattr(credentials, "COMMAND_SECONDS", 0.5)
    with pytest.raises(CredentialsError, match=reason) as refused:
        await with_token(shlex.join([sys.executable, "-c", code])).read()
    assert "secret" not in str(refused.value)
    assert capfd.readouterr().err == ""


async def test_a_token_file_may_not_hold_what_no_token_has(tmp_path: Path) -> None:
    token = write(tmp_path, token="two words")["token"]
    with pytest.raises(CredentialsError, match="characters that no token has"):
        await reader(security="sasl_ssl", mechanism="oauthbearer", token_file=token).read()


def test_the_setting_says_for_how_long_a_token_is_used_again() -> None:
    said = KafkaSettings.model_fields["kafka_token_command"].description
    assert said is not None
    assert f"at most once in {credentials.TOKEN_SECONDS:g} s" in said


async def test_connections_share_the_failure_of_a_command_for_a_second(tmp_path: Path) -> None:
    runs, clock = tmp_path / "runs", FakeClock(START)
    tokens = with_token(shlex.join([sys.executable, "-c", f"open({str(runs)!r}, 'a').write('x'); exit(3)"]), clock)
    failed = await asyncio.gather(*(tokens.read() for _ in range(3)), return_exceptions=True)
    assert [str(each) for each in failed] == ["the token command exited with 3"] * 3
    assert runs.read_text() == "x"
    clock.advance(credentials.FAILED_SECONDS)
    with pytest.raises(CredentialsError):
        await tokens.read()
    assert runs.read_text() == "xx"


def test_connections_of_one_loop_after_another_share_a_command(tmp_path: Path) -> None:
    """As in `deskbus dlq replay`, which reads, then sends, then waits for the outcome."""
    clock = FakeClock(START)
    files = with_token(counting(tmp_path / "runs"), clock)

    async def two() -> list[str | None]:
        return [each.token for each in await asyncio.gather(files.read(), files.read())]

    assert asyncio.run(two()) == ["token-1"] * 2
    clock.advance(credentials.TOKEN_SECONDS + 1)
    assert asyncio.run(two()) == ["token-2"] * 2


def test_a_command_that_hangs_fails_before_a_producer_gives_up() -> None:
    assert credentials.COMMAND_SECONDS < SEND_SECONDS


HANGS = """
import fcntl, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
held = open(sys.argv[1], "w")
fcntl.flock(held, fcntl.LOCK_EX)
child = subprocess.Popen(["sleep", "60"], pass_fds=[held.fileno()])
held.write("started")
held.flush()
child.wait()
"""


async def test_a_command_that_is_ended_takes_with_it_what_it_has_started(tmp_path: Path) -> None:
    held = tmp_path / "held"
    held.touch()
    reading = asyncio.create_task(with_token(shlex.join([sys.executable, "-c", HANGS, str(held)])).read())
    async with asyncio.timeout(10):
        while held.read_text() != "started":  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)
    reading.cancel()
    await asyncio.wait([reading], timeout=10)
    assert reading.cancelled()
    with held.open() as free:
        async with asyncio.timeout(10):
            while not _locked(free):  # noqa: ASYNC110 - the system frees it
                await asyncio.sleep(0.01)


LEAVES = """
import subprocess, sys
child = subprocess.Popen(["sleep", "60"], start_new_session=True)
open(sys.argv[1], "w").write(str(child.pid))
child.wait()
"""


async def test_nobody_waits_for_what_a_command_has_started_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no longer of the command's group, and holds the pipe."""
    monkeypatch.setattr(credentials, "COMMAND_SECONDS", 2)
    child = tmp_path / "child"
    try:
        async with asyncio.timeout(20):
            with pytest.raises(CredentialsError, match="did not end within 2 s"):
                await with_token(shlex.join([sys.executable, "-c", LEAVES, str(child)])).read()
    finally:
        os.kill(int(child.read_text()), signal.SIGKILL)


def _locked(file: IO[str]) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


async def test_a_token_may_be_printed_in_pieces() -> None:
    code = "import time; print('abc', end='', flush=True); time.sleep(0.3); print('def')"
    assert (await with_token(shlex.join([sys.executable, "-c", code])).read()).token == "abcdef"


async def test_a_command_is_no_shell() -> None:
    assert (await with_token("echo $HOME;ls").read()).token == "$HOME;ls"


@pytest.mark.parametrize("token", ["", "opaque", "a.b.c", "a.bnVsbA.c", "a.e30.c"])
def test_a_token_without_an_end_has_none(token: str) -> None:
    assert expiry(token) is None


def test_a_token_that_ends_in_a_number_beyond_all_has_no_end() -> None:
    claims = base64.urlsafe_b64encode(b'{"exp": 1' + b"0" * 400 + b"}").decode()
    assert expiry(f"a.{claims}.c") is None


def test_a_token_says_when_it_ends() -> None:
    issuer = Issuer()
    now = SystemClock().now().timestamp()
    assert expiry(issuer.token("sla", lasts=70)) == pytest.approx(now + 70, abs=5)


async def test_when_certificate_and_token_expire_is_exported_as_the_files_are_now(tmp_path: Path) -> None:
    def exported(kind: str) -> float | None:
        return REGISTRY.get_sample_value(f"deskbus_{kind}_expiry_timestamp_seconds", {"name": "kafka"})

    authority, now = Authority(), SystemClock().now().timestamp()
    certificate, key = authority.issue("sla", lasts=timedelta(days=3))
    files = write(tmp_path, ca=authority.pem, certificate=certificate, key=key, token=Issuer().token("sla", lasts=70))
    mutual = {"ca": files["ca"], "certificate": files["certificate"], "key": files["key"]}
    asked = reader(security="sasl_ssl", mechanism="oauthbearer", token_file=files["token"], **mutual)
    await asked.note_expiry()
    assert exported("certificate") == pytest.approx(now + 3 * 86_400, abs=60)
    assert exported("token") == pytest.approx(now + 70, abs=5)
    put(files["token"], Issuer().token("sla", lasts=700))
    put(files["certificate"], None)
    await asked.note_expiry()
    put(files["token"], None)
    await asked.note_expiry()
    assert exported("token") == pytest.approx(now + 700, abs=5)
    assert exported("certificate") == pytest.approx(now + 3 * 86_400, abs=60), "what cannot be read changes nothing"


async def test_a_command_is_asked_again_once_its_token_expires_soon_and_exported_is_what_it_said(
    tmp_path: Path,
) -> None:
    def exported() -> float | None:
        return REGISTRY.get_sample_value("deskbus_token_expiry_timestamp_seconds", {"name": "kafka"})

    now, runs, token = SystemClock().now().timestamp(), tmp_path / "runs", tmp_path / "token"
    clock = FakeClock(SystemClock().now())
    code = f"open({str(runs)!r}, 'a').write('.'); print(open({str(token)!r}).read())"
    asked = with_token(shlex.join([sys.executable, "-c", code]), clock)
    put(token, Issuer().token("sla", lasts=900))
    await asked.note_expiry()
    assert not runs.exists(), "the first connection asks"
    await asked.read()
    assert exported() == pytest.approx(now + 900, abs=60)
    put(token, Issuer().token("sla", lasts=1800))
    clock.advance(500)
    await asked.note_expiry()
    assert runs.read_text() == "."
    clock.advance(150)
    await asked.note_expiry()
    assert exported() == pytest.approx(now + 1800, abs=60)
    clock.advance(1000)
    put(token, None)
    await asked.note_expiry()
    assert exported() == pytest.approx(now + 1800, abs=60), "a command that fails gives no other token"
    assert runs.read_text() == "..."


def test_secrets_are_not_shown() -> None:
    assert "hunter2" not in repr(credentials.Credentials(username="sla", password="hunter2", token="hunter2"))
