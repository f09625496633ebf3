"""Where things are, as policies write it: URLs, mail addresses, hosts. Nothing is called here.

Rule: what would fail only once it is used is refused when the file is read. A URL holds no user and no password; its
variables (`${NAME:-default}`) are filled in by `kit.policy.secrets` when it is used.
"""

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

from contracts.values import OneOrMany
from kit.policy.secrets import VARIABLE

_URL = re.compile(r"https?://[^\s/?#]+(?:/[^\s?#]*)?(?:\?[^\s#]*)?")
_ADDRESS = re.compile(r"[^\s@<>\"(),:;\[\]\\]+@[A-Za-z0-9.-]+")


def _url(text: str) -> str:
    shown = VARIABLE.sub(lambda match: match[2] or "https://unset", text)
    if not _URL.fullmatch(shown) or not _parses(shown):
        raise ValueError("must be an http(s) URL, or ${NAME:-url}")
    if "@" in urlsplit(shown).netloc:
        raise ValueError("must not contain a user or password: use a reference to a secret")
    return text


def _parses(url: str) -> bool:
    try:
        return bool(urlsplit(url).hostname) and urlsplit(url).port != 0
    except ValueError:
        return False


def _address(text: str) -> str:
    if not _ADDRESS.fullmatch(text):
        raise ValueError(f"{text!r} is not a mail address")
    return text.lower()


def _host(text: str) -> str:
    if not text or "/" in text or "*" in text:
        raise ValueError(f"{text!r} is not a host or host:port")
    return text.lower()


def _split(text: Any) -> Any:
    return [host.strip() for host in text.split(",") if host.strip()] if isinstance(text, str) else text


Url = Annotated[str, AfterValidator(_url)]
"""An http(s) URL as it is written, with its variables."""
Address = Annotated[str, AfterValidator(_address)]
"""A mail address, in lower case in memory: no provider tells addresses apart by case."""
Hosts = OneOrMany[Annotated[str, AfterValidator(_host)]]
"""Hosts that may be called even if private or without TLS: `host` or `host:port`, as in the URL."""
HostsSetting = Annotated[tuple[Annotated[str, AfterValidator(_host)], ...], BeforeValidator(_split), NoDecode]
"""The same in a setting: separated by commas."""
