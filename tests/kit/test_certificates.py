"""Files that are replaced while the process runs: what counts as a change, and which certificate expires first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kit.base import metrics
from kit.base.certificates import WatchedFiles, note_expiry
from kit.base.errors import InvalidCertificate
from tests.pki import Authority


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "tls.crt"
    made.write_text("first")
    return made


def test_another_content_is_a_change_and_is_told_once(file: Path) -> None:
    files = WatchedFiles([file])
    assert not files.changed()
    file.write_text("other")  # as long as the first
    assert [files.changed(), files.changed()] == [True, False]


def test_the_same_content_written_anew_is_no_change(file: Path) -> None:
    files = WatchedFiles([file])
    os.utime(file, (1, 1))
    assert not files.changed()


def test_a_secret_that_is_updated_by_turning_a_link_is_a_change(tmp_path: Path) -> None:
    """As Kubernetes does. The link to the file stays as it is, and so may size and time."""
    for folder, text in (("1", "first"), ("2", "other")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tls.crt").write_text(text)
        os.utime(tmp_path / folder / "tls.crt", (1, 1))
    (tmp_path / "..data").symlink_to("1")
    (tmp_path / "tls.crt").symlink_to("..data/tls.crt")
    files = WatchedFiles([tmp_path / "tls.crt"])
    (tmp_path / "new").symlink_to("2")
    (tmp_path / "new").replace(tmp_path / "..data")
    assert files.changed()


def test_a_file_may_go_and_come_back(file: Path) -> None:
    files = WatchedFiles([file])
    file.unlink()
    assert files.changed()
    file.write_text("first")
    assert files.changed()


def test_a_path_that_leads_nowhere_is_a_file_that_is_not_there(file: Path) -> None:
    assert not WatchedFiles([file / "below a file"]).changed()


@pytest.mark.parametrize("order", [1, -1], ids=["the leaf", "the one above it"])
def test_the_first_certificate_of_a_chain_to_expire_counts(tmp_path: Path, order: int) -> None:
    authority, chain = Authority(tmp_path), tmp_path / "chain.pem"
    soon, late = authority.issue("soon", days=2), authority.issue("late", days=9)
    chain.write_bytes(b"".join(each.certificate.read_bytes() for each in (soon, late)[::order]))
    note_expiry("chain", chain)
    assert metrics.CERTIFICATE_EXPIRY.labels("chain")._value.get() == soon.expires.timestamp()


def test_a_file_without_a_certificate_is_invalid(file: Path) -> None:
    with pytest.raises(InvalidCertificate, match=r"tls\.crt has no certificate in PEM format"):
        note_expiry("chain", file)
