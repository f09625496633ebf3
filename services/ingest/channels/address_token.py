"""Ticket tokens in mail addresses: `support+<ticket>.<mac>@`, so that an answer finds its ticket by itself.

The key is the account's; a token that was not made with it is no token.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Iterable
from uuid import UUID

_TAG = re.compile(r"^[^+@]+\+([a-z0-9-]{1,40})\.([a-z2-7]{16})@")


def _short(ticket_id: str) -> str:
    """26 letters for a UUID: a local part has room for 64, and servers may fold its case."""
    try:
        return base64.b32encode(UUID(ticket_id).bytes).decode().rstrip("=").lower()
    except ValueError:
        return ticket_id


def _long(short: str) -> str | None:
    try:
        return str(UUID(bytes=base64.b32decode(short.upper() + "=" * 6))) if len(short) == 26 else None
    except (binascii.Error, ValueError):
        return None


def _mac(ticket_id: str, key: str) -> str:
    digest = hmac.new(key.encode(), b"deskbus ticket address\0" + ticket_id.encode(), "sha256").digest()
    return base64.b32encode(digest[:10]).decode().lower()


def mint(address: str, ticket_id: str, key: str) -> str:
    """The address with the ticket's token; without one where it would be too long for an address."""
    local, at, domain = address.partition("@")
    short = _short(ticket_id)
    tagged = f"{local.partition('+')[0]}+{short}.{_mac(ticket_id, key)}"
    return tagged + at + domain if len(tagged) <= 64 and _TAG.match(tagged + "@") else address


def ticket_in(addresses: Iterable[str], keys: Iterable[str]) -> str | None:
    """The ticket that the first rightly signed address names."""
    known = list(keys)
    for address in addresses:
        match = _TAG.match(address.lower())
        if match is None:
            continue
        for ticket_id in filter(None, (_long(match[1]), str(match[1]))):
            right = False
            for key in known:
                right |= hmac.compare_digest(_mac(ticket_id, key), str(match[2]))
            if right:
                return ticket_id
    return None
