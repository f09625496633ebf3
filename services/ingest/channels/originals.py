"""What channels share that keep the files of messages themselves: the request for one. Pure; nothing is fetched here.

Credentials go to the provider's own API only, never to where a message points.
"""

from __future__ import annotations

from contracts.ticket import Attachment
from kit.policy.secrets import Secrets
from services.ingest.accounts import Account
from services.ingest.core.messages import HttpCall, Unsendable


def by_url(file: Attachment, login: dict[str, str] | None = None) -> HttpCall:
    """The request for a file that has a URL; raises Unsendable if it has none."""
    if file.url is None:
        raise Unsendable(f"the channel keeps no file {file.name}")
    return HttpCall("GET", file.url, login or {}, b"")


def api(account: Account, secrets: Secrets) -> str:
    """Base URL of the provider's API, without a slash at its end; raises Unsendable if the account has none."""
    if account.base_url is None:
        raise Unsendable(f"{account.name} has no base_url")
    return secrets.expand(account.base_url).rstrip("/")


def bearer(account: Account, secrets: Secrets) -> dict[str, str]:
    """The header that logs in with the account's `access`."""
    return {"authorization": f"Bearer {secrets.secret(account.access)}"}
