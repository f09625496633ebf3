"""Convert untrusted HTML to plain text: what a person would read, without scripts, styles and trackers.

The scanner is our own, since the standard library's takes quadratic time on unclosed tags and comments. This one only
moves forward, and stops at the first unclosed tag or comment.
"""

from __future__ import annotations

import html as entities
import re

from services.ingest.channels.reading import clean

MAX_HTML = 1_000_000

_RAW = {"script", "style", "textarea", "noscript", "template", "svg", "math", "object", "title"}
"""Elements that are omitted up to their end tag, whatever they contain."""
_BLOCKS = {
    "address", "article", "aside", "blockquote", "div", "dl", "dd", "dt", "fieldset", "footer", "form", "h1", "h2",
    "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "table", "tr", "ul",
}  # fmt: skip
_PARAGRAPHS = {"p", "blockquote", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol"}
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_SPACE = re.compile(r"[ \t\n\r\f\v\u00a0]+")
_HIDDEN = re.compile(r"display\s{0,5}:\s{0,5}none|visibility\s{0,5}:\s{0,5}hidden", re.IGNORECASE)
_ALT = re.compile(r"""\balt\s?=\s?(?:"([^"]{1,200})"|'([^']{1,200})')""", re.IGNORECASE)
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9:-]{0,30})")
_ENDS = {tag: re.compile(rf"</{tag}\b", re.IGNORECASE) for tag in _RAW}
_QUOTE = "\x01"
"""Marks lines within a blockquote; removed from results."""


class _Text:
    """Collects the text, up to a limit of characters."""

    def __init__(self, limit: int) -> None:
        self.out: list[str] = []
        self.remaining = limit
        self.quotes = 0
        self.pre = 0

    def add(self, text: str) -> None:
        if not self.out or self.out[-1].endswith("\n"):
            text = text if self.pre else text.lstrip(" ")
            text = _QUOTE + text if self.quotes and text else text
        if self.remaining > 0 and text:
            self.out.append(text[: self.remaining])
            self.remaining -= len(text)

    def end_line(self, lines: int, *, always: bool = False) -> None:
        """End the text with at least that many line ends; `always` adds one to those there are. At most three."""
        if not self.out or self.remaining <= 0:
            return
        tail = self.out[-1]
        have = len(tail) - len(tail.rstrip("\n"))
        wanted = have + 1 if always else max(lines, have)
        if have < wanted <= 3:
            self.out[-1] = (tail if have else tail.rstrip(" ")) + "\n" * (wanted - have)

    def data(self, raw: str) -> None:
        try:
            raw = entities.unescape(raw)
        except ValueError:  # a character reference with thousands of digits
            return
        if self.pre:
            for n, row in enumerate(raw.split("\n")):
                if n:
                    self.end_line(1, always=True)
                self.add(row)
            return
        text = _SPACE.sub(" ", raw)
        if text != " " or (self.out and not self.out[-1].endswith(("\n", " "))):
            self.add(text)

    def open(self, tag: str, attributes: str) -> None:
        if tag == "br":
            self.end_line(1, always=True)
        elif tag in _BLOCKS:
            self.end_line(2 if tag in _PARAGRAPHS else 1)
            if tag == "li":
                self.add("- ")
        elif tag in {"td", "th"}:
            self.data(" ")
        elif tag == "img" and (alt := _ALT.search(attributes[:4000])):
            self.data(f"[{(alt[1] or alt[2])[:100].strip()}]")
        self.quotes += tag == "blockquote"
        self.pre += tag == "pre"

    def close(self, tag: str) -> None:
        if tag in _BLOCKS:
            self.end_line(2 if tag in _PARAGRAPHS else 1)
        if tag == "blockquote":
            self.quotes = max(self.quotes - 1, 0)
        elif tag == "pre":
            self.pre = max(self.pre - 1, 0)


def _end_of_tag(html: str, start: int) -> int:
    """Return the position of the tag's `>`, skipping one within a quoted value; -1 if there is none."""
    end = html.find(">", start)
    if end >= 0 and html.count('"', start, end) % 2:
        quote = html.find('"', end, end + 500)
        end = html.find(">", quote) if quote >= 0 else end
    return end


def _read(html: str, limit: int) -> str:
    html = html[:MAX_HTML].replace("\0", "").replace(_QUOTE, "")
    text = _Text(limit)
    hidden: list[str] = []
    at = 0
    while at < len(html) and text.remaining > 0:
        start = html.find("<", at)
        if start < 0:
            start = len(html)
        if start > at and not hidden:
            text.data(html[at:start])
        if start == len(html):
            break
        tag = _TAG.match(html, start)
        if tag is None and not html.startswith(("<!", "<?", "</"), start):
            if not hidden:
                text.add("<")
            at = start + 1
            continue
        comment = html.startswith("<!--", start)
        end = html.find("-->", start + 4) if comment else _end_of_tag(html, start)
        if end < 0:
            break  # unclosed: browsers show nothing of the rest either
        at = end + (3 if comment else 1)
        if tag is not None and not comment:
            skipped = _step(text, hidden, tag[2].lower(), html[tag.end() : end], closing=bool(tag[1]))
            if skipped is not None:
                over = _ENDS[skipped].search(html, at)
                at = over.start() if over else len(html)
    return "".join(text.out)


def _step(text: _Text, hidden: list[str], name: str, attributes: str, *, closing: bool) -> str | None:
    """Handle one tag. Return the name of the element if its content is to be skipped, else None."""
    if hidden:
        if name == hidden[-1]:
            if closing:
                hidden.pop()
            elif len(hidden) < 1000:
                hidden.append(name)
        elif name == "body" and not closing:
            hidden.clear()  # an unclosed head
        return None
    if closing:
        text.close(name)
    elif name in _RAW:
        return None if attributes.endswith("/") else name
    elif name == "head" or (name not in _VOID and _HIDDEN.search(attributes[:4000])):
        hidden.append(name)
    else:
        text.open(name, attributes)
    return None


def html_to_text(html: str, limit: int) -> str:
    """Return the text, up to `limit` characters."""
    return clean(_read(html, limit).replace(_QUOTE, ""), limit).strip()


def html_with_quotes_marked(html: str, limit: int) -> str:
    """Return the text with `> ` before each line of a blockquote, as in plain text mail."""
    rows = (f"> {row[1:]}" if row.startswith(_QUOTE) else row for row in _read(html, limit).split("\n"))
    return clean("\n".join(rows), limit).strip()
