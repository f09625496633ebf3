"""Files that people and platforms replace: mended rights are noticed, and a byte order mark is no part of a secret."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from kit.base import certificates, metrics
from kit.base.certificates import WatchedFiles
from kit.base.errors import InvalidPolicy
from kit.base.kafka_settings import KafkaSettings
from kit.kafka.credentials import Reader
from kit.mongo_client import MongoConnection
from kit.policy import file as policy
from kit.policy.secrets import Secrets
from services.sla.settings import SlaSettings
from tests.fake_clock import FakeClock
from tests.kit.test_credentials import START

BOM = b"\xef\xbb\xbf"
DIGEST = "0" * 64


class Anything(BaseModel):
    limit: int


def refusing(broken: list[bool], real: Callable[[Path], bytes], answer: Callable[[], bytes]) -> Callable[[Path], bytes]:
    """Read a file, unless its rights are wrong. Tests may run as root, for whom no rights are."""
    return lambda path: answer() if broken else real(path)


def test_a_certificate_whose_rights_are_mended_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken: list[bool] = []
    monkeypatch.setattr(certificates, "_content", refusing(broken, certificates._content, lambda: b""))
    file = tmp_path / "tls.crt"
    file.write_text("old")
    watched = WatchedFiles([file])
    file.write_text("renewed")
    broken.append(True)
    assert watched.changed() is True
    assert watched.changed() is False
    broken.clear()
    file.chmod(0o440)
    assert watched.changed() is True


def test_a_policy_whose_rights_are_mended_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable() -> bytes:
        raise InvalidPolicy("sla.yaml", 1, "cannot be read: Permission denied")

    broken: list[bool] = []
    monkeypatch.setattr(policy, "_content", refusing(broken, policy._content, unreadable))
    file = tmp_path / "sla.yaml"
    file.write_text("limit: 1")
    loaded = policy.PolicyFile(file, Anything)
    file.write_text("limit: 22")
    broken.append(True)
    assert loaded.reload() is False
    assert metrics.POLICY_REFUSED._value.get() == 1
    broken.clear()
    file.chmod(0o440)
    assert loaded.reload() is True
    assert (loaded.current.limit, metrics.POLICY_REFUSED._value.get()) == (22, 0)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b" \r\n\n"], ids=repr)
@pytest.mark.parametrize("begin", [b"", BOM], ids=["plain", "byte order mark"])
async def test_what_an_editor_adds_is_no_part_of_a_secret(begin: bytes, end: bytes, tmp_path: Path) -> None:
    def put(name: str, content: str) -> Path:
        (tmp_path / name).write_bytes(begin + content.encode() + end)
        return tmp_path / name

    assert Secrets({}).secret(f"file:{put('secret', 'whsec_x')}") == "whsec_x"
    (caller,) = SlaSettings(tokens=str(put("tokens", f"anna:{DIGEST}:read"))).callers
    assert (caller.name, caller.scopes) == ("anna", frozenset({"read"}))
    given: dict[str, Any] = {"kafka_security": "sasl_ssl", "kafka_username": "sla"}
    given["kafka_password_file"] = str(put("password", "hunter2"))
    read = await Reader(KafkaSettings.model_validate(given), FakeClock(START)).read()
    assert read.password == "hunter2"
    MongoConnection(put("mongo", "mongodb://127.0.0.1:1"), "deskbus_sla", away_after_ms=10).close()
