"""HTML of strangers as plain text: what a person would read, without scripts, styles and trackers."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from services.ingest.channels.reading import clean

MAX_HTML = 300_000

_DROPPED = {"script", "style", "head", "title", "template", "noscript", "object", "svg", "math"}
_BLOCKS = {
    "address", "article", "aside", "blockquote", "div", "dl", "dd", "dt", "fieldset", "footer", "form", "h1", "h2",
    "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "table", "tr", "ul",
}  # fmt: skip
_PARAGRAPHS = {"p", "blockquote", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol"}
_SPACE = re.compile(r"[ \t\n\r\f\v\u00a0]+")
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
QUOTE = "\x01"
"""Marks the begin of a line that stands in a blockquote, for whoever cuts quotes off; never left in a result."""


class _Text(HTMLParser):
    def __init__(self, limit: int) -> None:
        super().__init__(convert_charrefs=True)
        self.out: list[str] = []
        self.left = limit
        self.dropped: list[str] = []
        self.quotes = 0
        self.pre = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "body":
            self.dropped.clear()  # a head that nobody closed
        if self.dropped:
            if tag not in _VOID and tag == self.dropped[-1] and len(self.dropped) < 1000:
                self.dropped.append(tag)
            return
        hidden = any(name == "style" and value and _HIDDEN.search(value) for name, value in attrs)
        if tag not in _VOID and (tag in _DROPPED or hidden):
            self.dropped.append(tag)
            return
        if tag == "br":
            self._break(1, always=True)
        elif tag in _BLOCKS:
            self._break(2 if tag in _PARAGRAPHS else 1)
            if tag == "li":
                self._add("- ")
        elif tag in {"td", "th"}:
            self._add(" ")
        elif tag == "img":
            alt = next((value for name, value in attrs if name == "alt"), None)
            if alt and alt.strip():
                self._add(f"[{alt.strip()[:100]}]")
        if tag == "blockquote":
            self.quotes += 1
        self.pre += tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        if self.dropped:
            if tag == self.dropped[-1]:
                self.dropped.pop()
            return
        if tag == "blockquote":
            self._break(2)
            self.quotes = max(self.quotes - 1, 0)
        elif tag in _BLOCKS:
            self._break(2 if tag in _PARAGRAPHS else 1)
        self.pre = max(self.pre - (tag == "pre"), 0)

    def handle_data(self, data: str) -> None:
        if self.dropped:
            return
        if self.pre:
            for n, row in enumerate(data.split("\n")):
                if n:
                    self._break(1, always=True)
                self._add(row)
            return
        text = _SPACE.sub(" ", data)
        if text != " " or (self.out and not self.out[-1].endswith(("\n", " "))):
            self._add(text)

    def _add(self, text: str) -> None:
        if not self.out or self.out[-1].endswith("\n"):
            text = (QUOTE if self.quotes else "") + (text if self.pre else text.lstrip(" "))
        if self.left > 0 and text:
            self.out.append(text[: self.left])
            self.left -= len(text)

    def _break(self, lines: int, *, always: bool = False) -> None:
        """At least that many line ends; `always` adds one even after another."""
        if not self.out or self.left <= 0:
            return
        tail = self.out[-1]
        have = len(tail) - len(tail.rstrip("\n")) if tail.endswith("\n") else 0
        wanted = have + 1 if always else max(lines, have)
        if wanted <= 3 and wanted > have:
            self.out[-1] = tail.rstrip(" ") if not have else tail
            self.out[-1] += "\n" * (wanted - have)


def _read(html: str, limit: int) -> str:
    parser = _Text(limit)
    try:
        parser.feed(html[:MAX_HTML].replace("\0", "").replace(QUOTE, ""))
        parser.close()
    except (AssertionError, ValueError, RecursionError):  # malformed declarations: keep what was read up to there
        pass
    return "".join(parser.out)


def html_to_text(html: str, limit: int) -> str:
    """The text."""
    return clean(_read(html, limit).replace(QUOTE, ""), limit).strip()


def html_with_quotes_marked(html: str, limit: int) -> str:
    """The text with `> ` before each line that stood in a blockquote, as plain mail would have it."""
    rows = (f"> {row[1:]}" if row.startswith(QUOTE) else row for row in _read(html, limit).split("\n"))
    return clean("\n".join(rows), limit).strip()
