"""The operator's mail relay: a session with it, and what each mode of TLS promises, as aiosmtplib takes it.

Rule: a mode that is called required verifies. What cannot be verified is either not asked to be (opportunistic), or
not sent.
"""

import ssl
from pathlib import Path
from typing import Literal, TypedDict

import aiosmtplib
from aiosmtplib.typing import Default

RelayTls = Literal["none", "opportunistic", "required", "implicit"]
"""none: never. opportunistic: STARTTLS where the relay offers it, its certificate unverified (RFC 7435); keeps out who
only listens. required: STARTTLS with a verified certificate, or nothing is sent. implicit: TLS from the first byte
(RFC 8314, port 465), verified."""
MEANING = (
    "none; opportunistic: STARTTLS if offered, certificate not verified; required: STARTTLS, certificate verified; "
    "implicit: TLS from the first byte (port 465), certificate verified."
)
CA_MEANING = "CA file (PEM) to verify the certificate, e.g. a self-signed certificate; defaults to the system's CAs."


class TlsOptions(TypedDict):
    """Arguments of `aiosmtplib.SMTP` and `aiosmtplib.send`."""

    use_tls: bool
    start_tls: bool | None
    tls_context: ssl.SSLContext | None


class RelaySession(aiosmtplib.SMTP):
    """One session, for one mail."""

    left = False
    """The mail was leaving or had left: without an answer to it, it may have arrived."""

    async def data(
        self, message: str | bytes, /, *, timeout: float | Literal[Default.token] | None = Default.token
    ) -> aiosmtplib.SMTPResponse:
        """Note that the mail leaves now."""
        self.left = True
        return await super().data(message, timeout=timeout)


def refuse_unsafe(mode: RelayTls, ca: Path | None, *, password: bool) -> None:
    """Raise ValueError for settings that promise what they do not hold."""
    if ca is not None and mode not in {"required", "implicit"}:
        raise ValueError(f"a CA for the mail relay requires TLS mode required or implicit, not {mode}")
    if password and mode == "opportunistic":
        raise ValueError(
            "a password for the mail relay requires TLS mode required or implicit (or none, for a relay on this host): "
            "with opportunistic TLS a man in the middle can obtain it in clear text"
        )


def tls_options(mode: RelayTls, ca: Path | None = None) -> TlsOptions:
    """Return the options; raises OSError (ssl.SSLError is one) if the CA file cannot be read."""
    if mode == "none":
        return {"use_tls": False, "start_tls": False, "tls_context": None}
    context = ssl.create_default_context(cafile=ca)
    if mode == "opportunistic":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return {"use_tls": False, "start_tls": None, "tls_context": context}
    return {"use_tls": mode == "implicit", "start_tls": mode == "required", "tls_context": context}
