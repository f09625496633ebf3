"""Choose which parts of a mail are its text and which are files, and join the text. Reads no headers of the mail."""

from __future__ import annotations

from collections.abc import Iterator

from services.ingest.channels import mime
from services.ingest.channels.flowed import unflowed
from services.ingest.channels.html import MAX_HTML, html_with_quotes_marked
from services.ingest.channels.reading import MAX_FULL_TEXT, clean, line
from services.ingest.core.messages import Part

_PICTURES = {"image/jpeg", "image/png", "image/gif", "image/webp", "image/heic", "image/bmp", "image/svg+xml"}


def body(root: mime.Node) -> tuple[str, bool, set[int]]:
    """Return the text, whether any of it was HTML, and the ids (`id()`) of the parts that are not files."""
    shown, skipped = _shown(root)
    texts, as_html, limit = [], False, MAX_FULL_TEXT
    for leaf in shown:
        if limit <= 0:
            break
        is_html = leaf.media_type == "text/html"
        text = (html_with_quotes_marked(leaf.text()[:MAX_HTML], limit) if is_html else _plain(leaf, limit)).strip()
        if text:
            texts.append(text)
            limit -= len(text) + 2
            as_html |= is_html
    return "\n\n".join(texts)[:MAX_FULL_TEXT], as_html, {id(leaf) for leaf in (*shown, *skipped)}


def _plain(leaf: mime.Node, limit: int) -> str:
    text = leaf.text()
    if (leaf.parameter("format") or "").lower() == "flowed":
        # Twice the limit, since joining lines shortens the text, which `clean` then truncates.
        text = unflowed(text[: 2 * limit], delete_space=(leaf.parameter("delsp") or "").lower() == "yes")
    return clean(text, limit)


def charset(root: mime.Node) -> str | None:
    """Return the charset that the text declares, as a hint for headers that declare none."""
    shown, skipped = _shown(root)
    return next(filter(None, (leaf.parameter("charset") for leaf in (*shown, *skipped))), None)


def files(root: mime.Node, used: set[int]) -> Iterator[Part]:
    """Yield the files: attachments, and pictures within the text. `used` are the ids from `body`."""
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
    """Return the parts to show, and the alternatives that are skipped in favour of them."""
    if not node.children:
        textual = node.media_type in {"text/plain", "text/html"} and not _is_attachment(node)
        return ([node], []) if textual else ([], [])
    shown: list[mime.Node] = []
    skipped: list[mime.Node] = []
    for child in node.children:
        more_shown, more_skipped = _shown(child)
        shown += more_shown
        skipped += more_skipped
    if node.media_type == "multipart/alternative" and len(shown) > 1:
        plain = [leaf for leaf in shown if leaf.media_type == "text/plain" and leaf.text().strip()]
        chosen = plain or [leaf for leaf in shown if leaf.media_type == "text/html"] or shown[:1]
        return chosen, skipped + [leaf for leaf in shown if leaf not in chosen]
    return shown, skipped
