"""Read untrusted input: JSON, texts, timestamps, providers' responses, with limits. Specific to no channel."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar

from pydantic_core import from_json

from contracts.values import to_instant
from services.ingest.core.messages import (
    DeliveryStatus,
    Faulty,
    Inbound,
    InboundMessage,
    SendFailure,
    SendOutcome,
    Sent,
    Unreadable,
)

T = TypeVar("T")

MAX_TEXT = 32_768
MAX_FULL_TEXT = 131_072
"""In characters. Texts of both lengths together, in any script, fit well into a Kafka record."""
MAX_LINE = 500
PEEK_BYTES = 64 * 1024

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_LINE_BREAKS = re.compile(r"[\r\n\t\v\f\x85\u2028\u2029]+")


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Return text without control characters and lone surrogates, with at most `limit` characters."""
    text = text[: limit * 2]
    if not (text.isascii() and text.isprintable()):
        text = _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
        text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return text[:limit]


def line(text: object, limit: int = MAX_LINE) -> str | None:
    """Return a name, id or subject on one line; None if it is blank or not a text (or an int)."""
    if isinstance(text, int) and not isinstance(text, bool):
        text = str(text) if abs(text) < 1 << 128 else ""
    if not isinstance(text, str):
        return None
    if len(text) <= limit and text.isprintable():  # nothing to clean, as in almost all cases
        return text.strip() or None
    return clean(_LINE_BREAKS.sub(" ", text[: limit * 4]), limit).strip() or None


def text_or_empty(value: object) -> str:
    """Return a cleaned text; "" if the value is not a string."""
    return clean(value) if isinstance(value, str) else ""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def read_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON object. Raises Unreadable. Lone surrogates are accepted, since senders write them; see `clean`."""
    try:
        document = json.loads(body, parse_constant=_refuse_constant)
    except RecursionError:
        raise Unreadable("JSON nested too deeply") from None
    except ValueError as error:  # includes UnicodeDecodeError, and numbers with thousands of digits
        raise Unreadable(f"not JSON: {str(error)[:200]}") from None
    if not isinstance(document, dict):
        raise Unreadable("not a JSON object")
    return document


def peek(body: bytes, most: int = PEEK_BYTES) -> dict[str, Any]:
    """Return the JSON object in an unverified body; {} if it has more than `most` bytes or cannot be parsed."""
    if len(body) > most:
        return {}
    try:
        document = from_json(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def peek_any_size(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a verified body of any size; {} if there is none."""
    return peek(body, len(body))


def find_value(body: bytes, name: str) -> str | None:
    """Return the first string value of a key in unverified JSON of any size, without parsing it.

    Quotes within JSON strings are escaped, so a text cannot imitate the key. A wrong result fails verification.
    """
    found = re.search(rb'"%s"\s*:\s*"([\w.-]{1,100})"' % name.encode(), body)
    return found[1].decode("ascii", "replace") if found else None


def obj(value: object) -> Mapping[str, Any]:
    """Return the value if it is an object, else {}."""
    return value if isinstance(value, dict) else {}


def objects(value: object) -> Iterator[Mapping[str, Any]]:
    """Yield the objects in a list; none if the value is not a list."""
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))


def first(value: object) -> Mapping[str, Any]:
    """Return the first object in a list, else {}."""
    return next(objects(value), {})


def each(elements: Iterable[T], read: Callable[[T], InboundMessage | DeliveryStatus | None]) -> Iterator[Inbound]:
    """Read the elements of a batch separately: one that is unreadable or triggers a bug yields Faulty."""
    for element in elements:
        try:
            found: Inbound | None = read(element)
        except Unreadable as fault:
            found = Faulty(str(fault))
        except Exception as bug:
            found = Faulty.failed(bug)
        if found is not None:
            yield found


def instant(seconds: object, fallback: datetime) -> datetime:
    """Return the instant of a Unix time in seconds, given as number or text; the fallback if it is invalid."""
    try:
        return to_instant(datetime.fromtimestamp(float(seconds), UTC))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, OSError):
        return fallback


def degrees(value: object, most: float) -> float | None:
    """Return a latitude or longitude; None unless it is a number between -most and most."""
    if isinstance(value, int | float) and not isinstance(value, bool) and -most <= value <= most:
        return float(value)
    return None


def read_answer(status: int, headers: Mapping[str, str], body: bytes, *path: str | int) -> SendOutcome:
    """Return the outcome for a provider's response; if sent, with the id at `path` in its JSON, if there is one."""
    if 200 <= status < 300:
        value: Any = peek(body)
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return Sent(None)
        return Sent(line(value))
    reason = line(body[:MAX_LINE].decode("utf-8", "replace")) or "no reason given"
    # 401 and 403 are configuration errors, which operators will fix, so they are not permanent.
    permanent = 400 <= status < 500 and status not in {401, 403, 408, 409, 425, 429}
    # RFC 9110, 15.6: 503 means not handled; after any other 5xx, including a gateway's, it may have been handled.
    unsure = status == 409 or (status >= 500 and status != 503)
    return SendFailure(f"HTTP {status}: {reason}", permanent, retry_after(headers), unsure)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After header, at most an hour; None if it has none."""
    value = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    return min(float(value), 3600.0) if value.isascii() and value.isdigit() and len(value) < 9 else None
