"""The interface of channels: the attributes and functions that each channel's module has, and values they share.

Rule: channels are pure. `verify` works on raw bytes, in constant time, before anything is parsed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

from contracts.inbound import InboundRecord
from contracts.ticket import Attachment
from kit.policy.secrets import Secrets, Unresolved
from services.ingest.accounts import Account, Accounts
from services.ingest.channels.reading import line, peek, peek_any_size
from services.ingest.core.messages import (
    Faulty,
    File,
    HttpCall,
    Inbound,
    OutgoingReply,
    Rendered,
    SendOutcome,
    Unsendable,
    Upload,
)

T = TypeVar("T")
VerifyKey = Callable[[bytes, bytes], bool]
"""A provider's public key: whether a signature is its own of a message."""
WINDOW_SECONDS = 300
"""Maximum difference between a signed timestamp and now, in the past or future."""


@dataclass(slots=True)
class Request:
    """An HTTP request. Header names are in lower case. Not frozen, since creating frozen instances is slower."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    #: The query exactly as received, for signatures that cover the URL.
    raw_query: str = ""
    method: str = "POST"
    #: The provider's public keys at hand, by id, for channels in `KEYS`.
    keys: Mapping[str, VerifyKey] = field(default_factory=dict)
    _seen: tuple[Any, Any] = field(default=(None, None), init=False, repr=False, compare=False)

    def cached(self, look: Callable[[bytes], T]) -> T:
        """Return `look(body)`. It is called once, however many functions of a channel use its result."""
        if self._seen[0] is not look:
            self._seen = look, look(self.body)
        seen: T = self._seen[1]
        return seen


def document_of(request: Request) -> dict[str, Any]:
    """Return the JSON object in a verified body of any size; {} if there is none."""
    return request.cached(peek) or request.cached(peek_any_size)


RECEIPT = b'{"receipt":"%s"}'
"""The usual body of an answer: the message's receipt."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response to a provider. `%s` in the body of an accepted webhook's answer is replaced by its receipt."""

    status: int
    body: bytes = b""
    media_type: str = "application/json"


class Forged(Exception):
    """The signature is missing or invalid, or the request is too old. `reason` is one word, a metric's label."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UnknownKey(Unresolved):
    """The signature names a key that is not at hand: the provider is to try again once it was fetched."""

    def __init__(self, kid: str) -> None:
        super().__init__(kid)
        self.kid = kid


@dataclass(frozen=True, slots=True)
class KeySource:
    """How a provider's public key is fetched (`keys.py`): log in, then ask for the key by its id."""

    login: Callable[[Account, Secrets], HttpCall]
    #: Read the login's answer. Raises ValueError.
    token: Callable[[int, bytes], str]
    call: Callable[[str, Account, Secrets, str], HttpCall]
    #: Read the key; None if the provider has no such key. Raises ValueError if neither can be said.
    read: Callable[[int, bytes], VerifyKey | None]


@dataclass(frozen=True, slots=True)
class Grant:
    """What a provider gave for a refresh token. `refresh` is the next one, if the provider gives another each time."""

    access: str
    seconds: float
    refresh: str | None = None


@dataclass(frozen=True, slots=True)
class OAuthFlow:
    """How an access token is refreshed (`access_tokens.py`)."""

    #: Return the call for an account's refresh token, at an instant.
    refresh: Callable[[Account, Secrets, str, datetime], HttpCall]
    #: Read its answer. Raises ValueError.
    read: Callable[[int, bytes], Grant]


@dataclass(frozen=True, slots=True)
class Polled:
    """A message that polling found. Records with equal keys stay in order."""

    key: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages in their order, and the cursor from which to go on once they are in Kafka; None while there is none."""

    items: tuple[Polled, ...] = ()
    cursor: Mapping[str, Any] | None = None


Poll = Generator[HttpCall | Batch, bytes | None, None]
"""One turn of polling: yields requests, and is sent the bodies of their answers (200 only); yields what it found."""
Poller = Callable[[Mapping[str, Any] | None, Account, Secrets, datetime], Poll]
"""Begins a turn at a cursor, which is None the first time. Pure, as all of a channel; may raise Unreadable."""

Challenge = Callable[[Request, Account, Secrets], Answer | None]
"""Returns the response to a verification request; None if it is not valid here (GET), or is a message (POST)."""


class Channel(Protocol):
    """The attributes and functions of every channel's module.

    It may also define `WINDOW` (ReplyWindow), `KEYS` (KeySource), `OAUTH` (OAuthFlow) and `poll` (Poller).
    """

    NAME: str
    """Name in URLs, accounts, inbound records and metrics: the provider's if several carry one channel."""

    CHANNEL: str
    """Channel of its tickets: one of `contracts.ticket.Channel`."""

    NEEDS: tuple[str, ...]
    """Keys of an account (`accounts.Account`) that the channel requires."""

    ONE_FILE_PER_MESSAGE: bool
    """Whether a message contains either a text or one file, so that the files of a reply are sent one by one."""

    IDEMPOTENT: bool
    """Whether the channel deduplicates by message id, so that an attempt that may have arrived can be repeated."""

    def parse(self, record: InboundRecord, account: Account, accounts: Accounts, secrets: Secrets) -> Sequence[Inbound]:
        """Return the messages and statuses in a record, which must have its body. Raises Unreadable only."""

    def render(self, reply: OutgoingReply, account: Account, secrets: Secrets) -> Rendered:
        """Return the request or mail for a reply. Raises Unsendable, or Unresolved if a secret is missing."""

    def outcome(self, status: int, headers: Mapping[str, str], body: bytes) -> SendOutcome:
        """Return the outcome of an attempt, given the provider's response (mail: the relay's reply code)."""

    def original(self, file: Attachment, account: Account, secrets: Secrets) -> HttpCall | Upload:
        """Return the request that fetches a file of a customer's message. `originals.py` has what channels share.

        Raises Unsendable if the channel does not store the file, or Unresolved if a secret is missing.
        """

    def message_ids(self, body: bytes) -> list[str] | None:
        """Return the channel's ids of all messages in a body: empty if it has statuses only, None if unknown.

        The audit checks `parse` against it, so it must not share code with `parse`. May raise ValueError, KeyError,
        TypeError and AttributeError if the body cannot be read.
        """


