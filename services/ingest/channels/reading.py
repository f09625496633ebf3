"""Reading what strangers wrote: JSON, texts, instants, answers; bounded. No channel is named here."""

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
"""Characters. Both together, in any script, stay well below what a Kafka record may hold."""
MAX_LINE = 500
LIGHT_LOOK_BYTES = 64 * 1024

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_LINE_BREAKS = re.compile(r"[\r\n\t\v\f\x85\u2028\u2029]+")


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """A text that every store and every encoder takes: no control characters, no lone surrogates, bounded."""
    text = text[: limit * 2]
    if not (text.isascii() and text.isprintable()):
        text = _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
        text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return text[:limit]


def line(text: object, limit: int = MAX_LINE) -> str | None:
    """One line of text for a name, an id, a subject; None when nothing is left, or it was no text."""
    if isinstance(text, int) and not isinstance(text, bool):
        text = str(text) if abs(text) < 1 << 128 else ""
    if not isinstance(text, str):
        return None
    if len(text) <= limit and text.isprintable():  # nothing in it to mend, as in nearly all
        return text.strip() or None
    return clean(_LINE_BREAKS.sub(" ", text[: limit * 4]), limit).strip() or None


def words(value: object) -> str:
    """The text of a message, or nothing."""
    return clean(value) if isinstance(value, str) else ""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def read_object(body: bytes) -> dict[str, Any]:
    """A JSON object; raises Unreadable. Lone surrogates get through, as senders do write them; `clean` mends them."""
    try:
        document = json.loads(body, parse_constant=_refuse_constant)
    except RecursionError:
        raise Unreadable("JSON nested too deeply") from None
    except ValueError as error:  # also UnicodeDecodeError, and numbers of thousands of digits
        raise Unreadable(f"not JSON: {str(error)[:200]}") from None
    if not isinstance(document, dict):
        raise Unreadable("not a JSON object")
    return document


def glance(body: bytes, most: int = LIGHT_LOOK_BYTES) -> dict[str, Any]:
    """A light look at JSON that nobody has verified yet: an empty object where that is not cheap or not possible."""
    if len(body) > most:
        return {}
    try:
        document = from_json(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def whole(body: bytes) -> dict[str, Any]:
    """The JSON object in a body that was verified, whatever its size; empty if there is none."""
    return glance(body, len(body))


def named_in(body: bytes, name: str) -> str | None:
    """The first text of that name in JSON of any size that nobody has verified yet, found without reading it.

    In JSON a quote within a text is escaped, so no text can pose as the name. A wrong find verifies as nothing.
    """
    found = re.search(rb'"%s"\s*:\s*"([\w.-]{1,100})"' % name.encode(), body)
    return found[1].decode("ascii", "replace") if found else None


def obj(value: object) -> Mapping[str, Any]:
    """The value if it is an object, otherwise an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: object) -> Iterator[Mapping[str, Any]]:
    """The objects in a list; nothing if it is none."""
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))


def first(value: object) -> Mapping[str, Any]:
    """The first object in a list, otherwise an empty one."""
    return next(objects(value), {})


def each(elements: Iterable[T], read: Callable[[T], InboundMessage | DeliveryStatus | None]) -> Iterator[Inbound]:
    """Read every element of a batch by itself: one that cannot be read, or shows a bug, leaves the others alone."""
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
    """A Unix time in seconds, as number or text; the fallback where it is none, or none that a calendar has."""
    try:
        return to_instant(datetime.fromtimestamp(float(seconds), UTC))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, OSError):
        return fallback


def degrees(value: object, most: float) -> float | None:
    """A latitude or a longitude."""
    if isinstance(value, int | float) and not isinstance(value, bool) and -most <= value <= most:
        return float(value)
    return None


def read_answer(status: int, headers: Mapping[str, str], body: bytes, *path: str | int) -> SendOutcome:
    """A provider's answer: sent, with the id that stands at `path` in its JSON, or refused."""
    if 200 <= status < 300:
        value: Any = glance(body)
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return Sent(None)
        return Sent(line(value))
    told = line(body[:MAX_LINE].decode("utf-8", "replace")) or "no reason given"
    # 401 and 403 are faults of our configuration, which will be mended: not the message's.
    permanent = 400 <= status < 500 and status not in {401, 403, 408, 409, 425, 429}
    # RFC 9110, 15.6: 503 could not handle the request; after any other 5xx (a gateway's too) it may have been handled.
    unsure = status == 409 or (status >= 500 and status != 503)
    return SendFailure(f"HTTP {status}: {told}", permanent, _retry_after(headers), unsure)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    return min(float(value), 3600.0) if value.isascii() and value.isdigit() and len(value) < 9 else None
