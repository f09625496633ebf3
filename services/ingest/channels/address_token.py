"""Signed ticket tokens in mail addresses: `support+<ticket>.<mac>@`, so that an answer identifies its ticket.

Tokens are signed with the account's key; others are ignored.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Iterable
from uuid import UUID

_TAG = re.compile(r"^[^+@]+\+([a-z0-9-]{1,40})\.([a-z2-7]{16})@")


def _shorten(ticket_id: str) -> str:
    """Return a UUID in 26 characters: local parts have at most 64, and servers may change their case."""
    try:
        return base64.b32encode(UUID(ticket_id).bytes).decode().rstrip("=").lower()
    except ValueError:
        return ticket_id


def _expand(short: str) -> str | None:
    try:
        return str(UUID(bytes=base64.b32decode(short.upper() + "=" * 6))) if len(short) == 26 else None
    except (binascii.Error, ValueError):
        return None


def _mac(ticket_id: str, key: str) -> str:
    digest = hmac.new(key.encode(), b"deskbus ticket address\0" + ticket_id.encode(), "sha256").digest()
    return base64.b32encode(digest[:10]).decode().lower()


def mint(address: str, ticket_id: str, key: str) -> str:
    """Return the address with the ticket's token, or unchanged if the result would be too long."""
    local, at, domain = address.partition("@")
    short = _shorten(ticket_id)
    tagged = f"{local.partition('+')[0]}+{short}.{_mac(ticket_id, key)}"
    return tagged + at + domain if len(tagged) <= 64 and _TAG.match(tagged + "@") else address


def ticket_in(addresses: Iterable[str], keys: Iterable[str]) -> str | None:
    """Return the ticket id of the first address with a valid token; None if there is none."""
    known = list(keys)
    for address in addresses:
        match = _TAG.match(address.lower())
        if match is None:
            continue
        for ticket_id in filter(None, (_expand(match[1]), str(match[1]))):
            valid = False
            for key in known:
                valid |= hmac.compare_digest(_mac(ticket_id, key), str(match[2]))
            if valid:
                return ticket_id
    return None
