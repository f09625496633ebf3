"""The certificate of a door: TLS 1.2 or newer, and a certificate that is replaced on disk serves new connections.

Rule: a certificate that is invalid, or not valid yet, never replaces the one in use. Open connections keep the one they
began with.
"""

import ssl
from pathlib import Path

import structlog

from kit.base import metrics
from kit.base.certificates import WatchedFiles, note_expiry, validity
from kit.base.clock import Clock, SystemClock
from kit.base.errors import InvalidCertificate

log = structlog.get_logger(__name__)
#: Seconds between two looks at the files.
LOOK_SECONDS = 1.0


class DoorCertificate:
    """A certificate with its key, and the context that a server listens with."""

    def __init__(self, name: str, certificate: Path, key: Path, clock: Clock | None = None) -> None:
        """Load the files; `name` is the metrics' label. Raises InvalidCertificate: no door opens without its own."""
        self.name = name
        self._certificate, self._key = certificate, key
        self._clock = clock or SystemClock()
        self._early = False
        """Whether the files hold a certificate that is not valid yet."""
        self._files = WatchedFiles((certificate, key))
        self._reloads = {outcome: metrics.CERTIFICATE_RELOADS.labels(name, outcome) for outcome in _OUTCOMES}
        self._refused = metrics.CERTIFICATE_REFUSED.labels(name)
        self._current = self.context = self._load()
        # Asked at each handshake, also when the client names no server. Certificate and key change in one step.
        self.context.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLSocket | ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        connection.context = self._current

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            reason = error.strerror if isinstance(error, OSError) else None
            raise InvalidCertificate(f"{self._certificate} with {self._key}: {reason or error}") from None
        self._ends = note_expiry(self.name, self._certificate)
        return context

    def _is_early(self) -> bool:
        """Return whether what the files hold is not valid yet, while the one in use still is."""
        begins, _ = validity(self._certificate)
        return begins > self._clock.now() < self._ends

    async def reload(self) -> None:
        """Load the files again if they have changed; one that is invalid is logged once."""
        if not self._files.changed() and not self._early:
            return
        told = self._early
        try:
            self._early = self._is_early()
            if self._early:
                self._wait(told=told)
                return
            self._current = self._load()
        except InvalidCertificate as fault:
            self._early = False
            self._reloads["refused"].inc()
            self._refused.set(1)
            log.error("the certificate is invalid, keeping the previous one", name=self.name, fault=str(fault))
            return
        self._reloads["accepted"].inc()
        self._refused.set(0)
        log.info("certificate reloaded", name=self.name)

    def _wait(self, *, told: bool) -> None:
        """Say once that the new certificate is not in use: it was issued ahead, or this machine's clock is behind."""
        self._refused.set(1)
        if not told:
            log.warning("the certificate is not valid yet, keeping the previous one until it is", name=self.name)


_OUTCOMES = ("accepted", "refused")


def _no_password() -> str:
    """Keep OpenSSL from asking for one at the terminal."""
    raise ValueError("the key is encrypted, and no password is asked for")
