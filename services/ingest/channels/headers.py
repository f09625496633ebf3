"""A mail's header block and what stands in it: lines, encoded words, addresses. Bounded, and linear in its length.

Parameters and the grammar of addresses are the standard library's. What a header means is not known here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email import policy
from email.errors import HeaderParseError, MessageError
from email.header import decode_header
from email.message import Message
from email.parser import Parser
from email.utils import getaddresses

import idna

from services.ingest.channels.charsets import decode
from services.ingest.channels.reading import line

MAX_BLOCK = 256 * 1024
MAX_HEADER = 4000
MAX_LONG_HEADER = 64_000
MAX_HEADERS = 2000
MAX_ADDRESSES = 16_000
MAX_ADDRESS = 320

_END = {b"\n": re.compile(rb"\r?\n\r?\n"), b"\r": re.compile(rb"\r\r")}
_BEGIN = re.compile(rb"([!-9;-~]+)[ \t]*:")
_FOLLOWS = 5
"""Rows after a broken one in which a header has to come for the block to go on."""
_KNOWN = re.compile(
    rb"(?:From|To|Cc|Bcc|Subject|Date|Sender|Reply-To|Message-ID|In-Reply-To|References|Return-Path|Received|"
    rb"MIME-Version|Content-[A-Za-z-]+|X-[!-9;-~]+|List-[A-Za-z-]+|DKIM-Signature|ARC-[A-Za-z-]+|"
    rb"Authentication-Results|Auto-Submitted|Precedence|Delivered-To|User-Agent|Importance)[ \t]*:",
    re.IGNORECASE,
)
_MBOX = (b"From ", b">From ")
_DOMAIN = r"[^\s@<>\"(),:;\\]+"
_ADDRESS = re.compile(rf"(?:[^\s@<>\"(),:;\\]+|\"(?:[^\"\\\x00-\x1f\x7f]|\\[ -~])+\")@{_DOMAIN}")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)+)"')
_ATOMS = re.compile(r"[^\s@<>\"(),:;\[\]\\.]+(?:\.[^\s@<>\"(),:;\[\]\\.]+)*")
_FOLD = re.compile(r"[\r\n]+[ \t]?")


@dataclass(slots=True)
class Budget:
    """What one mail may still cost, however it is nested: parts, and bytes of header blocks."""

    parts: int = 300
    #: Parts that were not read, since there were more.
    left_out: int = 0
    header_bytes: int = 512 * 1024


def split(raw: bytes, start: int, end: int, budget: Budget | None = None) -> tuple[Message, int]:
    """The headers that begin at `start`, and where the body begins.

    The block ends at the first empty line; where that is missing, at the first line that is no header, so that no
    text is lost. Undecodable bytes become surrogates until `decoded_words` reads them. A carriage return alone ends a
    line only where no line feed does: other readers, those that check a signature among them, see no line end there,
    and must not read another From than is read here.
    """
    budget = budget or Budget()
    feed = b"\r" if raw.find(b"\n", start, end) < 0 else b"\n"
    rows: list[str] = []
    at, stop = start, min(end, start + min(MAX_BLOCK, budget.header_bytes))
    room = count = 0
    body = None
    while at < stop:
        last, after = _row(raw, at, end, feed)
        if last == at:
            body = after
            break
        text = raw[at : min(last, at + MAX_LONG_HEADER)].replace(b"\0", b"").replace(b"\r", b" ")
        if begin := _BEGIN.match(text):
            count += 1
            # Parameters are read by code whose time grows with the square of their length.
            room = MAX_HEADER if begin[1].lower().startswith(b"content-") else MAX_LONG_HEADER
            room = 0 if count > MAX_HEADERS else room
            # Old programs write a space before the colon, at which the parser would stop.
            text = begin[1] + b":" + text[begin.end() :]
        elif text[:1] not in {b" ", b"\t"} or not count:
            if not (at == start and text.startswith(_MBOX)) and not _goes_on(raw, after, end, feed):
                body = at
                break
            text = b""
        if room > 0 and text:
            rows.append(text[:room].decode("ascii", "surrogateescape"))
            room -= len(text)
        at = after
    if body is None:
        over = _END[feed].search(raw, max(at - 2, start), end) if at >= stop else None
        body = over.end() if over else end
    budget.header_bytes -= min(at, stop) - start
    return Parser(policy=policy.compat32).parsestr("\n".join(rows), headersonly=True), body


def _row(raw: bytes, at: int, end: int, feed: bytes) -> tuple[int, int]:
    """Where the row that begins at `at` ends, and where the next one begins."""
    found = raw.find(feed, at, end)
    last, after = (end, end) if found < 0 else (found, found + 1)
    return (last - 1 if last > at and raw[last - 1] == 0x0D else last), after


def _goes_on(raw: bytes, at: int, end: int, feed: bytes) -> bool:
    """Whether a row that is no header is only a broken one: headers that are known follow it."""
    for _ in range(_FOLLOWS):
        last, after = _row(raw, at, end, feed)
        if last == at:
            return False
        if _KNOWN.match(raw, at, last):
            return True
        at = after
    return False


def read(block: bytes) -> Message:
    """The headers of a block that stands alone."""
    return split(block, 0, len(block))[0]


def decoded_words(value: str, hint: str | None = None) -> str:
    """A header's text: encoded words (RFC 2047), raw UTF-8, and what is neither: that is guessed, `hint` first."""
    value = value[:MAX_HEADER]
    try:
        # As Latin-1, raw bytes beside encoded words come back as the bytes that they were.
        pieces = decode_header(value.encode("ascii", "surrogateescape").decode("latin-1")) if "=?" in value else []
    except (HeaderParseError, ValueError, IndexError):
        pieces = []
    if any(charset for _, charset in pieces):
        texts = (p if isinstance(p, str) else decode(p, charset, None if charset else hint) for p, charset in pieces)
        joined = "".join(texts)
        if joined.strip():
            return joined
    return decode(value.encode("utf-8", "surrogateescape"), None, hint)


