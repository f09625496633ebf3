"""Which parts of a mail are its text, which are files, and the text as one. No header of the mail is read here."""

from __future__ import annotations

from collections.abc import Iterator

from services.ingest.channels import mime
from services.ingest.channels.flowed import unflowed
from services.ingest.channels.html import MAX_HTML, html_with_quotes_marked
from services.ingest.channels.reading import MAX_FULL_TEXT, clean, line
from services.ingest.core.messages import Part

_PICTURES = {"image/jpeg", "image/png", "image/gif", "image/webp", "image/heic", "image/bmp", "image/svg+xml"}


def body(root: mime.Node) -> tuple[str, bool, set[int]]:
    """The whole text, whether it came as HTML, and the parts that it was made of (by identity)."""
    shown, passed = _shown(root)
    texts, as_html, room = [], False, MAX_FULL_TEXT
    for leaf in shown:
        if room <= 0:
            break
        is_html = leaf.media_type == "text/html"
        text = (html_with_quotes_marked(leaf.text()[:MAX_HTML], room) if is_html else _plain(leaf, room)).strip()
        if text:
            texts.append(text)
            room -= len(text) + 2
            as_html |= is_html
    return "\n\n".join(texts)[:MAX_FULL_TEXT], as_html, {id(leaf) for leaf in (*shown, *passed)}


def _plain(leaf: mime.Node, room: int) -> str:
    text = leaf.text()
    if (leaf.parameter("format") or "").lower() == "flowed":
        # Twice the room: joining shortens, and what is beyond is cut anyway.
        text = unflowed(text[: 2 * room], delete_space=(leaf.parameter("delsp") or "").lower() == "yes")
    return clean(text, room)


def charset(root: mime.Node) -> str | None:
    """The charset that the mail's text declares: a hint for headers that declare none."""
    shown, passed = _shown(root)
    return next(filter(None, (leaf.parameter("charset") for leaf in (*shown, *passed))), None)


def files(root: mime.Node, used: set[int]) -> Iterator[Part]:
    """What is no text of the mail: attachments, and pictures within the text."""
    for number, leaf in enumerate(root.leaves(), 1):
        if id(leaf) in used or leaf.media_type.startswith("multipart/"):
            continue
        content = leaf.content()
        if not content and not leaf.filename():
            continue
        inline = leaf.media_type in _PICTURES and (leaf.disposition == "inline" or "content-id" in leaf.headers)
        media_type = line(leaf.media_type, 100) or "application/octet-stream"
        yield Part(leaf.named(number), media_type, content=content, size=len(content), inline=inline)


def _is_attachment(leaf: mime.Node) -> bool:
    return leaf.disposition == "attachment" or bool(leaf.filename() and leaf.disposition != "inline")


def _shown(node: mime.Node) -> tuple[list[mime.Node], list[mime.Node]]:
    """The parts to be shown, and with them the alternatives that they were preferred to."""
    if not node.children:
        textual = node.media_type in {"text/plain", "text/html"} and not _is_attachment(node)
        return ([node], []) if textual else ([], [])
    shown: list[mime.Node] = []
    passed: list[mime.Node] = []
    for child in node.children:
        more, less = _shown(child)
        shown += more
        passed += less
    if node.media_type == "multipart/alternative" and len(shown) > 1:
        plain = [leaf for leaf in shown if leaf.media_type == "text/plain" and leaf.text().strip()]
        chosen = plain or [leaf for leaf in shown if leaf.media_type == "text/html"] or shown[:1]
        return chosen, passed + [leaf for leaf in shown if leaf not in chosen]
    return shown, passed
