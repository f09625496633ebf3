"""What a connection to Kafka is made with: certificates, password, token. Read anew for each connection.

Rule: while a file cannot be read, the credentials that were read last stay in use: a rotation may be under way.
Nothing here is ever logged but names and reasons.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shlex
import signal
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from aiokafka.errors import KafkaConnectionError

from kit.base import metrics
from kit.base.certificates import note_expiry
from kit.base.clock import Clock
from kit.base.errors import InvalidCertificate
from kit.base.files import UTF8
from kit.base.kafka_settings import KafkaSettings

log = structlog.get_logger(__name__)

#: Seconds for which a token from a command is used again, unless it is refused.
TOKEN_SECONDS = 30.0
#: Seconds before a token expires at which a command is asked for another one, even if no connection needs it.
SOON_SECONDS = 300.0
#: Seconds that a token command may take: less than a producer waits (SEND_SECONDS), so that its failure is told.
COMMAND_SECONDS = 5.0
#: Seconds for which a command that failed is not run again; connections that wait for it share its failure.
FAILED_SECONDS = 1.0
#: Longest token, password or PEM file in bytes.
MOST_BYTES = 1024 * 1024


class CredentialsError(KafkaConnectionError):  # type: ignore[misc]  # aiokafka has no types
    """Credentials cannot be had. aiokafka treats it like a broker that is away, and tries again."""

    def __str__(self) -> str:
        return str(self.args[0])  # aiokafka would put the name of the class before it


@dataclass(frozen=True)
class Credentials:
    """What one connection is made with."""

    ssl_context: ssl.SSLContext | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)


class Reader:
    """Reads the credentials that the settings name."""

    def __init__(self, settings: KafkaSettings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._last: Credentials | None = None
        self._tls: tuple[tuple[bytes, ...], ssl.SSLContext] | None = None
        """What the files held, and the context made of it."""
        self._token: tuple[str, float] | None = None
        """The last token of the command, and when (monotonic) it was printed."""
        self._expires: float | None = None
        """When the last token expires (in seconds since 1970), if it says so."""
        self._failed: tuple[str, float] | None = None
        """Why the command gave no token, and when (monotonic)."""
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._refused: str | None = None
        """Why the files are not used, as it was last said."""

    async def read(self) -> Credentials:
        """Return the current credentials; raises CredentialsError if none were ever read."""
        try:
            self._last = await self._read()
        except (CredentialsError, OSError, UnicodeDecodeError) as error:
            self._refuse(_told(error))
            if self._last is None:
                raise CredentialsError(_told(error)) from error
        else:
            self._refuse(None)
        return self._last

    def _refuse(self, reason: str | None) -> None:
        """Say once why files are not used, and export that former credentials are."""
        metrics.CERTIFICATE_REFUSED.labels("kafka").set(reason is not None and self._last is not None)
        if reason is not None and reason != self._refused and self._last is not None:
            log.warning("keeping the former credentials for Kafka", reason=reason)
        self._refused = reason

    def forget_token(self) -> None:
        """Ask the command again next time: its token was refused."""
        self._token = None

    async def look_again(self) -> None:
        """Read what could not be used once more: it may be mended, and long before the next connection is made."""
        if self._refused is not None and self._last is not None:
            await self.read()

    async def note_expiry(self) -> None:
        """Export when the certificate and the token expire that the files hold now.

        A command is asked only once its last token expires soon: connections last, and nothing else may ask it.
        """
        given = self._settings
        if given.kafka_tls and given.kafka_certificate is not None:
            with contextlib.suppress(InvalidCertificate):
                note_expiry("kafka", given.kafka_certificate)
        soon = self._expires is not None and self._expires - self._clock.now().timestamp() < SOON_SECONDS
        if given.kafka_sasl and (given.kafka_token_file is not None or soon):
            with contextlib.suppress(CredentialsError, OSError, UnicodeDecodeError):
                await self._read_token()

    async def _read(self) -> Credentials:
        given = self._settings
        context = self._context() if given.kafka_tls else None
        if not given.kafka_sasl:
            return Credentials(context)
        if given.kafka_mechanism == "oauthbearer":
            return Credentials(context, token=await self._read_token())
        if given.kafka_password_file is not None:
            password = _text(given.kafka_password_file)
        else:
            password = given.kafka_password.get_secret_value() if given.kafka_password else ""
        return Credentials(context, given.kafka_username, password)

    def _context(self) -> ssl.SSLContext:
        """Return a TLS context, a new one where a file has changed: one that exists would go on trusting former CAs."""
        given = self._settings
        files = (given.kafka_ca, given.kafka_certificate, given.kafka_key)
        pem = tuple(_bytes(file) for file in files if file is not None)
        if self._tls is not None and self._tls[0] == pem:
            return self._tls[1]
        context = ssl.create_default_context(cafile=given.kafka_ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if given.kafka_certificate is not None:
            # With a password, a key that is encrypted is an error instead of a question on the terminal.
            context.load_cert_chain(given.kafka_certificate, given.kafka_key, password="")
        self._tls = pem, context
        return context

    async def _read_token(self) -> str:
        """Return the current token, and export when it expires, if it says so."""
        if self._settings.kafka_token_file is not None:
            token = _in_one_word(_text(self._settings.kafka_token_file))
        else:
            token = await self._printed()
        self._expires = expiry(token)
        if self._expires is not None:
            metrics.TOKEN_EXPIRY.labels("kafka").set(self._expires)
        return token

    async def _printed(self) -> str:
        async with self._turn():  # several connections are made at once, and one token serves them all
            if self._token is None or self._clock.monotonic() - self._token[1] > TOKEN_SECONDS:
                self._token = await self._run(), self._clock.monotonic()
            return self._token[0]

    def _turn(self) -> asyncio.Lock:
        """Return the lock of this loop: the command line runs one after the other with the same connection."""
        loop = asyncio.get_running_loop()
        if self._running is None or self._running[0] is not loop:
            self._running = loop, asyncio.Lock()
        return self._running[1]

    async def _run(self) -> str:
        if self._failed is not None and self._clock.monotonic() - self._failed[1] < FAILED_SECONDS:
            raise CredentialsError(self._failed[0])
        try:
            return _in_one_word(await _output(shlex.split(self._settings.kafka_token_command or "")))
        except (CredentialsError, OSError, UnicodeDecodeError) as error:
            self._failed = _told(error), self._clock.monotonic()
            raise


def expiry(token: str) -> float | None:
    """Return when a token ends (in seconds since 1970) by its own claim `exp`; None if it is no JWT or has none."""
    with contextlib.suppress(ValueError, IndexError, TypeError, OverflowError):
        claims = token.split(".")[1]
        found = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        return float(found["exp"]) if isinstance(found, dict) and "exp" in found else None
    return None


def _bytes(file: Path) -> bytes:
    with file.open("rb") as opened:
        found = opened.read(MOST_BYTES + 1)
    if len(found) > MOST_BYTES:
        raise CredentialsError(f"{file} is larger than {MOST_BYTES} bytes")
    return found


def _text(file: Path) -> str:
    text = _bytes(file).decode(UTF8).strip()
    if not text:
        raise CredentialsError(f"{file} is empty")
    return text


def _in_one_word(token: str) -> str:
    # A token is a line of the protocol: what could end that line would be read as something else.
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise CredentialsError("the token is empty, or has characters that no token has")
    return token


async def _output(command: list[str]) -> str:
    """Return what a command prints; raises CredentialsError. Its error output may hold secrets, and is dropped."""
    pipe, none = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *command, stdin=none, stdout=pipe, stderr=none, start_new_session=True
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            try:
                await process.stdout.readexactly(MOST_BYTES + 1)
            except asyncio.IncompleteReadError as ended:
                printed = ended.partial
            else:
                raise CredentialsError(f"the token command printed more than {MOST_BYTES} bytes")
            code = await process.wait()
    except BaseException as error:
        await _kill(process)
        if isinstance(error, TimeoutError):
            raise CredentialsError(f"the token command did not end within {COMMAND_SECONDS:g} s") from None
        raise
    if code != 0:
        raise CredentialsError(f"the token command exited with {code}")
    return printed.decode("utf-8").strip()


async def _kill(process: asyncio.subprocess.Process) -> None:
    """End a command with all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):  # what has left the group may hold the pipe, for which asyncio waits
        async with asyncio.timeout(1):
            await process.wait()


def _told(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"the certificates cannot be used: {error.reason or error.strerror or error}"
    if isinstance(error, OSError):
        return f"{error.filename or 'a file'} cannot be read: {error.strerror}"
    return str(error) if isinstance(error, CredentialsError) else "a file is not UTF-8"
