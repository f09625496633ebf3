"""Bearer tokens: whose a token is, what it opens, to what it is limited. Doors ask; here nothing is asked for.

Rule: the service knows the SHA-256 of a token, never the token.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

LIMITS = ("brands", "accounts", "authors")
"""What a token may be limited to: values of these kinds. What they mean is the doors' to say."""


@dataclass(frozen=True)
class Caller:
    """Who may call a door, and for what. `digest` is the SHA-256 of the bearer token, which is stored nowhere.

    `limits` says to what the scopes are limited, by kind (LIMITS); a kind that is not there is not limited.
    """

    name: str
    digest: bytes = field(repr=False)
    scopes: frozenset[str]
    limits: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def reaches(self, kind: str, value: str | None) -> bool:
        """Whether the token is not limited in this kind, or to this value among others."""
        return kind not in self.limits or value in self.limits[kind]


def find(callers: Iterable[Caller], token: str) -> Caller | None:
    """Find whose token this is, in the same time whatever it is."""
    digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
    found = None
    for caller in callers:
        if hmac.compare_digest(caller.digest, digest):
            found = caller
    return found


def parse_tokens(text: str) -> tuple[Caller, ...]:
    """Read `name:sha256hex:scope1,scope2 brands=a,b accounts=c authors=bot/helper`; the limits may be left out.

    Entries are separated by semicolons or line ends; `#` begins a comment. Raises ValueError that names the token.
    """
    tokens = []
    for line in text.splitlines():
        for entry in filter(None, (part.strip() for part in line.split("#", 1)[0].split(";"))):
            name, _, rest = entry.partition(":")
            digest, _, scopes = rest.partition(":")
            try:
                raw = bytes.fromhex(digest)
            except ValueError:
                raw = b""
            if not name or len(raw) != hashlib.sha256().digest_size:
                raise ValueError(f"token {name!r}: expected name:sha256hex:scope1,scope2")
            words = scopes.split()
            limits = _limits(name, [word for word in words if "=" in word])
            tokens.append(Caller(name, raw, _values(",".join(word for word in words if "=" not in word)), limits))
    return tuple(tokens)


def _limits(name: str, words: Sequence[str]) -> dict[str, frozenset[str]]:
    """Read limits. One that is not understood is refused: the token would open more than was meant."""
    limits: dict[str, frozenset[str]] = {}
    for word in words:
        kind, _, values = word.partition("=")
        if kind not in LIMITS or kind in limits or not _values(values):
            raise ValueError(
                f"token {name!r}: invalid limit {word!r}; expected at most one each of {', '.join(LIMITS)}, with values"
            )
        limits[kind] = _values(values)
    return limits


def _values(text: str) -> frozenset[str]:
    return frozenset(filter(None, (value.strip() for value in text.split(","))))
