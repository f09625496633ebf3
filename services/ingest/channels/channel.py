"""What a channel is to the rest of ingest: the functions that its module has, and the values they share.

Rule: everything here is pure. `verify` works on raw bytes, in constant time, before anything is parsed; `parse` raises
Unreadable and nothing else; `render` raises Unsendable and nothing else.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

from contracts.inbound import InboundRecord
from contracts.ticket import Attachment
from kit.policy.secrets import Secrets
from services.ingest.accounts import Account, Accounts
from services.ingest.channels.reading import glance, line, whole
from services.ingest.core.messages import (
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
WINDOW_SECONDS = 300
"""How far a signed timestamp may be from now, either way."""


@dataclass(slots=True)
class Request:
    """An HTTP request as the door saw it. Names of headers in lower case. Not frozen: slower to make."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    #: The query exactly as it came, for signatures that cover the URL.
    raw_query: str = ""
    method: str = "POST"
    _seen: tuple[Any, Any] = field(default=(None, None), init=False, repr=False, compare=False)

    def once(self, look: Callable[[bytes], T]) -> T:
        """What this look at the body shows: taken once, however many functions of a channel ask."""
        if self._seen[0] is not look:
            self._seen = look, look(self.body)
        seen: T = self._seen[1]
        return seen


def document_of(request: Request) -> dict[str, Any]:
    """The JSON object in a body that was verified, whatever its size; empty if there is none."""
    return request.once(glance) or request.once(whole)


class Forged(Exception):
    """The signature is missing or not right, or the request is too old. `why` is one word, for a metric."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Channel(Protocol):
    """What every channel's module has."""

    CHANNEL: str
    """Its name in URLs, accounts and tickets: one of the public vocabulary, `contracts.ticket.Channel`."""

    NEEDS: tuple[str, ...]
    """Keys of an account (`accounts.Account`) that the channel cannot do without."""

    ONE_FILE_PER_MESSAGE: bool
    """Whether a message carries either a text or one file, so that the files of a reply leave one by one."""

    IDEMPOTENT: bool
    """Whether a repeat with the same id is taken once, so that a try that may have arrived can be made again."""

    def parse(self, record: InboundRecord, account: Account, accounts: Accounts, secrets: Secrets) -> Sequence[Inbound]:
        """Read a record whose `body` is here (a claim check was redeemed); raises Unreadable only."""

    def render(self, reply: OutgoingReply, account: Account, secrets: Secrets) -> Rendered:
        """What is to be sent; raises Unsendable, or Unresolved for a configuration that is not whole."""

    def outcome(self, status: int, headers: Mapping[str, str], body: bytes) -> SendOutcome:
        """Read the provider's answer (mail: the reply code of the next server)."""

    def original(self, file: Attachment, account: Account, secrets: Secrets) -> HttpCall | Upload:
        """The request that fetches a file which came with a message; `originals.py` has what channels share.

        Raises Unsendable if the channel keeps no such file, or Unresolved for a configuration that is not whole.
        """

    def message_ids(self, body: bytes) -> list[str] | None:
        """The channel's ids of all messages in a body; empty if it only reports on something, None if nobody can tell.

        For the audit, which checks `parse` by it: so it reads for itself, as simply as it can. May raise ValueError,
        KeyError, TypeError and AttributeError for what cannot be read.
        """


class Webhook(Channel, Protocol):
    """A channel that comes in over HTTP."""

    HEADERS: frozenset[str]
    """Request headers that `parse` needs; the others are not kept."""

    KNOWN_BY_SECRET: bool
    """Whether the secret that signed a webhook says whose it is, so that a body which names no account of ours is taken
    for the one whose secret verifies it."""

    TAKEN: int
    """The status that the provider expects for a webhook that was taken. Only 204 goes without our receipt."""

    def account_id(self, request: Request) -> str | None:
        """The provider's name of our account, out of the body, where it says so. Not verified yet, and of any size."""

    def verify(self, request: Request, account: Account, secrets: Secrets, now: datetime) -> None:
        """Raise Forged, or Unresolved."""

    def contact_key(self, request: Request) -> str | None:
        """Who wrote, as far as it is easily told: records of equal keys stay in order. The body is verified."""

    def challenge(self, request: Request, account: Account, secrets: Secrets) -> str | None:
        """The answer to a provider's GET; None: this channel has none, or it is not theirs."""


def hmac_is_one_of(given: Iterable[bytes], keys: Iterable[bytes], message: bytes, algorithm: str = "sha256") -> bool:
    """Whether one of the signatures was made with one of the keys; looks at all of them, whatever it finds."""
    candidates = list(given)  # the message is hashed once for each key, whatever the number of signatures
    found = False
    for key in keys:
        right = hmac.digest(key, message, algorithm)
        for candidate in candidates:
            found |= hmac.compare_digest(right, candidate)
    return found


def fresh(timestamp: float, now: datetime) -> bool:
    """Whether a signed timestamp is within the window."""
    return abs(now.timestamp() - timestamp) <= WINDOW_SECONDS


def json_body(document: Mapping[str, Any]) -> bytes:
    """JSON for a provider; never fails on what a text may hold."""
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")


def public_url(file: File, provider: str) -> str:
    """Where a provider that fetches files finds this one; raises Unsendable for one that only we have."""
    if file.url is None or not file.url.startswith("https://"):
        name = line(file.name, 100) or "file"
        raise Unsendable(f"{provider} takes files by https URL only, and {name} has none")
    return file.url


def digest(body: bytes) -> str:
    """A key for a body that names nobody: spread, and the same for the same body."""
    return hashlib.sha256(body).hexdigest()[:32]


def short_key(account: str, contact: str) -> str:
    """A partition key of bounded length."""
    key = f"{account}:{contact}"
    return key if len(key) <= 200 else f"{account}:{hashlib.sha256(contact.encode(errors='replace')).hexdigest()}"
