"""Certificates and other secrets in files: whether a file has changed, and when a certificate expires.

Rule: files are only read here. What uses a certificate loads it again once its files have changed.
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from cryptography import x509

from kit.base import metrics
from kit.base.errors import InvalidCertificate
from kit.base.files import state

_MAX_BYTES = 4 * 1024 * 1024  # a bundle of CAs has a few hundred KiB


class WatchedFiles:
    """Files that may be replaced while the process runs, as mounted secrets are."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = tuple(paths)
        self._stats, self._digests = self._stat(), self._digest()

    def changed(self) -> bool:
        """Return whether a file's content differs from that at the last call."""
        stats = self._stat()
        if stats == self._stats:
            return False
        digests = self._digest()
        changed = digests != self._digests
        self._stats, self._digests = stats, digests
        return changed

    def _stat(self) -> list[tuple[int, ...] | None]:
        return [state(path) for path in self.paths]

    def _digest(self) -> list[bytes]:
        return [hashlib.sha256(_content(path)).digest() for path in self.paths]


def _content(path: Path) -> bytes:
    """Return what the file holds; nothing if it cannot be read, which whoever loads it then reports."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError:
        return b""


def validity(path: Path) -> tuple[datetime, datetime]:
    """Return from when until when the certificate in a PEM file, and those above it in the file, are valid.

    Raises InvalidCertificate if the file has none that can be read.
    """
    try:
        chain = x509.load_pem_x509_certificates(_content(path))
    except ValueError:
        raise InvalidCertificate(f"{path} has no certificate in PEM format that can be read") from None
    return max(each.not_valid_before_utc for each in chain), min(each.not_valid_after_utc for each in chain)


def note_expiry(name: str, path: Path) -> datetime:
    """Export and return when the first certificate in a PEM file expires. Raises InvalidCertificate as `validity`."""
    _, ends = validity(path)
    metrics.CERTIFICATE_EXPIRY.labels(name).set(ends.timestamp())
    return ends
