"""MIME as a tree of bounded size: parts, headers, charsets. What a mail means is email.py's.

Splitting is done here rather than by the standard library's parser, whose recursion and per-line work follow the
sender's nesting; headers, parameters and transfer encodings are the standard library's. Everything is linear.
"""

from __future__ import annotations

import codecs
import mimetypes
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import policy
from email.errors import HeaderParseError, MessageError
from email.header import decode_header
from email.message import Message
from email.parser import Parser
from email.utils import getaddresses

from services.ingest.channels.reading import line

MAX_DEPTH = 20
MAX_PARTS = 300
MAX_HEADER_BLOCK = 256 * 1024
MAX_HEADER = 4000
MAX_LONG_HEADER = 64_000
MAX_HEADERS = 2000
MAX_ADDRESSES = 16_000

_END_OF_HEADERS = re.compile(rb"\r?\n\r?\n|\r\r")
_RAW_BOUNDARY = re.compile(r"boundary[ \t]*=[ \t]*\"?([^\";]+)", re.IGNORECASE)
_HEADER_LINE = re.compile(r"([!-9;-~]+)[ \t]*:")
_ADDRESS = re.compile(r"[^\s@<>\"(),:;\\]+@[^\s@<>\"(),:;\\]+")
#: Codecs that are no charsets of mail, and some of which take quadratic time.
_NO_CHARSETS = {"punycode", "idna", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem"}
_WIDER = {  # what senders call the first is, in effect, the second
    "ks_c_5601-1987": "cp949", "ks_c_5601": "cp949", "euc-kr": "cp949", "ksc5601": "cp949", "gb2312": "gb18030",
    "gbk": "gb18030", "tis-620": "cp874", "iso-8859-11": "cp874", "windows-874": "cp874", "iso-8859-1": "cp1252",
    "latin1": "cp1252", "us-ascii": "cp1252", "ascii": "cp1252", "shift_jis": "cp932", "iso-8859-9": "cp1254",
    "utf8mb4": "utf-8",
}  # fmt: skip
#: In these every byte is a letter, so that UTF-8 under their name is told only by being valid UTF-8.
_SINGLE_BYTE = {"cp1252", "cp1250", "iso8859-2", "cp1254", "iso8859-15"}


@dataclass(slots=True)
class Node:
    """A part: either children, or a body that is still transfer-encoded."""

    headers: Message
    body: bytes
    children: list[Node] = field(default_factory=list)

    @property
    def media_type(self) -> str:
        """`text/plain`, in lower case; what is not readable counts as that, as RFC 2045 has it."""
        return self.headers.get_content_type()

    def leaves(self) -> Iterator[Node]:
        """The parts without parts, in order."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()

    def content(self) -> bytes:
        """The bytes, decoded from base64, quoted-printable or uuencode, as far as they can be."""
        self.headers.set_payload(self.body.decode("ascii", "surrogateescape"))
        try:
            payload = self.headers.get_payload(decode=True)
        except (ValueError, MessageError, LookupError):
            payload = self.body
        self.headers.set_payload("")
        return payload if isinstance(payload, bytes) else self.body

    def text(self) -> str:
        """The text, by the declared charset or, where that is wrong or unknown, the likeliest."""
        return decode(self.content(), self.parameter("charset"))

    def parameter(self, name: str, header: str = "content-type") -> str | None:
        """A parameter of a header, decoded (RFC 2231), without what no name may have."""
        try:
            value = self.headers.get_param(name, header=header)
        except (ValueError, TypeError, MessageError, LookupError, IndexError):
            return None
        if isinstance(value, tuple):
            charset, _, raw = value
            value = decode(raw.encode("latin-1", "replace"), charset)
        return line(decoded_words(value)) if isinstance(value, str) else None

    @property
    def disposition(self) -> str:
        """`attachment`, `inline` or nothing."""
        return str(self.headers.get("content-disposition", "")).split(";")[0].strip().lower()

    def filename(self) -> str | None:
        """The name without any folder."""
        name = self.parameter("filename", "content-disposition") or self.parameter("name")
        bare = line(re.split(r"[\\/]", name)[-1], 200) if name else None
        return bare if bare not in {".", ".."} else None

    def named(self, number: int) -> str:
        """The name, or one made from the media type."""
        return self.filename() or f"part-{number}{mimetypes.guess_extension(self.media_type) or '.bin'}"


def split_headers(raw: bytes) -> tuple[bytes, bytes]:
    """The header block and the rest."""
    if raw[:1] in {b"\n", b"\r"}:
        return b"", raw.lstrip(b"\r\n")
    end = _END_OF_HEADERS.search(raw)
    return (raw, b"") if end is None else (raw[: end.start()], raw[end.end() :])


def read_headers(block: bytes) -> Message:
    """The headers; broken lines are left out, undecodable bytes become surrogates until `decoded_words` reads them."""
    return Parser(policy=policy.compat32).parsestr("\n".join(_header_lines(block)), headersonly=True)


def _header_lines(block: bytes) -> Iterator[str]:
    """Lines that are headers or go on with one; what is longer than any header needs to be is cut."""
    room = 0
    count = 0
    text = block[:MAX_HEADER_BLOCK].decode("ascii", "surrogateescape").replace("\0", "")
    for row in re.split(r"\r\n|\r|\n", text):
        if begin := _HEADER_LINE.match(row):
            count += 1
            # Parameters are read by code whose time grows with the square of their length.
            room = MAX_HEADER if begin[1].lower().startswith("content-") else MAX_LONG_HEADER
            room = 0 if count > MAX_HEADERS else room
        elif not row.startswith((" ", "\t")):
            continue
        if room > 0 and (count or begin):
            yield row[:room]
            room -= len(row)


def read(raw: bytes) -> Node:
    """The whole tree. Beyond the bounds, parts stay unsplit or are left out."""
    budget = [MAX_PARTS]
    return _read(raw, budget, 0, "text/plain")


def _read(raw: bytes, budget: list[int], depth: int, default: str) -> Node:
    block, body = split_headers(raw)
    headers = read_headers(block)
    headers.set_default_type(default)
    node = Node(headers, body)
    boundary = _boundary(headers)
    if not boundary or depth >= MAX_DEPTH:
        return node
    inner = "message/rfc822" if headers.get_content_subtype() == "digest" else "text/plain"
    for piece in _pieces(body, boundary):
        if budget[0] <= 0:
            break
        budget[0] -= 1
        node.children.append(_read(piece, budget, depth + 1, inner))
    return node


def _boundary(headers: Message) -> str | None:
    if headers.get_content_maintype() != "multipart":
        return None
    try:
        boundary = headers.get_boundary()
    except (ValueError, TypeError, MessageError, LookupError):
        return None
    if boundary is None or boundary.isascii():
        return boundary
    # Not allowed, and seen: the library has replaced what is no ASCII, the delimiter lines have it as it came.
    raw = _RAW_BOUNDARY.search(unfolded(headers, "content-type"))
    return raw[1].rstrip() if raw else None


def _pieces(body: bytes, boundary: str) -> Iterator[bytes]:
    """What stands between the delimiter lines; the last may lack its end."""
    mark = re.escape(b"--" + boundary[:200].rstrip().encode("ascii", "surrogateescape"))
    start = None
    # It begins with the mark itself, not with a line end: then the search is as fast as one for a plain string.
    for delimiter in re.finditer(mark + rb"(--)?[ \t]*(?=\r?\n|\Z)", body):
        at = delimiter.start()
        if at and body[at - 1] != 0x0A:
            continue
        if start is not None:
            yield _after_line_end(body, start, max(at - (2 if body[at - 2 : at] == b"\r\n" else 1), 0))
        start = delimiter.end()
        if delimiter[1]:
            return
    if start is not None:
        yield _after_line_end(body, start, len(body))


def _after_line_end(body: bytes, start: int, end: int) -> bytes:
    start += 2 if body.startswith(b"\r\n", start) else 1
    return body[start:end] if start <= end else b""


def decode(raw: bytes, charset: str | None) -> str:
    """Bytes as text: never fails, and prefers what is certainly right to what the sender says."""
    name = (charset or "").strip(" '\"").lower()
    try:
        name = codecs.lookup(_WIDER.get(name, name) or "utf-8").name.replace("_", "-")
    except (LookupError, ValueError):
        name = "utf-8"
    if name in _NO_CHARSETS:
        name = "utf-8"
    guesses = ("utf-8", name) if name in _SINGLE_BYTE else (name, "utf-8")
    for guess in guesses:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                return raw.decode(guess)
        except (UnicodeError, LookupError, ValueError):
            continue
    # A few bad bytes in a long text: the declared charset is still the best guess, unless it says nothing.
    try:
        return raw.decode("cp1252" if not charset else name, "replace")
    except (UnicodeError, LookupError, ValueError):
        return raw.decode("utf-8", "replace")


def decoded_words(value: str) -> str:
    """A header's text: encoded words (RFC 2047), raw UTF-8, and what is neither."""
    value = value[:MAX_HEADER]
    try:
        pieces = (
            decode_header(value.encode("ascii", "surrogateescape").decode("ascii", "replace")) if "=?" in value else []
        )
    except (HeaderParseError, ValueError, IndexError):
        pieces = []
    if any(charset for _, charset in pieces):
        joined = "".join(p if isinstance(p, str) else decode(p, charset or "utf-8") for p, charset in pieces)
        if joined.strip():
            return joined
    return decode(value.encode("utf-8", "surrogateescape"), None)


def header(headers: Message, name: str) -> str | None:
    """The first header of that name as one line of text."""
    return line(decoded_words(unfolded(headers, name)))


def unfolded(headers: Message, name: str, limit: int = MAX_HEADER) -> str:
    """The first header of that name as it came, on one line; undecodable bytes are surrogates."""
    wanted = name.lower()
    for key, value in headers.raw_items():
        if key.lower() == wanted:
            return re.sub(r"[\r\n]+", " ", str(value)[:limit]).strip()
    return ""


def every(headers: Message, name: str, limit: int = MAX_HEADER) -> list[str]:
    """All headers of that name, as `unfolded`; at most fifty."""
    wanted = name.lower()
    found = [str(value)[:limit] for key, value in headers.raw_items() if key.lower() == wanted]
    return [re.sub(r"[\r\n]+", " ", value).strip() for value in found[:50]]


def addresses(values: list[str]) -> list[tuple[str, str]]:
    """(name, address in lower case) of address headers; what is no address is left out."""
    found = []
    try:
        pairs = getaddresses([value[:MAX_ADDRESSES] for value in values])
    except (ValueError, IndexError, RecursionError, MessageError):
        pairs = [("", match[0]) for value in values for match in _ADDRESS.finditer(value[:MAX_ADDRESSES])]
    for name, address in pairs[:200]:
        plain = line(decode(address.encode("utf-8", "surrogateescape"), None), 320)
        if plain and _ADDRESS.fullmatch(plain):
            found.append((line(decoded_words(name)) or "", plain.lower()))
    return found
