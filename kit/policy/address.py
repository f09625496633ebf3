"""URLs, mail addresses and hosts in policy files. Nothing is called here.

Rule: a value that could not be used is refused when the file is read. A URL contains no user or password; its variables
(`${NAME:-default}`) are expanded by `kit.policy.secrets` when it is used.
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
    example = VARIABLE.sub(lambda match: match[2] or "https://unset", text)
    if not _URL.fullmatch(example) or not _parses(example):
        raise ValueError("must be an http(s) URL, or ${NAME:-url}")
    if "@" in urlsplit(example).netloc:
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
"""An http(s) URL, with variables that are not expanded yet."""
Address = Annotated[str, AfterValidator(_address)]
"""A mail address, converted to lower case: no provider distinguishes addresses by case."""
Hosts = OneOrMany[Annotated[str, AfterValidator(_host)]]
"""Hosts that may be called even if private or without TLS: `host` or `host:port`, as in the URL."""
HostsSetting = Annotated[tuple[Annotated[str, AfterValidator(_host)], ...], BeforeValidator(_split), NoDecode]
"""`Hosts` in a setting: comma-separated."""
