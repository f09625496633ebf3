"""Where a channel keeps a file that came with a message, as the request that gets it. Pure; nothing is fetched here.

Sources: Meta, "Retrieve Media URL" and "Download Media"; LINE, "Get content"; Twilio, "Media subresource". Credentials
go to the provider's own API only, never to where a message points.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from urllib.parse import quote, urlsplit

from kit.policy.secrets import Secrets
from services.ingest.accounts import Account
from services.ingest.channels.reading import glance, line
from services.ingest.core.messages import HttpCall, SendFailure, Unsendable, Upload

#: LINE serves contents from a host of their own.
_LINE_HOSTS = {"api.line.me": "api-data.line.me"}


def original(
    channel: str, media_id: str | None, url: str | None, account: Account, secrets: Secrets
) -> HttpCall | Upload:
    """The request for a file; raises Unsendable where the channel keeps none, Unresolved without credentials."""
    if media_id is not None and channel in _BY_ID:
        return _BY_ID[channel](media_id, account, secrets)
    if url is not None:
        return HttpCall("GET", url, _login(channel, url, account, secrets), b"")
    raise Unsendable(f"{channel} keeps no such file")


def _api(account: Account, secrets: Secrets) -> str:
    if account.base_url is None:
        raise Unsendable(f"{account.name} has no base_url")
    return secrets.expand(account.base_url).rstrip("/")


def _bearer(account: Account, secrets: Secrets) -> dict[str, str]:
    return {"authorization": f"Bearer {secrets.secret(account.access)}"}


def _whatsapp(media_id: str, account: Account, secrets: Secrets) -> Upload:
    """Two requests: the first says where the file is for the next five minutes."""
    login = _bearer(account, secrets)

    def then(status: int, body: bytes) -> HttpCall | SendFailure:
        url = line(glance(body).get("url"), 4000)
        if status != 200 or url is None:
            return SendFailure(f"HTTP {status}: the file's address was not told", permanent=False)
        return HttpCall("GET", url, login, b"")

    return Upload(HttpCall("GET", f"{_api(account, secrets)}/{quote(media_id, safe='')}", login, b""), then)


def _line(media_id: str, account: Account, secrets: Secrets) -> HttpCall:
    parts = urlsplit(_api(account, secrets))
    api = parts._replace(netloc=_LINE_HOSTS.get(parts.netloc, parts.netloc)).geturl()
    url = f"{api}/v2/bot/message/{quote(media_id, safe='')}/content"
    return HttpCall("GET", url, _bearer(account, secrets), b"")


_BY_ID: Mapping[str, Callable[[str, Account, Secrets], HttpCall | Upload]] = {"whatsapp": _whatsapp, "line": _line}


def _login(channel: str, url: str, account: Account, secrets: Secrets) -> dict[str, str]:
    """Twilio asks for the account's credentials, at its own host."""
    if channel != "sms" or account.username is None or account.base_url is None:
        return {}
    if not url.startswith(f"{_api(account, secrets)}/"):
        return {}
    login = f"{secrets.expand(account.username)}:{secrets.secret(account.access)}"
    return {"authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
