"""Parse a mail's header block: lines, encoded words, addresses. Limited in size, and linear in its length.

The standard library parses parameters and addresses. What headers mean is up to the callers.
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
_LOOKAHEAD = 5
"""After a broken line, one of this many lines must be a known header for the block to continue."""
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
    """What remains of the limits of one mail, over all levels of nesting: parts, and bytes of headers."""

    parts: int = 300
    #: Number of parts beyond the limit, which are not read.
    left_out: int = 0
    header_bytes: int = 512 * 1024


def split(raw: bytes, start: int, end: int, budget: Budget | None = None) -> tuple[Message, int]:
    """Return the headers that begin at `start`, and the position where the body begins.

    The block ends at the first empty line, or before the first line that is not a header, so that no text is lost.
    Undecodable bytes become surrogates until `decoded_words` decodes them. A lone carriage return ends a line only if
    there is no line feed at all: DKIM verifiers do not treat it as a line end, and must read the same From as this.
    """
    budget = budget or Budget()
    feed = b"\r" if raw.find(b"\n", start, end) < 0 else b"\n"
    rows: list[str] = []
    at, stop = start, min(end, start + min(MAX_BLOCK, budget.header_bytes))
    remaining = count = 0
    body = None
    while at < stop:
        last, after = _row(raw, at, end, feed)
        if last == at:
            body = after
            break
        text = raw[at : min(last, at + MAX_LONG_HEADER)].replace(b"\0", b"").replace(b"\r", b" ")
        if begin := _BEGIN.match(text):
            count += 1
            # The standard library parses parameters in quadratic time.
            remaining = MAX_HEADER if begin[1].lower().startswith(b"content-") else MAX_LONG_HEADER
            remaining = 0 if count > MAX_HEADERS else remaining
            # Old programs write a space before the colon, which the parser does not accept.
            text = begin[1] + b":" + text[begin.end() :]
        elif text[:1] not in {b" ", b"\t"} or not count:
            if not (at == start and text.startswith(_MBOX)) and not _headers_follow(raw, after, end, feed):
                body = at
                break
            text = b""
        if remaining > 0 and text:
            rows.append(text[:remaining].decode("ascii", "surrogateescape"))
            remaining -= len(text)
        at = after
    if body is None:
        over = _END[feed].search(raw, max(at - 2, start), end) if at >= stop else None
        body = over.end() if over else end
    budget.header_bytes -= min(at, stop) - start
    return Parser(policy=policy.compat32).parsestr("\n".join(rows), headersonly=True), body


def _row(raw: bytes, at: int, end: int, feed: bytes) -> tuple[int, int]:
    """Return the end of the line that begins at `at`, and the begin of the next one."""
    found = raw.find(feed, at, end)
    last, after = (end, end) if found < 0 else (found, found + 1)
    return (last - 1 if last > at and raw[last - 1] == 0x0D else last), after


def _headers_follow(raw: bytes, at: int, end: int, feed: bytes) -> bool:
    """Whether a known header is among the next lines, so that the line before them is broken, but in the headers."""
    for _ in range(_LOOKAHEAD):
        last, after = _row(raw, at, end, feed)
        if last == at:
            return False
        if _KNOWN.match(raw, at, last):
            return True
        at = after
    return False


def read(block: bytes) -> Message:
    """Return the headers of a separate header block."""
    return split(block, 0, len(block))[0]


def decoded_words(value: str, hint: str | None = None) -> str:
    """Decode a header: encoded words (RFC 2047), raw UTF-8, or another charset, which is guessed, `hint` first."""
    value = value[:MAX_HEADER]
    try:
        # Latin-1 preserves raw bytes beside encoded words.
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
    """Return the first header of that name, decoded, on one line; None if it is missing or blank."""
    return line(decoded_words(unfolded(headers, name), hint))


def unfolded(headers: Message, name: str, limit: int = MAX_HEADER) -> str:
    """Return the first header of that name, not decoded, on one line; undecodable bytes are surrogates."""
    wanted = name.lower()
    for key, value in headers.raw_items():
        if key.lower() == wanted:
            return _FOLD.sub(" ", str(value)[:limit]).strip()
    return ""


def every(headers: Message, name: str, limit: int = MAX_HEADER) -> list[str]:
    """Return all headers of that name, at most fifty, as `unfolded` does."""
    wanted = name.lower()
    found = [str(value)[:limit] for key, value in headers.raw_items() if key.lower() == wanted]
    return [_FOLD.sub(" ", value).strip() for value in found[:50]]


def addresses(values: list[str], hint: str | None = None) -> list[tuple[str, str]]:
    """Return (name, normalized address) for the addresses in address headers; others are omitted."""
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
    """Return the address in normalized form, or None if it is not an address.

    Lower case, without unnecessary quotes (RFC 5321, section 4.1.2), with an ASCII domain (IDNA).
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
    """Return a domain with `xn--` labels for international ones; None if it is not a valid domain."""
    if domain.isascii():
        return domain
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError, ValueError, IndexError):
        return None