class MailChannel(Channel, Protocol):
    """A channel whose messages are mails."""

    def contact_key(self, raw: bytes) -> str:
        """Return what keeps the mails of one thread in order."""


class Webhook(Channel, Protocol):
    """A channel whose provider calls a webhook."""

    HEADERS: frozenset[str]
    """Request headers that `parse` needs; others are not stored."""

    ACCOUNT_BY_SECRET: bool
    """Whether a body without a known account belongs to the account whose secret verifies its signature."""

    SUCCESS: Answer
    """What the provider expects for an accepted webhook."""

    REFUSAL_STATUS: int
    """HTTP status that the provider expects for a webhook that cannot be verified: 401 if it does not care."""

    CHALLENGES: Mapping[str, Challenge]
    """HTTP method -> how a verification request is answered. One by POST is verified before, as any other."""

    def account_id(self, request: Request) -> str | None:
        """Return the provider's id of our account from the body, if it has one. The body is unverified, of any size."""

    def verify(self, request: Request, account: Account, secrets: Secrets, now: datetime) -> None:
        """Verify the signature. Raises Forged, or Unresolved if a secret is missing."""

    def contact_key(self, request: Request) -> str | None:
        """Return the sender's id if it is easy to find. Records with equal keys stay in order. The body is verified."""


def hmac_is_one_of(macs: Iterable[bytes], keys: Iterable[bytes], message: bytes, algorithm: str = "sha256") -> bool:
    """Whether one of the MACs was made with one of the keys. Compares all of them, in constant time."""
    candidates = list(macs)  # the message is hashed once for each key, however many MACs there are
    found = False
    for key in keys:
        expected = hmac.digest(key, message, algorithm)
        for candidate in candidates:
            found |= hmac.compare_digest(expected, candidate)
    return found


def require_hmac(mac: bytes, account: Account, secrets: Secrets, message: bytes) -> None:
    """Raise Forged unless the MAC was made with one of the account's `signing` secrets."""
    if not hmac_is_one_of([mac], [key.encode() for key in secrets.secrets(account.signing)], message):
        raise Forged("signature")


def authorization_mac(request: Request) -> bytes:
    """Return the MAC that `Authorization` contains in hex. Raises Forged."""
    given = request.headers.get("authorization")
    if not given:
        raise Forged("missing")
    try:
        return bytes.fromhex(given)
    except ValueError:
        raise Forged("signature") from None


def is_one_of(given: str, known: Iterable[str]) -> bool:
    """Whether a token is one of those known. Compares all of them, in constant time whatever their lengths."""
    found, hashed = False, hashlib.sha256(given.encode("utf-8", "surrogateescape")).digest()
    for each in known:
        found |= hmac.compare_digest(hashlib.sha256(each.encode()).digest(), hashed)
    return found


def require_token(given: str, account: Account, secrets: Secrets) -> None:
    """Raise Forged unless a header that signs nothing contains one of the account's `signing` secrets."""
    if not given:
        raise Forged("missing")
    if not is_one_of(given, secrets.secrets(account.signing)):
        raise Forged("signature")


def require_text_alone(reply: OutgoingReply, provider: str) -> None:
    """Raise Unsendable for a reply with files, or without a text, to a provider that gets texts from us only."""
    if reply.files:
        raise Unsendable(f"Deskbus sends no files to {provider} yet")
    if not reply.text.strip():
        raise Unsendable(f"{provider} takes no message without a text")


def owner(named: str | None, account: Account, accounts: Accounts, what: str) -> Account | Faulty:
    """Return the account that a verified body is about, or a foreign Faulty. `named` is the provider's id of it.

    A provider's app may serve several of our accounts, and some that are not configured here. A body that one account's
    secret has verified says nothing about an account with other secrets.
    """
    if named is None or named == account.external_id:
        return account
    other = accounts.external(account.channel, named)
    if other is None or set(other.signing).isdisjoint(account.signing):
        return Faulty(f"{what} {named} is no account of this app", foreign=True)
    return other


def is_fresh(timestamp: float, now: datetime) -> bool:
    """Whether a signed timestamp is within `WINDOW_SECONDS` of now."""
    return abs(now.timestamp() - timestamp) <= WINDOW_SECONDS


def json_body(document: Mapping[str, Any]) -> bytes:
    """Return JSON for a provider. Accepts any text, including lone surrogates."""
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")


def public_url(file: File, provider: str) -> str:
    """Return a file's https URL, for providers that fetch files. Raises Unsendable if it has none."""
    if file.url is None or not file.url.startswith("https://"):
        name = line(file.name, 100) or "file"
        raise Unsendable(f"{provider} takes files by https URL only, and {name} has none")
    return file.url


def digest(body: bytes) -> str:
    """Return a record key for a body without a sender: evenly distributed, and equal for equal bodies."""
    return hashlib.sha256(body).hexdigest()[:32]


def short_key(account: str, contact: str) -> str:
    """Return a record key of at most about 200 characters for a contact of an account."""
    key = f"{account}:{contact}"
    return key if len(key) <= 200 else f"{account}:{hashlib.sha256(contact.encode(errors='replace')).hexdigest()}"
