"""Languages by BCP 47: tags of conversations (RFC 5646), and ranges in rules (RFC 4647).

Rule: a range covers a tag by extended filtering (RFC 4647, 3.3.2), whatever the case: `pt` covers `pt-BR`, `pt-BR` does
not cover `pt`, `zh-TW` covers `zh-Hant-TW`, `*-CH` covers every language of Switzerland. The underscore of locale names
(`pt_BR`), which channels send, counts as a hyphen.
"""

import re
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator

_TAG = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8}){0,15}")
_RANGE = re.compile(r"(?:[A-Za-z]{1,8}|\*)(?:-(?:[A-Za-z0-9]{1,8}|\*)){0,15}")


def canonical(tag: str) -> str:
    """Return a tag or range in the letter case of RFC 5646, 2.1.1: `pt-BR`, `zh-Hant-TW`."""
    parts = tag.replace("_", "-").lower().split("-")
    for place, part in enumerate(parts[1:], start=1):
        if _is_singleton(parts[place - 1]):
            break  # extensions and private use are in lower case
        parts[place] = part.upper() if len(part) == 2 else part.title() if len(part) == 4 else part
    return "-".join(parts)


def _is_singleton(part: str) -> bool:
    """Return whether a subtag starts an extension or private use, such as `u` or `x`. `*` does not."""
    return len(part) == 1 and part != "*"


def _language(text: str) -> str:
    if not _TAG.fullmatch(tag := canonical(text)):
        raise ValueError(f"{text!r} is not a language tag (BCP 47), such as pt or pt-BR")
    return tag


def language_range(text: str) -> str:
    """Return a language range in canonical case. Raises ValueError."""
    if not _RANGE.fullmatch(found := canonical(text)):
        raise ValueError(f"{text!r} is not a language (BCP 47), such as pt, pt-BR or zh-TW")
    return found


Language = Annotated[str, AfterValidator(_language)]
"""A language tag, converted to canonical case."""


def primary(tag: str | None) -> str | None:
    """Return the language of a tag without region or script, in lower case; None for no tag."""
    return canonical(tag).split("-", 1)[0] if tag else None


@lru_cache(maxsize=4096)
def covers(wanted: str, tag: str) -> bool:
    """Return whether a language range covers a tag (RFC 4647, 3.3.2). No range covers an empty tag."""
    if not tag:
        return False
    ranges, subtags = canonical(wanted).lower().split("-"), canonical(tag).lower().split("-")
    if ranges[0] not in ("*", subtags[0]):
        return False
    at = 1
    for part in ranges[1:]:
        if part == "*":
            continue
        while at < len(subtags) and subtags[at] != part:
            if _is_singleton(subtags[at]):
                return False
            at += 1
        if at == len(subtags):
            return False
        at += 1
    return True
