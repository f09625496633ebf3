"""Join the paragraphs of `format=flowed` text (RFC 3676); quotes keep their `> `."""

from __future__ import annotations

_SIGNATURE = "-- "


def unflowed(text: str, *, delete_space: bool) -> str:
    """Join lines: one that ends with a space continues in the next line of the same quote depth.

    `delete_space` (`delsp=yes`) says that the mailer added this space too, as in scripts without spaces.
    """
    out: list[str] = []
    pieces: list[str] = []
    depth = 0
    for row in text.split("\n"):
        quoted = len(row) - len(row.lstrip(">"))
        content = row[quoted:].rstrip("\r")
        content = content.removeprefix(
            " "
        )  # space-stuffing: mailers add a space to lines that begin with a space, ">" or "From"
        continues = content.endswith(" ") and content != _SIGNATURE
        if pieces and (quoted != depth or content == _SIGNATURE):
            out.append(_line(depth, pieces))
            pieces = []
        depth = quoted
        pieces.append(content[:-1] if continues and delete_space else content)
        if not continues:
            out.append(_line(depth, pieces))
            pieces = []
    if pieces:
        out.append(_line(depth, pieces))
    return "\n".join(out)


def _line(depth: int, pieces: list[str]) -> str:
    joined = "".join(pieces)
    return f"{'>' * depth} {joined}" if depth else joined
