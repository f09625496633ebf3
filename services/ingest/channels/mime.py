"""Parse MIME into a tree of limited size, whose parts are slices of the mail. email.py interprets it.

The standard library's parser is not used, since its recursion and its work per line grow with the sender's nesting.
This one is linear, and no level of nesting copies the levels below it.
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
"""Maximum encoded bytes of a part that are decoded as text; more than is ever shown."""

_RAW_BOUNDARY = re.compile(r"boundary[ \t]*=[ \t]*\"?([^\";]+)", re.IGNORECASE)
_NO_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")
_UUENCODED = {"x-uuencode", "uuencode", "uue", "x-uue"}


@dataclass(slots=True, eq=False)
class Node:
    """A part with either children or a body, which is `source[start:end]`, still transfer-encoded."""

    headers: Message
    source: bytes
    start: int
    end: int
    children: list[Node] = field(default_factory=list)
    #: Only in the root: number of parts of the whole tree that were not read.
    left_out: int = 0

    @property
    def media_type(self) -> str:
        """The media type in lower case; `text/plain` if it is unreadable (RFC 2045)."""
        return self.headers.get_content_type()

    def leaves(self) -> Iterator[Node]:
        """Yield the parts that have no children, in order."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()

    def content(self, limit: int | None = None) -> bytes:
        """Return the bytes, decoded from base64, quoted-printable or uuencode as far as possible.

        Only the first `limit` encoded bytes are decoded.
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
        """Return the text, decoded with the declared charset or, if that is wrong or unknown, the likeliest one."""
        return decode(self.content(MAX_TEXT_BYTES), self.parameter("charset"))

    def parameter(self, name: str, header: str = "content-type") -> str | None:
        """Return a decoded parameter (RFC 2231) of a header on one line; None if it is missing or unreadable."""
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
        """The content disposition in lower case, usually `attachment` or `inline`; "" if there is none."""
        return str(self.headers.get("content-disposition", "")).split(";")[0].strip().lower()

    def filename(self) -> str | None:
        """Return the file name without directories; None if there is none."""
        name = self.parameter("filename", "content-disposition") or self.parameter("name")
        bare = line(re.split(r"[\\/]", name)[-1], 200) if name else None
        return bare if bare not in {".", ".."} else None

    def named(self, number: int) -> str:
        """Return the file name, or one made from the part's number and media type."""
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
    started = False
    for row in body.splitlines():
        if not started:
            started = row.startswith(b"begin ")
        elif row.strip() in {b"", b"`", b"end"}:
            break
        else:
            try:  # some encoders add too much padding to a line
                out += binascii.a2b_uu(row[: (((row[0] - 32) & 63) * 4 + 5) // 3])
            except binascii.Error:
                break
    return bytes(out) if started else body


def read(raw: bytes) -> Node:
    """Return the tree. Beyond the limits, parts are not split or are omitted; the root has their number."""
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
    # Invalid, but it occurs. The library replaced non-ASCII bytes, while the delimiter lines still have them.
    raw = _RAW_BOUNDARY.search(heads.unfolded(headers, "content-type"))
    return raw[1].rstrip() if raw else None


def _pieces(node: Node, boundary: str) -> Iterator[tuple[int, int]]:
    """Yield begin and end of the parts between delimiter lines; the closing delimiter may be missing."""
    raw, begin, end = node.source, node.start, node.end
    mark = re.escape(b"--" + boundary[:200].rstrip().encode("ascii", "surrogateescape"))
    start = None
    # The pattern begins with the mark, not with a line end, so that the search is as fast as for a plain string.
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
