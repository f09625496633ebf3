"""Text of `format=flowed` (RFC 3676) with its paragraphs joined again, quotes kept apart by `> `."""

from __future__ import annotations

_SIGNATURE = "-- "


def unflowed(text: str, *, delete_space: bool) -> str:
    """Join what the sender's mailer has broken: a line that ends in a space goes on in the next of the same quote.

    `delete_space` is the parameter `delsp=yes`: the space at the end is the mailer's too, as in scripts without any.
    """
    out: list[str] = []
    pieces: list[str] = []
    depth = 0
    for row in text.split("\n"):
        quoted = len(row) - len(row.lstrip(">"))
        content = row[quoted:].rstrip("\r")
        content = content.removeprefix(" ")  # stuffed by the sender, in all lines that begin with a space, > or From
        goes_on = content.endswith(" ") and content != _SIGNATURE
        if pieces and (quoted != depth or content == _SIGNATURE):
            out.append(_line(depth, pieces))
            pieces = []
        depth = quoted
        pieces.append(content[:-1] if goes_on and delete_space else content)
        if not goes_on:
            out.append(_line(depth, pieces))
            pieces = []
    if pieces:
        out.append(_line(depth, pieces))
    return "\n".join(out)


def _line(depth: int, pieces: list[str]) -> str:
    joined = "".join(pieces)
    return f"{'>' * depth} {joined}" if depth else joined
