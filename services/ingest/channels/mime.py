"""MIME as a tree of bounded size: parts as slices of the one mail, and their contents. What a mail means is email.py's.

Splitting is done here rather than by the standard library's parser, whose recursion and per-line work follow the
sender's nesting. Everything is linear, and no level of nesting copies what is below it.
"""

from __future__ import annotations

import binascii
import mimetypes
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.errors import MessageError
from email.message import Message

from services.ingest.channels import headers as heads
from services.ingest.channels.charsets import decode
from services.ingest.channels.headers import Budget
from services.ingest.channels.reading import line

MAX_DEPTH = 20
MAX_TEXT_BYTES = 4 * 1024 * 1024
"""Encoded bytes of a part that are read as text: more than is shown of any."""

_RAW_BOUNDARY = re.compile(r"boundary[ \t]*=[ \t]*\"?([^\";]+)", re.IGNORECASE)
_NO_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")
_UUENCODED = {"x-uuencode", "uuencode", "uue", "x-uue"}


@dataclass(slots=True, eq=False)
class Node:
    """A part: either children, or a body that is still transfer-encoded. The body is `source[start:end]`."""

    headers: Message
    source: bytes
    start: int
    end: int
    children: list[Node] = field(default_factory=list)
    #: Of the root: parts of the whole tree that were not read.
    left_out: int = 0

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

    def content(self, limit: int | None = None) -> bytes:
        """The bytes, decoded from base64, quoted-printable or uuencode, as far as they can be.

        `limit` is how many of the encoded bytes are looked at.
        """
        end = self.end if limit is None else min(self.end, self.start + limit)
        body = memoryview(self.source)[self.start : end]
        encoding = str(self.headers.get("content-transfer-encoding", "")).strip().lower()
        if encoding == "base64":
            return _from_base64(body)
        if encoding == "quoted-printable":
            return binascii.a2b_qp(body)
        return _from_uu(bytes(body)) if encoding in _UUENCODED else bytes(body)

    def text(self) -> str:
        """The text, by the declared charset or, where that is wrong or unknown, the likeliest."""
        return decode(self.content(MAX_TEXT_BYTES), self.parameter("charset"))

    def parameter(self, name: str, header: str = "content-type") -> str | None:
        """A parameter of a header, decoded (RFC 2231), without what no name may have."""
        try:
            value = self.headers.get_param(name, header=header)
        except (ValueError, TypeError, MessageError, LookupError, IndexError):
            return None
        if isinstance(value, tuple):
            charset, _, raw = value
            value = decode(raw.encode("latin-1", "replace"), charset)
        return line(heads.decoded_words(value)) if isinstance(value, str) else None

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


def _from_base64(body: memoryview) -> bytes:
    for padding in (b"", b"=="):
        try:
            return binascii.a2b_base64(bytes(body) + padding if padding else body)
        except (binascii.Error, ValueError):
            continue
    digits = _NO_BASE64.sub(b"", body)
    return binascii.a2b_base64(digits[: len(digits) // 4 * 4])


def _from_uu(body: bytes) -> bytes:
    out = bytearray()
    begun = False
    for row in body.splitlines():
        if not begun:
            begun = row.startswith(b"begin ")
        elif row.strip() in {b"", b"`", b"end"}:
            break
        else:
            try:  # some encoders pad a line with more than belongs to it
                out += binascii.a2b_uu(row[: (((row[0] - 32) & 63) * 4 + 5) // 3])
            except binascii.Error:
                break
    return bytes(out) if begun else body


def read(raw: bytes) -> Node:
    """The whole tree. Beyond the bounds, parts stay unsplit or are left out; the root says how many."""
    budget = Budget()
    root = _read(raw, 0, len(raw), budget, 0, "text/plain")
    root.left_out = budget.left_out
    return root


def _read(raw: bytes, start: int, end: int, budget: Budget, depth: int, default: str) -> Node:
    if raw[start : min(start + 1, end)] in {b"\n", b"\r"}:
        while start < end and raw[start] in b"\r\n":
            start += 1
        found, body = Message(), start
    else:
        found, body = heads.split(raw, start, end, budget)
    found.set_default_type(default)
    node = Node(found, raw, body, end)
    boundary = _boundary(found)
    if not boundary:
        return node
    if depth >= MAX_DEPTH:
        budget.left_out += 1
        return node
    inner = "message/rfc822" if found.get_content_subtype() == "digest" else "text/plain"
    for first, last in _pieces(node, boundary):
        if budget.parts <= 0:
            budget.left_out += 1
            continue
        budget.parts -= 1
        node.children.append(_read(raw, first, last, budget, depth + 1, inner))
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
    raw = _RAW_BOUNDARY.search(heads.unfolded(headers, "content-type"))
    return raw[1].rstrip() if raw else None


def _pieces(node: Node, boundary: str) -> Iterator[tuple[int, int]]:
    """Where the parts between the delimiter lines begin and end; the last may lack its end."""
    raw, begin, end = node.source, node.start, node.end
    mark = re.escape(b"--" + boundary[:200].rstrip().encode("ascii", "surrogateescape"))
    start = None
    # It begins with the mark itself, not with a line end: then the search is as fast as one for a plain string.
    for delimiter in re.compile(mark + rb"(--)?[ \t]*(?=\r?\n|\Z)").finditer(raw, begin, end):
        at = delimiter.start()
        if at > begin and raw[at - 1] != 0x0A:
            continue
        if start is not None:
            yield _after_line_end(raw, start, max(at - (2 if raw[at - 2 : at] == b"\r\n" else 1), begin))
        start = delimiter.end()
        if delimiter[1]:
            return
    if start is not None:
        yield _after_line_end(raw, start, end)


def _after_line_end(raw: bytes, start: int, end: int) -> tuple[int, int]:
    start += 2 if raw.startswith(b"\r\n", start) else 1
    return (start, end) if start <= end else (end, end)
