"""Requests for files that the provider stores; shared by channels. Pure: nothing is fetched here.

Rule: credentials are sent to the provider's API only, never to a URL from a message.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from contracts.ticket import Attachment
from kit.policy.secrets import Secrets
from services.ingest.accounts import Account
from services.ingest.channels.channel import Grant
from services.ingest.channels.reading import line, peek
from services.ingest.core.messages import HttpCall, Unsendable


def by_url(file: Attachment, login: dict[str, str] | None = None, *, hosts: Collection[str] | None = None) -> HttpCall:
    """Return the request for a file that has a URL. Raises Unsendable if it has none.

    `hosts`: domains from which the provider serves files; other URLs are refused, and so is http.
    """
    if file.url is None:
        raise Unsendable(f"the channel keeps no file {file.name}")
    if hosts is not None and not _is_on(file.url, hosts):
        raise Unsendable(f"the file {file.name} is not on a host of the provider")
    return HttpCall("GET", file.url, login or {}, b"")


def _is_on(url: str, hosts: Collection[str]) -> bool:
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return False
    known = any(host == each or host.endswith(f".{each}") for each in hosts)
    return known and parts.scheme == "https" and port in {None, 443}


def api(account: Account, secrets: Secrets) -> str:
    """Return the base URL of the provider's API without trailing slash. Raises Unsendable if the account has none."""
    if account.base_url is None:
        raise Unsendable(f"{account.name} has no base_url")
    return secrets.expand(account.base_url).rstrip("/")


def username(account: Account, secrets: Secrets) -> str:
    """Return the account's user name at the provider: for an API, that of the application."""
    return secrets.expand(account.username or "")


def token_ref(account: Account) -> str:
    """Return the name of the account's access token among the secrets: `access_tokens.py` puts it there."""
    return f"token:{account.name}"


def bearer_token(account: Account, secrets: Secrets) -> dict[str, str]:
    """Return the Authorization header with the account's access token."""
    return {"authorization": f"Bearer {secrets.secret(token_ref(account))}"}


def grant(status: int, body: bytes) -> Grant:
    """Return what a token endpoint answered (RFC 6749, section 5). Some write seconds as text. Raises ValueError."""
    said = peek(body)
    access, refresh = line(said.get("access_token"), 8000), line(said.get("refresh_token"), 8000)
    seconds = said.get("expires_in")
    if isinstance(seconds, str) and seconds.isascii() and seconds.isdigit() and len(seconds) < 10:
        seconds = int(seconds)
    if status != 200 or access is None:
        reason = line(said.get("error_description"), 200) or line(said.get("error"), 200)
        raise ValueError(f"HTTP {status}: {reason or 'no token'}")
    return Grant(access, float(seconds) if isinstance(seconds, int | float) else 3600.0, refresh)


def bearer(account: Account, secrets: Secrets) -> dict[str, str]:
    """Return the Authorization header with the account's `access`."""
    return {"authorization": f"Bearer {secrets.secret(account.access)}"}