def header(headers: Message, name: str, hint: str | None = None) -> str | None:
    """The first header of that name as one line of text."""
    return line(decoded_words(unfolded(headers, name), hint))


def unfolded(headers: Message, name: str, limit: int = MAX_HEADER) -> str:
    """The first header of that name as it came, on one line; undecodable bytes are surrogates."""
    wanted = name.lower()
    for key, value in headers.raw_items():
        if key.lower() == wanted:
            return _FOLD.sub(" ", str(value)[:limit]).strip()
    return ""


def every(headers: Message, name: str, limit: int = MAX_HEADER) -> list[str]:
    """All headers of that name, as `unfolded`; at most fifty."""
    wanted = name.lower()
    found = [str(value)[:limit] for key, value in headers.raw_items() if key.lower() == wanted]
    return [_FOLD.sub(" ", value).strip() for value in found[:50]]


def addresses(values: list[str], hint: str | None = None) -> list[tuple[str, str]]:
    """(name, address as `address` has it) of address headers; what is no address is left out."""
    found = []
    try:
        pairs = getaddresses([value[:MAX_ADDRESSES] for value in values])
    except (ValueError, IndexError, RecursionError, MessageError):
        pairs = [("", match[0]) for value in values for match in _ADDRESS.finditer(value[:MAX_ADDRESSES])]
    for name, each in pairs[:200]:
        if plain := address(decode(each.encode("utf-8", "surrogateescape"), None)):
            found.append((line(decoded_words(name, hint)) or "", plain))
    return found


def address(text: str) -> str | None:
    """The address in the one form that all its spellings have; None: it is none.

    Lower case, no quotes that need not be there (RFC 5321, section 4.1.2), the domain as DNS has it (IDNA).
    """
    plain = line(text, MAX_ADDRESS)
    if plain is None or not _ADDRESS.fullmatch(plain):
        return None
    local, _, domain = plain.lower().rpartition("@")
    if quoted := _QUOTED.fullmatch(local):
        bare = re.sub(r"\\(.)", r"\1", quoted[1])
        local = bare if _ATOMS.fullmatch(bare) else local
    return f"{local}@{to_ascii(domain) or domain}"


def to_ascii(domain: str) -> str | None:
    """A domain as DNS has it, `xn--` labels and all; None: it cannot be one."""
    if domain.isascii():
        return domain
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError, ValueError, IndexError):
        return None
